/* SPDX-License-Identifier: MIT */
#include "compute/half.h"
#include "compute/quant_unpack.h"

#include <string.h>

/* 16 scales and 64 bytes of two-bit weights: bits 2k of 32 bytes are 32 consecutive weights. */
static void unpack_q2_k(const uint8_t *p, struct quant_super *s)
{
    for (int g = 0; g < QUANT_GROUPS; g++) {
        s->scale[g] = p[g] & 15;
        s->min[g] = p[g] >> 4;
    }
    for (int i = 0; i < QUANT_SUPER; i++)
        s->q[i] = p[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    s->d = half_to_float(half_load(p + 80));
    s->dmin = half_to_float(half_load(p + 82));
}

/* 32 bytes of high bits, 64 of low pairs, 12 of six-bit scales. */
static void unpack_q3_k(const uint8_t *p, struct quant_super *s)
{
    const uint8_t *high = p, *low = p + 32, *scales = p + 96;

    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] =
            (int16_t)((scales[g % 8] >> (g / 8 * 4) & 15) + ((scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32);
    for (int i = 0; i < QUANT_SUPER; i++)
        s->q[i] = (int8_t)((low[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) + (high[i % 32] >> (i / 32) & 1) * 4);
    s->offset = 4;
    s->d = half_to_float(half_load(p + 108));
}

/* The 12 bytes of eight six-bit scales and eight six-bit minima that Q4_K and Q5_K share; each serves 32 weights. */
static void unpack_scales_mins(const uint8_t *p, struct quant_super *s)
{
    for (int j = 0; j < 8; j++) {
        int scale = j < 4 ? p[j] & 63 : (p[j + 4] & 15) | (p[j - 4] >> 6) << 4;
        int min = j < 4 ? p[j + 4] & 63 : p[j + 4] >> 4 | (p[j] >> 6) << 4;

        s->scale[2 * j] = s->scale[2 * j + 1] = (int16_t)scale;
        s->min[2 * j] = s->min[2 * j + 1] = (int16_t)min;
    }
}

/* 32 bytes hold 64 weights: low nibbles the first 32, high nibbles the others. */
static uint8_t nibble(const uint8_t *p, int i)
{
    return p[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
}

static void unpack_q4_k(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p));
    s->dmin = half_to_float(half_load(p + 2));
    unpack_scales_mins(p + 4, s);
    for (int i = 0; i < QUANT_SUPER; i++)
        s->q[i] = (int8_t)nibble(p + 16, i);
}

static void unpack_q5_k(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p));
    s->dmin = half_to_float(half_load(p + 2));
    unpack_scales_mins(p + 4, s);
    for (int i = 0; i < QUANT_SUPER; i++)
        s->q[i] = (int8_t)(nibble(p + 48, i) + (p[16 + i % 32] >> (i / 32) & 1) * 16);
}

/* 128 bytes of low nibbles, 64 of high pairs, 16 signed scales. */
static void unpack_q6_k(const uint8_t *p, struct quant_super *s)
{
    for (int i = 0; i < QUANT_SUPER; i++) {
        int low = p[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
        int high = p[128 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;

        s->q[i] = (int8_t)(low + high * 16);
    }
    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] = (int8_t)p[192 + g];
    s->offset = 32;
    s->d = half_to_float(half_load(p + 208));
}

/* Eight six-bit scales: two high bits each in 16 bits, four low bits each in four bytes; then 8 times 16 bytes of
 * nibbles. */
static void unpack_iq4_xs(const uint8_t *p, struct quant_super *s)
{
    uint16_t high = half_load(p + 2);

    s->d = half_to_float(half_load(p));
    for (int j = 0; j < 8; j++) {
        int scale = (p[4 + j / 2] >> (j % 2 * 4) & 15) + ((high >> (2 * j) & 3) << 4) - 32;

        s->scale[2 * j] = s->scale[2 * j + 1] = (int16_t)scale;
        for (int i = 0; i < 32; i++)
            s->q[32 * j + i] = quant_iq4_values[p[8 + 16 * j + i % 16] >> (i / 16 * 4) & 15];
    }
}

void quant_unpack_super(enum quant_type type, const void *src, size_t n_blocks, struct quant_super *ret_blocks)
{
    const uint8_t *p = src;
    size_t bytes = quant_info(type)->block_bytes;

    for (size_t b = 0; b < n_blocks; b++, p += bytes) {
        struct quant_super *s = &ret_blocks[b];

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
        default: /* QUANT_IQ4_XS */
            unpack_iq4_xs(p, s);
        }
    }
}
