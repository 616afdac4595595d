/* SPDX-License-Identifier: MIT */
#include "prefetch/governor.h"

#include <stdlib.h>
#include <string.h>

#define FADE (0.5)        /* weight of what was known when a new window ends */
#define MARGIN (0.98)     /* a level above off must take less than this share of off's time */
#define SHORTEST_STAY (4u)

void governor_init(struct governor *g)
{
    *g = (struct governor){ .stay = SHORTEST_STAY };
}

void governor_fix(struct governor *g, uint32_t level)
{
    g->fixed = true;
    g->level = g->best = level < GOVERNOR_LEVELS ? level : GOVERNOR_LEVELS - 1;
}

uint32_t governor_level(const struct governor *g)
{
    return g->level;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double window_median(const struct governor *g)
{
    uint64_t sorted[GOVERNOR_WINDOW - 1];

    memcpy(sorted, g->window_ns + 1, sizeof(sorted));
    qsort(sorted, GOVERNOR_WINDOW - 1, sizeof(sorted[0]), by_size);
    return (double)sorted[(GOVERNOR_WINDOW - 1) / 2];
}

static uint32_t best_level(const struct governor *g)
{
    uint32_t best = 0;

    for (uint32_t level = 1; level < GOVERNOR_LEVELS; level++)
        if (g->token_ns[level] > 0 && g->token_ns[level] < g->token_ns[best] * (best == 0 ? MARGIN : 1))
            best = level;
    return best;
}

/* Levels are tried in order, the best one skipped; after them the best has its stay. */
static void next_window(struct governor *g)
{
    uint32_t before = g->best, next;

    if (g->windows_left > 0) {
        g->windows_left--;
        g->level = g->windows_left > 0 ? g->best : (g->best == 0 ? 1 : 0);
        return;
    }
    for (next = g->level + 1; next < GOVERNOR_LEVELS && next == before && g->token_ns[next] > 0; next++)
        ;
    if (next < GOVERNOR_LEVELS) {
        g->level = next;
        return;
    }
    g->best = g->level = best_level(g);
    g->stay = g->best != before ? SHORTEST_STAY : g->stay * 2;
    if (g->stay > GOVERNOR_LONGEST_STAY)
        g->stay = GOVERNOR_LONGEST_STAY;
    g->windows_left = g->stay;
}

void governor_token(struct governor *g, uint64_t ns)
{
    double median;

    if (g->fixed)
        return;
    g->window_ns[g->n_tokens++] = ns;
    if (g->n_tokens < GOVERNOR_WINDOW)
        return;
    g->n_tokens = 0;
    median = window_median(g);
    g->token_ns[g->level] = g->token_ns[g->level] > 0 ? FADE * g->token_ns[g->level] + (1 - FADE) * median : median;
    next_window(g);
}
