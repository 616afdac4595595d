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
#include "compute/quant_unpack.h"

extern const uint16_t quant_grid_iq2_xxs[256], quant_grid_iq2_xs[512], quant_grid_iq2_s[1024];
extern const uint16_t quant_grid_iq3_xxs[256], quant_grid_iq3_s[512], quant_grid_iq1[2048];

static inline uint32_t iq_load_u32(const uint8_t *p)
{
    return (uint32_t)half_load(p) | (uint32_t)half_load(p + 2) << 16;
}

/* Seven signs; the eighth makes their number even. */
static inline unsigned iq_signs(unsigned seven)
{
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

static inline void iq2_point(unsigned point, unsigned signs, int8_t *q)
{
    static const int8_t magnitudes[4] = { 0x08, 0x19, 0x2b, 0 };

    for (int k = 0; k < 8; k++)
        q[k] = (int8_t)((signs >> k & 1) != 0 ? -magnitudes[point >> (2 * k) & 3] : magnitudes[point >> (2 * k) & 3]);
}

static inline void iq3_point(const int8_t *magnitudes, unsigned point, unsigned signs, int8_t *q)
{
    for (int k = 0; k < 4; k++)
        q[k] = (int8_t)((signs >> k & 1) != 0 ? -magnitudes[point >> (3 * k) & 7] : magnitudes[point >> (3 * k) & 7]);
}

static inline void iq1_point(unsigned point, int shift, int8_t *q)
{
    for (int k = 0; k < 8; k++)
        q[k] = (int8_t)(8 * ((int)(point >> (2 * k) & 3) - 1) + shift);
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
    static const int8_t magnitudes[8] = { 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e };

    s->d = half_to_float(half_load(p)) * 0.25f;
    for (int j = 0; j < 8; j++) {
        uint32_t rest = iq_load_u32(p + 66 + 4 * j);

        scale_of_32(s, j, rest >> 28);
        for (int i = 0; i < 8; i++) {
            unsigned signs = iq_signs(rest >> (7 * (i / 2)) & 127) >> (i % 2 * 4);

            iq3_point(magnitudes, quant_grid_iq3_xxs[p[2 + 8 * j + i]], signs, s->q + 32 * j + 4 * i);
        }
    }
}

/* 64 low bytes of indices, 8 of ninth bits, 32 of signs, 8 scales. */
static inline void unpack_iq3_s(const uint8_t *p, struct quant_super *s)
{
    static const int8_t magnitudes[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };

    s->d = half_to_float(half_load(p));
    for (int j = 0; j < 8; j++)
        scale_of_32(s, j, p[106 + j / 2] >> (j % 2 * 4) & 15);
    for (int i = 0; i < 64; i++) {
        unsigned index = p[2 + i] | (unsigned)(p[66 + i / 8] >> (i % 8) & 1) << 8;

        iq3_point(magnitudes, quant_grid_iq3_s[index], p[74 + i / 2] >> (i % 2 * 4), s->q + 4 * i);
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
