/* SPDX-License-Identifier: MIT */
#include "model/sampler_impl.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PENALTY_LAST_DEFAULT 64
#define BAN_BIAS (-100.0f)

void sampler_options_default(struct sampler_options *options)
{
    *options = (struct sampler_options){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repetition_penalty = 1.0f,
    };
}

static int check_range(const char *name, float v, float least, float most, struct err *err)
{
    if (v >= least && v <= most)
        return 0;
    return err_set(err, -EINVAL, "'%s' must be a number from %g to %g", name, (double)least, (double)most);
}

static int check_bias(const struct sampler_options *options, uint32_t n_vocab, struct err *err)
{
    if (options->n_bias > SAMPLER_MAX_BIAS)
        return err_set(err, -EINVAL, "'logit_bias' holds %zu entries; the limit is %d", options->n_bias,
                       SAMPLER_MAX_BIAS);
    for (size_t i = 0; i < options->n_bias; i++) {
        const struct logit_bias *b = &options->bias[i];

        if (b->token < 0 || (uint32_t)b->token >= n_vocab)
            return err_set(err, -EINVAL, "'logit_bias' names token %d; this model's tokens are 0 to %u", (int)b->token,
                           n_vocab - 1);
        if (!(b->bias >= -100.0f && b->bias <= 100.0f))
            return err_set(err, -EINVAL, "'logit_bias' of token %d must be a number from -100 to 100", (int)b->token);
    }
    return 0;
}

int sampler_options_check(const struct sampler_options *options, uint32_t n_vocab, struct err *err)
{
    const struct sampler_options *o = options;
    int r;

    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return err_set(err, -EINVAL, "a vocabulary of %u tokens cannot be sampled from", n_vocab);
    if ((r = check_range("temperature", o->temperature, 0.0f, 2.0f, err)) < 0 ||
        (r = check_range("top_p", o->top_p, 0.0f, 1.0f, err)) < 0 ||
        (r = check_range("min_p", o->min_p, 0.0f, 1.0f, err)) < 0 ||
        (r = check_range("repetition_penalty", o->repetition_penalty, 0.01f, 100.0f, err)) < 0 ||
        (r = check_range("presence_penalty", o->presence_penalty, -2.0f, 2.0f, err)) < 0 ||
        (r = check_range("frequency_penalty", o->frequency_penalty, -2.0f, 2.0f, err)) < 0)
        return r;
    if (o->penalty_last > SAMPLER_MAX_LAST)
        return err_set(err, -EINVAL, "'penalty_last' must be at most %d", SAMPLER_MAX_LAST);
    return check_bias(options, n_vocab, err);
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t rng_next(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* In [0, 1), 53 bits. */
static double rng_uniform(uint64_t s[4])
{
    return (double)(rng_next(s) >> 11) * 0x1p-53;
}

static bool has_penalties(const struct sampler_options *o)
{
    return o->repetition_penalty != 1.0f || o->presence_penalty != 0.0f || o->frequency_penalty != 0.0f;
}

static bool has_top_k(const struct sampler *s)
{
    return s->options.top_k > 0 && s->options.top_k < s->n_vocab;
}

/* Some four candidates to a bucket where they lie evenly. */
static uint32_t buckets_for(uint32_t n_vocab)
{
    enum { LEAST = 16, MOST = 1 << 16 };
    uint32_t n = n_vocab / 4;

    return n < LEAST ? LEAST : n < MOST ? n : MOST;
}

static int take_scratch(struct sampler *s, const struct logit_bias *bias)
{
    const struct sampler_options *o = &s->options;
    size_t last = has_penalties(o) ? o->penalty_last : 0;
    bool draws = o->temperature > 0, orders = draws && (has_top_k(s) || o->top_p < 1.0f);

    if (o->n_bias > 0) {
        struct logit_bias *copy = mem_calloc(o->n_bias, sizeof(*copy));

        if (copy == NULL)
            return -ENOMEM;
        s->options.bias = memcpy(copy, bias, o->n_bias * sizeof(*copy));
    }
    s->n_buckets = orders ? buckets_for(s->n_vocab) : 0;
    s->ring = mem_calloc(last, sizeof(*s->ring));
    s->sorted = mem_calloc(last, sizeof(*s->sorted));
    s->changed = mem_calloc(o->n_bias > 0 || has_penalties(o) ? s->n_vocab : 0, sizeof(*s->changed));
    s->block_sums = mem_calloc(draws ? s->n_vocab / WEIGHTS_AT_ONCE + 1 : 0, sizeof(*s->block_sums));
    s->candidates = mem_calloc(orders || (draws && o->min_p > 0.0f) ? s->n_vocab : 0, sizeof(*s->candidates));
    s->buckets = mem_calloc(s->n_buckets, sizeof(*s->buckets));
    return s->ring && s->sorted && s->changed && s->block_sums && s->candidates && s->buckets ? 0 : -ENOMEM;
}

uint64_t sampler_bytes(uint32_t n_vocab)
{
    enum { ROUNDED_UP = 4 * 4096 }; /* what malloc adds to the larger blocks */
    uint64_t per_token = sizeof(float) + sizeof(struct token_logit);

    return sizeof(struct sampler) + ROUNDED_UP + SAMPLER_MAX_BIAS * sizeof(struct logit_bias) +
           PENALTY_LAST_DEFAULT * 2 * sizeof(int32_t) + n_vocab * per_token +
           (n_vocab / WEIGHTS_AT_ONCE + 1) * sizeof(double) + buckets_for(n_vocab) * sizeof(uint32_t);
}

int sampler_open(const struct sampler_options *options, uint32_t n_vocab, struct sampler **ret_sampler, struct err *err)
{
    int r = sampler_options_check(options, n_vocab, err);
    uint64_t seed = options->seed;
    struct sampler *s;

    if (r < 0)
        return r;
    s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(err, -ENOMEM, "no memory for a sampler");
    s->options = *options;
    s->options.bias = NULL;
    s->n_vocab = n_vocab;
    if (s->options.penalty_last == 0)
        s->options.penalty_last = PENALTY_LAST_DEFAULT;
    for (int i = 0; i < 4; i++)
        s->rng[i] = splitmix64(&seed);
    if (take_scratch(s, options->bias) < 0) {
        sampler_close(s);
        return err_set(err, -ENOMEM, "no memory for a sampler over %u tokens", n_vocab);
    }
    *ret_sampler = s;
    return 0;
}

void sampler_close(struct sampler *sampler)
{
    if (sampler == NULL)
        return;
    mem_free((void *)sampler->options.bias);
    mem_free(sampler->ring);
    mem_free(sampler->sorted);
    mem_free(sampler->changed);
    mem_free(sampler->block_sums);
    mem_free(sampler->candidates);
    mem_free(sampler->buckets);
    mem_free(sampler);
}

void sampler_accept(struct sampler *sampler, int32_t token)
{
    if (token < 0 || (uint32_t)token >= sampler->n_vocab || !has_penalties(&sampler->options))
        return;
    sampler->ring[sampler->n_seen++ % sampler->options.penalty_last] = token;
}

static int compare_tokens(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

static void penalize(const struct sampler_options *o, float *logit, size_t count)
{
    *logit = *logit > 0 ? *logit / o->repetition_penalty : *logit * o->repetition_penalty;
    *logit -= o->presence_penalty + (float)count * o->frequency_penalty;
}

static size_t n_looked_back(const struct sampler *s)
{
    return s->n_seen < s->options.penalty_last ? s->n_seen : s->options.penalty_last;
}

static void apply_penalties(struct sampler *s)
{
    size_t n = n_looked_back(s);

    if (n == 0)
        return;
    memcpy(s->sorted, s->ring, n * sizeof(*s->sorted));
    qsort(s->sorted, n, sizeof(*s->sorted), compare_tokens);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && s->sorted[end] == s->sorted[i]; end++)
            ;
        penalize(&s->options, &s->changed[s->sorted[i]], end - i);
    }
}

static void apply_bias(struct sampler *s)
{
    for (size_t i = 0; i < s->options.n_bias; i++) {
        float *logit = &s->changed[s->options.bias[i].token], bias = s->options.bias[i].bias;

        *logit = bias <= BAN_BIAS ? -INFINITY : *logit + bias;
    }
}

/* The greatest logit, and the least above -infinity. */
struct ends {
    float best, least;
};

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_bits __attribute__((vector_size(16)));

static quad quad_choose(quad_bits which, quad yes, quad no)
{
    return (quad)((which & (quad_bits)yes) | (~which & (quad_bits)no));
}

/* The loop reads whole quads; what is left over comes as one that is filled up with -infinity. */
struct scan {
    quad most, least;
    quad_bits good;
};

static inline void scan_quad(struct scan *s, const float *four)
{
    const quad inf = { INFINITY, INFINITY, INFINITY, INFINITY };
    quad v;

    memcpy(&v, four, sizeof(v));
    s->good &= v < inf;
    s->most = quad_choose(v > s->most, v, s->most);
    s->least = quad_choose((v < s->least) & (v > -inf), v, s->least);
}

/* False when a logit is NaN or +infinity. */
static bool find_ends(const float *logits, uint32_t n, struct ends *ret_ends)
{
    float rest[4] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY };
    struct scan s = { .most = { -INFINITY, -INFINITY, -INFINITY, -INFINITY },
                      .least = { INFINITY, INFINITY, INFINITY, INFINITY },
                      .good = { -1, -1, -1, -1 } };
    uint32_t i = 0;

    for (; i + 4 <= n; i += 4)
        scan_quad(&s, logits + i);
    memcpy(rest, logits + i, (n - i) * sizeof(*logits));
    scan_quad(&s, rest);
    *ret_ends = (struct ends){ s.most[0], s.least[0] };
    for (i = 1; i < 4; i++) {
        ret_ends->best = fmaxf(ret_ends->best, s.most[i]);
        ret_ends->least = fminf(ret_ends->least, s.least[i]);
    }
    return (s.good[0] & s.good[1] & s.good[2] & s.good[3]) != 0;
}

static int32_t first_of(const float *logits, float v)
{
    int32_t i = 0;

    while (logits[i] != v)
        i++;
    return i;
}

static int32_t token_at(const struct choice *choice, size_t i)
{
    return choice->candidates != NULL ? choice->candidates[i].token : (int32_t)i;
}

/* The first whose weight carries the sum past `u` of the whole, by the definition. */
static int32_t draw_exact(const struct choice *choice, double u)
{
    double at = u * choice_sum(choice), sum = 0;
    int32_t last = -1;

    for (size_t i = 0; i < choice->n; i++) {
        double weight = choice_weight(choice, i);

        if (!(weight > 0))
            continue;
        last = token_at(choice, i);
        sum += weight;
        if (at < sum)
            break;
    }
    return last;
}

/* The same by weights near the definition's; -1: too near a border to tell. */
static int32_t draw_near(const struct sampler *s, const struct choice *choice, double u)
{
    double weights[WEIGHTS_AT_ONCE], all = choice_sum_near(choice, s->block_sums), at = u * all, sum = 0;
    double error = 4 * all * choice_sum_error(choice->n);
    size_t from = 0, n;

    for (size_t block = 0; from < choice->n && sum + s->block_sums[block] <= at; block++, from += WEIGHTS_AT_ONCE)
        sum += s->block_sums[block];
    if (from >= choice->n || at - sum <= error)
        return -1;
    n = choice->n - from < WEIGHTS_AT_ONCE ? choice->n - from : WEIGHTS_AT_ONCE;
    choice_near(choice, from, n, weights);
    for (size_t i = 0; i < n; i++) {
        sum += weights[i];
        if (fabs(sum - at) <= error)
            return -1;
        if (at < sum)
            return token_at(choice, from + i);
    }
    return -1;
}

static int32_t draw_from(struct sampler *s, const struct choice *choice)
{
    double u = rng_uniform(s->rng);
    int32_t token = draw_near(s, choice, u);

    return token >= 0 ? token : draw_exact(choice, u);
}

/* The cuts behind top-k, and the draw. */
static int32_t cut_and_draw(struct sampler *s, struct choice *choice, float least)
{
    if (s->options.top_p < 1.0f)
        cut_top_p(s, choice, least);
    if (s->options.min_p > 0.0f)
        cut_min_p(s, choice);
    return draw_from(s, choice);
}

int32_t sampler_draw(struct sampler *sampler, const float *logits)
{
    const struct sampler_options *o = &sampler->options;
    struct choice choice;
    struct ends ends;

    if (!find_ends(logits, sampler->n_vocab, &ends))
        return -1;
    if (o->n_bias > 0 || has_penalties(o)) {
        logits = memcpy(sampler->changed, logits, sampler->n_vocab * sizeof(*logits));
        apply_bias(sampler);
        apply_penalties(sampler);
        find_ends(logits, sampler->n_vocab, &ends);
    }
    if (!(ends.best > -INFINITY))
        return -1;
    if (o->temperature == 0.0f)
        return first_of(logits, ends.best);
    choice = (struct choice){
        .logits = logits, .n = sampler->n_vocab, .best = (double)ends.best, .temperature = (double)o->temperature
    };
    if (has_top_k(sampler))
        cut_top_k(sampler, &choice, ends.least);
    return cut_and_draw(sampler, &choice, ends.least);
}

/* ---- from the best alone ---- */

static bool only_lowers(const struct sampler_options *o)
{
    return o->repetition_penalty >= 1.0f && o->presence_penalty >= 0.0f && o->frequency_penalty >= 0.0f;
}

/* Of tokens that penalties lower, as many as are looked back on may fall out of the best: so many more are needed. */
uint32_t sampler_enough(const struct sampler *s)
{
    const struct sampler_options *o = &s->options;
    size_t n = o->temperature == 0.0f ? 1 : has_top_k(s) ? o->top_k : 0;

    if (n == 0 || o->n_bias > 0 || !only_lowers(o))
        return 0;
    if (has_penalties(o))
        n += n_looked_back(s);
    return n <= SAMPLER_BEST_MOST && n <= s->n_vocab ? (uint32_t)n : 0;
}

static void penalize_few(const struct sampler *s, struct token_logit *few, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t count = 0;

        for (size_t j = 0; j < n_looked_back(s); j++)
            count += s->ring[j] == few[i].token;
        if (count > 0)
            penalize(&s->options, &few[i].logit, count);
    }
    order_few(few, n);
}

int32_t sampler_draw_best(struct sampler *s, const struct token_logit *best, uint32_t n_best)
{
    const struct sampler_options *o = &s->options;
    size_t n = n_best < SAMPLER_BEST_MOST ? n_best : SAMPLER_BEST_MOST;
    struct token_logit few[SAMPLER_BEST_MOST];
    struct choice choice;

    for (size_t i = 0; i < n; i++) {
        few[i] = best[i];
        if (!(few[i].logit < INFINITY))
            return -1;
    }
    if (has_penalties(o))
        penalize_few(s, few, n);
    if (!(few[0].logit > -INFINITY))
        return -1;
    if (o->temperature == 0.0f)
        return few[0].token;
    s->n_ordered = o->top_k;
    choice = (struct choice){ .candidates = memcpy(s->candidates, few, o->top_k * sizeof(*few)),
                              .n = o->top_k,
                              .best = (double)few[0].logit,
                              .temperature = (double)o->temperature };
    return cut_and_draw(s, &choice, few[o->top_k - 1].logit);
}
