/* SPDX-License-Identifier: MIT
 *
 * avx512.h: what the AVX-512 files share. Internal to that level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_H
#define EXPERTD_COMPUTE_CPU_AVX512_H

#include "compute/cpu/avx_common.h"

/* Lanes 0-7 and 8-15 from two numbers. */
SIMD_INLINE __m512 halves_of(float low, float high)
{
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(low), 0xff00, _mm_set_ss(high));
}

/* The order of vec_sum for sixteen lanes. */
SIMD_INLINE float sum16(__m512 v)
{
    return sum8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

void avx512_small_fill(struct cpu_kernels *k);
void avx512_super_fill(struct cpu_kernels *k);

#endif
