/* SPDX-License-Identifier: MIT
 *
 * avxvnni.h: the instructions of AVX-VNNI in those of AVX2, so that the kernels of that level run where it is lacking.
 *
 * Included before everything else (-include) when those kernels are compiled for tests. Source of what the instructions
 * do: Intel's instruction set reference, VPDPBUSD and VPDPWSSD.
 */
#ifndef EXPERTD_TESTS_PARITY_EMULATED_AVXVNNI_H
#define EXPERTD_TESTS_PARITY_EMULATED_AVXVNNI_H

#include <immintrin.h>

#define __AVXVNNI__ 1

/* Four products of unsigned and signed bytes, added to each 32-bit number. */
static inline __m256i emulated_dpbusd(__m256i sums, __m256i u, __m256i s)
{
    __m256i even =
        _mm256_madd_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(s, 8), 8));
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(s, 8));

    return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}

static inline __m256i emulated_dpwssd(__m256i sums, __m256i a, __m256i b)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}

#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define _mm256_dpwssd_avx_epi32 emulated_dpwssd

#endif
