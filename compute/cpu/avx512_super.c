/* SPDX-License-Identifier: MIT
 *
 * avx512_super.c: products of super-blocks (ACT_SUPER in kernels.h).
 *
 * Weights are unsigned bytes, activations signed: vpmaddubsw adds pairs of products to 16 bits, which cannot overflow
 * with weights up to 63, and vpdpwssd multiplies them by the groups' scales into 32 bits. A register holds 64 weights,
 * so lanes l and l + 8 belong to the same run of four and are added before they become f32.
 */
#include "compute/cpu/avx512_expand.h"

/* What a format has besides scales. */
enum extra { OFFSET, MINS, SIGNED };

/* 16-bit sums of products of 32 pairs. */
SIMD_INLINE __m512i pair_products(enum extra extra, __m512i w, __m512i a)
{
    __mmask64 negative;

    if (extra != SIGNED)
        return _mm512_maddubs_epi16(w, a);
    negative = _mm512_movepi8_mask(w);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w), _mm512_mask_sub_epi8(a, negative, _mm512_setzero_si512(), a));
}

SIMD_INLINE __m256i load16(const int16_t *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

/* Sixteen lanes that are a block's whole number together. */
SIMD_INLINE __m512i block_sums(enum quant_type type, enum extra extra, const struct block *w, const struct act_super *a)
{
    __m512i sums = _mm512_setzero_si512();

    UNROLL for (int c = 0; c < 4; c++) sums =
        _mm512_dpwssd_epi32(sums, pair_products(extra, w->q[c], _mm512_load_si512(a->q + 64 * c)),
                            _mm512_permutexvar_epi16(scale_index(c), _mm512_castsi256_si512(w->scale)));
    if (extra == OFFSET)
        sums = _mm512_sub_epi32(sums, _mm512_zextsi256_si512(_mm256_slli_epi32(
                                          _mm256_madd_epi16(w->scale, load16(a->sum)), type == QUANT_Q6_K ? 5 : 2)));
    return sums;
}

/* Where a block has its d; dmin is behind it. */
SIMD_INLINE size_t d_offset(enum quant_type type)
{
    return type == QUANT_Q2_K ? 80 : type == QUANT_Q3_K ? 108 : type == QUANT_Q6_K ? 208 : 0;
}

/* m <= 8 blocks of a row. */
SIMD_INLINE __m256 blocks_add(enum quant_type type, enum extra extra, size_t block_bytes, const uint8_t *p,
                              const uint8_t *ahead, const struct act_super *a, __m256 act_d, size_t m, __m256 lanes)
{
    __m512i sums[LANE_BLOCKS];
    __m256i mins[LANE_BLOCKS];

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++)
    {
        struct block w;

        sums[i] = _mm512_setzero_si512();
        mins[i] = _mm256_setzero_si256();
        if (i < m) {
            look_ahead(ahead, block_bytes, i);
            expand_super(type, p + i * block_bytes, &w);
            sums[i] = block_sums(type, extra, &w, a + i);
            if (extra == MINS)
                mins[i] = _mm256_madd_epi16(w.min, load16(a[i].sum));
        }
    }
    lanes = lanes_add(lanes, halves_at(p + d_offset(type), block_bytes, m), act_d, wide_sums8(sums));
    if (extra == MINS)
        lanes = lanes_sub(lanes, halves_at(p + d_offset(type) + 2, block_bytes, m), act_d, sums8(mins));
    return lanes;
}

enum { GATHERED = 8 };

/* The scales of some activations are gathered once for all rows, unless they are uncommonly long. */
struct gathered {
    __m256 d[GATHERED];
};

SIMD_INLINE __m256 gathered_at(const struct gathered *g, const struct act_super *a, size_t b, size_t m)
{
    return b / LANE_BLOCKS < GATHERED ? g->d[b / LANE_BLOCKS] : act_scales(a + b, m);
}

SIMD_INLINE void scales_gather(const struct act_super *a, size_t n_blocks, struct gathered *g)
{
    for (size_t b = 0; b < n_blocks && b / LANE_BLOCKS < GATHERED; b += LANE_BLOCKS)
        g->d[b / LANE_BLOCKS] = act_scales(a + b, n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS);
}

SIMD_INLINE float row_product(enum quant_type type, enum extra extra, size_t block_bytes, const uint8_t *p,
                              const uint8_t *ahead, const struct act_super *a, size_t n_blocks,
                              const struct gathered *g)
{
    __m256 lanes = _mm256_setzero_ps();
    size_t b = 0;

    for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS)
        lanes = blocks_add(type, extra, block_bytes, p + b * block_bytes, ahead + b * block_bytes, a + b,
                           gathered_at(g, a, b, LANE_BLOCKS), LANE_BLOCKS, lanes);
    if (b < n_blocks)
        lanes = blocks_add(type, extra, block_bytes, p + b * block_bytes, ahead + b * block_bytes, a + b,
                           gathered_at(g, a, b, n_blocks - b), n_blocks - b, lanes);
    return sum8(lanes);
}

SIMD_INLINE void runs_super(enum quant_type type, enum extra extra, size_t block_bytes, const struct row_runs *runs)
{
    size_t n_blocks = runs->n / QUANT_SUPER, n_rows = runs_rows(runs);
    struct gathered g[FEW_ACTS];

    for (size_t t = 0; t < runs->n_acts; t++)
        scales_gather(runs->acts[t], n_blocks, &g[t]);
    for (size_t r = 0; r < n_rows; r++)
        for (int i = 0; i < 2; i++) {
            const struct row_run *run = &runs->run[i];
            const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes, *ahead = run_ahead(runs, run, r);

            for (size_t t = 0; t < runs->n_acts && r < run->n_rows; t++)
                run->y[runs->y_at[t] + r] =
                    row_product(type, extra, block_bytes, p, ahead, runs->acts[t], n_blocks, &g[t]);
        }
}

RUNS_KERNELS(q2_k, runs_super(QUANT_Q2_K, MINS, 84, runs))
RUNS_KERNELS(q3_k, runs_super(QUANT_Q3_K, OFFSET, 110, runs))
RUNS_KERNELS(q6_k, runs_super(QUANT_Q6_K, OFFSET, 210, runs))
RUNS_KERNELS(iq4_xs, runs_super(QUANT_IQ4_XS, SIGNED, 136, runs))

void avx512_super_fill(struct cpu_kernels *k)
{
    RUNS_FILL(q2_k, QUANT_Q2_K)
    RUNS_FILL(q3_k, QUANT_Q3_K)
    RUNS_FILL(q6_k, QUANT_Q6_K)
    RUNS_FILL(iq4_xs, QUANT_IQ4_XS)
}
