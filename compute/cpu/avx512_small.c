/* SPDX-License-Identifier: MIT
 *
 * avx512_small.c: products of 32-weight blocks (ACT_SMALL in kernels.h), two blocks to a register.
 *
 * vpdpbusd wants one factor unsigned: weights are biased by 128, and 128 times the activations of the same run is taken
 * off again, once per activation for all rows.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/unpack_kernels.h"

struct small_row {
    const int8_t *q;
    const float *d, *m; /* of weights */
    const int32_t *sum; /* of activations, at the place of m */
};

SIMD_INLINE struct small_row small_row_at(const void *row, size_t n)
{
    const char *p = row;

    return (struct small_row){
        .q = row,
        .d = (const float *)(p + small_d_offset(n)),
        .m = (const float *)(p + small_m_offset(n)),
        .sum = (const int32_t *)(p + small_m_offset(n)),
    };
}

/* Two scales to the two halves; `pairs` masks the second away where there is none. */
SIMD_INLINE __m512 scales_at(const float *d, __mmask8 which)
{
    const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);

    return _mm512_permutexvar_ps(halves, _mm512_castps128_ps512(_mm_maskz_loadu_ps(which, d)));
}

SIMD_INLINE __m512i bytes_at(const int8_t *q, __mmask64 which)
{
    return _mm512_maskz_loadu_epi8(which, q);
}

/* Blocks b and, if `which` says so, b + 1, of four rows or one and some tokens. */
SIMD_INLINE void blocks_add(const struct small_row *w, const struct small_row *a, const int n_rows, const int n_tokens,
                            size_t b, __mmask8 which, __m512 lanes[4][4])
{
    const __m512i bias = _mm512_set1_epi8((char)128);
    __mmask64 bytes = which == 3 ? ~(__mmask64)0 : 0xffffffff;
    __m512i q[4];
    __m512 d[4];

    UNROLL for (int r = 0; r < n_rows; r++)
    {
        q[r] = _mm512_xor_si512(bytes_at(w[r].q + 32 * b, bytes), bias);
        d[r] = scales_at(w[r].d + b, which);
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        __m512i x = bytes_at(a[t].q + 32 * b, bytes);
        __m512 x_d = scales_at(a[t].d + b, which);
        __m512i excess = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_dpbusd_epi32(_mm512_setzero_si512(), bias, x));

        UNROLL for (int r = 0; r < n_rows; r++) lanes[r][t] =
            _mm512_add_ps(lanes[r][t], _mm512_mul_ps(_mm512_mul_ps(d[r], x_d),
                                                     _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(excess, q[r], x))));
    }
}

SIMD_INLINE float mins_sum(const struct small_row *w, const struct small_row *a, size_t n_blocks)
{
    float mins[2] = { 0, 0 };

    for (size_t b = 0; b < n_blocks; b++)
        mins[b % 2] += w->m[b] * a->d[b] * (float)a->sum[b];
    return mins[0] + mins[1];
}

SIMD_INLINE void dots_tile(bool mins, const struct small_row *w, const int n_rows, size_t n, const void *const *acts,
                           const int n_tokens, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SMALL, b = 0;
    struct small_row a[4];
    __m512 lanes[4][4];

    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        a[t] = small_row_at(acts[t], n);
        UNROLL for (int r = 0; r < n_rows; r++) lanes[r][t] = _mm512_setzero_ps();
    }
    for (; b + 2 <= n_blocks; b += 2)
        blocks_add(w, a, n_rows, n_tokens, b, 3, lanes);
    if (b < n_blocks)
        blocks_add(w, a, n_rows, n_tokens, b, 1, lanes);
    UNROLL for (int t = 0; t < n_tokens; t++) UNROLL for (int r = 0; r < n_rows; r++)
    {
        float sum = sum16(lanes[r][t]);

        y[(size_t)t * y_stride + (size_t)r] = mins ? sum + mins_sum(&w[r], &a[t], n_blocks) : sum;
    }
}

SIMD_INLINE void dots_small(bool mins, const void *rows, size_t row_bytes, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, float *y, size_t y_stride)
{
    struct small_row w[4];
    size_t t = 0;

    for (size_t r = 0; r < n_rows; r++)
        w[r] = small_row_at((const char *)rows + r * row_bytes, n);
    if (n_rows < DOTS_ROWS) {
        for (; t < n_acts; t++)
            for (size_t r = 0; r < n_rows; r++)
                dots_tile(mins, w + r, 1, n, acts + t, 1, y + t * y_stride + r, y_stride);
        return;
    }
    for (; t + 4 <= n_acts; t += 4)
        dots_tile(mins, w, 4, n, acts + t, 4, y + t * y_stride, y_stride);
    for (; t < n_acts; t++)
        dots_tile(mins, w, 4, n, acts + t, 1, y + t * y_stride, y_stride);
}

static void dots_plain(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                       size_t n_acts, float *y, size_t y_stride)
{
    dots_small(false, rows, row_bytes, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_mins(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                      size_t n_acts, float *y, size_t y_stride)
{
    dots_small(true, rows, row_bytes, n_rows, n, acts, n_acts, y, y_stride);
}

void avx512_small_fill(struct cpu_kernels *k)
{
    k->dots[QUANT_Q4_0] = k->dots[QUANT_Q5_0] = k->dots[QUANT_Q8_0] = dots_plain;
    k->dots[QUANT_IQ4_NL] = k->dots[QUANT_MXFP4] = dots_plain;
    k->dots[QUANT_Q4_1] = k->dots[QUANT_Q5_1] = dots_mins;
}
