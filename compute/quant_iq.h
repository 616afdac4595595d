/* SPDX-License-Identifier: MIT
 *
 * quant_iq.h: the formats of one to three bits whose weights are points of a lattice, taken apart. See quant_unpack.h.
 *
 * A point gives the magnitudes of eight (IQ1, IQ2) or four (IQ3) weights; signs come beside it. In IQ1 the points are
 * of -1, 0 and 1, shifted by an eighth up or down. All end as signed integers under a group's scale, so that w = d *
 * scale * q with d the file's scale times a power of two.
 *
 * Included by quant_super.h only. The lattices are facts of the formats, in quant_grids.c.
 */
#ifndef EXPERTD_COMPUTE_QUANT_IQ_H
#define EXPERTD_COMPUTE_QUANT_IQ_H

#include "compute/half.h"
#include "compute/quant_grids.h"
#include "compute/quant_unpack.h"

#include <string.h>

static inline uint32_t iq_load_u32(const uint8_t *p)
{
    return (uint32_t)half_load(p) | (uint32_t)half_load(p + 2) << 16;
}

/* Seven signs; the eighth makes their number even. */
static inline unsigned iq_signs(unsigned seven)
{
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

/* Points are unfolded as bytes of one word, little-endian; no step carries from one byte into the next. */
#define IQ_BYTES(x) ((uint64_t)0x0101010101010101 * (x))

/* 0xff in each byte whose bit of `signs` is set. */
static inline uint64_t iq_sign_bytes(unsigned signs)
{
    uint64_t set = (IQ_BYTES(signs & 255) & 0x8040201008040201) + IQ_BYTES(0x7f);

    return (set >> 7 & IQ_BYTES(1)) * 255;
}

/* Magnitudes, none of them 0, with signs. */
static inline void iq_store(uint64_t magnitudes, unsigned signs, size_t n, int8_t *q)
{
    uint64_t minus = iq_sign_bytes(signs), w = (magnitudes ^ minus) + (minus & IQ_BYTES(1));

    memcpy(q, &w, n);
}

/* Eight pairs of bits to bytes. */
static inline uint64_t iq_spread_pairs(uint64_t point)
{
    point = (point | point << 24) & 0x000000ff000000ff;
    point = (point | point << 12) & 0x000f000f000f000f;
    return (point | point << 6) & IQ_BYTES(3);
}

/* Four triples of bits to bytes. */
static inline uint64_t iq_spread_triples(uint64_t point)
{
    point = (point | point << 10) & 0x003f003f;
    return (point | point << 5) & 0x07070707;
}

/* Magnitudes 8, 25, 43. */
static inline void iq2_point(unsigned point, unsigned signs, int8_t *q)
{
    uint64_t i = iq_spread_pairs(point);

    iq_store(i * 17 + (i >> 1 & IQ_BYTES(1)) + IQ_BYTES(8), signs, 8, q);
}

/* Magnitudes 4, 12, 20, 28, 36, 44, 52, 62. */
static inline void iq3_xxs_point(unsigned point, unsigned signs, int8_t *q)
{
    uint64_t i = iq_spread_triples(point), last = i & i >> 1 & i >> 2 & 0x01010101;

    iq_store(i * 8 + last * 2 + 0x04040404, signs, 4, q);
}

/* Magnitudes 1, 3 .. 15. */
static inline void iq3_s_point(unsigned point, unsigned signs, int8_t *q)
{
    iq_store(iq_spread_triples(point) * 2 + 0x01010101, signs, 4, q);
}

/* -8, 0, 8, and one more or less. */
static inline void iq1_point(unsigned point, int shift, int8_t *q)
{
    uint64_t base = IQ_BYTES((uint8_t)(shift - 8));
    uint64_t w = (iq_spread_pairs(point) * 8 + (base & IQ_BYTES(0x7f))) ^ (base & IQ_BYTES(0x80));

    memcpy(q, &w, sizeof(w));
}

static inline void scale_of_32(struct quant_super *s, int j, unsigned scale)
{
    s->scale[2 * j] = s->scale[2 * j + 1] = (int16_t)(2 * scale + 1);
}

/* For each 32 weights: four indices, then four times seven signs and a scale. */
static inline void unpack_iq2_xxs(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p)) * 0.125f;
    for (int j = 0; j < 8; j++) {
        const uint8_t *part = p + 2 + 8 * j;
        uint32_t rest = iq_load_u32(part + 4);

        scale_of_32(s, j, rest >> 28);
        for (int i = 0; i < 4; i++)
            iq2_point(quant_grid_iq2_xxs[part[i]], iq_signs(rest >> (7 * i) & 127), s->q + 32 * j + 8 * i);
    }
}

/* For each 8 weights nine bits of index and seven signs; then 16 scales. */
static inline void unpack_iq2_xs(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p)) * 0.125f;
    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] = (int16_t)(2 * (p[66 + g / 2] >> (g % 2 * 4) & 15) + 1);
    for (int i = 0; i < 32; i++) {
        unsigned v = half_load(p + 2 + 2 * i);

        iq2_point(quant_grid_iq2_xs[v & 511], iq_signs(v >> 9), s->q + 8 * i);
    }
}

/* 32 low bytes of indices, 32 bytes of signs, 8 of high bits, 16 scales. */
static inline void unpack_iq2_s(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p)) * 0.125f;
    for (int g = 0; g < QUANT_GROUPS; g++)
        s->scale[g] = (int16_t)(2 * (p[74 + g / 2] >> (g % 2 * 4) & 15) + 1);
    for (int i = 0; i < 32; i++) {
        unsigned high = p[66 + i / 4] >> (i % 4 * 2) & 3;

        iq2_point(quant_grid_iq2_s[p[2 + i] | high << 8], p[34 + i], s->q + 8 * i);
    }
}

/* 64 indices, then for each 32 weights four times seven signs and a scale. */
static inline void unpack_iq3_xxs(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p)) * 0.25f;
    for (int j = 0; j < 8; j++) {
        uint32_t rest = iq_load_u32(p + 66 + 4 * j);

        scale_of_32(s, j, rest >> 28);
        for (int i = 0; i < 8; i++) {
            unsigned signs = iq_signs(rest >> (7 * (i / 2)) & 127) >> (i % 2 * 4);

            iq3_xxs_point(quant_grid_iq3_xxs[p[2 + 8 * j + i]], signs, s->q + 32 * j + 4 * i);
        }
    }
}

/* 64 low bytes of indices, 8 of ninth bits, 32 of signs, 8 scales. */
static inline void unpack_iq3_s(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p));
    for (int j = 0; j < 8; j++)
        scale_of_32(s, j, p[106 + j / 2] >> (j % 2 * 4) & 15);
    for (int i = 0; i < 64; i++) {
        unsigned index = p[2 + i] | (unsigned)(p[66 + i / 8] >> (i % 8) & 1) << 8;

        iq3_s_point(quant_grid_iq3_s[index], p[74 + i / 2] >> (i % 2 * 4), s->q + 4 * i);
    }
}

/* 32 low bytes of indices; for each 32 weights four times three high bits, a scale, and which way the shift goes. */
static inline void unpack_iq1_s(const uint8_t *p, struct quant_super *s)
{
    s->d = half_to_float(half_load(p)) * 0.125f;
    for (int j = 0; j < 8; j++) {
        unsigned high = half_load(p + 34 + 2 * j);

        scale_of_32(s, j, high >> 12 & 7);
        for (int i = 0; i < 4; i++)
            iq1_point(quant_grid_iq1[p[2 + 4 * j + i] | (high >> (3 * i) & 7) << 8], (high & 0x8000) != 0 ? -1 : 1,
                      s->q + 32 * j + 8 * i);
    }
}

/* 32 low bytes of indices; for each 8 weights three high bits and the way of the shift; then 16 scales of three bits in
 * four 16-bit numbers, whose top nibbles together are the block's scale. */
static inline void unpack_iq1_m(const uint8_t *p, struct quant_super *s)
{
    unsigned d = 0;

    for (int i = 0; i < 4; i++) {
        unsigned v = half_load(p + 48 + 2 * i);

        d |= (v >> 12) << (4 * i);
        for (int k = 0; k < 4; k++)
            s->scale[4 * i + k] = (int16_t)(2 * (v >> (3 * k) & 7) + 1);
    }
    s->d = half_to_float((uint16_t)d) * 0.125f;
    for (int i = 0; i < 32; i++) {
        unsigned high = p[32 + i / 2] >> (i % 2 * 4);

        iq1_point(quant_grid_iq1[p[i] | (high & 7) << 8], (high & 8) != 0 ? -1 : 1, s->q + 8 * i);
    }
}

#endif
