/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cache/policy.h"

#include <criterion/criterion.h>
#include <string.h>

#define LAYERS 6
#define EXPERTS 8
#define SLOTS 8

/* A cache of SLOTS over LAYERS x EXPERTS, driven one use at a time; nothing is pinned but what `protect` names. */
struct toy {
    struct policy *policy;
    uint32_t slot_of[LAYERS * EXPERTS], key_of[SLOTS];
    uint32_t n_held, hits, protect;
};

static bool may_go(const void *ctx, uint32_t slot)
{
    const struct toy *toy = ctx;

    return toy->key_of[slot] != toy->protect;
}

static void toy_init(struct toy *toy, struct policy *policy)
{
    *toy = (struct toy){ .policy = policy, .protect = UINT32_MAX };
    memset(toy->slot_of, 0xff, sizeof(toy->slot_of));
    memset(toy->key_of, 0xff, sizeof(toy->key_of));
}

static void toy_use(struct toy *toy, uint32_t layer, uint32_t expert)
{
    uint32_t key = layer * EXPERTS + expert, slot = toy->slot_of[key];

    if (slot != SLOT_NONE) {
        toy->hits++;
    } else {
        slot = toy->n_held < SLOTS ? toy->n_held++ : toy->policy->ops->victim(toy->policy, 0, may_go, toy);
        cr_assert_lt(slot, SLOTS);
        if (toy->key_of[slot] != SLOT_NONE) {
            cr_assert_neq(toy->key_of[slot], toy->protect);
            toy->slot_of[toy->key_of[slot]] = SLOT_NONE;
            toy->policy->ops->drop(toy->policy, slot);
        }
        toy->slot_of[key] = slot;
        toy->key_of[slot] = key;
    }
    toy->policy->ops->use(toy->policy, slot, key);
}

static const uint8_t one_class[SLOTS];

static struct policy *open_policy(enum policy_kind kind)
{
    return policy_open(kind, SLOTS, one_class, 1, LAYERS, EXPERTS);
}

/* Two experts of each layer, the same ones every token: a working set of 12 in 8 slots. */
static uint32_t hits_of_cycle(struct policy *policy)
{
    struct toy toy;

    toy_init(&toy, policy);
    for (uint32_t token = 0; token < 50; token++)
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            toy_use(&toy, layer, 0);
            toy_use(&toy, layer, 1);
        }
    policy->ops->close(policy);
    return toy.hits;
}

/* A guess about a layer ahead neither moves the clock nor counts as a use: victims are those of a twin without it. */
Test(policy, a_guess_is_no_use)
{
    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct policy *guessing = open_policy((enum policy_kind)kind), *twin = open_policy((enum policy_kind)kind);
        struct toy a, b;

        toy_init(&a, guessing);
        toy_init(&b, twin);
        a.n_held = b.n_held = 1; /* slot 0 is for guesses */
        for (uint32_t use = 0; use < 600; use++) {
            uint32_t layer = use / 2 % LAYERS, expert = use * use / 7 % EXPERTS, ahead = layer + 2;

            if (ahead < LAYERS) {
                guessing->ops->hold(guessing, 0, ahead * EXPERTS + 7);
                guessing->ops->drop(guessing, 0);
            }
            toy_use(&a, layer, expert);
            toy_use(&b, layer, expert);
            cr_assert_arr_eq(a.key_of, b.key_of, sizeof(a.key_of), "%s: use %u", guessing->name, use);
        }
        cr_assert_gt(a.hits, 0);
        guessing->ops->close(guessing);
        twin->ops->close(twin);
    }
}

Test(policy, below_a_working_set_lru_hits_nothing_and_nextuse_does)
{
    cr_assert_eq(hits_of_cycle(open_policy(POLICY_LRU)), 0);
    cr_assert_geq(hits_of_cycle(open_policy(POLICY_NEXT_USE)), 49 * 5, "of 12 uses a token at most 7 can be hits");
}

Test(policy, nextuse_keeps_the_expert_in_demand)
{
    struct policy *policy = open_policy(POLICY_NEXT_USE);
    struct toy toy;

    toy_init(&toy, policy);
    for (uint32_t token = 0; token < 40; token++)
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            toy_use(&toy, layer, 0);                                   /* always */
            toy_use(&toy, layer, 1 + (token + layer) % (EXPERTS - 1)); /* in turn */
        }
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        cr_assert_neq(toy.slot_of[layer * EXPERTS], SLOT_NONE, "the steady expert of layer %u stays", layer);
    policy->ops->close(policy);
}

/* Experts brought by a warm-up, hottest in the first slot, and the order in which they go. */
Test(policy, what_an_earlier_run_has_used_most_stays_longest)
{
    static const uint32_t uses[SLOTS] = { 80, 50, 30, 20, 14, 9, 5, 3 };

    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct policy *policy = open_policy((enum policy_kind)kind);
        uint32_t heat[LAYERS * EXPERTS] = { 0 };
        struct toy toy;

        toy_init(&toy, policy);
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            heat[2 * EXPERTS + slot * 5 % SLOTS] = uses[slot];
        policy_recall(policy, heat, LAYERS, EXPERTS, 2);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            toy.key_of[slot] = 2 * EXPERTS + slot * 5 % SLOTS;
            toy.slot_of[toy.key_of[slot]] = slot;
            policy->ops->hold(policy, slot, toy.key_of[slot]);
        }
        toy.n_held = SLOTS;
        for (uint32_t slot = SLOTS - 1; slot > 0; slot--) {
            uint32_t victim = policy->ops->victim(policy, 0, may_go, &toy);

            cr_expect_eq(victim, slot, "%s gives up slot %u before %u", policy->name, victim, slot);
            policy->ops->drop(policy, slot);
        }
        policy->ops->close(policy);
    }
}

/* Of those that are read anew, one that was in demand before is worth more. */
Test(policy, what_was_used_before_is_not_taken_for_cold_when_it_comes)
{
    for (int kind = POLICY_LFU; kind < POLICIES; kind++) {
        struct policy *policy = open_policy((enum policy_kind)kind);
        uint32_t heat[LAYERS * EXPERTS] = { [1] = 40, [2] = 40 };
        struct toy toy;

        toy_init(&toy, policy);
        policy_recall(policy, heat, LAYERS, EXPERTS, 2);
        toy_use(&toy, 0, 1);
        toy_use(&toy, 0, 2);
        toy_use(&toy, 0, 7);
        toy_use(&toy, 1, 0);
        cr_expect_eq(policy->ops->victim(policy, 0, may_go, &toy), toy.slot_of[7], "%s", policy->name);
        policy->ops->close(policy);
    }
}

/* All used alike; the router's opinion decides, and where it has none, what went before. */
Test(policy, nextuse_gives_up_whom_the_router_thinks_least_of)
{
    float chance[LAYERS * EXPERTS];
    struct policy *policy = open_policy(POLICY_NEXT_USE);
    struct toy toy;

    toy_init(&toy, policy);
    policy->chance = chance;
    for (uint32_t key = 0; key < LAYERS * EXPERTS; key++)
        chance[key] = -1;
    for (uint32_t token = 0; token < 20; token++)
        for (uint32_t expert = 0; expert < SLOTS; expert++)
            toy_use(&toy, 0, expert);
    toy_use(&toy, 1, 0);
    toy.n_held = SLOTS;
    for (uint32_t expert = 1; expert < EXPERTS; expert++)
        chance[expert] = expert == 6 ? 0.05f : 0.5f;
    cr_expect_eq(policy->ops->victim(policy, 0, may_go, &toy), toy.slot_of[6]);
    policy->ops->close(policy);
}

static void check_protection(struct policy *policy)
{
    struct toy toy;

    toy_init(&toy, policy);
    toy_use(&toy, 0, 5);
    toy.protect = 5;
    for (uint32_t i = 0; i < 200; i++)
        toy_use(&toy, i % LAYERS, i % 5);
    cr_assert_neq(toy.slot_of[5], SLOT_NONE);
    policy->ops->close(policy);
}

Test(policy, whoever_may_not_go_stays)
{
    for (int kind = 0; kind < POLICIES; kind++)
        check_protection(open_policy(kind));
}

/* Which expert goes next, then and then, is the same whether or not experts have moved. */
static void check_moves(enum policy_kind kind)
{
    uint32_t order[2][SLOTS - 2];

    for (int moved = 0; moved < 2; moved++) {
        struct policy *policy = open_policy(kind);
        struct toy toy;

        toy_init(&toy, policy);
        for (uint32_t i = 0; i < 60; i++) /* six experts, so that two slots stay empty */
            toy_use(&toy, i * 7 % 5 % 3, i * i % 2);
        cr_assert_eq(toy.n_held, SLOTS - 2);
        for (uint32_t to = SLOTS - 2; moved && to < SLOTS; to++) {
            uint32_t from = 3 * (to - (SLOTS - 2)) + 1;

            policy->ops->move(policy, from, to);
            toy.key_of[to] = toy.key_of[from];
            toy.key_of[from] = SLOT_NONE;
        }
        for (uint32_t i = 0; i < SLOTS - 2; i++) {
            uint32_t slot = policy->ops->victim(policy, 0, may_go, &toy);

            cr_assert_neq(slot, SLOT_NONE);
            order[moved][i] = toy.key_of[slot];
            policy->ops->drop(policy, slot);
        }
        cr_assert_eq(policy->ops->victim(policy, 0, may_go, &toy), SLOT_NONE);
        policy->ops->close(policy);
    }
    cr_assert_arr_eq(order[0], order[1], sizeof(order[0]));
}

Test(policy, a_move_is_no_use)
{
    for (int kind = 0; kind < POLICIES; kind++)
        check_moves(kind);
}

static bool nobody(const void *ctx, uint32_t slot)
{
    return false;
}

Test(policy, no_victim_when_none_may_go)
{
    for (int kind = 0; kind < POLICIES; kind++) {
        struct policy *policy = open_policy(kind);

        policy->ops->use(policy, 0, 3);
        cr_assert_eq(policy->ops->victim(policy, 0, nobody, NULL), SLOT_NONE);
        policy->ops->close(policy);
    }
}

Test(policy, names)
{
    enum policy_kind parsed;
    struct err err = { 0 };

    for (int kind = 0; kind < POLICIES; kind++) {
        struct policy *policy = open_policy(kind);

        cr_assert_eq(policy_parse(policy_name(kind), &parsed, &err), 0);
        cr_assert_eq((int)parsed, kind);
        cr_assert_str_eq(policy->name, policy_name(kind));
        policy->ops->close(policy);
    }
    cr_assert_lt(policy_parse("mru", &parsed, &err), 0);
    cr_assert_not_null(strstr(err.text, "next-use"), "the list of names is told: %s", err.text);
}

Test(policy, no_memory_is_an_answer)
{
    for (int kind = 0; kind < POLICIES; kind++)
        for (long n = 0; n < (kind == POLICY_LRU ? 1 : 2); n++) {
            mem_fail_after(n);
            cr_assert_null(open_policy(kind));
            mem_fail_after(-1);
        }
}
