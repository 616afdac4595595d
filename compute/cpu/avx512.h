/* SPDX-License-Identifier: MIT
 *
 * avx512.h: what the AVX-512 files share. Internal to that level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_H
#define EXPERTD_COMPUTE_CPU_AVX512_H

#include "compute/cpu/kernels.h"
#include "compute/half.h"

#include <immintrin.h>

#define SIMD_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Lanes 0-7 and 8-15 from two numbers. */
SIMD_INLINE __m512 halves_of(float low, float high)
{
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(low), 0xff00, _mm_set_ss(high));
}

/* The order of vec_sum for eight lanes, and for sixteen. */
SIMD_INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

SIMD_INLINE float sum16(__m512 v)
{
    return sum8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

void avx512_small_fill(struct cpu_kernels *k);
void avx512_super_fill(struct cpu_kernels *k);

#endif
