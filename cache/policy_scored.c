/* SPDX-License-Identifier: MIT */
#include "cache/policy_scored.h"

#include "base/mem.h"

#include <string.h>

static struct scored *of(struct policy *policy)
{
    return (struct scored *)policy;
}

static void move_to(struct scored *s, uint32_t layer)
{
    if (layer == s->layer)
        return;
    if (layer < s->layer)
        s->pass++;
    s->layer = layer;
    s->scan_valid = false;
}

/* Outside of bursts the clock moves with the first use, not before: so does whoever replays uses without requests. */
static void scored_begin(struct policy *policy, uint32_t layer_index, bool burst)
{
    struct scored *s = of(policy);

    s->scan_valid &= s->burst == burst;
    s->burst = burst;
    if (burst)
        move_to(s, layer_index);
}

/* The sums that such uses come to when they go on for long, the last of them in the pass before the first. */
static void scored_recall(struct policy *policy, uint32_t key, float uses, float chance)
{
    struct scored *s = of(policy);
    struct past *past = &s->past[key];

    s->pass = 1;
    past->last = 0;
    for (int i = 0; i < SCORED_RATES; i++) {
        float at_most = s->kind->rate[i] < 1 ? chance / (1 - s->kind->rate[i]) : uses;

        past->sum[i] = uses < at_most ? uses : at_most;
    }
}

static void scored_use(struct policy *policy, uint32_t slot, uint32_t key)
{
    struct scored *s = of(policy);
    struct past *past = &s->past[key];

    move_to(s, key / s->n_experts);
    s->key_of[slot] = key;
    past->stamp = ++s->n_uses;
    if (s->kind->once_per_pass && past->last == s->pass && past->sum[0] > 0)
        return;
    for (int i = 0; i < SCORED_RATES; i++)
        past->sum[i] = scored_sum(s, past, i) + 1;
    past->last = s->pass;
}

static void scored_hold(struct policy *policy, uint32_t slot, uint32_t key)
{
    of(policy)->key_of[slot] = key;
}

static void scored_drop(struct policy *policy, uint32_t slot)
{
    of(policy)->key_of[slot] = SLOT_NONE;
}

static void scored_move(struct policy *policy, uint32_t from, uint32_t to)
{
    struct scored *s = of(policy);

    s->key_of[to] = s->key_of[from];
    s->key_of[from] = SLOT_NONE;
    s->scan_valid = false;
}

static bool goes_before(const struct candidate *a, const struct candidate *b)
{
    if (a->ahead != b->ahead)
        return b->ahead;
    return a->score != b->score ? a->score > b->score : a->stamp < b->stamp;
}

/* Keep the list sorted, greatest score first, and at most SCORED_CANDIDATES long. */
static void consider(struct scored *s, struct candidate c)
{
    uint32_t i = s->n_candidates;

    if (i == SCORED_CANDIDATES) {
        if (!goes_before(&c, &s->candidate[i - 1]))
            return;
        i--;
    } else {
        s->n_candidates++;
    }
    for (; i > 0 && goes_before(&c, &s->candidate[i - 1]); i--)
        s->candidate[i] = s->candidate[i - 1];
    s->candidate[i] = c;
}

static void scan(struct scored *s, uint32_t slot_class, bool (*may_go)(const void *ctx, uint32_t slot), const void *ctx)
{
    s->n_candidates = s->next_candidate = 0;
    for (uint32_t slot = 0; slot < s->n_slots; slot++) {
        uint32_t key = s->key_of[slot];

        if (s->class_of[slot] == slot_class && key != SLOT_NONE && may_go(ctx, slot))
            consider(s, (struct candidate){ .ahead = s->burst && key / s->n_experts > s->layer,
                                            .score = s->kind->score(s, &s->past[key], key),
                                            .stamp = s->burst ? UINT32_MAX - s->past[key].stamp : s->past[key].stamp,
                                            .slot = slot });
    }
    s->scan_class = slot_class;
    s->scan_valid = true;
}

/* Used at the layer where the forward pass is: since the scan, then, or by a request that may not lose it. */
static bool used_here(const struct scored *s, uint32_t key)
{
    return key / s->n_experts == s->layer && s->past[key].last == s->pass;
}

/* A burst may be done with somebody at its own layer since the scan, who goes before all of those ahead. */
static uint32_t next_candidate(struct scored *s, bool fresh, bool (*may_go)(const void *ctx, uint32_t slot),
                               const void *ctx)
{
    while (s->next_candidate < s->n_candidates && (fresh || !s->candidate[s->next_candidate].ahead)) {
        uint32_t slot = s->candidate[s->next_candidate++].slot, key = s->key_of[slot];

        if (key != SLOT_NONE && (s->burst || !used_here(s, key)) && may_go(ctx, slot))
            return slot;
    }
    return SLOT_NONE;
}

static uint32_t scored_victim(struct policy *policy, uint32_t slot_class,
                              bool (*may_go)(const void *ctx, uint32_t slot), const void *ctx)
{
    struct scored *s = of(policy);
    uint32_t slot = SLOT_NONE;

    if (s->scan_valid && s->scan_class == slot_class)
        slot = next_candidate(s, false, may_go, ctx);
    if (slot == SLOT_NONE) {
        scan(s, slot_class, may_go, ctx);
        slot = next_candidate(s, true, may_go, ctx);
    }
    if (slot == SLOT_NONE && s->n_candidates > 0) /* all of them used here: the greatest that may go, after all */
        slot = s->candidate[0].slot;
    return slot;
}

static void scored_close(struct policy *policy)
{
    mem_free(of(policy)->key_of);
    mem_free(policy);
}

static const struct policy_ops scored_ops = {
    .begin = scored_begin,
    .recall = scored_recall,
    .use = scored_use,
    .hold = scored_hold,
    .drop = scored_drop,
    .move = scored_move,
    .victim = scored_victim,
    .close = scored_close,
};

static void fill_fades(struct scored *s)
{
    for (int i = 0; i < SCORED_RATES; i++) {
        float fade = 1;

        for (uint32_t age = 0; age < SCORED_AGES; age++, fade *= s->kind->rate[i])
            s->fade[i][age] = fade;
    }
}

struct policy *scored_open(const struct scored_kind *kind, uint32_t n_slots, const uint8_t *class_of, uint32_t n_layers,
                           uint32_t n_experts)
{
    struct scored *s = mem_zalloc(sizeof(*s) + (uint64_t)n_layers * n_experts * sizeof(s->past[0]));

    if (s == NULL)
        return NULL;
    s->key_of = mem_alloc(((uint64_t)n_slots + 1) * sizeof(*s->key_of));
    if (s->key_of == NULL) {
        mem_free(s);
        return NULL;
    }
    memset(s->key_of, 0xff, ((uint64_t)n_slots + 1) * sizeof(*s->key_of));
    s->policy = (struct policy){ .ops = &scored_ops, .name = kind->name };
    s->kind = kind;
    s->class_of = class_of;
    s->n_slots = n_slots;
    s->n_layers = n_layers;
    s->n_experts = n_experts;
    fill_fades(s);
    return &s->policy;
}
