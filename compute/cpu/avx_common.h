/* SPDX-License-Identifier: MIT
 *
 * avx_common.h: what the AVX2 and the AVX-512 files share: the eight lanes in which products are summed, and scales
 * taken out of packed blocks. Internal to those levels; needs AVX2 and F16C.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX_COMMON_H
#define EXPERTD_COMPUTE_CPU_AVX_COMMON_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/tile_rows.h"
#include "compute/half.h"

#include <immintrin.h>
#include <string.h>

#define SIMD_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* The order of vec_sum for eight lanes. */
SIMD_INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Eight blocks go to the eight lanes at once; the last few of a row to the first few. */
enum { LANE_BLOCKS = 8 };

SIMD_INLINE __m256i first_lanes(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* n <= 8 numbers, 0 behind them. */
SIMD_INLINE __m256 floats_at(const float *p, size_t n)
{
    return n == LANE_BLOCKS ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first_lanes(n));
}

SIMD_INLINE __m256i ints_at(const int32_t *p, size_t n)
{
    return n == LANE_BLOCKS ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskload_epi32(p, first_lanes(n));
}

/* n <= 8 halves that lie some bytes apart, as f32. */
SIMD_INLINE __m256 halves_at(const uint8_t *p, size_t stride, size_t n)
{
    __m128i v = _mm_setzero_si128();

#define ONE_HALF(i) v = n > i ? _mm_insert_epi16(v, half_load(p + i * stride), i) : v
    ONE_HALF(0);
    ONE_HALF(1);
    ONE_HALF(2);
    ONE_HALF(3);
    ONE_HALF(4);
    ONE_HALF(5);
    ONE_HALF(6);
    ONE_HALF(7);
#undef ONE_HALF
    return _mm256_cvtph_ps(v);
}

/* n <= 8 scales of MXFP4; see mxfp4_scale. */
SIMD_INLINE __m256 mxfp4_scales_at(const uint8_t *p, size_t stride, size_t n)
{
    int32_t exponents[LANE_BLOCKS] = { 0 };
    __m256i e, normal, small;

    UNROLL for (size_t i = 0; i < LANE_BLOCKS; i++) exponents[i] = i < n ? p[i * stride] : 0;
    e = _mm256_loadu_si256((const __m256i *)exponents);
    normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
}

/* The scales of n <= 8 packed blocks of ACT_SMALL. */
SIMD_INLINE __m256 small_scales_at(enum quant_type type, const uint8_t *p, size_t block_bytes, size_t n)
{
    return type == QUANT_MXFP4 ? mxfp4_scales_at(p, block_bytes, n) : halves_at(p, block_bytes, n);
}

/* The sums of the lanes of eight: lane i is the sum of s[i]. */
SIMD_INLINE __m256i sums8(const __m256i s[8])
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(s[4], s[5]), _mm256_hadd_epi32(s[6], s[7]));

    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* What kernels.h says happens with a block's whole number, for eight blocks. */
SIMD_INLINE __m256 lanes_add(__m256 lanes, __m256 d, __m256 act_d, __m256i whole)
{
    return _mm256_add_ps(lanes, _mm256_mul_ps(_mm256_mul_ps(d, act_d), _mm256_cvtepi32_ps(whole)));
}

SIMD_INLINE __m256 lanes_sub(__m256 lanes, __m256 d, __m256 act_d, __m256i whole)
{
    return _mm256_sub_ps(lanes, _mm256_mul_ps(_mm256_mul_ps(d, act_d), _mm256_cvtepi32_ps(whole)));
}

SIMD_INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Eight numbers of 8 bits, each twice, to 16 bits. */
SIMD_INLINE __m256i twice8(uint64_t bytes)
{
    __m128i v = _mm_cvtsi64_si128((long long)bytes);

    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(v, v));
}

/* See unpack_scales_mins. */
SIMD_INLINE void expand_scales_mins(const uint8_t *p, __m256i *ret_scale, __m256i *ret_min)
{
    uint32_t a = load_u32(p), b = load_u32(p + 4), c = load_u32(p + 8);
    uint64_t high_scales = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint64_t high_mins = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);

    *ret_scale = twice8((a & 0x3f3f3f3f) | high_scales << 32);
    *ret_min = twice8((b & 0x3f3f3f3f) | high_mins << 32);
}

SIMD_INLINE void expand_d_dmin(const uint8_t *p, float *ret_d, float *ret_dmin)
{
    __m128 v = _mm_cvtph_ps(_mm_cvtsi32_si128((int)load_u32(p)));

    *ret_d = _mm_cvtss_f32(v);
    *ret_dmin = _mm_cvtss_f32(_mm_movehdup_ps(v));
}

SIMD_INLINE __m256i expand_q3_k_scales(const uint8_t *p)
{
    uint32_t a = load_u32(p), b = load_u32(p + 4), high = load_u32(p + 8);
    __m128i scales = _mm_set_epi32(
        (int)((b >> 4 & 0x0f0f0f0f) | (high >> 2 & 0x30303030)), (int)((a >> 4 & 0x0f0f0f0f) | (high & 0x30303030)),
        (int)((b & 0x0f0f0f0f) | (high << 2 & 0x30303030)), (int)((a & 0x0f0f0f0f) | (high << 4 & 0x30303030)));

    return _mm256_cvtepi8_epi16(_mm_sub_epi8(scales, _mm_set1_epi8(32)));
}

#endif
