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

/* What eight blocks of a row give. */
struct wholes {
    __m512i sums[LANE_BLOCKS];
    __m256i mins[LANE_BLOCKS];
    float d[LANE_BLOCKS], dmin[LANE_BLOCKS];
};

SIMD_INLINE void packed_block(enum quant_type type, enum extra extra, const uint8_t *p, const struct act_super *a,
                              size_t i, struct wholes *wholes)
{
    __m512i sums = _mm512_setzero_si512();
    struct block w;

    expand_super(type, p, &w);
    UNROLL for (int c = 0; c < 4; c++) sums =
        _mm512_dpwssd_epi32(sums, pair_products(extra, w.q[c], _mm512_load_si512(a->q + 64 * c)),
                            _mm512_permutexvar_epi16(scale_index(c), _mm512_castsi256_si512(w.scale)));
    if (extra == OFFSET)
        sums = _mm512_sub_epi32(sums, _mm512_zextsi256_si512(_mm256_slli_epi32(
                                          _mm256_madd_epi16(w.scale, load16(a->sum)), type == QUANT_Q6_K ? 5 : 2)));
    wholes->sums[i] = sums;
    wholes->d[i] = w.d * a->d;
    if (extra == MINS) {
        wholes->mins[i] = _mm256_madd_epi16(w.min, load16(a->sum));
        wholes->dmin[i] = w.dmin * a->d;
    }
}

SIMD_INLINE __m256 wholes_add(enum extra extra, const struct wholes *wholes, __m256 lanes)
{
    const __m256 one = _mm256_set1_ps(1);

    lanes = lanes_add(lanes, _mm256_loadu_ps(wholes->d), one, wide_sums8(wholes->sums));
    return extra == MINS ? lanes_sub(lanes, _mm256_loadu_ps(wholes->dmin), one, sums8(wholes->mins)) : lanes;
}

SIMD_INLINE void rows_super(enum quant_type type, enum extra extra, size_t block_bytes, const void *w, size_t row_bytes,
                            size_t n_rows, size_t n, const void *act, float *y)
{
    size_t n_blocks = n / QUANT_SUPER;
    const uint8_t *row = w;

    for (size_t r = 0; r < n_rows; r++, row += row_bytes) {
        const struct act_super *a = act;
        const uint8_t *p = row;
        __m256 lanes = _mm256_setzero_ps();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            struct wholes wholes;

            if (m < LANE_BLOCKS)
                wholes = (struct wholes){ 0 };
            for (size_t i = 0; i < m; i++, p += block_bytes, a++)
                packed_block(type, extra, p, a, i, &wholes);
            lanes = wholes_add(extra, &wholes, lanes);
        }
        y[r] = sum8(lanes);
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

void avx512_super_fill(struct cpu_kernels *k)
{
    k->rows[QUANT_Q2_K] = rows_q2_k;
    k->rows[QUANT_Q3_K] = rows_q3_k;
    k->rows[QUANT_Q4_K] = rows_q4_k;
    k->rows[QUANT_Q5_K] = rows_q5_k;
    k->rows[QUANT_Q6_K] = rows_q6_k;
    k->rows[QUANT_IQ4_XS] = rows_iq4_xs;
}
