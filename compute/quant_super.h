/* SPDX-License-Identifier: MIT
 *
 * quant_super.h: formats of 256 weights to a super-block, taken apart. See quant_unpack.h.
 *
 * Included by quant_super.c and by each level of CPU kernels, whose compiler flags make the loops vectors. Everything
 * is static.
 */
#ifndef EXPERTD_COMPUTE_QUANT_SUPER_H
#define EXPERTD_COMPUTE_QUANT_SUPER_H

#include "compute/half.h"
#include "compute/quant_iq.h"
#include "compute/quant_unpack.h"

#include <string.h>

/* 16 scales and 64 bytes of two-bit weights: bits 2k of 32 bytes are 32 consecutive weights. */
static inline void unpack_q2_k(const uint8_t *p, struct quant_super *s)
{
    for (int g = 0; g < QUANT_GROUPS; g++) {
        s->scale[g] = p[g] & 15;
        s->min[g] = p[g] >> 4;
    }
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] = p[16 + j / 4 * 32 + i] >> (j % 4 * 2) & 3;
    s->d = half_to_float(half_load(p + 80));
    s->dmin = half_to_float(half_load(p + 82));
}

/* 32 bytes of high bits, 64 of low pairs, 12 of six-bit scales. */
static inline void unpack_q3_k(const uint8_t *p, struct quant_super *s)
{
    const uint8_t *high = p, *low = p + 32, *scales = p + 96;

    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] =
            (int16_t)((scales[g % 8] >> (g / 8 * 4) & 15) + ((scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] = (int8_t)((low[j / 4 * 32 + i] >> (j % 4 * 2) & 3) | (uint8_t)((high[i] >> j & 1) << 2));
    s->offset = 4;
    s->d = half_to_float(half_load(p + 108));
}

/* The 12 bytes of eight six-bit scales and eight six-bit minima that Q4_K and Q5_K share; each serves 32 weights. */
static inline void unpack_scales_mins(const uint8_t *p, struct quant_super *s)
{
    for (int j = 0; j < 8; j++) {
        int scale = j < 4 ? p[j] & 63 : (p[j + 4] & 15) | (p[j - 4] >> 6) << 4;
        int min = j < 4 ? p[j + 4] & 63 : p[j + 4] >> 4 | (p[j] >> 6) << 4;

        s->scale[2 * j] = s->scale[2 * j + 1] = (int16_t)scale;
        s->min[2 * j] = s->min[2 * j + 1] = (int16_t)min;
    }
}

/* 32 bytes hold 64 weights: low nibbles the first 32, high nibbles the others. */
static inline void unpack_q4_k(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p));
    s->dmin = half_to_float(half_load(p + 2));
    unpack_scales_mins(p + 4, s);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] = p[16 + j / 2 * 32 + i] >> (j % 2 * 4) & 15;
}

static inline void unpack_q5_k(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p));
    s->dmin = half_to_float(half_load(p + 2));
    unpack_scales_mins(p + 4, s);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] =
                (int8_t)((p[48 + j / 2 * 32 + i] >> (j % 2 * 4) & 15) | (uint8_t)((p[16 + i] >> j & 1) << 4));
}

/* 128 bytes of low nibbles, 64 of high pairs, 16 signed scales. */
static inline void unpack_q6_k(const uint8_t *p, struct quant_super *s)
{
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] = (int8_t)((p[j / 4 * 64 + j % 2 * 32 + i] >> (j / 2 % 2 * 4) & 15) |
                                        (uint8_t)((p[128 + j / 4 * 32 + i] >> (j % 4 * 2) & 3) << 4));
    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] = (int8_t)p[192 + g];
    s->offset = 32;
    s->d = half_to_float(half_load(p + 208));
}

/* Eight six-bit scales: two high bits each in 16 bits, four low bits each in four bytes; then 8 times 16 bytes of
 * nibbles. */
static inline void unpack_iq4_xs(const uint8_t *p, struct quant_super *s)
{
    uint16_t high = half_load(p + 2);

    s->d = half_to_float(half_load(p));
    for (int j = 0; j < 8; j++) {
        int scale = (p[4 + j / 2] >> (j % 2 * 4) & 15) + ((high >> (2 * j) & 3) << 4) - 32;

        s->scale[2 * j] = s->scale[2 * j + 1] = (int16_t)scale;
        for (int i = 0; i < 16; i++) {
            s->q[32 * j + i] = quant_iq4_values[p[8 + 16 * j + i] & 15];
            s->q[32 * j + i + 16] = quant_iq4_values[p[8 + 16 * j + i] >> 4];
        }
    }
}

static inline void super_unpack_block(enum quant_type type, const uint8_t *p, struct quant_super *s)
{
    memset(s->min, 0, sizeof(s->min));
    s->dmin = 0;
    s->offset = 0;
    switch (type) {
    case QUANT_Q2_K:
        unpack_q2_k(p, s);
        break;
    case QUANT_Q3_K:
        unpack_q3_k(p, s);
        break;
    case QUANT_Q4_K:
        unpack_q4_k(p, s);
        break;
    case QUANT_Q5_K:
        unpack_q5_k(p, s);
        break;
    case QUANT_Q6_K:
        unpack_q6_k(p, s);
        break;
    case QUANT_IQ2_XXS:
        unpack_iq2_xxs(p, s);
        break;
    case QUANT_IQ2_XS:
        unpack_iq2_xs(p, s);
        break;
    case QUANT_IQ2_S:
        unpack_iq2_s(p, s);
        break;
    case QUANT_IQ3_XXS:
        unpack_iq3_xxs(p, s);
        break;
    case QUANT_IQ3_S:
        unpack_iq3_s(p, s);
        break;
    case QUANT_IQ1_S:
        unpack_iq1_s(p, s);
        break;
    case QUANT_IQ1_M:
        unpack_iq1_m(p, s);
        break;
    default: /* QUANT_IQ4_XS */
        unpack_iq4_xs(p, s);
    }
}

static inline void super_unpack(enum quant_type type, const void *src, size_t n_blocks, struct quant_super *ret_blocks)
{
    const uint8_t *p = src;
    size_t bytes = quant_info(type)->block_bytes;

    for (size_t b = 0; b < n_blocks; b++)
        super_unpack_block(type, p + b * bytes, &ret_blocks[b]);
}

#endif
