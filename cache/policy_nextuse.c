/* SPDX-License-Identifier: MIT
 *
 * policy_nextuse.c: give up the expert whose next use lies furthest ahead, as far as its past can tell.
 *
 * A forward pass visits the layers in a fixed cycle, so the wait until an expert can be used again is known: the layers
 * between here and its own. Whether it will be used then is a guess from two averages of its past uses that fade per
 * token, a fast one and a slow one:
 *
 *     p = MIX (1 - FAST) sum FAST^age + (1 - MIX) (1 - SLOW) sum SLOW^age        over its uses, ages in tokens
 *     expected wait = layers until its own + (1 / p - 1) * layers in the cycle   (the mean of a geometric distribution)
 *
 * and the victim is the one that waits longest. Belady's rule with an estimate in the place of foresight. The
 * constants are the middle of a broad optimum over real routing traces (docs/experiments.md).
 */
#include "cache/policy.h"

#include "base/mem.h"

#include <string.h>

#define FAST (0.8f)
#define SLOW (0.98f)
#define MIX (0.2f)
#define AGES 512u      /* older than this is as good as never */
#define CANDIDATES 32u /* victims found by one scan */

struct past {
    float fast, slow; /* faded sums of uses, as of token `last` */
    uint32_t last;
};

struct candidate {
    float wait;
    uint32_t slot;
};

struct nextuse {
    struct policy policy;
    const uint8_t *class_of;
    uint32_t n_slots, n_layers, n_experts;
    uint32_t token, layer; /* where the forward pass is: passes so far, and the layer asked for last */
    float fade_fast[AGES], fade_slow[AGES];
    /* What the last scan found, longest wait first; good while the forward pass stays at the same layer. */
    struct candidate candidate[CANDIDATES];
    uint32_t n_candidates, next_candidate, scan_class;
    bool scan_valid;
    uint32_t *key_of; /* [n_slots], SLOT_NONE when it holds nobody */
    struct past past[]; /* [n_layers * n_experts] */
};

static struct nextuse *of(struct policy *policy)
{
    return (struct nextuse *)policy;
}

static void move_to(struct nextuse *p, uint32_t layer)
{
    if (layer == p->layer)
        return;
    if (layer < p->layer)
        p->token++;
    p->layer = layer;
    p->scan_valid = false;
}

static void fade(const struct nextuse *p, struct past *past)
{
    uint32_t age = p->token - past->last;

    past->fast = age < AGES ? past->fast * p->fade_fast[age] : 0;
    past->slow = age < AGES ? past->slow * p->fade_slow[age] : 0;
    past->last = p->token;
}

static void nextuse_use(struct policy *policy, uint32_t slot, uint32_t key)
{
    struct nextuse *p = of(policy);
    struct past *past = &p->past[key];

    move_to(p, key / p->n_experts);
    fade(p, past);
    past->fast += 1;
    past->slow += 1;
    p->key_of[slot] = key;
}

static void nextuse_drop(struct policy *policy, uint32_t slot)
{
    of(policy)->key_of[slot] = SLOT_NONE;
}

/* Expected layers until the next use; larger is a better victim. */
static float expected_wait(const struct nextuse *p, uint32_t key)
{
    const struct past *past = &p->past[key];
    uint32_t age = p->token - past->last, layer = key / p->n_experts;
    uint32_t distance = layer > p->layer ? layer - p->layer : layer + p->n_layers - p->layer;
    float chance = 1e-6f;

    if (age < AGES)
        chance += MIX * (1 - FAST) * past->fast * p->fade_fast[age] + (1 - MIX) * (1 - SLOW) * past->slow * p->fade_slow[age];
    return (float)distance + (1 / chance - 1) * (float)p->n_layers;
}

/* Keep the list sorted, longest wait first, and at most CANDIDATES long. */
static void consider(struct nextuse *p, struct candidate c)
{
    uint32_t i = p->n_candidates;

    if (i == CANDIDATES) {
        if (p->candidate[i - 1].wait >= c.wait)
            return;
        i--;
    } else {
        p->n_candidates++;
    }
    for (; i > 0 && p->candidate[i - 1].wait < c.wait; i--)
        p->candidate[i] = p->candidate[i - 1];
    p->candidate[i] = c;
}

static void scan(struct nextuse *p, uint32_t slot_class, bool (*may_go)(const void *ctx, uint32_t slot), const void *ctx)
{
    p->n_candidates = p->next_candidate = 0;
    for (uint32_t slot = 0; slot < p->n_slots; slot++)
        if (p->class_of[slot] == slot_class && p->key_of[slot] != SLOT_NONE && may_go(ctx, slot))
            consider(p, (struct candidate){ expected_wait(p, p->key_of[slot]), slot });
    p->scan_class = slot_class;
    p->scan_valid = true;
}

static uint32_t next_candidate(struct nextuse *p, bool (*may_go)(const void *ctx, uint32_t slot), const void *ctx)
{
    while (p->next_candidate < p->n_candidates) {
        uint32_t slot = p->candidate[p->next_candidate++].slot;

        if (p->key_of[slot] != SLOT_NONE && may_go(ctx, slot))
            return slot;
    }
    return SLOT_NONE;
}

static uint32_t nextuse_victim(struct policy *policy, uint32_t slot_class,
                               bool (*may_go)(const void *ctx, uint32_t slot), const void *ctx)
{
    struct nextuse *p = of(policy);
    uint32_t slot = SLOT_NONE;

    if (p->scan_valid && p->scan_class == slot_class)
        slot = next_candidate(p, may_go, ctx);
    if (slot == SLOT_NONE) {
        scan(p, slot_class, may_go, ctx);
        slot = next_candidate(p, may_go, ctx);
    }
    return slot;
}

static void nextuse_close(struct policy *policy)
{
    mem_free(of(policy)->key_of);
    mem_free(policy);
}

static const struct policy_ops nextuse_ops = {
    .use = nextuse_use, .drop = nextuse_drop, .victim = nextuse_victim, .close = nextuse_close
};

struct policy *policy_nextuse_open(uint32_t n_slots, const uint8_t *class_of, uint32_t n_layers, uint32_t n_experts)
{
    struct nextuse *p = mem_zalloc(sizeof(*p) + (uint64_t)n_layers * n_experts * sizeof(p->past[0]));

    if (p == NULL)
        return NULL;
    p->key_of = mem_alloc(((uint64_t)n_slots + 1) * sizeof(*p->key_of));
    if (p->key_of == NULL) {
        mem_free(p);
        return NULL;
    }
    memset(p->key_of, 0xff, ((uint64_t)n_slots + 1) * sizeof(*p->key_of));
    p->policy = (struct policy){ .ops = &nextuse_ops, .name = "next-use" };
    p->class_of = class_of;
    p->n_slots = n_slots;
    p->n_layers = n_layers;
    p->n_experts = n_experts;
    p->fade_fast[0] = p->fade_slow[0] = 1;
    for (uint32_t age = 1; age < AGES; age++) {
        p->fade_fast[age] = p->fade_fast[age - 1] * FAST;
        p->fade_slow[age] = p->fade_slow[age - 1] * SLOW;
    }
    return &p->policy;
}
