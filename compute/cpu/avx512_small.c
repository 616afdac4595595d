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

/* Two 16-byte groups of nibbles to 64 bytes: low and high nibbles of one, then of the other. */
SIMD_INLINE __m512i nibbles_of(const uint8_t *p0, const uint8_t *p1)
{
    const __m512i shifts =
        _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0);
    __m256i first = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p0));
    __m256i second = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p1));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);

    return _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15));
}

SIMD_INLINE __m512i fives_of(const uint8_t *nibbles0, const uint8_t *mask0, const uint8_t *nibbles1,
                             const uint8_t *mask1)
{
    __m512i low = nibbles_of(nibbles0, nibbles1);
    uint32_t m0, m1;

    memcpy(&m0, mask0, sizeof(m0));
    memcpy(&m1, mask1, sizeof(m1));
    return _mm512_mask_add_epi8(low, m0 | (uint64_t)m1 << 32, low, _mm512_set1_epi8(16));
}

SIMD_INLINE __m512i biased_table(const int8_t *values)
{
    return _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values)),
                           _mm512_set1_epi8((char)128));
}

/* The 64 weights of two blocks, biased by 128. */
SIMD_INLINE __m512i expand(enum quant_type type, const uint8_t *p0, const uint8_t *p1)
{
    switch (type) {
    case QUANT_Q4_0:
        return _mm512_add_epi8(nibbles_of(p0 + 2, p1 + 2), _mm512_set1_epi8(120));
    case QUANT_Q4_1:
        return _mm512_add_epi8(nibbles_of(p0 + 4, p1 + 4), _mm512_set1_epi8((char)128));
    case QUANT_Q5_0:
        return _mm512_add_epi8(fives_of(p0 + 6, p0 + 2, p1 + 6, p1 + 2), _mm512_set1_epi8(112));
    case QUANT_Q5_1:
        return _mm512_add_epi8(fives_of(p0 + 8, p0 + 4, p1 + 8, p1 + 4), _mm512_set1_epi8((char)128));
    case QUANT_IQ4_NL:
        return _mm512_shuffle_epi8(biased_table(quant_iq4_values), nibbles_of(p0 + 2, p1 + 2));
    case QUANT_MXFP4:
        return _mm512_shuffle_epi8(biased_table(quant_mxfp4_values), nibbles_of(p0 + 1, p1 + 1));
    default: /* QUANT_Q8_0 */
        return _mm512_xor_si512(
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(p0 + 2))),
                               _mm256_loadu_si256((const __m256i *)(p1 + 2)), 1),
            _mm512_set1_epi8((char)128));
    }
}

/* The scales of two blocks, to the two halves. */
SIMD_INLINE __m512 expand_d(enum quant_type type, const uint8_t *p0, const uint8_t *p1)
{
    const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128 pair;

    if (type == QUANT_MXFP4)
        pair = _mm_unpacklo_ps(_mm_set_ss(mxfp4_scale(p0[0])), _mm_set_ss(mxfp4_scale(p1[0])));
    else
        pair = _mm_cvtph_ps(_mm_insert_epi16(_mm_cvtsi32_si128(half_load(p0)), half_load(p1), 1));
    return _mm512_permutexvar_ps(halves, _mm512_castps128_ps512(pair));
}

SIMD_INLINE float packed_mins(const uint8_t *p, size_t block_bytes, const struct small_row *a, size_t n_blocks)
{
    float mins[2] = { 0, 0 };

    for (size_t b = 0; b < n_blocks; b++)
        mins[b % 2] += _cvtsh_ss(half_load(p + b * block_bytes + 2)) * a->d[b] * (float)a->sum[b];
    return mins[0] + mins[1];
}

/* Blocks b and b + 1 of some rows; the last block alone when `which` says so. */
SIMD_INLINE void packed_add(enum quant_type type, size_t block_bytes, const uint8_t *p, size_t row_bytes,
                            const int n_rows, const struct small_row *a, size_t b, __mmask8 which, __m512 lanes[4])
{
    const __m512i bias = _mm512_set1_epi8((char)128);
    __m512i x = bytes_at(a->q + 32 * b, which == 3 ? ~(__mmask64)0 : 0xffffffff);
    __m512 x_d = scales_at(a->d + b, which);
    __m512i excess = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_dpbusd_epi32(_mm512_setzero_si512(), bias, x));

    UNROLL for (int r = 0; r < n_rows; r++)
    {
        const uint8_t *p0 = p + (size_t)r * row_bytes + b * block_bytes, *p1 = which == 3 ? p0 + block_bytes : p0;
        __m512 d = _mm512_maskz_mul_ps(which == 3 ? 0xffff : 0xff, expand_d(type, p0, p1), x_d);

        lanes[r] = _mm512_add_ps(
            lanes[r], _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(excess, expand(type, p0, p1), x))));
    }
}

SIMD_INLINE void packed_rows(enum quant_type type, size_t block_bytes, const uint8_t *p, size_t row_bytes,
                             const int n_rows, size_t n, const struct small_row *a, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SMALL, b = 0;
    __m512 lanes[4];

    UNROLL for (int r = 0; r < n_rows; r++) lanes[r] = _mm512_setzero_ps();
    for (; b + 2 <= n_blocks; b += 2)
        packed_add(type, block_bytes, p, row_bytes, n_rows, a, b, 3, lanes);
    if (b < n_blocks)
        packed_add(type, block_bytes, p, row_bytes, n_rows, a, b, 1, lanes);
    UNROLL for (int r = 0; r < n_rows; r++)
    {
        float *out = y + (size_t)r * y_stride;

        *out = sum16(lanes[r]);
        if (type == QUANT_Q4_1 || type == QUANT_Q5_1)
            *out += packed_mins(p + (size_t)r * row_bytes, block_bytes, a, n_blocks);
    }
}

/* Rows that are multiplied together lie a good way apart, so that each is part of a long stream for the prefetcher. */
SIMD_INLINE void rows_small(enum quant_type type, size_t block_bytes, const void *w, size_t row_bytes, size_t n_rows,
                            size_t n, const void *act, float *y)
{
    enum { STREAMS = 2 };
    struct small_row a = small_row_at(act, n);
    size_t n_each = n_rows / STREAMS;
    const uint8_t *p = w;

    for (size_t r = 0; r < n_each; r++)
        packed_rows(type, block_bytes, p + r * row_bytes, n_each * row_bytes, STREAMS, n, &a, y + r, n_each);
    for (size_t r = STREAMS * n_each; r < n_rows; r++)
        packed_rows(type, block_bytes, p + r * row_bytes, 0, 1, n, &a, y + r, 1);
}

#define ROWS_SMALL(name, type, block_bytes)                                                               \
    static void name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                     \
        rows_small(type, block_bytes, w, row_bytes, n_rows, n, act, y);                                   \
    }

ROWS_SMALL(rows_q4_0, QUANT_Q4_0, 18)
ROWS_SMALL(rows_q4_1, QUANT_Q4_1, 20)
ROWS_SMALL(rows_q5_0, QUANT_Q5_0, 22)
ROWS_SMALL(rows_q5_1, QUANT_Q5_1, 24)
ROWS_SMALL(rows_q8_0, QUANT_Q8_0, 34)
ROWS_SMALL(rows_iq4_nl, QUANT_IQ4_NL, 18)
ROWS_SMALL(rows_mxfp4, QUANT_MXFP4, 17)

void avx512_small_fill(struct cpu_kernels *k)
{
    k->dots[QUANT_Q4_0] = k->dots[QUANT_Q5_0] = k->dots[QUANT_Q8_0] = dots_plain;
    k->dots[QUANT_IQ4_NL] = k->dots[QUANT_MXFP4] = dots_plain;
    k->dots[QUANT_Q4_1] = k->dots[QUANT_Q5_1] = dots_mins;
    k->rows[QUANT_Q4_0] = rows_q4_0;
    k->rows[QUANT_Q4_1] = rows_q4_1;
    k->rows[QUANT_Q5_0] = rows_q5_0;
    k->rows[QUANT_Q5_1] = rows_q5_1;
    k->rows[QUANT_Q8_0] = rows_q8_0;
    k->rows[QUANT_IQ4_NL] = rows_iq4_nl;
    k->rows[QUANT_MXFP4] = rows_mxfp4;
}
