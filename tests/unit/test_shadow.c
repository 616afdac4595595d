/* SPDX-License-Identifier: MIT
 *
 * What the shadows count while serving, against what replaying the same uses counts.
 */
#include "cache/shadow.h"
#include "bench/replay_sim.h"
#include "cache/oracle.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t one_class[TRACE_MAX_KEYS];

static bool open_shared(const char *name, struct trace *ret_trace)
{
    const char *shared = getenv("EXPERTD_SHARED");
    char path[512];
    struct err err = { 0 };

    snprintf(path, sizeof(path), "%s/traces/%s.route.csv", shared != NULL ? shared : "../shared", name);
    if (access(path, R_OK) != 0)
        return false;
    cr_assert_eq(trace_open(path, ret_trace, &err), 0, "%s", err_text(&err));
    return true;
}

static struct shadow *open_for(const struct trace *t, uint32_t n_slots, uint32_t max_keys)
{
    const struct shadow_shape shape = { .n_layers = t->n_layers,
                                        .n_experts = t->n_experts,
                                        .n_classes = 1,
                                        .class_of_layer = one_class,
                                        .n_slots = { n_slots },
                                        .max_keys = max_keys,
                                        .window = 1u << 16 };
    struct shadow *shadow;

    cr_assert_eq(shadow_open(&shape, &shadow), 0);
    return shadow;
}

static bool not_found(const void *ctx, uint16_t id)
{
    return false;
}

/* Every use as a request of its own; the answers' counts are what came after the prompt. */
static void feed(struct shadow *shadow, const struct trace *t, struct shadow_counts *ret_counts)
{
    struct shadow_counts prompt = { 0 };

    for (uint32_t i = 0; i < t->n; i++) {
        uint16_t expert = (uint16_t)(t->use[i].key % t->n_experts);

        if (t->use[i].phase == PHASE_ANSWER && (i == 0 || t->use[i - 1].phase == PHASE_PROMPT))
            shadow_counts(shadow, &prompt);
        shadow_request(shadow, t->use[i].key / t->n_experts, &expert, 1, false, not_found, NULL);
    }
    shadow_counts(shadow, ret_counts);
    ret_counts->asked -= prompt.asked;
    ret_counts->oracle -= prompt.oracle;
    for (int kind = 0; kind < POLICIES; kind++)
        ret_counts->hits[kind] -= prompt.hits[kind];
}

static double percent_of(const struct shadow_counts *counts, int which)
{
    return 100.0 * (double)(which == REPLAY_BELADY ? counts->oracle : counts->hits[which]) / (double)counts->asked;
}

/* All layers followed, one use at a time: the same numbers, foresight's among them. */
Test(shadow, counts_what_replay_counts)
{
    static const uint32_t per_layer[] = { 4, 16, 32, 64 };
    struct trace t;

    if (!open_shared("qwen", &t))
        cr_skip_test("no shared/traces");
    for (int i = 0; i < 4; i++) {
        uint32_t n_slots = per_layer[i] * t.n_layers;
        struct shadow *shadow = open_for(&t, n_slots, UINT32_MAX);
        struct shadow_counts counts;

        feed(shadow, &t, &counts);
        cr_assert_eq(counts.n_followed, t.n_layers * t.n_experts);
        for (int which = 0; which < REPLAYS; which++)
            if (which != REPLAY_LFU_BOOK)
                cr_expect_eq(percent_of(&counts, which), replay_run(&t, which, n_slots, NULL), "%s, %u slots per layer",
                             replay_name(which), per_layer[i]);
        shadow_close(shadow);
    }
    trace_close(&t);
}

/* As it is while serving. Between policies the order is what counts: all are off the same way. */
Test(shadow, a_part_of_the_experts_speaks_for_all)
{
    static const char *const names[] = { "qwen", "gemma", "gptoss" };

    for (int i = 0; i < 3; i++) {
        struct trace t;

        if (!open_shared(names[i], &t))
            cr_skip_test("no shared/traces");
        for (uint32_t per_layer = 16; per_layer <= 64; per_layer *= 2) {
            struct shadow *shadow = open_for(&t, per_layer * t.n_layers, SHADOW_KEYS);
            struct shadow_counts counts;

            feed(shadow, &t, &counts);
            cr_assert_leq(counts.n_followed, SHADOW_KEYS);
            for (int which = 0; which < REPLAYS; which++) {
                double all = replay_run(&t, which, per_layer * t.n_layers, NULL);

                if (which != REPLAY_LFU_BOOK)
                    cr_expect_float_eq(percent_of(&counts, which), all, 3.5, "%s, %s, %u slots a layer: %.2f, all %.2f",
                                       names[i], replay_name(which), per_layer, percent_of(&counts, which), all);
            }
            shadow_close(shadow);
        }
        trace_close(&t);
    }
}

/* ---- requests as they come while serving ---- */

static const struct shadow_shape small = { .n_layers = 2,
                                           .n_experts = 8,
                                           .n_classes = 2,
                                           .class_of_layer = (const uint8_t[]){ 0, 1 },
                                           .n_slots = { 3, 6 },
                                           .max_keys = 16,
                                           .window = 64 };

static bool is_even(const void *ctx, uint16_t id)
{
    return id % 2 == 0;
}

/* Three slots and a request of three: none of them makes way for another, and all three are there the next time. */
Test(shadow, what_a_request_names_stays)
{
    static const uint16_t first[] = { 0, 1, 2 }, second[] = { 3, 1, 2 }, all[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    struct shadow_counts counts;
    struct shadow *shadow;

    cr_assert_eq(shadow_open(&small, &shadow), 0);
    shadow_request(shadow, 0, first, 3, false, is_even, NULL);
    shadow_request(shadow, 0, second, 3, false, is_even, NULL);
    shadow_request(shadow, 0, second, 3, false, is_even, NULL);
    shadow_counts(shadow, &counts);
    cr_assert(counts.asked == 9 && counts.found == 4 && counts.n_followed == 16);
    for (int kind = 0; kind < POLICIES; kind++)
        cr_expect_eq(counts.hits[kind], 5, "%s", policy_name((enum policy_kind)kind));
    /* More than there are slots: the rest is passed by. The other class is another cache. */
    shadow_request(shadow, 0, all, 8, false, is_even, NULL);
    shadow_request(shadow, 1, first, 3, false, is_even, NULL);
    shadow_request(shadow, 1, first, 3, false, is_even, NULL);
    shadow_counts(shadow, &counts);
    for (int kind = 0; kind < POLICIES; kind++)
        cr_expect_eq(counts.hits[kind], 5 + 3 + 3);
    shadow_close(shadow);
}

/* Of four that come in turn to three slots, one is about to be wanted: who asks the router keeps it. */
Test(shadow, what_the_router_thinks_is_next_uses_alone)
{
    static const float chance[] = { 0.001f, 0.9f, 0.001f, 0.001f, 0.001f, 0.001f, 0.001f, 0.001f };
    struct shadow_counts plain, told;
    struct shadow *shadow;

    for (int tell = 0; tell < 2; tell++) {
        cr_assert_eq(shadow_open(&small, &shadow), 0);
        for (uint16_t i = 0; i < 40; i++) {
            if (tell)
                shadow_note(shadow, 0, chance);
            shadow_request(shadow, 0, &(uint16_t){ i % 4 }, 1, false, is_even, NULL);
            shadow_request(shadow, 1, &(uint16_t){ 0 }, 1, false, is_even, NULL);
        }
        shadow_counts(shadow, tell ? &told : &plain);
        shadow_close(shadow);
    }
    cr_expect_gt(told.hits[POLICY_NEXT_USE], plain.hits[POLICY_NEXT_USE]);
    for (int kind = 0; kind < POLICIES; kind++)
        if (kind != POLICY_NEXT_USE)
            cr_expect_eq(told.hits[kind], plain.hits[kind], "%s", policy_name((enum policy_kind)kind));
    cr_expect_eq(told.oracle, plain.oracle);
}

Test(shadow, gives_back_and_takes_again_as_the_slots_do)
{
    static const uint16_t ids[] = { 0, 1, 2, 3, 4, 5 };
    struct shadow_counts before, after;
    struct shadow *shadow;

    cr_assert_eq(shadow_open(&small, &shadow), 0);
    shadow_request(shadow, 1, ids, 6, false, is_even, NULL);
    shadow_resize(shadow, (const uint32_t[]){ 3, 2 });
    shadow_counts(shadow, &before);
    shadow_request(shadow, 1, ids, 6, false, is_even, NULL);
    shadow_counts(shadow, &after);
    for (int kind = 0; kind < POLICIES; kind++)
        cr_expect_eq(after.hits[kind] - before.hits[kind], 2);
    shadow_resize(shadow, (const uint32_t[]){ 3, 100 });
    shadow_request(shadow, 1, ids, 6, false, is_even, NULL);
    shadow_counts(shadow, &before);
    shadow_request(shadow, 1, ids, 6, false, is_even, NULL);
    shadow_counts(shadow, &after);
    for (int kind = 0; kind < POLICIES; kind++)
        cr_expect_eq(after.hits[kind] - before.hits[kind], 6);
    shadow_close(shadow);
}

/* A window shorter than the way back to the last use: no hit that it cannot vouch for. */
Test(oracle, knows_no_further_than_its_window)
{
    struct oracle oracle;

    cr_assert_eq(oracle_init(&oracle, 16, 8, 4), 0);
    for (uint32_t key = 0; key < 4; key++)
        cr_assert_not(oracle_use(&oracle, key));
    cr_assert(oracle_use(&oracle, 0), "four uses ago");
    cr_assert_not(oracle_use(&oracle, 5));
    cr_assert_not(oracle_use(&oracle, 1), "five uses ago");
    oracle_fini(&oracle);
}
