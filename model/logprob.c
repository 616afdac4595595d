/* SPDX-License-Identifier: MIT */
#include "model/sampler.h"
#include "model/softmax.h"

#include <math.h>
#include <stdint.h>

#define BLOCK 256 /* logits at a time */

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
    double weights[BLOCK], sum = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        if ((double)logits[i] > t.best)
            t.best = (double)logits[i];
    for (uint32_t i = 0, n; i < n_vocab; i += n) {
        n = n_vocab - i < BLOCK ? n_vocab - i : BLOCK;
        softmax_near(logits + i, n, t.best, 1.0, weights);
        for (uint32_t k = 0; k < n; k++)
            sum += weights[k];
    }
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
