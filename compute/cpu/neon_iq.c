/* SPDX-License-Identifier: MIT
 *
 * neon_iq.c: IQ1, IQ2 and IQ3 straight from the packed block (ACT_SUPER in kernels.h). Points of two times eight or
 * four times four weights are loaded from the tables of iq_points.h, signed, and multiplied as a group of sixteen. See
 * quant_iq.h for the layouts.
 */
#include "compute/cpu/iq_points.h"
#include "compute/cpu/neon_wholes.h"
#include "compute/quant_iq.h"

/* Eight weights before their signs, and these, or which way an IQ1 point is shifted. */
struct unit {
    uint64_t bytes;
    unsigned signs;
    bool up;
};

SIMD_INLINE uint64_t fours(const uint32_t *points, unsigned first, unsigned second)
{
    return points[first] | (uint64_t)points[second] << 32;
}

/* Unit i = 0 .. 31 of a block. */
SIMD_INLINE struct unit unit_at(enum quant_type type, const uint8_t *p, int i)
{
    unsigned v;

    switch (type) {
    case QUANT_IQ2_XXS:
        v = iq_load_u32(p + 6 + 8 * (i / 4)) >> (7 * (i % 4)) & 127;
        return (struct unit){ iq_points.iq2_xxs[p[2 + 8 * (i / 4) + i % 4]], iq_signs(v), false };
    case QUANT_IQ2_XS:
        v = half_load(p + 2 + 2 * i);
        return (struct unit){ iq_points.iq2_xs[v & 511], iq_signs(v >> 9), false };
    case QUANT_IQ2_S:
        v = p[2 + i] | (p[66 + i / 4] >> (i % 4 * 2) & 3u) << 8;
        return (struct unit){ iq_points.iq2_s[v], p[34 + i], false };
    case QUANT_IQ3_XXS:
        v = iq_load_u32(p + 66 + 4 * (i / 4)) >> (7 * (i % 4)) & 127;
        return (struct unit){ fours(iq_points.iq3_xxs, p[2 + 2 * i], p[3 + 2 * i]), iq_signs(v), false };
    case QUANT_IQ3_S:
        v = p[66 + i / 4] >> (i % 4 * 2) & 3u;
        return (struct unit){ fours(iq_points.iq3_s, p[2 + 2 * i] | (v & 1) << 8, p[3 + 2 * i] | (v & 2) << 7),
                              p[74 + i], false };
    case QUANT_IQ1_S:
        v = half_load(p + 34 + 2 * (i / 4));
        return (struct unit){ iq_points.iq1[p[2 + i] | (v >> (3 * (i % 4)) & 7) << 8], 0, (v & 0x8000) == 0 };
    default: /* QUANT_IQ1_M */
        v = p[32 + i / 2] >> (i % 2 * 4) & 15u;
        return (struct unit){ iq_points.iq1[p[i] | (v & 7) << 8], 0, (v & 8) == 0 };
    }
}

SIMD_INLINE int8x16_t group_at(enum quant_type type, const uint8_t *p, int g)
{
    const uint8x8_t each = vcreate_u8(0x8040201008040201);
    struct unit a = unit_at(type, p, 2 * g), b = unit_at(type, p, 2 * g + 1);
    int8x16_t q = vreinterpretq_s8_u8(vcombine_u8(vcreate_u8(a.bytes), vcreate_u8(b.bytes))), minus;

    if (type == QUANT_IQ1_S || type == QUANT_IQ1_M)
        return vaddq_s8(q, vcombine_s8(vdup_n_s8(a.up ? -7 : -9), vdup_n_s8(b.up ? -7 : -9)));
    minus = vreinterpretq_s8_u8(
        vtstq_u8(vcombine_u8(vdup_n_u8((uint8_t)a.signs), vdup_n_u8((uint8_t)b.signs)), vcombine_u8(each, each)));
    return vsubq_s8(veorq_s8(q, minus), minus);
}

SIMD_INLINE unsigned scale_at(enum quant_type type, const uint8_t *p, int g)
{
    switch (type) {
    case QUANT_IQ2_XXS:
        return p[9 + 8 * (g / 2)] >> 4;
    case QUANT_IQ2_XS:
        return p[66 + g / 2] >> (g % 2 * 4) & 15;
    case QUANT_IQ2_S:
        return p[74 + g / 2] >> (g % 2 * 4) & 15;
    case QUANT_IQ3_XXS:
        return p[69 + 4 * (g / 2)] >> 4;
    case QUANT_IQ3_S:
        return p[106 + g / 4] >> (g / 2 % 2 * 4) & 15;
    case QUANT_IQ1_S:
        return p[35 + 2 * (g / 2)] >> 4 & 7;
    default: /* QUANT_IQ1_M */
        return half_load(p + 48 + 2 * (g / 4)) >> (3 * (g % 4)) & 7;
    }
}

SIMD_INLINE float block_scale(enum quant_type type, const uint8_t *p)
{
    unsigned d = half_load(p);

    if (type == QUANT_IQ1_M)
        d = (unsigned)p[49] >> 4 | (p[51] & 0xf0u) | (p[53] & 0xf0u) << 4 | (p[55] & 0xf0u) << 8;
    return half_to_float((uint16_t)d) * (type == QUANT_IQ3_S ? 1.0f : type == QUANT_IQ3_XXS ? 0.25f : 0.125f);
}

SIMD_INLINE void rows_iq(enum quant_type type, size_t block_bytes, const void *w, size_t row_bytes, size_t n_rows,
                         size_t n, const void *act, float *y)
{
    size_t n_blocks = n / QUANT_SUPER;

    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *p = (const uint8_t *)w + r * row_bytes;
        const struct act_super *a = act;
        struct lanes lanes = lanes_zero();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            struct wholes wholes;

            wholes_clear(&wholes);
            for (size_t i = 0; i < m; i++, p += block_bytes, a++) {
                UNROLL for (int g = 0; g < QUANT_GROUPS; g++) wholes.sums[i] =
                    group_add(wholes.sums[i], group_at(type, p, g), a, (int16_t)(2 * scale_at(type, p, g) + 1), g);
                wholes.d[i] = block_scale(type, p) * a->d;
            }
            lanes = wholes_add(SIGNED, &wholes, lanes);
        }
        y[r] = lanes_sum(lanes);
    }
}

#define ROWS_IQ(name, type, block_bytes)                                                                  \
    static void name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                     \
        rows_iq(type, block_bytes, w, row_bytes, n_rows, n, act, y);                                      \
    }

ROWS_IQ(rows_iq2_xxs, QUANT_IQ2_XXS, 66)
ROWS_IQ(rows_iq2_xs, QUANT_IQ2_XS, 74)
ROWS_IQ(rows_iq2_s, QUANT_IQ2_S, 82)
ROWS_IQ(rows_iq3_xxs, QUANT_IQ3_XXS, 98)
ROWS_IQ(rows_iq3_s, QUANT_IQ3_S, 110)
ROWS_IQ(rows_iq1_s, QUANT_IQ1_S, 50)
ROWS_IQ(rows_iq1_m, QUANT_IQ1_M, 56)

void NEON_FILL(iq)(struct cpu_kernels *k)
{
    k->rows[QUANT_IQ2_XXS] = rows_iq2_xxs;
    k->rows[QUANT_IQ2_XS] = rows_iq2_xs;
    k->rows[QUANT_IQ2_S] = rows_iq2_s;
    k->rows[QUANT_IQ3_XXS] = rows_iq3_xxs;
    k->rows[QUANT_IQ3_S] = rows_iq3_s;
    k->rows[QUANT_IQ1_S] = rows_iq1_s;
    k->rows[QUANT_IQ1_M] = rows_iq1_m;
}
