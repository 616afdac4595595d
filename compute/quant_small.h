/* SPDX-License-Identifier: MIT
 *
 * quant_small.h: formats of 32 weights to a block, taken apart. See quant_unpack.h.
 *
 * Included by quant_small.c and by each level of CPU kernels, whose compiler flags make the loops vectors. Everything
 * is static.
 */
#ifndef EXPERTD_COMPUTE_QUANT_SMALL_H
#define EXPERTD_COMPUTE_QUANT_SMALL_H

#include "compute/half.h"
#include "compute/quant_unpack.h"

#include <string.h>

/* Scale of an MXFP4 block from its exponent byte, halved to go with the doubled values: 2^(e - 128); the two least
 * exponents are subnormal. */
static inline float mxfp4_scale(uint8_t exponent)
{
    return float_from_bits(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
}

/* Nibbles: the low ones are the first 16 weights, the high ones the last 16. */
static inline void unpack_nibbles(const uint8_t *src, int offset, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((src[i] & 15) - offset);
        q[i + 16] = (int8_t)((src[i] >> 4) - offset);
    }
}

static inline void unpack_table(const uint8_t *src, const int8_t *values, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = values[src[i] & 15];
        q[i + 16] = values[src[i] >> 4];
    }
}

/* Nibbles with a fifth bit from a mask of 32. */
static inline void unpack_fives(const uint8_t *mask, const uint8_t *src, int offset, int8_t *q)
{
    uint32_t high = (uint32_t)half_load(mask) | (uint32_t)half_load(mask + 2) << 16;

    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((src[i] & 15) + (int)(high >> i & 1) * 16 - offset);
        q[i + 16] = (int8_t)((src[i] >> 4) + (int)(high >> (i + 16) & 1) * 16 - offset);
    }
}

static inline void small_unpack_block(enum quant_type type, const uint8_t *p, int8_t *q, float *d, float *m)
{
    *d = type == QUANT_MXFP4 ? mxfp4_scale(p[0]) : half_to_float(half_load(p));
    *m = -0.0f; /* which adds nothing, not even to -0 */
    switch (type) {
    case QUANT_Q4_0:
        unpack_nibbles(p + 2, 8, q);
        break;
    case QUANT_Q4_1:
        *m = half_to_float(half_load(p + 2));
        unpack_nibbles(p + 4, 0, q);
        break;
    case QUANT_Q5_0:
        unpack_fives(p + 2, p + 6, 16, q);
        break;
    case QUANT_Q5_1:
        *m = half_to_float(half_load(p + 2));
        unpack_fives(p + 4, p + 8, 0, q);
        break;
    case QUANT_Q8_0:
        memcpy(q, p + 2, QUANT_SMALL);
        break;
    case QUANT_IQ4_NL:
        unpack_table(p + 2, quant_iq4_values, q);
        break;
    default: /* QUANT_MXFP4 */
        unpack_table(p + 1, quant_mxfp4_values, q);
    }
}

static inline void small_unpack(enum quant_type type, const void *src, size_t n_blocks, int8_t *q, float *d, float *m)
{
    const uint8_t *p = src;
    size_t bytes = quant_info(type)->block_bytes;

    for (size_t b = 0; b < n_blocks; b++)
        small_unpack_block(type, p + b * bytes, q + b * QUANT_SMALL, &d[b], &m[b]);
}

#endif
