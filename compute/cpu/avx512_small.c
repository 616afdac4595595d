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
    if (type == QUANT_Q5_1)
        lanes = lanes_add(lanes, halves_at(p + 2, block_bytes, m), act_d, ints_at(a->sum + b, m));
    return lanes;
}

SIMD_INLINE float row_product(enum quant_type type, size_t block_bytes, const uint8_t *p, const uint8_t *ahead,
                              const struct small_row *a, size_t n_blocks)
{
    __m256 lanes = _mm256_setzero_ps();
    size_t b = 0;

    for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS) {
        look_ahead(ahead, LANE_BLOCKS * block_bytes, b / LANE_BLOCKS);
        lanes = packed_add(type, block_bytes, p + b * block_bytes, a, b, LANE_BLOCKS, lanes);
    }
    if (b < n_blocks)
        lanes = packed_add(type, block_bytes, p + b * block_bytes, a, b, n_blocks - b, lanes);
    return sum8(lanes);
}

SIMD_INLINE void runs_small(enum quant_type type, size_t block_bytes, const struct row_runs *runs)
{
    size_t n_blocks = runs->n / QUANT_SMALL, n_rows = runs_rows(runs);
    struct small_row acts[FEW_ACTS];

    for (size_t t = 0; t < runs->n_acts; t++)
        acts[t] = small_row_at(runs->acts[t], runs->n);
    for (size_t r = 0; r < n_rows; r++)
        for (int i = 0; i < 2; i++) {
            const struct row_run *run = &runs->run[i];
            const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes, *ahead = run_ahead(runs, run, r);

            for (size_t t = 0; t < runs->n_acts && r < run->n_rows; t++)
                run->y[runs->y_at[t] + r] = row_product(type, block_bytes, p, ahead, &acts[t], n_blocks);
        }
}

RUNS_KERNELS(q5_0, runs_small(QUANT_Q5_0, 22, runs))
RUNS_KERNELS(q5_1, runs_small(QUANT_Q5_1, 24, runs))
RUNS_KERNELS(q8_0, runs_small(QUANT_Q8_0, 34, runs))

void avx512_small_fill(struct cpu_kernels *k)
{
    RUNS_FILL(q5_0, QUANT_Q5_0)
    RUNS_FILL(q5_1, QUANT_Q5_1)
    RUNS_FILL(q8_0, QUANT_Q8_0)
}
