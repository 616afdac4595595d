/* SPDX-License-Identifier: MIT
 *
 * softmax.h: an exponential that is the same on every machine.
 *
 * libm picks its exp by CPU (with and without fused multiply-add), so its last bit may differ; a draw that falls on
 * that bit would differ too. This one is plain IEEE double arithmetic in a fixed order. Private to model/.
 */
#ifndef EXPERTD_MODEL_SOFTMAX_H
#define EXPERTD_MODEL_SOFTMAX_H

/* e to the x, for x at or below 0 (weights relative to the best logit); relative error below 1e-15. 0 below -700, and
 * for NaN. */
double softmax_exp(double x);

#endif
