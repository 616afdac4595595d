/* SPDX-License-Identifier: MIT */
#include "model/sampler_impl.h"

#include "model/softmax.h"

#include <math.h>
#include <string.h>

/* ---- weights ---- */

static double logit_of(const struct choice *c, size_t i)
{
    return (double)(c->candidates != NULL ? c->candidates[i].logit : c->logits[i]);
}

double choice_weight(const struct choice *c, size_t i)
{
    return softmax_exp((logit_of(c, i) - c->best) / c->temperature);
}

void choice_near(const struct choice *c, size_t from, size_t n, double *ret_weights)
{
    float logits[WEIGHTS_AT_ONCE];

    if (c->candidates == NULL) {
        softmax_near(c->logits + from, n, c->best, c->temperature, ret_weights);
        return;
    }
    for (size_t i = 0; i < n; i++)
        logits[i] = c->candidates[from + i].logit;
    softmax_near(logits, n, c->best, c->temperature, ret_weights);
}

double choice_sum(const struct choice *c)
{
    double sum = 0;

    for (size_t i = 0; i < c->n; i++)
        sum += choice_weight(c, i);
    return sum;
}

double choice_sum_near(const struct choice *c, double *ret_block_sums)
{
    double weights[WEIGHTS_AT_ONCE], all = 0;

    for (size_t from = 0, block = 0; from < c->n; from += WEIGHTS_AT_ONCE, block++) {
        size_t n = c->n - from < WEIGHTS_AT_ONCE ? c->n - from : WEIGHTS_AT_ONCE;
        double sum[4] = { 0 };

        choice_near(c, from, n, weights);
        for (size_t i = 0; i < n; i++)
            sum[i % 4] += weights[i];
        all += ret_block_sums[block] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    return all;
}

/* Each of up to n additions of positive numbers errs by 2^-53 of the sum so far, in their sum as in ours. */
double choice_sum_error(size_t n)
{
    return (double)n * 0x1p-52 + 2 * SOFTMAX_NEAR;
}

/* ---- order ---- */

static bool better(const struct token_logit *a, const struct token_logit *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sift_down(struct token_logit *c, size_t n, size_t at)
{
    struct token_logit moved = c[at];

    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && better(&c[child], &c[child + 1]))
            child++;
        if (!better(&moved, &c[child]))
            break;
        c[at] = c[child];
    }
    c[at] = moved;
}

/* A heap with the worst on top, which goes to the end. */
static void sort_many(struct token_logit *c, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(c, n, i);
    for (size_t end = n; end-- > 1;) {
        struct token_logit worst = c[0];

        c[0] = c[end];
        c[end] = worst;
        sift_down(c, end, 0);
    }
}

void order_few(struct token_logit *c, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct token_logit moved = c[i];
        size_t at = i;

        for (; at > 0 && better(&moved, &c[at - 1]); at--)
            c[at] = c[at - 1];
        c[at] = moved;
    }
}

/* Buckets of equal width from the best logit to the least that matters; the last has the rest. */
struct scale {
    float best, range, per_range;
    uint32_t last;
};

static struct scale scale_of(const struct sampler *s, float best, float least)
{
    const float matters = 64, tiny = 1e-30f; /* a weight of e^-64 does not matter */
    float range = fmaxf(fminf(best - least, matters * s->options.temperature), tiny);

    return (struct scale){ best, range, (float)(s->n_buckets - 1) / range, s->n_buckets - 1 };
}

/* Never greater for a greater logit: each step rounds a function that does not fall. */
static uint32_t bucket_of(const struct scale *scale, float logit)
{
    float below = scale->best - logit;

    return below < scale->range ? (uint32_t)(below * scale->per_range) : scale->last;
}

/* All tokens by buckets, as far as the `wanted` best reach; none is in order yet. */
static void order_begin(struct sampler *s, const float *logits, float best, float least, size_t wanted)
{
    struct scale scale = scale_of(s, best, least);
    uint32_t *bucket = s->buckets, first_unwanted = s->n_buckets, at = 0;

    memset(bucket, 0, s->n_buckets * sizeof(*bucket));
    for (uint32_t i = 0; i < s->n_vocab; i++)
        bucket[bucket_of(&scale, logits[i])]++;
    for (uint32_t b = 0; b < s->n_buckets; b++) {
        uint32_t n = bucket[b];

        if (at >= wanted && first_unwanted == s->n_buckets)
            first_unwanted = b;
        bucket[b] = at;
        at += n;
    }
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        uint32_t b = bucket_of(&scale, logits[i]);

        if (b < first_unwanted)
            s->candidates[bucket[b]++] = (struct token_logit){ logits[i], (int32_t)i };
    }
    s->n_ordered = s->next_bucket = 0; /* a bucket's number is where it ends by now */
}

/* At least the n best; order_begin has been told of them. */
static void order_reach(struct sampler *s, size_t n)
{
    enum { FEW = 24 };

    while (s->n_ordered < n) {
        size_t end = s->buckets[s->next_bucket++], count = end - s->n_ordered;

        (count <= FEW ? order_few : sort_many)(s->candidates + s->n_ordered, count);
        s->n_ordered = end;
    }
}

/* ---- cuts ---- */

void cut_top_k(struct sampler *s, struct choice *choice, float least)
{
    size_t k = s->options.top_k;

    order_begin(s, choice->logits, (float)choice->best, least, k);
    order_reach(s, k);
    choice->candidates = s->candidates;
    choice->n = k;
}

/* How many of the best stay when their weights must reach the target, by weights nearly as defined; 0: too near to
 * tell. `all` is in order as far as s->n_ordered. */
static size_t count_near(struct sampler *s, const struct choice *all, double target, double error)
{
    double weights[WEIGHTS_AT_ONCE], sum = 0;

    for (size_t from = 0, n; from < all->n; from += n) {
        n = all->n - from < WEIGHTS_AT_ONCE ? all->n - from : WEIGHTS_AT_ONCE;
        order_reach(s, from + n);
        choice_near(all, from, n, weights);
        for (size_t i = 0; i < n; i++) {
            sum += weights[i];
            if (fabs(sum - target) <= error)
                return 0;
            if (sum > target)
                return from + i + 1;
        }
    }
    return 0;
}

/* As defined: the sum of the whole is taken in the order of `whole`, that of the best from the best. */
static size_t count_exact(struct sampler *s, const struct choice *whole, const struct choice *all)
{
    double target = choice_sum(whole) * (double)s->options.top_p, sum = 0;
    size_t kept = 0;

    for (; kept < all->n && (kept == 0 || sum < target); kept++) {
        order_reach(s, kept + 1);
        sum += choice_weight(all, kept);
    }
    return kept;
}

void cut_top_p(struct sampler *s, struct choice *choice, float least)
{
    double sum = choice_sum_near(choice, s->block_sums), target = sum * (double)s->options.top_p;
    struct choice all = *choice;

    if (choice->candidates == NULL) {
        order_begin(s, choice->logits, (float)choice->best, least, choice->n);
        all.candidates = s->candidates;
    }
    all.n = count_near(s, &all, target, 4 * sum * choice_sum_error(choice->n));
    if (all.n == 0) {
        all.n = choice->n;
        all.n = count_exact(s, choice, &all);
    }
    /* From here on the worst of those that were not in order before comes first. */
    for (size_t i = 0, j = all.n - 1; choice->candidates == NULL && i < j; i++, j--) {
        struct token_logit swap = all.candidates[i];

        all.candidates[i] = all.candidates[j];
        all.candidates[j] = swap;
    }
    *choice = all;
}

void cut_min_p(struct sampler *s, struct choice *choice)
{
    double weights[WEIGHTS_AT_ONCE], least = (double)s->options.min_p;
    size_t kept = 0;

    for (size_t from = 0, n; from < choice->n; from += n) {
        n = choice->n - from < WEIGHTS_AT_ONCE ? choice->n - from : WEIGHTS_AT_ONCE;
        choice_near(choice, from, n, weights);
        for (size_t i = 0; i < n; i++) {
            size_t at = from + i;

            if (fabs(weights[i] - least) <= 2 * SOFTMAX_NEAR * least)
                weights[i] = choice_weight(choice, at);
            if (weights[i] >= least)
                s->candidates[kept++] = choice->candidates != NULL
                                            ? choice->candidates[at]
                                            : (struct token_logit){ choice->logits[at], (int32_t)at };
        }
    }
    choice->candidates = s->candidates;
    choice->n = kept;
}
