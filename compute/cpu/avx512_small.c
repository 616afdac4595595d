/* SPDX-License-Identifier: MIT
 *
 * avx512_small.c: products of 32-weight blocks (ACT_SMALL in kernels.h), two blocks to a register.
 *
 * vpdpbusd wants one factor unsigned: weights are biased by 128, and 128 times the activations of the same run is taken
 * off again, once per activation for all rows.
 */
#include "compute/cpu/avx512_expand.h"

/* Sixteen sums of four products: eight of each of two blocks, or of the last one only. */
SIMD_INLINE __m512i pair_sums(enum quant_type type, const uint8_t *p, size_t block_bytes, const int8_t *q, size_t m)
{
    if (m == 0)
        return _mm512_setzero_si512();
    if (m == 1)
        return _mm512_dpbusd_epi32(_mm512_setzero_si512(), expand_small(type, p, p),
                                   _mm512_maskz_loadu_epi8(0xffffffff, q));
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), expand_small(type, p, p + block_bytes), _mm512_loadu_si512(q));
}

/* Blocks b .. b + m - 1 of a row, m <= 8. */
SIMD_INLINE __m256 packed_add(enum quant_type type, size_t block_bytes, const uint8_t *p, const struct small_row *a,
                              size_t b, const size_t m, __m256 lanes)
{
    __m256 act_d = floats_at(a->d + b, m);
    __m512i sums[4];
    __m256i whole;

    UNROLL for (size_t i = 0; i < 4; i++) sums[i] =
        pair_sums(type, p + 2 * i * block_bytes, block_bytes, a->q + 32 * (b + 2 * i), m > 2 * i ? m - 2 * i : 0);
    whole = half_sums(sums);
    if (bias_shift(type) >= 0)
        whole = _mm256_sub_epi32(whole, _mm256_slli_epi32(ints_at(a->sum + b, m), bias_shift(type)));
    lanes = lanes_add(lanes, small_scales_at(type, p, block_bytes, m), act_d, whole);
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

void avx512_small_fill(struct cpu_kernels *k)
{
    k->rows[QUANT_Q4_0] = rows_q4_0;
    k->rows[QUANT_Q4_1] = rows_q4_1;
    k->rows[QUANT_Q5_0] = rows_q5_0;
    k->rows[QUANT_Q5_1] = rows_q5_1;
    k->rows[QUANT_Q8_0] = rows_q8_0;
    k->rows[QUANT_IQ4_NL] = rows_iq4_nl;
    k->rows[QUANT_MXFP4] = rows_mxfp4;
}
