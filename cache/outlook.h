/* SPDX-License-Identifier: MIT
 *
 * outlook.h: how likely an expert is to be chosen when its layer is next asked, by what the router has thought of it.
 *
 * A router gives each expert of its layer a logit and takes the n_used greatest. How far an expert was from the border,
 *
 *     margin = (logit - border) / spread      border: half way between the last one taken and the first one not
 *                                             spread: the standard deviation of the row's logits
 *
 * says more than whether it was taken: who has just missed is likelier to come next than who was far away, and who was
 * taken with ease is likelier to be taken again. Two averages of an expert's margins, which fade with each token, a
 * fast one and a slow one, make its chance by logistic regression,
 *
 *     chance = 1 / (1 + exp(-(a fast + b slow + c))).
 *
 * How much either is worth differs from model to model (one keeps to its experts for a sentence, the other for a text),
 * so a, b and c are learned while serving: with every token what was expected is held against what came, and they take
 * a step up the gradient of its likelihood. Where they begin lies in a broad optimum (docs/experiments.md). A layer
 * that nothing is known of has chances below zero.
 *
 * Threads: the engine thread only. Allocates in open only.
 */
#ifndef EXPERTD_CACHE_OUTLOOK_H
#define EXPERTD_CACHE_OUTLOOK_H

#include <stdbool.h>
#include <stdint.h>

/* Of a prompt's rows only so many are looked at, the last ones. */
#define OUTLOOK_ROWS 64
#define OUTLOOK_UNKNOWN (-1.0f)
#define OUTLOOK_MOST 99.0f /* margins are cut to it, either way */

struct outlook;

int outlook_open(uint32_t n_layers, uint32_t n_experts, uint32_t n_used, struct outlook **ret_outlook); /* -ENOMEM */
void outlook_close(struct outlook *outlook);

/* Of a row of logits [n_experts], of which n_used were taken and others not: ret_margin [n_experts]. `best`
 * [n_used + 1] is scratch. False when the row says nothing: it is not finite, or all alike. */
bool outlook_margins(const float *logits, uint32_t n_experts, uint32_t n_used, float *best, float *ret_margin);

/* `logits` [n, n_experts] of a layer. In turn: the rows are a text's tokens, one after another. Else they stand side by
 * side, the next tokens of several texts, and what counts of an expert is its greatest margin. */
void outlook_note(struct outlook *outlook, uint32_t layer_index, const float *logits, uint32_t n, bool in_turn);
/* One token's margins [n_experts] instead of logits. `learns`: it follows the one before it, so that what was expected
 * of it teaches something. */
void outlook_take(struct outlook *outlook, uint32_t layer_index, const float *margin, bool learns);
/* Before any of a layer's logits: so often has an earlier run chosen its experts, `heat` [n_experts] as in
 * cache/catalog.h. */
void outlook_recall(struct outlook *outlook, uint32_t layer_index, const uint32_t *heat);

/* a, b and c. */
void outlook_weights(const struct outlook *outlook, float ret_weights[3]);
/* [n_layers, n_experts], lent. */
const float *outlook_chances(const struct outlook *outlook);
/* At most what outlook_open takes. */
uint64_t outlook_bytes(uint32_t n_layers, uint32_t n_experts);

#endif
