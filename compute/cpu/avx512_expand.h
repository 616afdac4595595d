/* SPDX-License-Identifier: MIT
 *
 * avx512_expand.h: packed blocks to registers of unsigned bytes: a super-block of 256 weights to four, two blocks of 32
 * to one. Internal to the AVX-512 level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_EXPAND_H
#define EXPERTD_COMPUTE_CPU_AVX512_EXPAND_H

#include "compute/cpu/avx512.h"

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

SIMD_INLINE void expand_super(enum quant_type type, const uint8_t *p, struct block *block)
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

/* Two 16-byte groups of nibbles to 64 bytes: low and high nibbles of one, then of the other. */
SIMD_INLINE __m512i nibbles_of(const uint8_t *p0, const uint8_t *p1)
{
    const __m512i shifts =
        _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0);
    __m256i first = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p0));
    __m256i second = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p1));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);

    return _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15));
}

SIMD_INLINE __m512i fives_of(const uint8_t *nibbles0, const uint8_t *mask0, const uint8_t *nibbles1,
                             const uint8_t *mask1)
{
    __m512i low = nibbles_of(nibbles0, nibbles1);
    uint32_t m0, m1;

    memcpy(&m0, mask0, sizeof(m0));
    memcpy(&m1, mask1, sizeof(m1));
    return _mm512_mask_add_epi8(low, m0 | (uint64_t)m1 << 32, low, _mm512_set1_epi8(16));
}

SIMD_INLINE __m512i biased_table(const int8_t *values)
{
    return _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values)),
                           _mm512_set1_epi8((char)128));
}

/* By how much (a power of two) expand makes weights greater than they are; -1: not at all. */
SIMD_INLINE int bias_shift(enum quant_type type)
{
    switch (type) {
    case QUANT_Q4_0:
        return 3;
    case QUANT_Q5_0:
        return 4;
    case QUANT_Q4_1:
    case QUANT_Q5_1:
        return -1;
    default:
        return 7;
    }
}

/* The 64 weights of two blocks, as unsigned bytes. */
SIMD_INLINE __m512i expand_small(enum quant_type type, const uint8_t *p0, const uint8_t *p1)
{
    switch (type) {
    case QUANT_Q4_0:
        return nibbles_of(p0 + 2, p1 + 2);
    case QUANT_Q4_1:
        return nibbles_of(p0 + 4, p1 + 4);
    case QUANT_Q5_0:
        return fives_of(p0 + 6, p0 + 2, p1 + 6, p1 + 2);
    case QUANT_Q5_1:
        return fives_of(p0 + 8, p0 + 4, p1 + 8, p1 + 4);
    case QUANT_IQ4_NL:
        return _mm512_shuffle_epi8(biased_table(quant_iq4_values), nibbles_of(p0 + 2, p1 + 2));
    case QUANT_MXFP4:
        return _mm512_shuffle_epi8(biased_table(quant_mxfp4_values), nibbles_of(p0 + 1, p1 + 1));
    default: /* QUANT_Q8_0 */
        return _mm512_xor_si512(
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p0 + 2))),
                               _mm256_loadu_si256((const __m256i *)(p1 + 2)), 1),
            _mm512_set1_epi8((char)128));
    }
}

#endif
