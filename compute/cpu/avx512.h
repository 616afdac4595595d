/* SPDX-License-Identifier: MIT
 *
 * avx512.h: what the AVX-512 files share. Internal to that level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_H
#define EXPERTD_COMPUTE_CPU_AVX512_H

#include "compute/cpu/avx_common.h"

/* Neighbours added: in each quarter 0 + 2 and 1 + 3 of a, b, a, b. */
SIMD_INLINE __m512i halve32(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

SIMD_INLINE __m512i halve64(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* In each quarter, the sums of that quarter of four. */
SIMD_INLINE __m512i quarter_sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
    return halve64(halve32(a, b), halve32(c, d));
}

/* The sums of the sixteen lanes of eight: lane i is the sum of s[i]. */
SIMD_INLINE __m256i wide_sums8(const __m512i s[8])
{
    __m512i a = quarter_sums(s[0], s[1], s[2], s[3]), b = quarter_sums(s[4], s[5], s[6], s[7]);
    __m512i half = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));

    half = _mm512_add_epi32(half, _mm512_shuffle_i32x4(half, half, 0xb1));
    return _mm512_castsi512_si256(_mm512_shuffle_i32x4(half, half, 0x08));
}

/* Lane i is the sum of half i % 2 of s[i / 2]. */
SIMD_INLINE __m256i half_sums(const __m512i s[4])
{
    const __m512i even_odd = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i quarters = quarter_sums(s[0], s[1], s[2], s[3]);
    __m512i halves = _mm512_add_epi32(quarters, _mm512_shuffle_i32x4(quarters, quarters, 0xb1));

    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(even_odd, halves));
}

/* The scales of m <= 8 activation blocks. */
SIMD_INLINE __m256 act_scales(const struct act_super *a, size_t m)
{
    const __m256i index =
        _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)sizeof(struct act_super)));

    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), &a->d, index, _mm256_castsi256_ps(first_lanes(m)), 1);
}

enum { AHEAD_BYTES = 2304, CACHE_LINE = 64 };

/* What is to be fetched while row r of a run is multiplied: rows further on, or where reading goes on after the run. */
SIMD_INLINE const uint8_t *run_ahead(const struct row_runs *runs, const struct row_run *run, size_t r)
{
    size_t bytes = runs->row_bytes, distance = bytes < AHEAD_BYTES ? AHEAD_BYTES / bytes * bytes : AHEAD_BYTES;
    size_t at = r * bytes + distance, end = run->n_rows * bytes;

    return at < end || run->next == NULL ? (const uint8_t *)run->w + at : (const uint8_t *)run->next + (at - end);
}

/* Ask for what lies at block i of `ahead`: blocks have `size` bytes. */
SIMD_INLINE void look_ahead(const uint8_t *ahead, size_t size, size_t i)
{
    for (size_t line = i * size / CACHE_LINE; line < (i + 1) * size / CACHE_LINE; line++)
        _mm_prefetch((const char *)ahead + line * CACHE_LINE, _MM_HINT_T0);
}

/* One run and one act. */
SIMD_INLINE struct row_runs one_run(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    return (struct row_runs){
        .run[0] = { w, n_rows, NULL, y }, .row_bytes = row_bytes, .n = n, .acts = { act }, .n_acts = 1
    };
}

SIMD_INLINE size_t runs_rows(const struct row_runs *runs)
{
    return runs->run[0].n_rows > runs->run[1].n_rows ? runs->run[0].n_rows : runs->run[1].n_rows;
}

/* The two kernels of a format. */
#define RUNS_KERNELS(name, body)                                                                                 \
    static void runs_##name(const struct row_runs *runs)                                                         \
    {                                                                                                            \
        body;                                                                                                    \
    }                                                                                                            \
    static void rows_##name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                            \
        struct row_runs runs = one_run(w, row_bytes, n_rows, n, act, y);                                         \
                                                                                                                 \
        runs_##name(&runs);                                                                                      \
    }
#define RUNS_FILL(name, type)    \
    k->rows[type] = rows_##name; \
    k->runs[type] = runs_##name;

/* Which of 16 scales goes to each of the 32 pairs of weights 64c .. 64c+63. */
SIMD_INLINE __m512i scale_index(int c)
{
    const __m512i groups = _mm512_set_epi16(3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0,
                                            0, 0, 0, 0, 0, 0, 0);

    return _mm512_add_epi16(groups, _mm512_set1_epi16((short)(4 * c)));
}

void avx512_iq_fill(struct cpu_kernels *k);
void avx512_headed_fill(struct cpu_kernels *k);
void avx512_nibbles_fill(struct cpu_kernels *k);
void avx512_small_fill(struct cpu_kernels *k);
void avx512_super_fill(struct cpu_kernels *k);

#endif
