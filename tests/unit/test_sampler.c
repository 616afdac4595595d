/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "model/sampler.h"
#include "model/softmax.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 6
static const float logits6[N] = { 0.5f, 2.0f, -1.0f, 1.0f, 2.0f, -3.0f };

/* Everything off: a plain draw at temperature 1. */
static struct sampler_options plain(void)
{
    return (struct sampler_options){ .temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 7 };
}

static struct sampler *open_or_fail(const struct sampler_options *options, uint32_t n)
{
    struct sampler *s = NULL;
    struct err err = { 0 };

    cr_assert_eq(sampler_open(options, n, &s, &err), 0, "%s", err.text);
    return s;
}

/* Which tokens come out of many draws: bit i for token i. */
static unsigned drawn(const struct sampler_options *options, const float *logits, uint32_t n, int draws)
{
    struct sampler *s = open_or_fail(options, n);
    unsigned seen = 0;

    for (int i = 0; i < draws; i++) {
        int32_t token = sampler_draw(s, logits);

        cr_assert(token >= 0 && token < (int32_t)n);
        seen |= 1u << token;
    }
    sampler_close(s);
    return seen;
}

static int32_t greedy(const struct sampler_options *options, const float *logits, const int32_t *accepted, size_t n)
{
    struct sampler_options o = *options;
    struct sampler *s;
    int32_t token;

    o.temperature = 0;
    s = open_or_fail(&o, N);
    for (size_t i = 0; i < n; i++)
        sampler_accept(s, accepted[i]);
    token = sampler_draw(s, logits);
    sampler_close(s);
    return token;
}

Test(sampler, greedy_takes_the_best_and_the_lower_id_of_equals)
{
    struct sampler_options o = plain();

    cr_assert_eq(greedy(&o, logits6, NULL, 0), 1);
}

Test(sampler, everything_off_draws_every_token)
{
    struct sampler_options o = plain();

    cr_assert_eq(drawn(&o, logits6, N, 5000), 0x3f);
}

Test(sampler, top_k_keeps_the_best_k_and_the_lower_ids_of_equals)
{
    struct sampler_options o = plain();
    static const float equal[N] = { 1, 1, 1, 1, 1, 1 };

    o.top_k = 3;
    cr_assert_eq(drawn(&o, logits6, N, 5000), 1u << 1 | 1u << 4 | 1u << 3);
    cr_assert_eq(drawn(&o, equal, N, 5000), 0x7);
    o.top_k = 1;
    cr_assert_eq(drawn(&o, logits6, N, 500), 1u << 1);
    o.top_k = N + 10;
    cr_assert_eq(drawn(&o, logits6, N, 5000), 0x3f);
}

/* Weights 8 4 2 1 1: of 16. */
static const float halves[5] = { 2.0794415f, 1.3862944f, 0.6931472f, 0, 0 };

Test(sampler, top_p_keeps_the_fewest_that_reach_it)
{
    struct sampler_options o = plain();

    o.top_p = 0.4f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x1);
    o.top_p = 0.6f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x3);
    o.top_p = 0.8f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x7);
    o.top_p = 0.9f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0xf);
    o.top_p = 0;
    cr_assert_eq(drawn(&o, halves, 5, 200), 0x1);
}

Test(sampler, top_p_counts_what_top_k_left)
{
    struct sampler_options o = plain();

    o.top_k = 3; /* 8 4 2 of 14: 0.8 needs two of them, where it needed three of 16 */
    o.top_p = 0.8f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x3);
}

Test(sampler, min_p_is_relative_to_the_best)
{
    struct sampler_options o = plain();

    o.min_p = 0.3f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x3);
    o.min_p = 0.2f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x7);
    o.min_p = 1;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x1);
}

Test(sampler, low_temperature_is_nearly_greedy_and_high_nearly_even)
{
    struct sampler_options o = plain();

    o.temperature = 0.01f;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x1);
    o.temperature = 1e-30f;
    cr_assert_eq(drawn(&o, halves, 5, 100), 0x1);
    o.temperature = 2;
    cr_assert_eq(drawn(&o, halves, 5, 2000), 0x1f);
}

Test(sampler, bias_adds_and_bans)
{
    struct sampler_options o = plain();
    const struct logit_bias up[] = { { 2, 3.5f } }, ban[] = { { 1, -100 }, { 4, -100 } };

    o.bias = up;
    o.n_bias = 1;
    cr_assert_eq(greedy(&o, logits6, NULL, 0), 2);
    o.bias = ban;
    o.n_bias = 2;
    cr_assert_eq(greedy(&o, logits6, NULL, 0), 3);
    cr_assert_eq(drawn(&o, logits6, N, 5000), 0x3f & ~(1u << 1 | 1u << 4));
}

Test(sampler, repetition_penalty_divides_positive_and_multiplies_negative)
{
    struct sampler_options o = plain();
    static const int32_t both[] = { 1, 4, 1 };
    static const float negative[N] = { -1, -1.5f, -9, -9, -9, -9 };

    o.repetition_penalty = 2.5f; /* 2 becomes 0.8, below token 3's 1 */
    cr_assert_eq(greedy(&o, logits6, both, 3), 3);
    o.repetition_penalty = 1.6f; /* -1 becomes -1.6, below token 1's -1.5 */
    cr_assert_eq(greedy(&o, negative, (int32_t[]){ 0 }, 1), 1);
}

Test(sampler, presence_counts_once_and_frequency_each_time)
{
    struct sampler_options o = plain();
    static const int32_t many[] = { 1, 1, 1, 4 };

    o.presence_penalty = 0.9f; /* 1 and 4 to 1.1: still above 3's 1 */
    cr_assert_eq(greedy(&o, logits6, many, 4), 1);
    o.presence_penalty = 0;
    o.frequency_penalty = 0.5f; /* 1 to 0.5, 4 to 1.5 */
    cr_assert_eq(greedy(&o, logits6, many, 4), 4);
    o.frequency_penalty = -0.5f; /* encouraged */
    cr_assert_eq(greedy(&o, logits6, (int32_t[]){ 3, 3, 3 }, 3), 3);
}

Test(sampler, penalties_look_back_so_far_and_no_further)
{
    struct sampler_options o = plain();
    static const int32_t seen[] = { 1, 5, 5 };

    o.presence_penalty = 2;
    o.penalty_last = 2;
    cr_assert_eq(greedy(&o, logits6, seen, 3), 1);
    o.penalty_last = 3;
    cr_assert_eq(greedy(&o, logits6, seen, 3), 4);
    cr_assert_eq(greedy(&o, logits6, (int32_t[]){ -1, 6, 1000 }, 3), 1); /* no such tokens: ignored */
}

Test(sampler, same_seed_same_tokens_and_other_seed_others)
{
    struct sampler_options o = plain();
    struct sampler *a = open_or_fail(&o, N), *b = open_or_fail(&o, N), *c;
    int differ = 0;

    o.seed = 8;
    c = open_or_fail(&o, N);
    for (int i = 0; i < 200; i++) {
        int32_t token = sampler_draw(a, logits6);

        cr_assert_eq(token, sampler_draw(b, logits6));
        differ += token != sampler_draw(c, logits6);
    }
    cr_assert_gt(differ, 20);
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
}

/* Fixed for all machines: a change here changes every seeded answer there is. */
Test(sampler, draws_are_these)
{
    static const int32_t expected[12] = { 4, 1, 4, 4, 4, 4, 0, 1, 1, 1, 3, 4 };
    struct sampler_options o = plain();
    struct sampler *s = open_or_fail(&o, N);
    int32_t got[12];

    for (int i = 0; i < 12; i++)
        got[i] = sampler_draw(s, logits6);
    for (int i = 0; i < 12; i++)
        cr_expect_eq(got[i], expected[i], "draw %d is %d", i, (int)got[i]);
    sampler_close(s);
}

/* Pearson's statistic of 100000 draws; 99.9 % of honest samplers of 6 tokens stay below 20.5. */
static double chi_square(const struct sampler_options *options, unsigned kept)
{
    struct sampler *s = open_or_fail(options, N);
    double weight[N], sum = 0, chi = 0;
    int count[N] = { 0 };

    for (int i = 0; i < N; i++)
        sum += weight[i] = kept >> i & 1 ? exp(logits6[i] / options->temperature) : 0;
    for (int i = 0; i < 100000; i++)
        count[sampler_draw(s, logits6)]++;
    for (int i = 0; i < N; i++) {
        double expected = 100000 * weight[i] / sum;

        if (expected > 0)
            chi += (count[i] - expected) * (count[i] - expected) / expected;
        else
            cr_assert_eq(count[i], 0);
    }
    sampler_close(s);
    return chi;
}

Test(sampler, frequencies_are_the_softmax)
{
    struct sampler_options o = plain();

    cr_assert_lt(chi_square(&o, 0x3f), 20.5);
    o.temperature = 1.7f;
    cr_assert_lt(chi_square(&o, 0x3f), 20.5);
    o.top_k = 4;
    cr_assert_lt(chi_square(&o, 0x1b), 16.3);
    o.top_k = 0;
    o.min_p = 0.3f; /* e^(-1.5 / 1.7) stays, e^(-3 / 1.7) goes */
    cr_assert_lt(chi_square(&o, 0x1b), 16.3);
}

Test(sampler, broken_logits_are_told_and_banned_ones_avoided)
{
    static const float values[] = { NAN, INFINITY };
    struct sampler_options o = plain();
    float logits[N], banned[N];

    for (int t = 0; t < 2; t++) {
        for (size_t v = 0; v < 2; v++)
            for (int i = 0; i < N; i++) {
                struct sampler *s;

                memcpy(logits, logits6, sizeof(logits));
                logits[i] = values[v];
                o.temperature = (float)t;
                s = open_or_fail(&o, N);
                cr_assert_eq(sampler_draw(s, logits), -1);
                sampler_close(s);
            }
    }
    for (int i = 0; i < N; i++)
        banned[i] = i == 4 ? -50 : -INFINITY;
    cr_assert_eq(drawn(&o, banned, N, 100), 1u << 4);
    o.top_p = 0.9f;
    o.top_k = 3;
    o.min_p = 0.1f;
    cr_assert_eq(drawn(&o, banned, N, 100), 1u << 4);
    banned[4] = -INFINITY;
    cr_assert_eq(greedy(&o, banned, NULL, 0), -1);
}

Test(sampler, logits_are_not_changed)
{
    struct sampler_options o = plain();
    float copy[N];
    struct sampler *s;

    o.presence_penalty = 1;
    o.top_k = 2;
    o.top_p = 0.5f;
    memcpy(copy, logits6, sizeof(copy));
    s = open_or_fail(&o, N);
    for (int i = 0; i < 20; i++)
        sampler_accept(s, sampler_draw(s, copy));
    cr_assert_eq(memcmp(copy, logits6, sizeof(copy)), 0);
    sampler_close(s);
}

Test(sampler, one_token_is_always_that_token)
{
    struct sampler_options o = plain();
    static const float one[] = { -5 };

    o.top_k = 1;
    o.top_p = 0.1f;
    o.min_p = 1;
    cr_assert_eq(drawn(&o, one, 1, 10), 0x1);
}

static void refuse(struct sampler_options o, uint32_t n_vocab, const char *named)
{
    struct err err = { 0 };
    struct sampler *s = NULL;

    cr_expect_eq(sampler_options_check(&o, n_vocab, &err), -EINVAL, "'%s' was let through", named);
    cr_expect_not_null(strstr(err.text, named), "'%s' is not named in: %s", named, err.text);
    cr_expect_eq(sampler_open(&o, n_vocab, &s, NULL), -EINVAL);
    cr_expect_null(s);
}

#define REFUSE(field, value)                 \
    do {                                     \
        struct sampler_options r_ = plain(); \
        r_.field = (value);                  \
        refuse(r_, N, #field);               \
    } while (0)

Test(sampler, settings_out_of_range_are_refused_by_name)
{
    struct sampler_options o = plain();
    static const struct logit_bias outside[] = { { 6, 1 } }, below[] = { { -1, 1 } }, strong[] = { { 0, 101 } },
                                   nan[] = { { 0, NAN } };
    const struct logit_bias *bad[] = { outside, below, strong, nan };

    REFUSE(temperature, -0.1f);
    REFUSE(temperature, 2.1f);
    REFUSE(temperature, NAN);
    REFUSE(temperature, INFINITY);
    REFUSE(top_p, 1.1f);
    REFUSE(top_p, -1);
    REFUSE(top_p, NAN);
    REFUSE(min_p, 1.5f);
    REFUSE(min_p, NAN);
    REFUSE(repetition_penalty, 0);
    REFUSE(repetition_penalty, NAN);
    REFUSE(presence_penalty, 2.5f);
    REFUSE(frequency_penalty, -2.5f);
    REFUSE(penalty_last, SAMPLER_MAX_LAST + 1);
    for (size_t i = 0; i < 4; i++) {
        o.bias = bad[i];
        o.n_bias = 1;
        refuse(o, N, "logit_bias");
    }
    o.n_bias = SAMPLER_MAX_BIAS + 1;
    refuse(o, N, "logit_bias");
    refuse(plain(), 0, "vocabulary");
}

Test(sampler, defaults_are_valid)
{
    struct sampler_options o;

    sampler_options_default(&o);
    cr_assert_eq(sampler_options_check(&o, 1000, NULL), 0);
    cr_assert_float_eq(o.temperature, 0.8f, 1e-6);
}

Test(sampler, no_memory_is_an_error_at_every_allocation)
{
    struct sampler_options o = plain();
    const struct logit_bias bias[] = { { 1, 1 } };
    struct sampler *s = NULL;
    struct err err = { 0 };
    int n = 0;

    o.bias = bias;
    o.n_bias = 1;
    o.presence_penalty = 1;
    for (;; n++) {
        int r;

        mem_fail_after(n);
        r = sampler_open(&o, N, &s, &err);
        mem_fail_after(-1);
        if (r == 0)
            break;
        cr_assert_eq(r, -ENOMEM);
        cr_assert_null(s);
    }
    cr_assert_gt(n, 3);
    sampler_close(s);
    sampler_close(NULL);
}

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Of the budget, for each answer at once. */
Test(sampler, takes_no_more_than_it_says)
{
    static const uint32_t vocabularies[] = { 1, 5, 256, 4096, 32000, 50304, 151936, 262144, 1000000 };
    static struct logit_bias bias[SAMPLER_MAX_BIAS];
    struct sampler_options o = plain();

    o.top_k = 40;
    o.top_p = o.presence_penalty = o.min_p = 0.5f;
    o.bias = bias;
    o.n_bias = SAMPLER_MAX_BIAS;
    for (size_t i = 0; i < sizeof(vocabularies) / sizeof(vocabularies[0]); i++) {
        size_t before = allocated();
        struct sampler *s = open_or_fail(&o, vocabularies[i]);
        size_t taken = allocated() - before, said = sampler_bytes(vocabularies[i]);

        sampler_close(s);
        cr_expect_geq(said, taken, "%u tokens: %zu bytes taken, %zu said", vocabularies[i], taken, said);
        cr_expect(taken == 0 || said < taken + taken / 8 + 32768, "%u tokens: %zu bytes taken, %zu said",
                  vocabularies[i], taken, said);
    }
}

Test(softmax, exponential_is_within_its_error)
{
    for (double x = 0; x > -690; x -= 0.37) {
        double exact = exp(x);

        cr_assert_lt(fabs(softmax_exp(x) - exact), 1e-15 * exact, "at %g", x);
    }
    cr_assert_eq(softmax_exp(0), 1.0);
    cr_assert_eq(softmax_exp(-INFINITY), 0.0);
    cr_assert_eq(softmax_exp(-701), 0.0);
    cr_assert_eq(softmax_exp(NAN), 0.0);
}

Test(logprob, is_log_softmax)
{
    double sum = 0;

    for (int i = 0; i < N; i++)
        sum += exp(logits6[i]);
    for (int i = 0; i < N; i++)
        cr_assert_float_eq(logprob_of(logits6, N, i), logits6[i] - log(sum), 1e-6);
    cr_assert_eq(logprob_of(logits6, N, -1), -INFINITY);
    cr_assert_eq(logprob_of(logits6, N, N), -INFINITY);
}

Test(logprob, is_not_upset_by_large_logits)
{
    static const float large[] = { 3e38f, -3e38f, 3e38f };

    cr_assert_float_eq(logprob_of(large, 3, 0), -logf(2), 1e-6);
    cr_assert_lt(logprob_of(large, 3, 1), -1e38f);
}

Test(logprob, top_is_in_order_with_ties_by_id)
{
    static const int32_t order[N] = { 1, 4, 3, 0, 2, 5 };
    struct token_logprob top[N + 2];

    for (size_t n = 0; n <= N; n++) {
        logprob_top(logits6, N, n, top);
        for (size_t i = 0; i < n; i++) {
            cr_assert_eq(top[i].token, order[i]);
            cr_assert_eq(top[i].logprob, logprob_of(logits6, N, order[i]));
        }
    }
    logprob_top(logits6, N, N + 2, top);
    cr_assert_eq(top[N].token, -1);
    cr_assert_eq(top[N + 1].logprob, -INFINITY);
}

Test(logprob, broken_logits_are_least)
{
    static const float broken[] = { NAN, 1, -INFINITY, 2 }, none[] = { NAN, NAN };
    struct token_logprob top[4];

    logprob_top(broken, 4, 4, top);
    cr_assert_eq(top[0].token, 3);
    cr_assert_eq(top[1].token, 1);
    cr_assert_eq(top[2].logprob, -INFINITY);
    cr_assert_eq(logprob_of(broken, 4, 0), -INFINITY);
    cr_assert_float_eq(logprob_of(broken, 4, 3), -log1p(exp(-1)), 1e-6);
    cr_assert_eq(logprob_of(none, 2, 1), -INFINITY);
    logprob_top(none, 2, 2, top);
    cr_assert_eq(top[0].logprob, -INFINITY);
}

/* ---- held against the definition, and against what was drawn before ---- */

static uint64_t noise_state;

static double noise(void)
{
    noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(noise_state >> 11) * 0x1p-53;
}

/* A bell with a few tokens far above it; `steps`: rounded so that there are many equals. */
static void noise_fill(float *logits, uint32_t n, double width, double steps)
{
    for (uint32_t i = 0; i < n; i++) {
        double v = width * (noise() + noise() + noise() + noise() - 2) + (noise() < 0.002 ? 12 * noise() : 0);

        logits[i] = (float)(steps > 0 ? floor(v * steps) / steps : v);
    }
}

static uint64_t tokens_hash(const struct sampler_options *options, const float *logits, uint32_t n, int draws)
{
    struct sampler *s = open_or_fail(options, n);
    uint64_t hash = 0xcbf29ce484222325u;

    for (int i = 0; i < draws; i++) {
        int32_t token = sampler_draw(s, logits);

        sampler_accept(s, token);
        hash = (hash ^ (uint32_t)token) * 0x100000001b3u;
    }
    sampler_close(s);
    return hash;
}

#define SETTING(t, k, p, m, repetition, presence)                                               \
    {                                                                                           \
        .temperature = t, .top_k = k, .top_p = p, .min_p = m, .repetition_penalty = repetition, \
        .presence_penalty = presence, .seed = 11                                                \
    }

static const struct {
    struct sampler_options options;
    uint64_t hash[2]; /* without and with equals */
} golden[] = {
    { SETTING(2, 0, 1, 0, 1, 0), { 0xf41fd7ad48a2fe47, 0x2ce9be36533bd5bf } },
    { SETTING(0.8f, 40, 0.95f, 0.05f, 1, 0), { 0x557ba7dc7ae8e0e0, 0xd390efc08cbf4792 } },
    { SETTING(1, 1000, 1, 0, 1, 0), { 0xa47d4274e16287f7, 0x0823a20a46e7479e } },
    { SETTING(1.5f, 0, 0.95f, 0, 1, 0), { 0x39cc5cf4da9589f2, 0x562501b12792b392 } },
    { SETTING(0.7f, 0, 0.9f, 0.01f, 1, 0), { 0xb9951cf7d0e6c21c, 0x0738dceeab639693 } },
    { SETTING(1, 0, 1, 0.05f, 1, 0), { 0x390c8d5eb382c75b, 0xdda31f20a98070d3 } },
    { SETTING(1, 0, 1, 0, 1.3f, 0.5f), { 0x4d68afc14db7957d, 0x84e8bb0dda1b908e } },
    { SETTING(1, 4000, 0.99f, 0, 1.1f, 0), { 0x9a41ff5a82b69990, 0xfbe014ea264f6159 } },
    { SETTING(0, 0, 1, 0, 1.3f, 0.5f), { 0xd98780d1e7de3b52, 0x4e12264650b59224 } },
    { SETTING(2, 1, 1, 0, 1, 0), { 0xca8d04c5332b8ac5, 0xca8d04c5332b8ac5 } },
};

/* What these seeds gave when each cut was a sort and each weight an exponential by the definition. */
Test(sampler, a_seed_gives_the_tokens_it_has_always_given)
{
    enum { MANY = 5003, DRAWS = 40 };
    static float logits[MANY];

    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++)
        for (int equals = 0; equals < 2; equals++) {
            noise_state = 3;
            noise_fill(logits, MANY, 4, equals ? 4 : 0);
            cr_expect_eq(tokens_hash(&golden[i].options, logits, MANY, DRAWS), golden[i].hash[equals],
                         "setting %zu, equals %d: 0x%016llx", i, equals,
                         (unsigned long long)tokens_hash(&golden[i].options, logits, MANY, DRAWS));
        }
}

/* Where a sum lies on the border of a cut, only the definition can tell: weights of 1 make sums that are whole. */
Test(sampler, a_border_that_is_hit_exactly_is_decided_by_the_definition)
{
    struct sampler_options o = plain();
    static const float equal[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

    o.top_p = 0.5f;
    cr_assert_eq(drawn(&o, equal, 8, 2000), 0x0f);
    o.top_p = 0.25f;
    cr_assert_eq(drawn(&o, equal, 8, 500), 0x03);
    o.top_p = 1;
    o.min_p = 1;
    cr_assert_eq(drawn(&o, equal, 8, 2000), 0xff);
}

/* So many equal weights that one draw in some thirty falls within what sums may err by of a border. Each sum is a whole
 * number, and so the token is the whole part of a uniform number times n: what it is must not depend on who decided. */
Test(sampler, a_draw_near_a_border_is_decided_by_the_definition)
{
    enum { MANY = 1 << 22, DRAWS = 40 };
    struct sampler_options o = plain();
    float *equal = mem_calloc(MANY, sizeof(*equal));
    struct sampler *s;
    uint64_t seed = 7, x[4];

    cr_assert_not_null(equal);
    s = open_or_fail(&o, MANY);
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        x[i] = z ^ (z >> 31);
    }
    for (int i = 0; i < DRAWS; i++) {
        uint64_t five = x[1] * 5, u = (five << 7 | five >> 57) * 9, t = x[1] << 17;

        x[2] ^= x[0];
        x[3] ^= x[1];
        x[1] ^= x[2];
        x[0] ^= x[3];
        x[2] ^= t;
        x[3] = x[3] << 45 | x[3] >> 19;
        cr_assert_eq(sampler_draw(s, equal), (int32_t)((double)(u >> 11) * 0x1p-53 * MANY));
    }
    sampler_close(s);
    mem_free(equal);
}

Test(sampler, ordering_bears_any_logits)
{
    struct sampler_options o = plain();
    static const float far[6] = { 3e38f, -3e38f, 0, -INFINITY, 3e38f, 1e-40f }, same[6] = { 0 };
    static const float gone[6] = { -INFINITY, -INFINITY, -3, -INFINITY, -INFINITY, -INFINITY };

    o.top_k = 5;
    o.top_p = 0.9f;
    cr_assert_eq(drawn(&o, far, 6, 200), 1u << 0 | 1u << 4);
    cr_assert_eq(drawn(&o, same, 6, 2000), 0x1f);
    cr_assert_eq(drawn(&o, gone, 6, 20), 1u << 2);
    o.temperature = 1e-38f;
    cr_assert_eq(drawn(&o, far, 6, 200), 1u << 0 | 1u << 4);
}

Test(softmax, the_quick_one_is_near_the_definition)
{
    float logits[1001];
    double near[1001];

    for (size_t n = 1; n <= 1001; n += n < 20 ? 1 : 981) {
        for (size_t i = 0; i < n; i++)
            logits[i] = -0.731f * (float)i;
        softmax_near(logits, n, 0.25, 0.7, near);
        for (size_t i = 0; i < n; i++) {
            double exact = softmax_exp(((double)logits[i] - 0.25) / 0.7);

            cr_assert_leq(fabs(near[i] - exact), SOFTMAX_NEAR * exact, "%zu of %zu", i, n);
        }
    }
    logits[0] = -INFINITY;
    logits[1] = 0;
    logits[2] = NAN;
    softmax_near(logits, 3, 0, 1, near);
    cr_assert_eq(near[0], 0);
    cr_assert_eq(near[1], 1);
    cr_assert_eq(near[2], 0);
}
