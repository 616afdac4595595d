/* SPDX-License-Identifier: MIT */
#include "model/sampler.h"

#include "base/mem.h"
#include "model/softmax.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PENALTY_LAST_DEFAULT 64
#define BAN_BIAS (-100.0f)

struct candidate {
    float logit;
    int32_t token;
};

struct sampler {
    struct sampler_options options; /* bias points to our copy; penalty_last resolved */
    uint32_t n_vocab;
    uint64_t rng[4];
    size_t n_seen;                /* tokens accepted so far */
    int32_t *ring;                /* [penalty_last] the last of them */
    int32_t *sorted;              /* [penalty_last] scratch */
    struct candidate *candidates; /* [n_vocab] */
    double *weights;              /* [n_vocab], of candidates */
};

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

static int take_scratch(struct sampler *s, const struct logit_bias *bias)
{
    size_t last = has_penalties(&s->options) ? s->options.penalty_last : 0;

    if (s->options.n_bias > 0) {
        struct logit_bias *copy = mem_calloc(s->options.n_bias, sizeof(*copy));

        if (copy == NULL)
            return -ENOMEM;
        s->options.bias = memcpy(copy, bias, s->options.n_bias * sizeof(*copy));
    }
    s->ring = mem_calloc(last, sizeof(*s->ring));
    s->sorted = mem_calloc(last, sizeof(*s->sorted));
    s->candidates = mem_calloc(s->n_vocab, sizeof(*s->candidates));
    s->weights = mem_calloc(s->options.temperature > 0 ? s->n_vocab : 0, sizeof(*s->weights));
    return s->ring && s->sorted && s->candidates && s->weights ? 0 : -ENOMEM;
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
    mem_free(sampler->candidates);
    mem_free(sampler->weights);
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

static void penalize(const struct sampler_options *o, struct candidate *c, size_t count)
{
    c->logit = c->logit > 0 ? c->logit / o->repetition_penalty : c->logit * o->repetition_penalty;
    c->logit -= o->presence_penalty + (float)count * o->frequency_penalty;
}

static void apply_penalties(struct sampler *s)
{
    size_t n = s->n_seen < s->options.penalty_last ? s->n_seen : s->options.penalty_last;

    if (n == 0)
        return;
    memcpy(s->sorted, s->ring, n * sizeof(*s->sorted));
    qsort(s->sorted, n, sizeof(*s->sorted), compare_tokens);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && s->sorted[end] == s->sorted[i]; end++)
            ;
        penalize(&s->options, &s->candidates[s->sorted[i]], end - i);
    }
}

/* Candidates from logits, with bias and penalties; false when a logit is NaN or +infinity. */
static bool take_logits(struct sampler *s, const float *logits)
{
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] < INFINITY))
            return false;
        s->candidates[i] = (struct candidate){ logits[i], (int32_t)i };
    }
    for (size_t i = 0; i < s->options.n_bias; i++) {
        struct candidate *c = &s->candidates[s->options.bias[i].token];

        c->logit = s->options.bias[i].bias <= BAN_BIAS ? -INFINITY : c->logit + s->options.bias[i].bias;
    }
    apply_penalties(s);
    return true;
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static const struct candidate *find_best(const struct candidate *c, size_t n)
{
    const struct candidate *best = c;

    for (size_t i = 1; i < n; i++)
        if (better(&c[i], best))
            best = &c[i];
    return best;
}

static void sift_down(struct candidate *c, size_t n, size_t at)
{
    struct candidate moved = c[at];

    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && better(&c[child + 1], &c[child]))
            child++;
        if (!better(&c[child], &moved))
            break;
        c[at] = c[child];
    }
    c[at] = moved;
}

static void heapify(struct candidate *c, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(c, n, i);
}

/* Take the best out of a heap of n: it goes to the end, and the heap has n - 1. */
static const struct candidate *heap_take(struct candidate *c, size_t n)
{
    struct candidate best = c[0];

    c[0] = c[n - 1];
    c[n - 1] = best;
    sift_down(c, n - 1, 0);
    return &c[n - 1];
}

/* The k best, in order from the best, at the front. */
static void keep_top(struct candidate *c, size_t n, size_t k)
{
    heapify(c, n);
    for (size_t i = 0; i < k; i++)
        heap_take(c, n - i);
    for (size_t i = 0, j = n - 1; i < j; i++, j--) {
        struct candidate swap = c[i];

        c[i] = c[j];
        c[j] = swap;
    }
}

static double weigh(const struct sampler *s, const struct candidate *c, size_t n, double best, double *ret_weights)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ret_weights[i] = softmax_exp(((double)c[i].logit - best) / (double)s->options.temperature);
    return sum;
}

/* How many of the best stay, when their weights must reach top_p of the whole. Orders those at the front. */
static size_t cut_top_p(struct sampler *s, size_t n, double best, bool ordered)
{
    struct candidate *c = s->candidates;
    double target = weigh(s, c, n, best, s->weights) * (double)s->options.top_p, sum = 0;
    size_t kept = 0;

    if (!ordered) {
        heapify(c, n);
        for (; kept < n && (kept == 0 || sum < target); kept++) {
            const struct candidate *taken = heap_take(c, n - kept);

            sum += softmax_exp(((double)taken->logit - best) / (double)s->options.temperature);
        }
        memmove(c, c + n - kept, kept * sizeof(*c));
        return kept;
    }
    for (; kept < n && (kept == 0 || sum < target); kept++)
        sum += s->weights[kept];
    return kept;
}

static size_t cut_min_p(struct sampler *s, size_t n, double best)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        double relative = softmax_exp(((double)s->candidates[i].logit - best) / (double)s->options.temperature);

        if (relative >= (double)s->options.min_p)
            s->candidates[kept++] = s->candidates[i];
    }
    return kept;
}

static int32_t draw_from(struct sampler *s, size_t n, double best)
{
    double at = rng_uniform(s->rng) * weigh(s, s->candidates, n, best, s->weights), sum = 0;
    int32_t last = -1;

    for (size_t i = 0; i < n; i++) {
        if (!(s->weights[i] > 0))
            continue;
        last = s->candidates[i].token;
        sum += s->weights[i];
        if (at < sum)
            break;
    }
    return last;
}

int32_t sampler_draw(struct sampler *sampler, const float *logits)
{
    const struct sampler_options *o = &sampler->options;
    const struct candidate *top;
    size_t n = sampler->n_vocab;
    double best;

    if (!take_logits(sampler, logits))
        return -1;
    top = find_best(sampler->candidates, n);
    if (!(top->logit > -INFINITY))
        return -1;
    if (o->temperature == 0.0f)
        return top->token;
    best = (double)top->logit;
    if (o->top_k > 0 && o->top_k < n) {
        keep_top(sampler->candidates, n, o->top_k);
        n = o->top_k;
    }
    if (o->top_p < 1.0f)
        n = cut_top_p(sampler, n, best, o->top_k > 0 && o->top_k < sampler->n_vocab);
    if (o->min_p > 0.0f)
        n = cut_min_p(sampler, n, best);
    return draw_from(sampler, n, best);
}
