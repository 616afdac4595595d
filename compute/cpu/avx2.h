/* SPDX-License-Identifier: MIT
 *
 * avx2.h: what the AVX2 files share. Internal to that level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX2_H
#define EXPERTD_COMPUTE_CPU_AVX2_H

#include "compute/cpu/avx_common.h"

SIMD_INLINE __m256i load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Signed times signed, pairs added to 16 bits: no factor is -128 in both, and neither sum overflows. */
SIMD_INLINE __m256i signed_products(__m256i w, __m256i x)
{
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

void avx2_small_fill(struct cpu_kernels *k);
void avx2_super_fill(struct cpu_kernels *k);

#endif
