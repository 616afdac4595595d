/* SPDX-License-Identifier: MIT
 *
 * avx2.h: what the AVX2 files share. Internal to that level and to AVX-VNNI's, which is the same files compiled a
 * second time: there two or three instructions of the innermost step become one.
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

/* Scales 2c and 2c + 1, eight times each. */
SIMD_INLINE __m256i scales_of(__m256i scale, int c)
{
    const __m256i first =
        _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100);
    /* the half of `scale` in which the two lie, in both halves */
    __m256i half =
        c < 4 ? _mm256_permute2x128_si256(scale, scale, 0x00) : _mm256_permute2x128_si256(scale, scale, 0x11);

    return _mm256_shuffle_epi8(half, _mm256_add_epi8(first, _mm256_set1_epi8((char)(c % 4 * 4))));
}

#if defined(__AVXVNNI__)
#define AVX2_FILL(name) avxvnni_##name##_fill

/* Signed times signed, four added to 32 bits. */
SIMD_INLINE __m256i quad_products(__m256i w, __m256i x)
{
    return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* Pairs of 16-bit products, times their scales, to 32-bit sums. */
SIMD_INLINE __m256i scaled_add(__m256i sums, __m256i products, __m256i scale)
{
    return _mm256_dpwssd_avx_epi32(sums, products, scale);
}
#else
#define AVX2_FILL(name) avx2_##name##_fill

SIMD_INLINE __m256i quad_products(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(signed_products(w, x), _mm256_set1_epi16(1));
}

SIMD_INLINE __m256i scaled_add(__m256i sums, __m256i products, __m256i scale)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(products, scale));
}
#endif

void AVX2_FILL(iq)(struct cpu_kernels *k);
void AVX2_FILL(small)(struct cpu_kernels *k);
void AVX2_FILL(super)(struct cpu_kernels *k);

#endif
