/* SPDX-License-Identifier: MIT */
#include "model/sampler.h"
#include "model/softmax.h"

#include <math.h>
#include <stdint.h>

/* Cody and Waite: x = k ln2 + r with |r| <= ln2 / 2, where k ln2_hi is exact; then the Taylor series of e^r, whose
 * 14th term is below 1e-17. */
double softmax_exp(double x)
{
    static const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33, per_ln2 = 0x1.71547652b82fep+0;
    double k, r, sum = 1.0;

    if (!(x > -700.0))
        return 0.0;
    k = floor(x * per_ln2 + 0.5);
    r = (x - k * ln2_hi) - k * ln2_lo;
    for (int i = 13; i > 0; i--)
        sum = 1.0 + sum * r / i;
    return ldexp(sum, (int)k);
}

static float finite_or_least(float logit)
{
    return logit == logit ? logit : -INFINITY;
}

/* What log-softmax subtracts: the best logit, and the logarithm of the sum of e^(logit - best), kept apart because
 * large logits would swallow it. */
struct total {
    double best, log_sum;
};

static struct total total_of(const float *logits, uint32_t n_vocab)
{
    struct total t = { -INFINITY, 0 };
    double sum = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        if ((double)logits[i] > t.best)
            t.best = (double)logits[i];
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += softmax_exp((double)logits[i] - t.best);
    t.log_sum = log(sum);
    return t;
}

static float relative_to(float logit, struct total t)
{
    return isfinite(t.best) ? (float)((double)finite_or_least(logit) - t.best - t.log_sum) : -INFINITY;
}

float logprob_of(const float *logits, uint32_t n_vocab, int32_t token)
{
    if (token < 0 || (uint32_t)token >= n_vocab)
        return -INFINITY;
    return relative_to(logits[token], total_of(logits, n_vocab));
}

void logprob_top(const float *logits, uint32_t n_vocab, size_t n, struct token_logprob *ret_top)
{
    struct total total = total_of(logits, n_vocab);
    size_t held = 0;

    for (uint32_t i = 0; i < n_vocab && n > 0; i++) {
        struct token_logprob entry = { (int32_t)i, finite_or_least(logits[i]) };
        size_t at;

        if (held == n && !(entry.logprob > ret_top[n - 1].logprob))
            continue;
        for (at = held < n ? held++ : n - 1; at > 0 && entry.logprob > ret_top[at - 1].logprob; at--)
            ret_top[at] = ret_top[at - 1];
        ret_top[at] = entry;
    }
    for (size_t i = 0; i < held; i++)
        ret_top[i].logprob = relative_to(ret_top[i].logprob, total);
    for (size_t i = held; i < n; i++)
        ret_top[i] = (struct token_logprob){ -1, -INFINITY };
}
