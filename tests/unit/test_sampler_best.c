/* SPDX-License-Identifier: MIT
 *
 * Draws from the best logits alone, as a device brings them back: the very tokens that all logits would give.
 */
#include "model/sampler.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEST_VOCAB = 700 };

static int best_first(const void *a, const void *b)
{
    const struct token_logit *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->token - y->token;
}

/* As a device brings them back: no more than the sampler says are enough. */
static void best_of(const float *logits, uint32_t n, struct token_logit *ret_best)
{
    static struct token_logit all[BEST_VOCAB];

    for (int32_t i = 0; i < BEST_VOCAB; i++)
        all[i] = (struct token_logit){ logits[i], i };
    qsort(all, BEST_VOCAB, sizeof(all[0]), best_first);
    memcpy(ret_best, all, n * sizeof(all[0]));
}

/* Steep or flat, with ties. */
static void some_logits(uint64_t *state, float *logits)
{
    float width = (float)(1 + (*state >> 60)), step = (*state >> 40) % 3 == 0 ? 0.5f : 0x1p-12f;

    for (int i = 0; i < BEST_VOCAB; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        logits[i] = roundf(width * (float)(int32_t)(*state >> 32) * 0x1p-31f / step) * step;
    }
}

static void draw_both(const struct sampler_options *options, uint64_t seed, const char *what)
{
    struct sampler_options o = *options;
    struct token_logit best[SAMPLER_BEST_MOST];
    struct sampler *from_all, *from_best;
    static float logits[BEST_VOCAB];
    uint64_t state = seed * 77 + 5;
    struct err err = { 0 };

    o.seed = seed;
    cr_assert_eq(sampler_open(&o, BEST_VOCAB, &from_all, &err), 0, "%s", err_text(&err));
    cr_assert_eq(sampler_open(&o, BEST_VOCAB, &from_best, &err), 0, "%s", err_text(&err));
    for (int i = 0; i < 60; i++) {
        uint32_t enough = sampler_enough(from_best);
        int32_t token;

        some_logits(&state, logits);
        cr_assert_gt(enough, 0, "%s, token %d", what, i);
        best_of(logits, enough, best);
        token = sampler_draw(from_all, logits);
        cr_assert_geq(token, 0);
        cr_assert_eq(sampler_draw_best(from_best, best, enough), token, "%s, seed %llu, token %d", what,
                     (unsigned long long)seed, i);
        sampler_accept(from_all, token);
        sampler_accept(from_best, token);
    }
    sampler_close(from_all);
    sampler_close(from_best);
}

Test(sampler, the_best_alone_give_the_same_tokens_as_all)
{
    static const struct sampler_options ways[] = {
        { .temperature = 0, .top_p = 1, .repetition_penalty = 1 },
        { .temperature = 0, .top_p = 1, .repetition_penalty = 1.3f, .penalty_last = 30 },
        { .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repetition_penalty = 1 },
        { .temperature = 1, .top_k = 128, .top_p = 1, .repetition_penalty = 1 },
        { .temperature = 2, .top_k = 1, .top_p = 0.5f, .repetition_penalty = 1 },
        { .temperature = 1.5f,
          .top_k = 60,
          .top_p = 0.7f,
          .repetition_penalty = 1,
          .presence_penalty = 1.5f,
          .frequency_penalty = 0.5f,
          .penalty_last = 20 },
        { .temperature = 0.3f, .top_k = 20, .top_p = 1, .min_p = 0.2f, .repetition_penalty = 2, .penalty_last = 64 },
    };

    for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++)
        for (uint64_t seed = 1; seed <= 40; seed++) {
            char what[20];

            snprintf(what, sizeof(what), "way %zu", way);
            draw_both(&ways[way], seed, what);
        }
}

static uint32_t enough_of(struct sampler_options options, uint32_t n_accepted)
{
    struct sampler *s;
    struct err err = { 0 };
    uint32_t enough;

    cr_assert_eq(sampler_open(&options, BEST_VOCAB, &s, &err), 0, "%s", err_text(&err));
    for (uint32_t i = 0; i < n_accepted; i++)
        sampler_accept(s, (int32_t)i);
    enough = sampler_enough(s);
    sampler_close(s);
    return enough;
}

Test(sampler, all_logits_are_needed_where_the_best_do_not_decide)
{
    const struct logit_bias bias = { 3, 5 };
    struct sampler_options o = { .top_p = 1, .repetition_penalty = 1 };

    cr_expect_eq(enough_of(o, 9), 1);
    o.n_bias = 1;
    o.bias = &bias;
    cr_expect_eq(enough_of(o, 9), 0, "a bias may raise any token");
    o.n_bias = 0;
    o.presence_penalty = -1;
    cr_expect_eq(enough_of(o, 9), 0, "a penalty may raise what was seen");
    o.presence_penalty = 1;
    cr_expect_eq(enough_of(o, 9), 10);
    cr_expect_eq(enough_of(o, 1000), 65, "64 tokens are looked back on");
    o.penalty_last = 200;
    cr_expect_eq(enough_of(o, 127), 128);
    cr_expect_eq(enough_of(o, 128), 0);
    o = (struct sampler_options){ .temperature = 1, .top_p = 0.9f, .repetition_penalty = 1 };
    cr_expect_eq(enough_of(o, 9), 0, "without top-k any token may be drawn");
    o.top_k = 128;
    cr_expect_eq(enough_of(o, 9), 128);
    o.top_k = 129;
    cr_expect_eq(enough_of(o, 9), 0);
    o.top_k = BEST_VOCAB;
    cr_expect_eq(enough_of(o, 9), 0);
}

Test(sampler, broken_best_are_told)
{
    struct token_logit best[2] = { { NAN, 4 }, { 1, 2 } };
    struct sampler *s;
    struct err err = { 0 };

    cr_assert_eq(sampler_open(&(struct sampler_options){ .top_p = 1, .repetition_penalty = 1 }, BEST_VOCAB, &s, &err),
                 0);
    cr_expect_eq(sampler_draw_best(s, best, 2), -1);
    best[0].logit = INFINITY;
    cr_expect_eq(sampler_draw_best(s, best, 2), -1);
    best[0].logit = -INFINITY;
    cr_expect_eq(sampler_draw_best(s, best, 1), -1);
    best[0].logit = 3;
    cr_expect_eq(sampler_draw_best(s, best, 2), 4);
    sampler_close(s);
}
