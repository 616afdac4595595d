/* SPDX-License-Identifier: MIT
 *
 * Passes that want every expert of every layer, as a prompt's do: what they read, and what they leave behind.
 */
#include "cache/policy.h"

#include <criterion/criterion.h>
#include <string.h>

#define LAYERS 6
#define EXPERTS 4
#define KEYS (LAYERS * EXPERTS)
#define SLOTS 10

/* Slots and requests as the cache has them: what is there is used first, and what a request names stays. */
struct toy {
    struct policy *policy;
    uint32_t slot_of[KEYS], key_of[SLOTS];
    uint32_t n_held, n_reads;
    uint32_t layer, first, n; /* the request in hand: n experts of a layer, from the first on */
};

static bool may_go(const void *ctx, uint32_t slot)
{
    const struct toy *t = ctx;
    uint32_t key = t->key_of[slot], expert = key % EXPERTS;

    return key / EXPERTS != t->layer || expert < t->first || expert >= t->first + t->n;
}

static void toy_init(struct toy *t, enum policy_kind kind)
{
    static const uint8_t one_class[SLOTS];

    *t = (struct toy){ .policy = policy_open(kind, SLOTS, one_class, 1, LAYERS, EXPERTS) };
    memset(t->slot_of, 0xff, sizeof(t->slot_of));
}

static uint32_t toy_place(struct toy *t, uint32_t key)
{
    uint32_t slot = t->n_held < SLOTS ? t->n_held++ : t->policy->ops->victim(t->policy, 0, may_go, t);

    cr_assert_lt(slot, SLOTS);
    if (t->slot_of[t->key_of[slot]] == slot) {
        t->slot_of[t->key_of[slot]] = SLOT_NONE;
        t->policy->ops->drop(t->policy, slot);
    }
    t->slot_of[key] = slot;
    t->key_of[slot] = key;
    return slot;
}

static void toy_request(struct toy *t, uint32_t layer, uint32_t first, uint32_t n, bool burst)
{
    t->layer = layer;
    t->first = first;
    t->n = n;
    if (t->policy->ops->begin != NULL)
        t->policy->ops->begin(t->policy, layer, burst);
    for (int there = 1; there >= 0; there--)
        for (uint32_t key = layer * EXPERTS + first; key < layer * EXPERTS + first + n; key++) {
            if ((t->slot_of[key] != SLOT_NONE) != there)
                continue;
            t->n_reads += !there;
            t->policy->ops->use(t->policy, there ? t->slot_of[key] : toy_place(t, key), key);
        }
}

/* Returns what was read. */
static uint32_t toy_burst(struct toy *t)
{
    uint32_t before = t->n_reads;

    for (uint32_t layer = 0; layer < LAYERS; layer++)
        toy_request(t, layer, 0, EXPERTS, true);
    return t->n_reads - before;
}

static void toy_fini(struct toy *t)
{
    t->policy->ops->close(t->policy);
}

/* Whatever lies there when a pass comes to it is not read, and nobody could do better. */
Test(policy_burst, a_second_pass_reads_what_the_slots_cannot_hold)
{
    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct toy t;

        toy_init(&t, (enum policy_kind)kind);
        cr_expect_eq(toy_burst(&t), KEYS);
        cr_expect_eq(toy_burst(&t), KEYS - SLOTS, "%s", policy_name((enum policy_kind)kind));
        for (int i = 0; i < 5; i++) /* then the first layer's may have to make room for themselves */
            cr_expect_leq(toy_burst(&t), KEYS - SLOTS + EXPERTS, "%s", policy_name((enum policy_kind)kind));
        toy_fini(&t);
    }
}

/* The first layer and a few of each other, brought by a warm-up: held, and never used. */
Test(policy_burst, the_first_pass_after_a_warm_up_reads_no_more)
{
    static const uint32_t warm[SLOTS] = { 0, 1, 2, 3, 5, 10, 13, 18, 20, 23 };

    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct toy t;

        toy_init(&t, (enum policy_kind)kind);
        for (uint32_t i = 0; i < SLOTS; i++)
            t.policy->ops->hold(t.policy, toy_place(&t, warm[i]), warm[i]);
        cr_expect_eq(toy_burst(&t), KEYS - SLOTS, "%s", policy_name((enum policy_kind)kind));
        toy_fini(&t);
    }
}

/* One expert of each layer, token after token, and a prompt in between: all but the last layer's request streams
 * through the slots that those do not need. */
Test(policy_burst, what_decode_uses_is_still_there_afterwards)
{
    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct toy t;
        uint32_t before;

        toy_init(&t, (enum policy_kind)kind);
        for (uint32_t token = 0; token < 30; token++)
            for (uint32_t layer = 0; layer < LAYERS; layer++)
                toy_request(&t, layer, layer % EXPERTS, 1, false);
        cr_expect_eq(t.n_reads, LAYERS);
        cr_expect_leq(toy_burst(&t), KEYS - LAYERS);
        before = t.n_reads;
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            toy_request(&t, layer, layer % EXPERTS, 1, false);
        cr_expect_eq(t.n_reads, before, "%s", policy_name((enum policy_kind)kind));
        toy_fini(&t);
    }
}

/* The same uses without a word of bursts choose the same victims as with one that each pass is none. */
Test(policy_burst, decode_is_not_told_from_before)
{
    for (int kind = 0; kind < POLICIES; kind++) {
        struct toy told, twin;
        struct policy_ops silent;

        toy_init(&told, (enum policy_kind)kind);
        toy_init(&twin, (enum policy_kind)kind);
        silent = *twin.policy->ops;
        silent.begin = NULL;
        twin.policy->ops = &silent;
        for (uint32_t i = 0; i < 400; i++) {
            toy_request(&told, i % LAYERS, i * i / 7 % 3, 2, false);
            toy_request(&twin, i % LAYERS, i * i / 7 % 3, 2, false);
            cr_assert_arr_eq(told.key_of, twin.key_of, sizeof(told.key_of), "%s", policy_name((enum policy_kind)kind));
        }
        cr_expect(kind == POLICY_LRU || told.n_reads < 800, "%s has hits", policy_name((enum policy_kind)kind));
        toy_fini(&told);
        toy_fini(&twin);
    }
}
