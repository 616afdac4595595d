/* SPDX-License-Identifier: MIT */
#include "prefetch/governor.h"

#include <stdlib.h>
#include <string.h>

#define FADE 0.9    /* weight of what was known beside a new token */
#define MARGIN 0.98 /* doing more must take less than this share of the time */
#define SHORTEST_STAY 16u

static uint32_t level_valid(uint32_t level)
{
    return level < GOVERNOR_LEVELS ? level : GOVERNOR_LEVELS - 1;
}

void governor_init(struct governor *g, uint32_t level)
{
    *g = (struct governor){ .stay = SHORTEST_STAY, .left = SHORTEST_STAY };
    g->level = g->best = g->other = level_valid(level);
}

void governor_fix(struct governor *g, uint32_t level)
{
    g->fixed = true;
    g->level = g->best = level_valid(level);
}

uint32_t governor_level(const struct governor *g)
{
    return g->level;
}

bool governor_trying(const struct governor *g)
{
    return !g->fixed && g->left == 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median_ratio(const struct governor *g)
{
    double sorted[GOVERNOR_PAIRS];

    memcpy(sorted, g->ratio, sizeof(sorted));
    qsort(sorted, GOVERNOR_PAIRS, sizeof(sorted[0]), by_size);
    return sorted[GOVERNOR_PAIRS / 2];
}

static void trial_begin(struct governor *g)
{
    do
        g->other = (g->other + 1) % GOVERNOR_LEVELS;
    while (g->other == g->best);
    g->n_ratios = 0;
}

static void trial_end(struct governor *g)
{
    if (median_ratio(g) < (g->other > g->best ? MARGIN : 1)) {
        g->best = g->other;
        g->stay = SHORTEST_STAY;
    } else {
        g->stay = g->stay * 2 < GOVERNOR_LONGEST_STAY ? g->stay * 2 : GOVERNOR_LONGEST_STAY;
    }
    g->left = g->stay;
    g->level = g->best;
}

/* The best level and the other take turns. */
static void trial_token(struct governor *g, uint64_t ns)
{
    if (g->level == g->best) {
        g->beside_ns = ns > 0 ? ns : 1;
        g->level = g->other;
        return;
    }
    g->ratio[g->n_ratios++] = (double)ns / (double)g->beside_ns;
    g->level = g->best;
    if (g->n_ratios == GOVERNOR_PAIRS)
        trial_end(g);
}

void governor_token(struct governor *g, uint64_t ns)
{
    double *mean = &g->token_ns[g->level];

    *mean = *mean > 0 ? FADE * *mean + (1 - FADE) * (double)ns : (double)ns;
    if (g->fixed)
        return;
    if (g->left == 0)
        trial_token(g, ns);
    else if (--g->left == 0)
        trial_begin(g);
}
