/* SPDX-License-Identifier: MIT
 *
 * softmax.h: an exponential that is the same on every machine, and a quick one that is near it.
 *
 * libm picks its exp by CPU (with and without fused multiply-add), so its last bit may differ; a draw that falls on
 * that bit would differ too. These are plain IEEE double arithmetic in a fixed order. Private to model/.
 */
#ifndef EXPERTD_MODEL_SOFTMAX_H
#define EXPERTD_MODEL_SOFTMAX_H

#include <stddef.h>

/* e to the x, for x at or below 0 (weights relative to the best logit); relative error below 1e-15. 0 below -700, and
 * for NaN. */
double softmax_exp(double x);

/* softmax_exp((logit - best) / temperature) for many logits, some ten times as fast, each within SOFTMAX_NEAR of it
 * relatively, and 0 where it is 0. */
#define SOFTMAX_NEAR 4e-15
void softmax_near(const float *logits, size_t n, double best, double temperature, double *ret_weights /* [n] */);

#endif
