/* SPDX-License-Identifier: MIT
 *
 * sampler.h: logits to a token. Same logits, same settings, same seed: same token, on every machine.
 *
 * Order: logit bias, penalties (repetition, presence, frequency, over the last penalty_last tokens), then greedy
 * (temperature 0), or temperature, top-k, top-p, min-p, draw. Each of the three cuts works on what the one before it
 * left, and always leaves the best token. Ties go to the lower id. The generator is xoshiro256** seeded by splitmix64
 * (prng.di.unimi.it); arithmetic is IEEE double with an exponential of our own, since libm's may differ by machine.
 *
 * One sampler per sequence, used by one thread at a time; takes its scratch at open, in proportion to the vocabulary,
 * and allocates nothing after that.
 */
#ifndef EXPERTD_MODEL_SAMPLER_H
#define EXPERTD_MODEL_SAMPLER_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct logit_bias {
    int32_t token;
    float bias; /* -100 and below bans; added to the logit */
};

struct sampler_options {
    float temperature;        /* 0: greedy */
    uint32_t top_k;           /* 0: off */
    float top_p, min_p;       /* 1 and 0: off */
    float repetition_penalty; /* 1: off; logits of seen tokens are divided (positive) or multiplied (negative) */
    float presence_penalty, frequency_penalty; /* 0: off; as OpenAI defines them */
    uint32_t penalty_last;                     /* tokens looked back on; 0: 64 */
    uint64_t seed;
    const struct logit_bias *bias; /* copied */
    size_t n_bias;
};

/* A token and its logit. */
struct token_logit {
    float logit;
    int32_t token;
};

#define SAMPLER_BEST_MOST 128 /* of the greatest logits that sampler_draw_best looks at */
#define SAMPLER_MAX_BIAS 1024
#define SAMPLER_MAX_LAST 65536

struct sampler;

void sampler_options_default(struct sampler_options *options); /* temperature 0.8, top_p 0.95, min_p 0.05, top_k 40 */
/* Ranges as OpenAI's API states them; the text names the field. */
int sampler_options_check(const struct sampler_options *options, uint32_t n_vocab, struct err *err);
int sampler_open(const struct sampler_options *options, uint32_t n_vocab, struct sampler **ret_sampler,
                 struct err *err);
/* The most that one takes, whatever its options (penalty_last at its default). */
uint64_t sampler_bytes(uint32_t n_vocab);
void sampler_close(struct sampler *sampler);
/* A token of the prompt or the answer, for the penalties. */
void sampler_accept(struct sampler *sampler, int32_t token);
/* Choose a token; logits are not changed. Returns -1 when there is none to choose: a logit is NaN or +infinity (the
 * computation behind it failed), or every token is banned. */
int32_t sampler_draw(struct sampler *sampler, const float *logits /* [n_vocab] f32 */);

/* How many of the greatest logits decide the next token, whatever the others are: greedy, or with top-k, and penalties
 * that only lower. 0: all are needed. Changes as tokens are accepted. */
uint32_t sampler_enough(const struct sampler *sampler);
/* What sampler_draw would choose from all logits, from the n greatest of them, n at least sampler_enough: greatest
 * first, the lower token first among equals. -1 as there, as far as these can tell. */
int32_t sampler_draw_best(struct sampler *sampler, const struct token_logit *best /* [n] */, uint32_t n);

/* Log-probabilities by log-softmax of the raw logits (logprob.c): of `token`, and of the n best (best first, ties by
 * the lower id). A logit that is NaN counts as -infinity; where there are fewer than n tokens, the rest is token -1
 * with -infinity. */
struct token_logprob {
    int32_t token;
    float logprob;
};
float logprob_of(const float *logits, uint32_t n_vocab, int32_t token);
void logprob_top(const float *logits, uint32_t n_vocab, size_t n, struct token_logprob *ret_top /* [n] */);

#endif
