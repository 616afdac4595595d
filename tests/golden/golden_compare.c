/* SPDX-License-Identifier: MIT */
#include "tests/golden/golden.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double nmse(const float *a, const float *b, size_t n)
{
    double off = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return norm > 0 ? off / norm : off;
}

static size_t argmax(const float *v, size_t n)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (v[i] > v[best])
            best = i;
    return best;
}

static bool same_set(const int32_t *a, const int32_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool found = false;

        for (uint32_t j = 0; j < n; j++)
            found |= a[i] == b[j];
        if (!found)
            return false;
    }
    return true;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

/* How clearly a row of router logits chose: between the n_used-th and the next, in their standard deviations. */
static double choice_width(const float *logits, uint32_t n_experts, uint32_t n_used)
{
    float sorted[1024];
    double mean = 0, var = 0;

    memcpy(sorted, logits, n_experts * sizeof(*logits));
    qsort(sorted, n_experts, sizeof(*sorted), descending);
    for (uint32_t i = 0; i < n_experts; i++)
        mean += (double)sorted[i] / n_experts;
    for (uint32_t i = 0; i < n_experts; i++)
        var += (sorted[i] - mean) * (sorted[i] - mean) / n_experts;
    return n_used < n_experts ? (sorted[n_used - 1] - sorted[n_used]) / sqrt(var) : INFINITY;
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

static bool row_flipped(const struct golden *g, const struct golden_prompt *ours, const struct golden_prompt *theirs,
                        uint32_t layer, uint32_t row)
{
    size_t at = ((size_t)layer * theirs->n_rows + row) * g->hp->n_used;

    return !same_set(ours->experts + at, theirs->experts + at, g->hp->n_used);
}

/* One token's way through the layers; returns whether it flipped. `clean`: no token before it did. */
static bool compare_routing(const struct golden *g, const struct golden_prompt *ours,
                            const struct golden_prompt *theirs, uint32_t row, bool clean, struct golden_distance *d)
{
    uint32_t n_experts = g->hp->n_experts;
    bool flipped = false;

    for (uint32_t layer = 0; layer < g->n_moe_layers; layer++) {
        size_t at = ((size_t)layer * theirs->n_rows + row) * n_experts;

        if (clean && !flipped)
            d->router_worst = greater(d->router_worst, nmse(ours->router + at, theirs->router + at, n_experts));
        if (!row_flipped(g, ours, theirs, layer, row))
            continue;
        d->n_flips++;
        if (!flipped)
            d->widest_flip = greater(d->widest_flip, choice_width(theirs->router + at, n_experts, g->hp->n_used));
        flipped = true;
    }
    return flipped;
}

static void compare_layers(const struct golden *g, const struct golden_prompt *ours, const struct golden_prompt *theirs,
                           struct golden_distance *d)
{
    size_t n_embd = g->hp->n_embd;

    if (theirs->layers == NULL)
        return;
    for (uint32_t layer = 0; layer < g->hp->n_layers; layer++)
        for (uint32_t row = 0; row < theirs->n_layer_rows; row++)
            d->layers_worst = greater(
                d->layers_worst, nmse(ours->layers + ((size_t)layer * ours->n_layer_rows + row) * n_embd,
                                      theirs->layers + ((size_t)layer * theirs->n_layer_rows + row) * n_embd, n_embd));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(double *sorted, uint32_t n, double q)
{
    return n > 0 ? sorted[(uint32_t)(q * (n - 1) + 0.5)] : 0;
}

static void compare_rows(const struct golden *g, const struct golden_prompt *ours, const struct golden_prompt *theirs,
                         double *all, double *kept, struct golden_distance *d)
{
    size_t n_vocab = g->hp->n_vocab;
    bool clean = true;

    for (uint32_t row = 0; row < theirs->n_rows; row++) {
        const float *a = ours->logits + row * n_vocab, *b = theirs->logits + row * n_vocab;
        bool flipped = compare_routing(g, ours, theirs, row, clean, d);

        all[d->n_rows++] = nmse(a, b, n_vocab);
        if (!flipped)
            kept[d->n_kept++] = nmse(a, b, n_vocab);
        clean &= !flipped;
        d->greedy_misses += argmax(a, n_vocab) != argmax(b, n_vocab);
    }
}

void golden_compare(const struct golden *ours, const struct golden *theirs, struct golden_distance *ret_distance)
{
    struct golden_distance d = { 0 };
    uint32_t n_rows = 0;
    double *all, *kept;

    for (uint32_t i = 0; i < theirs->n_prompts; i++)
        n_rows += theirs->prompts[i].n_rows;
    all = mem_calloc(n_rows, 2 * sizeof(*all));
    kept = all + n_rows;
    for (uint32_t i = 0; i < theirs->n_prompts; i++) {
        compare_rows(theirs, &ours->prompts[i], &theirs->prompts[i], all, kept, &d);
        compare_layers(theirs, &ours->prompts[i], &theirs->prompts[i], &d);
    }
    qsort(all, d.n_rows, sizeof(*all), ascending);
    qsort(kept, d.n_kept, sizeof(*kept), ascending);
    d.median = quantile(all, d.n_rows, 0.5);
    d.p90 = quantile(all, d.n_rows, 0.9);
    d.worst = quantile(all, d.n_rows, 1);
    d.kept_p90 = quantile(kept, d.n_kept, 0.9);
    mem_free(all);
    *ret_distance = d;
}
