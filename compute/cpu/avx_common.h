/* SPDX-License-Identifier: MIT
 *
 * avx_common.h: what the AVX2 and the AVX-512 files share: the sum of eight lanes, and the scales of 256-weight blocks
 * unpacked to sixteen numbers of 16 bits. Internal to those levels; needs AVX2 and F16C.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX_COMMON_H
#define EXPERTD_COMPUTE_CPU_AVX_COMMON_H

#include "compute/cpu/kernels.h"
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
