/* SPDX-License-Identifier: MIT
 *
 * sampler_impl.h: what the sampler's two files share: one draws from logits, the other (sampler_cut.c) cuts and orders.
 *
 * The token drawn is defined by softmax_exp and by sums in order. Both take long over a whole vocabulary, so we use
 * softmax_near and sums of blocks, whose error has a bound: where a decision lies within that bound of its border, once
 * in some million draws, it is taken again by the definition.
 */
#ifndef EXPERTD_MODEL_SAMPLER_IMPL_H
#define EXPERTD_MODEL_SAMPLER_IMPL_H

#include "model/sampler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHTS_AT_ONCE 256

/* What may be drawn, in the order in which weights are summed: all tokens by id, or candidates. */
struct choice {
    const float *logits;            /* [n] when candidates is NULL */
    struct token_logit *candidates; /* [n] */
    size_t n;
    double best, temperature; /* the best logit */
};

struct sampler {
    struct sampler_options options; /* bias points to our copy; penalty_last resolved */
    uint32_t n_vocab;
    uint64_t rng[4];
    size_t n_seen;                  /* tokens accepted so far */
    int32_t *ring;                  /* [penalty_last] the last of them */
    int32_t *sorted;                /* [penalty_last] scratch */
    float *changed;                 /* [n_vocab] logits with bias and penalties; NULL: there are none */
    double *block_sums;             /* [n_vocab / WEIGHTS_AT_ONCE + 1] */
    struct token_logit *candidates; /* [n_vocab]; NULL: nothing is cut */
    uint32_t *buckets; /* [n_buckets] of candidates by how far below the best they are; NULL: none is ordered */
    uint32_t n_buckets;
    size_t n_ordered;     /* candidates that are in order, from the best */
    uint32_t next_bucket; /* whose candidates come next, in whatever order */
};

/* Relative to e^((logit - best) / temperature) as defined: of one, and of a sum of n in any order. */
double choice_weight(const struct choice *choice, size_t i);
void choice_near(const struct choice *choice, size_t from, size_t n, double *ret_weights);
double choice_sum(const struct choice *choice);
double choice_sum_near(const struct choice *choice, double *ret_block_sums);
double choice_sum_error(size_t n);

/* Best first: the greater logit, among equals the lower token. For few. */
void order_few(struct token_logit *few, size_t n);

/* Keep the k best, in order. `least`: the least logit above -infinity. */
void cut_top_k(struct sampler *s, struct choice *choice, float least);
void cut_top_p(struct sampler *s, struct choice *choice, float least);
void cut_min_p(struct sampler *s, struct choice *choice);

#endif
