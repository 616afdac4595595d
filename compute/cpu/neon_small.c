/* SPDX-License-Identifier: MIT
 *
 * neon_small.c: products of 32-weight blocks (ACT_SMALL in kernels.h), a block in two registers.
 */
#include "compute/cpu/neon.h"
#include "compute/quant_small.h"

struct pair {
    int8x16_t low, high;
};

SIMD_INLINE struct pair pair_at(const int8_t *q)
{
    return (struct pair){ vld1q_s8(q), vld1q_s8(q + 16) };
}

SIMD_INLINE int32x4_t block_sums(struct pair w, struct pair x)
{
    return dot16(dot16(vdupq_n_s32(0), w.low, x.low), w.high, x.high);
}

/* n <= 8 sums of activations, as f32. */
SIMD_INLINE struct lanes act_sums_at(const int32_t *p, size_t n)
{
    int32_t some[LANE_BLOCKS] = { 0 };

    memcpy(some, p, n * sizeof(*p));
    return (struct lanes){ vcvtq_f32_s32(vld1q_s32(some)), vcvtq_f32_s32(vld1q_s32(some + 4)) };
}

/* Blocks b .. b + m - 1 of an unpacked row, m <= 8, times one token. */
SIMD_INLINE struct lanes blocks_add(bool mins, const struct small_row *w, const struct small_row *a, size_t b, size_t m,
                                    struct lanes lanes)
{
    struct lanes act_d = floats_at(a->d + b, m);
    int32x4_t sums[LANE_BLOCKS];

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++) sums[i] =
        i < m ? block_sums(pair_at(w->q + 32 * (b + i)), pair_at(a->q + 32 * (b + i))) : vdupq_n_s32(0);
    lanes = lanes_add(lanes, products_of(floats_at(w->d + b, m), act_d), sums8(sums));
    if (mins)
        lanes = lanes_add(lanes, products_of(floats_at(w->m + b, m), act_d), act_sums_at(a->sum + b, m));
    return lanes;
}

SIMD_INLINE void dots_small(bool mins, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                            size_t n_acts, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SMALL;

    for (size_t r = 0; r < n_rows; r++) {
        struct small_row w = small_row_at(tile_row(tile, ACT_SMALL, n, r), n);

        for (size_t t = 0; t < n_acts; t++) {
            struct small_row a = small_row_at(acts[t], n);
            struct lanes lanes = lanes_zero();
            size_t b = 0;

            for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS)
                lanes = blocks_add(mins, &w, &a, b, LANE_BLOCKS, lanes);
            if (b < n_blocks)
                lanes = blocks_add(mins, &w, &a, b, n_blocks - b, lanes);
            y[t * y_stride + r] = lanes_sum(lanes);
        }
    }
}

static void dots_plain(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                       size_t y_stride)
{
    dots_small(false, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_mins(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                      size_t y_stride)
{
    dots_small(true, tile, n_rows, n, acts, n_acts, y, y_stride);
}

SIMD_INLINE struct pair nibbles_of(const uint8_t *p, int offset)
{
    uint8x16_t v = vld1q_u8(p);
    int8x16_t less = vdupq_n_s8((int8_t)offset);

    return (struct pair){ vsubq_s8(vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))), less),
                          vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(v, 4)), less) };
}

/* 16 in each byte whose bit of two bytes is set. */
SIMD_INLINE int8x16_t fifths_of(const uint8_t *mask)
{
    const uint8x8_t each = vcreate_u8(0x8040201008040201);
    uint8x16_t bytes = vcombine_u8(vdup_n_u8(mask[0]), vdup_n_u8(mask[1]));

    return vreinterpretq_s8_u8(vandq_u8(vtstq_u8(bytes, vcombine_u8(each, each)), vdupq_n_u8(16)));
}

SIMD_INLINE struct pair fives_of(const uint8_t *mask, const uint8_t *p, int offset)
{
    struct pair q = nibbles_of(p, offset);

    return (struct pair){ vaddq_s8(q.low, fifths_of(mask)), vaddq_s8(q.high, fifths_of(mask + 2)) };
}

SIMD_INLINE struct pair look_up(const int8_t *values, const uint8_t *p)
{
    int8x16_t table = vld1q_s8(values);
    uint8x16_t v = vld1q_u8(p);

    return (struct pair){ vqtbl1q_s8(table, vandq_u8(v, vdupq_n_u8(15))), vqtbl1q_s8(table, vshrq_n_u8(v, 4)) };
}

SIMD_INLINE struct pair expand(enum quant_type type, const uint8_t *p)
{
    switch (type) {
    case QUANT_Q4_0:
        return nibbles_of(p + 2, 8);
    case QUANT_Q4_1:
        return nibbles_of(p + 4, 0);
    case QUANT_Q5_0:
        return fives_of(p + 2, p + 6, 16);
    case QUANT_Q5_1:
        return fives_of(p + 4, p + 8, 0);
    case QUANT_IQ4_NL:
        return look_up(quant_iq4_values, p + 2);
    case QUANT_MXFP4:
        return look_up(quant_mxfp4_values, p + 1);
    default: /* QUANT_Q8_0 */
        return pair_at((const int8_t *)p + 2);
    }
}

SIMD_INLINE float expand_d(enum quant_type type, const uint8_t *p)
{
    return type == QUANT_MXFP4 ? mxfp4_scale(p[0]) : half_to_float(half_load(p));
}

/* As blocks_add, straight from the file's blocks. */
SIMD_INLINE struct lanes packed_add(enum quant_type type, size_t block_bytes, const uint8_t *p,
                                    const struct small_row *a, size_t b, size_t m, struct lanes lanes)
{
    const bool mins = type == QUANT_Q4_1 || type == QUANT_Q5_1;
    struct lanes act_d = floats_at(a->d + b, m);
    float d[LANE_BLOCKS], min[LANE_BLOCKS];
    int32x4_t sums[LANE_BLOCKS];

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++)
    {
        d[i] = i < m ? expand_d(type, p + i * block_bytes) : 0;
        min[i] = mins && i < m ? half_to_float(half_load(p + i * block_bytes + 2)) : 0;
        sums[i] = i < m ? block_sums(expand(type, p + i * block_bytes), pair_at(a->q + 32 * (b + i))) : vdupq_n_s32(0);
    }
    lanes = lanes_add(lanes, products_of(floats_at(d, LANE_BLOCKS), act_d), sums8(sums));
    if (mins)
        lanes = lanes_add(lanes, products_of(floats_at(min, LANE_BLOCKS), act_d), act_sums_at(a->sum + b, m));
    return lanes;
}

SIMD_INLINE void rows_small(enum quant_type type, size_t block_bytes, const void *w, size_t row_bytes, size_t n_rows,
                            size_t n, const void *act, float *y)
{
    struct small_row a = small_row_at(act, n);
    size_t n_blocks = n / QUANT_SMALL;

    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * row_bytes;
        struct lanes lanes = lanes_zero();
        size_t b = 0;

        for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS)
            lanes = packed_add(type, block_bytes, row + b * block_bytes, &a, b, LANE_BLOCKS, lanes);
        if (b < n_blocks)
            lanes = packed_add(type, block_bytes, row + b * block_bytes, &a, b, n_blocks - b, lanes);
        y[r] = lanes_sum(lanes);
    }
}

#define ROWS_SMALL(name, type, block_bytes)                                                               \
    static void name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                     \
        rows_small(type, block_bytes, w, row_bytes, n_rows, n, act, y);                                   \
    }

ROWS_SMALL(rows_q4_0, QUANT_Q4_0, 18)
ROWS_SMALL(rows_q4_1, QUANT_Q4_1, 20)
ROWS_SMALL(rows_q5_0, QUANT_Q5_0, 22)
ROWS_SMALL(rows_q5_1, QUANT_Q5_1, 24)
ROWS_SMALL(rows_q8_0, QUANT_Q8_0, 34)
ROWS_SMALL(rows_iq4_nl, QUANT_IQ4_NL, 18)
ROWS_SMALL(rows_mxfp4, QUANT_MXFP4, 17)

void NEON_FILL(small)(struct cpu_kernels *k)
{
    k->dots[QUANT_Q4_0] = k->dots[QUANT_Q5_0] = k->dots[QUANT_Q8_0] = dots_plain;
    k->dots[QUANT_IQ4_NL] = k->dots[QUANT_MXFP4] = dots_plain;
    k->dots[QUANT_Q4_1] = k->dots[QUANT_Q5_1] = dots_mins;
    k->rows[QUANT_Q4_0] = rows_q4_0;
    k->rows[QUANT_Q4_1] = rows_q4_1;
    k->rows[QUANT_Q5_0] = rows_q5_0;
    k->rows[QUANT_Q5_1] = rows_q5_1;
    k->rows[QUANT_Q8_0] = rows_q8_0;
    k->rows[QUANT_IQ4_NL] = rows_iq4_nl;
    k->rows[QUANT_MXFP4] = rows_mxfp4;
}
