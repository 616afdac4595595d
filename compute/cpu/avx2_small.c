/* SPDX-License-Identifier: MIT
 *
 * avx2_small.c: products of 32-weight blocks (ACT_SMALL in kernels.h), one block to a register.
 * Eight blocks' sums are added up together, one to a lane.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/unpack_kernels.h"

/* Blocks b .. b + m - 1 of a row, m <= 8, times one token. */
SIMD_INLINE __m256 blocks_add(bool mins, const struct small_row *w, const struct small_row *a, size_t b, const size_t m,
                              __m256 lanes)
{
    __m256i sums[LANE_BLOCKS];
    __m256 act_d = floats_at(a->d + b, m);

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++) sums[i] =
        i < m ? quad_products(load32(w->q + 32 * (b + i)), load32(a->q + 32 * (b + i))) : _mm256_setzero_si256();
    lanes = lanes_add(lanes, floats_at(w->d + b, m), act_d, sums8(sums));
    return mins ? lanes_add(lanes, floats_at(w->m + b, m), act_d, ints_at(a->sum + b, m)) : lanes;
}

SIMD_INLINE void dots_small(bool mins, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                            size_t n_acts, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SMALL;

    for (size_t r = 0; r < n_rows; r++) {
        struct small_row w = small_row_at(tile_row(tile, ACT_SMALL, n, r), n);

        for (size_t t = 0; t < n_acts; t++) {
            struct small_row a = small_row_at(acts[t], n);
            __m256 lanes = _mm256_setzero_ps();
            size_t b = 0;

            for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS)
                lanes = blocks_add(mins, &w, &a, b, LANE_BLOCKS, lanes);
            if (b < n_blocks)
                lanes = blocks_add(mins, &w, &a, b, n_blocks - b, lanes);
            y[t * y_stride + r] = sum8(lanes);
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

/* 16 bytes of nibbles: low ones, then high ones. */
SIMD_INLINE __m256i nibbles_of(const uint8_t *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);

    return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1),
                            _mm256_set1_epi8(15));
}

/* 16 in each byte whose bit of the mask is set. */
SIMD_INLINE __m256i fifths_of(const uint8_t *mask)
{
    const __m256i bytes = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bits = _mm256_set1_epi64x((long long)0x8040201008040201);
    int32_t m;
    __m256i spread;

    memcpy(&m, mask, sizeof(m));
    spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(m), bytes), bits);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bits), _mm256_set1_epi8(16));
}

SIMD_INLINE __m256i look_up(const int8_t *values, __m256i index)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)values)), index);
}

SIMD_INLINE __m256i expand(enum quant_type type, const uint8_t *p)
{
    switch (type) {
    case QUANT_Q4_0:
        return _mm256_sub_epi8(nibbles_of(p + 2), _mm256_set1_epi8(8));
    case QUANT_Q4_1:
        return nibbles_of(p + 4);
    case QUANT_Q5_0:
        return _mm256_sub_epi8(_mm256_or_si256(nibbles_of(p + 6), fifths_of(p + 2)), _mm256_set1_epi8(16));
    case QUANT_Q5_1:
        return _mm256_or_si256(nibbles_of(p + 8), fifths_of(p + 4));
    case QUANT_IQ4_NL:
        return look_up(quant_iq4_values, nibbles_of(p + 2));
    case QUANT_MXFP4:
        return look_up(quant_mxfp4_values, nibbles_of(p + 1));
    default: /* QUANT_Q8_0 */
        return load32(p + 2);
    }
}

/* As blocks_add, straight from the file's blocks. */
SIMD_INLINE __m256 packed_add(enum quant_type type, size_t block_bytes, const uint8_t *p, const struct small_row *a,
                              size_t b, const size_t m, __m256 lanes)
{
    __m256i sums[LANE_BLOCKS];
    __m256 act_d = floats_at(a->d + b, m);

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++) sums[i] =
        i < m ? quad_products(expand(type, p + i * block_bytes), load32(a->q + 32 * (b + i))) : _mm256_setzero_si256();
    lanes = lanes_add(lanes, small_scales_at(type, p, block_bytes, m), act_d, sums8(sums));
    if (type == QUANT_Q4_1 || type == QUANT_Q5_1)
        lanes = lanes_add(lanes, halves_at(p + 2, block_bytes, m), act_d, ints_at(a->sum + b, m));
    return lanes;
}

SIMD_INLINE void rows_small(enum quant_type type, size_t block_bytes, const void *w, size_t row_bytes, size_t n_rows,
                            size_t n, const void *act, float *y)
{
    struct small_row a = small_row_at(act, n);
    const uint8_t *row = w;
    size_t n_blocks = n / QUANT_SMALL;

    for (size_t r = 0; r < n_rows; r++, row += row_bytes) {
        __m256 lanes = _mm256_setzero_ps();
        size_t b = 0;

        for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS)
            lanes = packed_add(type, block_bytes, row + b * block_bytes, &a, b, LANE_BLOCKS, lanes);
        if (b < n_blocks)
            lanes = packed_add(type, block_bytes, row + b * block_bytes, &a, b, n_blocks - b, lanes);
        y[r] = sum8(lanes);
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

void AVX2_FILL(small)(struct cpu_kernels *k)
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
