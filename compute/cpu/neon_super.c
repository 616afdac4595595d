/* SPDX-License-Identifier: MIT
 *
 * neon_super.c: products of super-blocks (ACT_SUPER in kernels.h). A group of sixteen weights is a register, so that a
 * group's scale multiplies four partial sums at once.
 */
#include "compute/cpu/neon_wholes.h"
#include "compute/quant_super.h"

/* Blocks of one unpacked row, some tokens; block i goes to lane i. */
SIMD_INLINE void unpacked_blocks(enum extra extra, const struct quant_super *row, size_t m, size_t block0,
                                 const void *const *acts, const int n_tokens, struct wholes *wholes)
{
    for (size_t i = 0; i < m; i++) {
        const struct quant_super *s = &row[i];
        const struct act_super *a[4];
        int32x4_t sums[4];

        UNROLL for (int t = 0; t < n_tokens; t++)
        {
            a[t] = (const struct act_super *)acts[t] + block0 + i;
            sums[t] = vdupq_n_s32(0);
        }
        for (int g = 0; g < QUANT_GROUPS; g++) {
            int8x16_t q = vld1q_s8(s->q + 16 * g);

            UNROLL for (int t = 0; t < n_tokens; t++) sums[t] = group_add(sums[t], q, a[t], s->scale[g], g);
        }
        UNROLL for (int t = 0; t < n_tokens; t++) wholes_set(extra, &wholes[t], i, s, a[t], sums[t]);
    }
}

/* One unpacked row, some tokens. */
SIMD_INLINE void dots_tile(enum extra extra, const struct quant_super *row, size_t n, const void *const *acts,
                           const int n_tokens, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SUPER;
    struct lanes lanes[4];

    UNROLL for (int t = 0; t < n_tokens; t++) lanes[t] = lanes_zero();
    for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
        size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
        struct wholes wholes[4];

        for (int t = 0; m < LANE_BLOCKS && t < n_tokens; t++)
            wholes_clear(&wholes[t]);
        unpacked_blocks(extra, row + b, m, b, acts, n_tokens, wholes);
        UNROLL for (int t = 0; t < n_tokens; t++) lanes[t] = wholes_add(extra, &wholes[t], lanes[t]);
    }
    UNROLL for (int t = 0; t < n_tokens; t++) y[(size_t)t * y_stride] = lanes_sum(lanes[t]);
}

SIMD_INLINE void dots_super(enum extra extra, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                            size_t n_acts, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++) {
        const struct quant_super *row = tile_row(tile, ACT_SUPER, n, r);
        size_t t = 0;

        for (; t + 4 <= n_acts; t += 4)
            dots_tile(extra, row, n, acts + t, 4, y + t * y_stride + r, y_stride);
        for (; t < n_acts; t++)
            dots_tile(extra, row, n, acts + t, 1, y + t * y_stride + r, y_stride);
    }
}

#define DOTS_SUPER(name, extra)                                                                                   \
    static void name(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y, \
                     size_t y_stride)                                                                             \
    {                                                                                                             \
        dots_super(extra, tile, n_rows, n, acts, n_acts, y, y_stride);                                            \
    }

DOTS_SUPER(dots_offset, OFFSET)
DOTS_SUPER(dots_mins, MINS)
DOTS_SUPER(dots_signed, SIGNED)

SIMD_INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Eight bytes, each twice, to 16 bits. */
SIMD_INLINE void twice8(uint64_t bytes, int less, int16_t *ret)
{
    uint16x8_t v = vmovl_u8(vcreate_u8(bytes));

    vst1q_s16(ret, vsubq_s16(vreinterpretq_s16_u16(vzip1q_u16(v, v)), vdupq_n_s16((int16_t)less)));
    vst1q_s16(ret + 8, vsubq_s16(vreinterpretq_s16_u16(vzip2q_u16(v, v)), vdupq_n_s16((int16_t)less)));
}

SIMD_INLINE void signed16(int8x16_t v, int16_t *ret)
{
    vst1q_s16(ret, vmovl_s8(vget_low_s8(v)));
    vst1q_s16(ret + 8, vmovl_high_s8(v));
}

/* Of a head only the weights stay untouched. See unpack_scales_mins. */
SIMD_INLINE void scales_mins_head(const uint8_t *p, struct quant_super *h)
{
    uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);

    twice8((a & 0x3f3f3f3f) | (uint64_t)((c & 0x0f0f0f0f) | (a >> 2 & 0x30303030)) << 32, 0, h->scale);
    twice8((b & 0x3f3f3f3f) | (uint64_t)((c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)) << 32, 0, h->min);
}

SIMD_INLINE void q3_k_head(const uint8_t *p, struct quant_super *h)
{
    uint32_t a = load_u32(p), b = load_u32(p + 4), high = load_u32(p + 8);
    uint64_t low_half =
        (a & 0x0f0f0f0f) | (high << 4 & 0x30303030) | (uint64_t)((b & 0x0f0f0f0f) | (high << 2 & 0x30303030)) << 32;
    uint64_t high_half = (a >> 4 & 0x0f0f0f0f) | (high & 0x30303030) |
                         (uint64_t)((b >> 4 & 0x0f0f0f0f) | (high >> 2 & 0x30303030)) << 32;

    signed16(vsubq_s8(vcombine_s8(vcreate_s8(low_half), vcreate_s8(high_half)), vdupq_n_s8(32)), h->scale);
}

SIMD_INLINE void iq4_xs_head(const uint8_t *p, struct quant_super *h)
{
    uint32_t high = half_load(p), low = load_u32(p + 2);
    uint64_t scales = 0;

    for (int j = 0; j < 8; j++)
        scales |= (uint64_t)((low >> (4 * j) & 15) | (high >> (2 * j) & 3) << 4) << (8 * j);
    twice8(scales, 32, h->scale);
}

SIMD_INLINE void expand_head(enum quant_type type, const uint8_t *p, struct quant_super *h)
{
    size_t d_at = type == QUANT_Q2_K ? 80 : type == QUANT_Q3_K ? 108 : type == QUANT_Q6_K ? 208 : 0;

    h->d = half_to_float(half_load(p + d_at));
    h->offset = type == QUANT_Q3_K ? 4 : 32;
    switch (type) {
    case QUANT_Q2_K:
        signed16(vreinterpretq_s8_u8(vandq_u8(vld1q_u8(p), vdupq_n_u8(15))), h->scale);
        signed16(vreinterpretq_s8_u8(vshrq_n_u8(vld1q_u8(p), 4)), h->min);
        h->dmin = half_to_float(half_load(p + 82));
        break;
    case QUANT_Q3_K:
        q3_k_head(p + 96, h);
        break;
    case QUANT_Q6_K:
        signed16(vld1q_s8((const int8_t *)p + 192), h->scale);
        break;
    case QUANT_IQ4_XS:
        iq4_xs_head(p + 2, h);
        break;
    default: /* QUANT_Q4_K, QUANT_Q5_K */
        scales_mins_head(p + 4, h);
        h->dmin = half_to_float(half_load(p + 2));
    }
}

/* Weights 16g .. 16g+15; see quant_super.h for the layouts. */
SIMD_INLINE int8x16_t expand(enum quant_type type, const uint8_t *p, int g)
{
    const int j = g / 2, half = g % 2 * 16;
    uint8x16_t q;

    switch (type) {
    case QUANT_Q2_K:
        q = bits_of(vld1q_u8(p + 16 + j / 4 * 32 + half), j % 4 * 2, 3);
        break;
    case QUANT_Q3_K:
        q = vorrq_u8(bits_of(vld1q_u8(p + 32 + j / 4 * 32 + half), j % 4 * 2, 3),
                     bits_of(vld1q_u8(p + half), j - 2, 4));
        break;
    case QUANT_Q4_K:
        q = bits_of(vld1q_u8(p + 16 + j / 2 * 32 + half), j % 2 * 4, 15);
        break;
    case QUANT_Q5_K:
        q = vorrq_u8(bits_of(vld1q_u8(p + 48 + j / 2 * 32 + half), j % 2 * 4, 15),
                     bits_of(vld1q_u8(p + 16 + half), j - 4, 16));
        break;
    case QUANT_Q6_K:
        q = vorrq_u8(bits_of(vld1q_u8(p + j / 4 * 64 + j % 2 * 32 + half), j / 2 % 2 * 4, 15),
                     bits_of(vld1q_u8(p + 128 + j / 4 * 32 + half), j % 4 * 2 - 4, 0x30));
        break;
    default: /* QUANT_IQ4_XS */
        return vqtbl1q_s8(vld1q_s8(quant_iq4_values), bits_of(vld1q_u8(p + 8 + 16 * j), half / 4, 15));
    }
    return vreinterpretq_s8_u8(q);
}

SIMD_INLINE void packed_block(enum quant_type type, enum extra extra, const uint8_t *p, const struct act_super *a,
                              size_t i, struct wholes *wholes)
{
    int32x4_t sums = vdupq_n_s32(0);
    struct quant_super h;

    expand_head(type, p, &h);
    UNROLL for (int g = 0; g < QUANT_GROUPS; g++) sums = group_add(sums, expand(type, p, g), a, h.scale[g], g);
    wholes_set(extra, wholes, i, &h, a, sums);
}

SIMD_INLINE void rows_super(enum quant_type type, enum extra extra, size_t block_bytes, const void *w, size_t row_bytes,
                            size_t n_rows, size_t n, const void *act, float *y)
{
    size_t n_blocks = n / QUANT_SUPER;

    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *p = (const uint8_t *)w + r * row_bytes;
        const struct act_super *a = act;
        struct lanes lanes = lanes_zero();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            struct wholes wholes;

            if (m < LANE_BLOCKS)
                wholes_clear(&wholes);
            for (size_t i = 0; i < m; i++, p += block_bytes, a++)
                packed_block(type, extra, p, a, i, &wholes);
            lanes = wholes_add(extra, &wholes, lanes);
        }
        y[r] = lanes_sum(lanes);
    }
}

#define ROWS_SUPER(name, type, extra, block_bytes)                                                        \
    static void name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                     \
        rows_super(type, extra, block_bytes, w, row_bytes, n_rows, n, act, y);                            \
    }

ROWS_SUPER(rows_q2_k, QUANT_Q2_K, MINS, 84)
ROWS_SUPER(rows_q3_k, QUANT_Q3_K, OFFSET, 110)
ROWS_SUPER(rows_q4_k, QUANT_Q4_K, MINS, 144)
ROWS_SUPER(rows_q5_k, QUANT_Q5_K, MINS, 176)
ROWS_SUPER(rows_q6_k, QUANT_Q6_K, OFFSET, 210)
ROWS_SUPER(rows_iq4_xs, QUANT_IQ4_XS, SIGNED, 136)

void NEON_FILL(super)(struct cpu_kernels *k)
{
    k->dots[QUANT_Q2_K] = k->dots[QUANT_Q4_K] = k->dots[QUANT_Q5_K] = dots_mins;
    k->dots[QUANT_Q3_K] = k->dots[QUANT_Q6_K] = dots_offset;
    k->dots[QUANT_IQ4_XS] = dots_signed;
    k->dots[QUANT_IQ2_XXS] = k->dots[QUANT_IQ2_XS] = k->dots[QUANT_IQ2_S] = dots_signed;
    k->dots[QUANT_IQ3_XXS] = k->dots[QUANT_IQ3_S] = dots_signed;
    k->dots[QUANT_IQ1_S] = k->dots[QUANT_IQ1_M] = dots_signed;
    k->rows[QUANT_Q2_K] = rows_q2_k;
    k->rows[QUANT_Q3_K] = rows_q3_k;
    k->rows[QUANT_Q4_K] = rows_q4_k;
    k->rows[QUANT_Q5_K] = rows_q5_k;
    k->rows[QUANT_Q6_K] = rows_q6_k;
    k->rows[QUANT_IQ4_XS] = rows_iq4_xs;
}
