/* SPDX-License-Identifier: MIT
 *
 * avx512_super.c: products of super-blocks (ACT_SUPER in kernels.h).
 *
 * Weights are unsigned bytes, activations signed: vpmaddubsw adds pairs of products to 16 bits, which cannot overflow
 * with weights up to 63, and vpdpwssd multiplies them by the groups' scales into 32 bits. A register holds 64 weights,
 * so lanes l and l + 8 belong to the same run of four and are added before they become f32.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/unpack_kernels.h"

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

/* A block straight from the file: 64 weights to a register, in order. */
struct block {
    __m512i q[4];
    __m256i scale, min; /* sixteen of 16 bits */
    float d, dmin;
};

/* Different shifts for the two halves of a register, as 16-bit lanes. */
SIMD_INLINE __m512i halves16(int low, int high)
{
    return _mm512_inserti64x4(_mm512_set1_epi16((short)low), _mm256_set1_epi16((short)high), 1);
}

SIMD_INLINE __m512i halves8(int low, int high)
{
    return _mm512_inserti64x4(_mm512_set1_epi8((char)low), _mm256_set1_epi8((char)high), 1);
}

SIMD_INLINE __m512i load32_twice(const uint8_t *p)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}

SIMD_INLINE float load_half(const uint8_t *p)
{
    return _cvtsh_ss(half_load(p));
}

SIMD_INLINE void expand_q4_k(const uint8_t *p, struct block *block)
{
    expand_d_dmin(p, &block->d, &block->dmin);
    expand_scales_mins(p + 4, &block->scale, &block->min);
    UNROLL for (int c = 0; c < 4; c++) block->q[c] =
        _mm512_and_si512(_mm512_srlv_epi16(load32_twice(p + 16 + 32 * c), halves16(0, 4)), _mm512_set1_epi8(15));
}

SIMD_INLINE void expand_q5_k(const uint8_t *p, struct block *block)
{
    __m512i high = load32_twice(p + 16);

    expand_d_dmin(p, &block->d, &block->dmin);
    expand_scales_mins(p + 4, &block->scale, &block->min);
    UNROLL for (int c = 0; c < 4; c++)
    {
        __m512i low =
            _mm512_and_si512(_mm512_srlv_epi16(load32_twice(p + 48 + 32 * c), halves16(0, 4)), _mm512_set1_epi8(15));
        __mmask64 set = _mm512_test_epi8_mask(high, halves8(1 << (2 * c), 2 << (2 * c)));

        block->q[c] = _mm512_mask_add_epi8(low, set, low, _mm512_set1_epi8(16));
    }
}

SIMD_INLINE void expand_q6_k(const uint8_t *p, struct block *block)
{
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_set1_epi8(0x30);

    UNROLL for (int h = 0; h < 2; h++)
    {
        __m512i low = _mm512_loadu_si512(p + 64 * h), high = load32_twice(p + 128 + 32 * h);

        block->q[2 * h] = _mm512_or_si512(_mm512_and_si512(low, nibble),
                                          _mm512_and_si512(_mm512_sllv_epi16(high, halves16(4, 2)), pair));
        block->q[2 * h + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(low, 4), nibble),
                                              _mm512_and_si512(_mm512_srlv_epi16(high, halves16(0, 2)), pair));
    }
    block->scale = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 192)));
    block->d = load_half(p + 208);
}

/* 64 two-bit weights from 32 bytes, c counts registers. */
SIMD_INLINE __m512i expand_pairs(const uint8_t *p, int c)
{
    return _mm512_and_si512(_mm512_srlv_epi16(load32_twice(p + 32 * (c / 2)), halves16(c % 2 * 4, c % 2 * 4 + 2)),
                            _mm512_set1_epi8(3));
}

SIMD_INLINE void expand_q2_k(const uint8_t *p, struct block *block)
{
    __m256i scales = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));

    block->scale = _mm256_and_si256(scales, _mm256_set1_epi16(15));
    block->min = _mm256_srli_epi16(scales, 4);
    UNROLL for (int c = 0; c < 4; c++) block->q[c] = expand_pairs(p + 16, c);
    expand_d_dmin(p + 80, &block->d, &block->dmin);
}

SIMD_INLINE void expand_q3_k(const uint8_t *p, struct block *block)
{
    __m512i bits = load32_twice(p);

    block->scale = expand_q3_k_scales(p + 96);
    UNROLL for (int c = 0; c < 4; c++)
    {
        __m512i low = expand_pairs(p + 32, c);
        __mmask64 set = _mm512_test_epi8_mask(bits, halves8(1 << (2 * c), 2 << (2 * c)));

        block->q[c] = _mm512_mask_add_epi8(low, set, low, _mm512_set1_epi8(4));
    }
    block->d = load_half(p + 108);
}

SIMD_INLINE void expand_iq4_xs(const uint8_t *p, struct block *block)
{
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)quant_iq4_values));
    const __m512i shifts =
        _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0);
    uint32_t high = half_load(p + 2), low = load_u32(p + 4);
    /* each byte of scales: a nibble of `low` and a pair of bits of `high` */
    uint64_t nibbles = _pdep_u64(low, 0x0f0f0f0f0f0f0f0f), pairs = _pdep_u64(high, 0x3030303030303030);
    __m256i scales = twice8(nibbles | pairs);

    block->scale = _mm256_sub_epi16(scales, _mm256_set1_epi16(32));
    UNROLL for (int c = 0; c < 4; c++)
    {
        __m512i twice = _mm512_permutex_epi64(load32_twice(p + 8 + 32 * c), 0x44);

        twice = _mm512_mask_permutex_epi64(twice, 0xf0, load32_twice(p + 8 + 32 * c), 0xee);
        block->q[c] =
            _mm512_shuffle_epi8(values, _mm512_and_si512(_mm512_srlv_epi16(twice, shifts), _mm512_set1_epi8(15)));
    }
    block->d = load_half(p);
}

SIMD_INLINE void expand(enum quant_type type, const uint8_t *p, struct block *block)
{
    switch (type) {
    case QUANT_Q2_K:
        expand_q2_k(p, block);
        break;
    case QUANT_Q3_K:
        expand_q3_k(p, block);
        break;
    case QUANT_Q4_K:
        expand_q4_k(p, block);
        break;
    case QUANT_Q5_K:
        expand_q5_k(p, block);
        break;
    case QUANT_Q6_K:
        expand_q6_k(p, block);
        break;
    default: /* QUANT_IQ4_XS */
        expand_iq4_xs(p, block);
    }
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

    expand(type, p, &w);
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
