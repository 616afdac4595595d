/* SPDX-License-Identifier: MIT
 *
 * quant_unpack.h: block formats taken apart into small integers and scales, which is how kernels multiply them.
 *
 * There are two families. Small blocks hold 32 weights under one scale: w = d * q + m. Super-blocks hold 256 weights in
 * 16 groups of 16: w = d * scale[g] * (q - offset) - dmin * min[g]. All integers are exact; d, m and dmin are the
 * file's numbers converted to f32.
 *
 * Internal to compute/. Thread-safe; allocates nothing.
 */
#ifndef EXPERTD_COMPUTE_QUANT_UNPACK_H
#define EXPERTD_COMPUTE_QUANT_UNPACK_H

#include "compute/quant.h"

enum { QUANT_SMALL = 32, QUANT_SUPER = 256, QUANT_GROUP = 16, QUANT_GROUPS = 16 };

struct quant_super {
    int8_t q[QUANT_SUPER];
    int16_t scale[QUANT_GROUPS];
    int16_t min[QUANT_GROUPS]; /* 0 in formats with an offset */
    float d, dmin;
    int32_t offset;
} __attribute__((aligned(64)));

/* Formats with 32 weights to a block: q [n_blocks * 32], d and m [n_blocks]. */
void quant_unpack_small(enum quant_type type, const void *src, size_t n_blocks, int8_t *q, float *d, float *m);

/* Formats with 256 weights to a block. */
void quant_unpack_super(enum quant_type type, const void *src, size_t n_blocks, struct quant_super *ret_blocks);

/* The 16 values that IQ4_NL and IQ4_XS index, and those of MXFP4 (doubled, so that they are whole). */
extern const int8_t quant_iq4_values[16];
extern const int8_t quant_mxfp4_values[16];

#endif
