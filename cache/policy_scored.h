/* SPDX-License-Identifier: MIT
 *
 * policy_scored.h: policies that give up the resident expert with the greatest score.
 *
 * What they share: the clock of the forward pass (it visits the layers in a cycle, so a use in an earlier layer than
 * the last one begins a new token, or a new chunk of a prompt), faded sums of past uses per expert, and the search for
 * victims, in a burst among the layers passed first. One scan over the slots finds several; they stay good while the
 * forward pass is at the same layer. A policy adds only its score.
 *
 * Threads: the engine thread only. Allocates in open only. Private to cache/policy_*.c.
 */
#ifndef EXPERTD_CACHE_POLICY_SCORED_H
#define EXPERTD_CACHE_POLICY_SCORED_H

#include "cache/policy.h"

#define SCORED_AGES 512u      /* passes; a faded sum older than this is zero */
#define SCORED_CANDIDATES 32u /* victims found by one scan */
#define SCORED_RATES 2

/* Sums over an expert's uses of rate^age, ages in passes. */
struct past {
    float sum[SCORED_RATES];
    uint32_t last;  /* pass of the last use */
    uint32_t stamp; /* number of the last use, counted over all experts */
};

struct scored;

struct scored_kind {
    const char *name;
    float rate[SCORED_RATES]; /* 1: never forgets */
    bool once_per_pass;       /* a prompt's tokens that share an expert count as one use */
    /* Greater goes first. `past` is that of a resident expert, as of its last use. */
    float (*score)(const struct scored *, const struct past *, uint32_t key);
};

struct candidate {
    bool ahead; /* of a layer that this burst will come to: goes after all others */
    float score;
    uint32_t stamp; /* of equal scores, the least goes: unused for longest, or in a burst, used last */
    uint32_t slot;
};

struct scored {
    struct policy policy;
    const struct scored_kind *kind;
    const uint8_t *class_of;
    uint32_t n_slots, n_layers, n_experts;
    uint32_t n_uses;
    uint32_t pass, layer; /* where the forward pass is: passes so far, and the layer asked for last */
    bool burst;           /* the pass is one */
    float fade[SCORED_RATES][SCORED_AGES];
    struct candidate candidate[SCORED_CANDIDATES]; /* what the last scan found, greatest first */
    uint32_t n_candidates, next_candidate, scan_class;
    bool scan_valid;
    uint32_t *key_of;   /* [n_slots], SLOT_NONE when it holds nobody */
    struct past past[]; /* [n_layers * n_experts] */
};

/* The i-th sum of an expert, faded until now. */
static inline float scored_sum(const struct scored *s, const struct past *past, int i)
{
    uint32_t age = s->pass - past->last;

    return past->sum[i] * s->fade[i][age < SCORED_AGES ? age : SCORED_AGES - 1];
}

struct policy *scored_open(const struct scored_kind *kind, uint32_t n_slots, const uint8_t *class_of,
                           uint32_t n_layers, uint32_t n_experts);

extern const struct scored_kind policy_nextuse, policy_lfu, policy_aged, policy_lfru;

#endif
