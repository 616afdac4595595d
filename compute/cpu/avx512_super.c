/* SPDX-License-Identifier: MIT
 *
 * avx512_super.c: products of super-blocks (ACT_SUPER in kernels.h).
 *
 * Weights are unsigned bytes, activations signed: vpmaddubsw adds pairs of products to 16 bits, which cannot overflow
 * with weights up to 63, and vpdpwssd multiplies them by the groups' scales into 32 bits. A register holds 64 weights,
 * so lanes l and l + 8 belong to the same run of four and are added before they become f32.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/unpack_kernels.h"

/* Which of 16 scales goes to each of the 32 pairs of weights 64c .. 64c+63. */
SIMD_INLINE __m512i scale_index(int c)
{
    const __m512i groups = _mm512_set_epi16(3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0,
                                            0, 0, 0, 0, 0, 0, 0);

    return _mm512_add_epi16(groups, _mm512_set1_epi16((short)(4 * c)));
}

SIMD_INLINE __m256i fold(__m512i sums)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
}

/* Folds of two tokens, one in each half. */
SIMD_INLINE __m512i fold_pair(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xee));
}

/* What a format has besides scales. */
enum extra { OFFSET, MINS, SIGNED };

/* 16-bit sums of products of 32 pairs. */
SIMD_INLINE __m512i pair_products(enum extra extra, __m512i w, __m512i a)
{
    __mmask64 negative;

    if (extra != SIGNED)
        return _mm512_maddubs_epi16(w, a);
    negative = _mm512_movepi8_mask(w);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(w), _mm512_mask_sub_epi8(a, negative, _mm512_setzero_si512(), a));
}

/* Integer sums of one block: [row][token], sixteen lanes. */
SIMD_INLINE void block_sums(enum extra extra, const struct quant_super *const *w, const struct act_super *const *a,
                            const int n_rows, const int n_tokens, __m512i sums[4][4])
{
    UNROLL for (int r = 0; r < n_rows; r++) UNROLL for (int t = 0; t < n_tokens; t++) sums[r][t] =
        _mm512_setzero_si512();
    UNROLL for (int c = 0; c < 4; c++)
    {
        __m512i q[4], scale[4];

        UNROLL for (int r = 0; r < n_rows; r++)
        {
            q[r] = _mm512_load_si512(w[r]->q + 64 * c);
            scale[r] = _mm512_permutexvar_epi16(
                scale_index(c), _mm512_castsi256_si512(_mm256_load_si256((const __m256i *)w[r]->scale)));
        }
        UNROLL for (int t = 0; t < n_tokens; t++)
        {
            __m512i x = _mm512_load_si512(a[t]->q + 64 * c);

            UNROLL for (int r = 0; r < n_rows; r++) sums[r][t] =
                _mm512_dpwssd_epi32(sums[r][t], pair_products(extra, q[r], x), scale[r]);
        }
    }
}

SIMD_INLINE __m256i load16(const int16_t *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

/* One token: eight lanes. */
SIMD_INLINE void block_add_one(enum extra extra, const struct quant_super *w, const struct act_super *a, __m512i sums,
                               __m256 *lanes)
{
    __m256i whole = fold(sums), act_sums = load16(a->sum);

    if (extra == OFFSET)
        whole = _mm256_sub_epi32(
            whole, _mm256_mullo_epi32(_mm256_madd_epi16(load16(w->scale), act_sums), _mm256_set1_epi32(w->offset)));
    *lanes = _mm256_add_ps(*lanes, _mm256_mul_ps(_mm256_set1_ps(w->d * a->d), _mm256_cvtepi32_ps(whole)));
    if (extra == MINS)
        *lanes = _mm256_sub_ps(*lanes, _mm256_mul_ps(_mm256_set1_ps(w->dmin * a->d),
                                                     _mm256_cvtepi32_ps(_mm256_madd_epi16(load16(w->min), act_sums))));
}

/* Two tokens: eight lanes each. */
SIMD_INLINE void block_add_pair(enum extra extra, const struct quant_super *w, __m512i whole, __m512i act_sums,
                                __m512 act_d, __m512 *lanes)
{
    __m512i scale = _mm512_broadcast_i64x4(load16(w->scale));

    if (extra == OFFSET)
        whole = _mm512_sub_epi32(whole,
                                 _mm512_mullo_epi32(_mm512_madd_epi16(scale, act_sums), _mm512_set1_epi32(w->offset)));
    *lanes =
        _mm512_add_ps(*lanes, _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(w->d), act_d), _mm512_cvtepi32_ps(whole)));
    if (extra == MINS) {
        __m512i mins = _mm512_madd_epi16(_mm512_broadcast_i64x4(load16(w->min)), act_sums);

        *lanes = _mm512_sub_ps(*lanes,
                               _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(w->dmin), act_d), _mm512_cvtepi32_ps(mins)));
    }
}

SIMD_INLINE void dots_one_token(enum extra extra, const struct quant_super *const *rows, const int n_rows, size_t n,
                                const void *act, float *y)
{
    const struct act_super *a = act;
    __m256 lanes[4] = { 0 };

    for (size_t b = 0; b < n / QUANT_SUPER; b++, a++) {
        const struct quant_super *w[4];
        __m512i sums[4][4];

        UNROLL for (int r = 0; r < n_rows; r++) w[r] = rows[r] + b;
        block_sums(extra, w, &a, n_rows, 1, sums);
        UNROLL for (int r = 0; r < n_rows; r++) block_add_one(extra, w[r], a, sums[r][0], &lanes[r]);
    }
    UNROLL for (int r = 0; r < n_rows; r++) y[r] = sum8(lanes[r]);
}

SIMD_INLINE void dots_four_tokens(enum extra extra, const struct quant_super *const *rows, const int n_rows, size_t n,
                                  const void *const *acts, float *y, size_t y_stride)
{
    __m512 lanes[4][2];

    UNROLL for (int r = 0; r < n_rows; r++) lanes[r][0] = lanes[r][1] = _mm512_setzero_ps();
    for (size_t b = 0; b < n / QUANT_SUPER; b++) {
        const struct quant_super *w[4];
        const struct act_super *a[4];
        __m512i sums[4][4];

        UNROLL for (int r = 0; r < n_rows; r++) w[r] = rows[r] + b;
        UNROLL for (int t = 0; t < 4; t++) a[t] = (const struct act_super *)acts[t] + b;
        block_sums(extra, w, a, n_rows, 4, sums);
        UNROLL for (int p = 0; p < 2; p++)
        {
            __m512i act_sums =
                _mm512_inserti64x4(_mm512_castsi256_si512(load16(a[2 * p]->sum)), load16(a[2 * p + 1]->sum), 1);
            __m512 act_d = halves_of(a[2 * p]->d, a[2 * p + 1]->d);

            UNROLL for (int r = 0; r < n_rows; r++) block_add_pair(
                extra, w[r], fold_pair(sums[r][2 * p], sums[r][2 * p + 1]), act_sums, act_d, &lanes[r][p]);
        }
    }
    UNROLL for (int r = 0; r < n_rows; r++) UNROLL for (int p = 0; p < 2; p++)
    {
        y[(size_t)(2 * p) * y_stride + (size_t)r] = sum8(_mm512_castps512_ps256(lanes[r][p]));
        y[(size_t)(2 * p + 1) * y_stride + (size_t)r] = sum8(_mm512_extractf32x8_ps(lanes[r][p], 1));
    }
}

SIMD_INLINE void dots_super(enum extra extra, const void *rows, size_t row_bytes, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, float *y, size_t y_stride)
{
    const struct quant_super *row[4];
    size_t t = 0;

    for (size_t r = 0; r < n_rows; r++)
        row[r] = (const struct quant_super *)((const char *)rows + r * row_bytes);
    if (n_rows < DOTS_ROWS) {
        for (; t < n_acts; t++)
            for (size_t r = 0; r < n_rows; r++)
                dots_one_token(extra, row + r, 1, n, acts[t], y + t * y_stride + r);
        return;
    }
    for (; t + 4 <= n_acts; t += 4)
        dots_four_tokens(extra, row, 4, n, acts + t, y + t * y_stride, y_stride);
    for (; t < n_acts; t++)
        dots_one_token(extra, row, 4, n, acts[t], y + t * y_stride);
}

static void dots_offset(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                        size_t n_acts, float *y, size_t y_stride)
{
    dots_super(OFFSET, rows, row_bytes, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_mins(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                      size_t n_acts, float *y, size_t y_stride)
{
    dots_super(MINS, rows, row_bytes, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_signed(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                        size_t n_acts, float *y, size_t y_stride)
{
    dots_super(SIGNED, rows, row_bytes, n_rows, n, acts, n_acts, y, y_stride);
}

void avx512_super_fill(struct cpu_kernels *k)
{
    k->dots[QUANT_Q2_K] = k->dots[QUANT_Q4_K] = k->dots[QUANT_Q5_K] = dots_mins;
    k->dots[QUANT_Q3_K] = k->dots[QUANT_Q6_K] = dots_offset;
    k->dots[QUANT_IQ4_XS] = dots_signed;
}
