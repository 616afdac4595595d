/* SPDX-License-Identifier: MIT
 *
 * route.cu: the experts of each token: the greatest logits, best first, ties to the lower index, and their weights.
 *
 * What is no number is never greater than anything, and is chosen only where it is the first that is left, as on the
 * CPU.
 */
#include "gpu/exact.cuh"
#include "gpu/kernels.h"

enum { ROUTE_THREADS = 128, ROUTE_WARPS = ROUTE_THREADS / 32, NONE = 0xffffffff };

struct choice {
    float value;
    uint32_t index; /* NONE: nothing yet */
};

struct alignas(16) route_shared { /* numbers of f64 follow */
    struct choice warps[ROUTE_WARPS];
    uint32_t first[ROUTE_WARPS];
    uint32_t best;
    /* then: double exps [n_experts], uint32_t chosen [n_used], float weights [n_used], uint8_t taken [n_experts] */
};

DEVICE bool choice_beats(struct choice a, struct choice b)
{
    if (a.index == NONE || b.index == NONE)
        return b.index == NONE && a.index != NONE;
    return a.value > b.value || (a.value == b.value && a.index < b.index);
}

DEVICE struct choice warp_best(struct choice c)
{
    for (int mask = 16; mask > 0; mask /= 2) {
        struct choice other = { warp_shuffle_xor(c.value, mask), warp_shuffle_xor(c.index, mask) };

        if (choice_beats(other, c))
            c = other;
    }
    return c;
}

DEVICE uint32_t warp_least(uint32_t x)
{
    for (int mask = 16; mask > 0; mask /= 2) {
        uint32_t other = warp_shuffle_xor(x, mask);

        x = other < x ? other : x;
    }
    return x;
}

/* The best that is not taken, into s->best. */
DEVICE void choose(const float *logits, const uint8_t *taken, uint32_t n, struct route_shared *s)
{
    struct choice c = { 0, NONE };
    uint32_t first = NONE;

    for (uint32_t e = THREAD; e < n; e += ROUTE_THREADS) {
        struct choice here = { logits[e], e };

        if (taken[e])
            continue;
        first = e < first ? e : first;
        if (!is_nan(here.value) && choice_beats(here, c))
            c = here;
    }
    c = warp_best(c);
    first = warp_least(first);
    if (THREAD % 32 == 0) {
        s->warps[THREAD / 32] = c;
        s->first[THREAD / 32] = first;
    }
    block_barrier();
    if (THREAD == 0) {
        for (uint32_t warp = 1; warp < ROUTE_WARPS; warp++) {
            if (choice_beats(s->warps[warp], c))
                c = s->warps[warp];
            first = s->first[warp] < first ? s->first[warp] : first;
        }
        s->best = c.index == NONE || is_nan(logits[first]) ? first : c.index;
    }
    block_barrier();
}

/* The weights of the chosen, from e^(logit - best), in the CPU's order. The host's memory, where they go, is written
 * and not read: it is far away. */
DEVICE void weigh(const struct route_params &p, const float *logits, const double *exps, const uint32_t *chosen,
                  float *weights, float *ret_weights)
{
    double total = 0;
    float sum = 0;

    for (uint32_t e = 0; e < p.n_experts && !p.sigmoid; e++)
        total += exps[e];
    for (uint32_t j = 0; j < p.n_used; j++) {
        weights[j] = p.sigmoid ? logistic(logits[chosen[j]]) : (float)(exps[chosen[j]] / total);
        sum += weights[j];
    }
    for (uint32_t j = 0; j < p.n_used; j++)
        ret_weights[j] = (p.renormalise ? weights[j] / sum : weights[j]) * p.scale;
}

KERNEL(ROUTE_THREADS) route_kernel(PARAMS(route_params) p)
{
    const float *logits = p.logits + (size_t)BLOCK_X * p.n_experts;
    uint16_t *ids = p.ids + (size_t)BLOCK_X * p.n_used;
    SHARED(struct route_shared, s);
    double *exps = (double *)(s + 1);
    uint32_t *chosen = (uint32_t *)(exps + p.n_experts);
    float *weights = (float *)(chosen + p.n_used);
    uint8_t *taken = (uint8_t *)(weights + p.n_used);

    for (uint32_t e = THREAD; e < p.n_experts; e += ROUTE_THREADS)
        taken[e] = 0;
    block_barrier();
    for (uint32_t j = 0; j < p.n_used; j++) {
        choose(logits, taken, p.n_experts, s);
        if (THREAD == 0) {
            taken[s->best] = 1;
            chosen[j] = s->best;
            ids[j] = (uint16_t)s->best;
        }
        block_barrier();
        if (j > 0)
            continue;
        for (uint32_t e = THREAD; e < p.n_experts; e += ROUTE_THREADS)
            exps[e] = exp_f64((double)logits[e] - (double)logits[s->best]);
    }
    block_barrier();
    if (THREAD == 0)
        weigh(p, logits, exps, chosen, weights, p.weights + (size_t)BLOCK_X * p.n_used);
}

int launch_route(struct queue *queue, const struct route_params *p)
{
    return launch(queue, route_kernel, p->n, 1, 1, ROUTE_THREADS, route_shared_bytes(p->n_experts, p->n_used), *p);
}

size_t route_shared_bytes(uint32_t n_experts, uint32_t n_used)
{
    return sizeof(struct route_shared) + (size_t)n_experts * (sizeof(double) + 1) +
           (size_t)n_used * (sizeof(uint32_t) + sizeof(float));
}
