/* SPDX-License-Identifier: MIT
 *
 * avx2_small.c: products of 32-weight blocks (ACT_SMALL in kernels.h), one block to a register.
 */
#include "compute/cpu/avx2.h"
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

SIMD_INLINE __m256 block_add(__m256 lanes, __m256i w, __m256i x, float d)
{
    __m256i sums = _mm256_madd_epi16(signed_products(w, x), _mm256_set1_epi16(1));

    return _mm256_add_ps(lanes, _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(sums)));
}

SIMD_INLINE float lanes_sum(const __m256 lanes[2])
{
    return sum8(_mm256_add_ps(lanes[0], lanes[1]));
}

SIMD_INLINE float mins_sum(const struct small_row *w, const struct small_row *a, size_t n_blocks)
{
    float mins[2] = { 0, 0 };

    for (size_t b = 0; b < n_blocks; b++)
        mins[b % 2] += w->m[b] * a->d[b] * (float)a->sum[b];
    return mins[0] + mins[1];
}

/* One row, some tokens. */
SIMD_INLINE void dots_tile(bool mins, const struct small_row *w, size_t n, const void *const *acts, const int n_tokens,
                           float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SMALL, b = 0;
    struct small_row a[4];
    __m256 lanes[4][2];

    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        a[t] = small_row_at(acts[t], n);
        lanes[t][0] = lanes[t][1] = _mm256_setzero_ps();
    }
    for (; b + 2 <= n_blocks; b += 2) {
        __m256i even = load32(w->q + 32 * b), odd = load32(w->q + 32 * b + 32);

        UNROLL for (int t = 0; t < n_tokens; t++)
        {
            lanes[t][0] = block_add(lanes[t][0], even, load32(a[t].q + 32 * b), w->d[b] * a[t].d[b]);
            lanes[t][1] = block_add(lanes[t][1], odd, load32(a[t].q + 32 * b + 32), w->d[b + 1] * a[t].d[b + 1]);
        }
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        float *out = y + (size_t)t * y_stride;

        if (b < n_blocks)
            lanes[t][0] = block_add(lanes[t][0], load32(w->q + 32 * b), load32(a[t].q + 32 * b), w->d[b] * a[t].d[b]);
        *out = lanes_sum(lanes[t]);
        if (mins)
            *out += mins_sum(w, &a[t], n_blocks);
    }
}

SIMD_INLINE void dots_small(bool mins, const void *rows, size_t row_bytes, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++) {
        struct small_row w = small_row_at((const char *)rows + r * row_bytes, n);
        size_t t = 0;

        for (; t + 4 <= n_acts; t += 4)
            dots_tile(mins, &w, n, acts + t, 4, y + t * y_stride + r, y_stride);
        for (; t < n_acts; t++)
            dots_tile(mins, &w, n, acts + t, 1, y + t * y_stride + r, y_stride);
    }
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

/* 16 bytes of nibbles: low ones, then high ones. */
SIMD_INLINE __m256i nibbles_of(const uint8_t *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);

    return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1),
                            _mm256_set1_epi8(15));
}

/* 16 in each byte whose bit of the mask is set. */
SIMD_INLINE __m256i fifths_of(const uint8_t *mask)
{
    const __m256i bytes = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bits = _mm256_set1_epi64x((long long)0x8040201008040201);
    int32_t m;
    __m256i spread;

    memcpy(&m, mask, sizeof(m));
    spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(m), bytes), bits);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bits), _mm256_set1_epi8(16));
}

SIMD_INLINE __m256i look_up(const int8_t *values, __m256i index)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)values)), index);
}

SIMD_INLINE __m256i expand(enum quant_type type, const uint8_t *p)
{
    switch (type) {
    case QUANT_Q4_0:
        return _mm256_sub_epi8(nibbles_of(p + 2), _mm256_set1_epi8(8));
    case QUANT_Q4_1:
        return nibbles_of(p + 4);
    case QUANT_Q5_0:
        return _mm256_sub_epi8(_mm256_or_si256(nibbles_of(p + 6), fifths_of(p + 2)), _mm256_set1_epi8(16));
    case QUANT_Q5_1:
        return _mm256_or_si256(nibbles_of(p + 8), fifths_of(p + 4));
    case QUANT_IQ4_NL:
        return look_up(quant_iq4_values, nibbles_of(p + 2));
    case QUANT_MXFP4:
        return look_up(quant_mxfp4_values, nibbles_of(p + 1));
    default: /* QUANT_Q8_0 */
        return load32(p + 2);
    }
}

SIMD_INLINE float expand_d(enum quant_type type, const uint8_t *p)
{
    return type == QUANT_MXFP4 ? mxfp4_scale(p[0]) : _cvtsh_ss(half_load(p));
}

SIMD_INLINE float packed_mins(const uint8_t *p, size_t block_bytes, const struct small_row *a, size_t n_blocks)
{
    float mins[2] = { 0, 0 };

    for (size_t b = 0; b < n_blocks; b++)
        mins[b % 2] += _cvtsh_ss(half_load(p + b * block_bytes + 2)) * a->d[b] * (float)a->sum[b];
    return mins[0] + mins[1];
}

SIMD_INLINE __m256 packed_add(enum quant_type type, __m256 lanes, const uint8_t *p, const struct small_row *a, size_t b)
{
    return block_add(lanes, expand(type, p), load32(a->q + 32 * b), expand_d(type, p) * a->d[b]);
}

SIMD_INLINE void rows_small(enum quant_type type, size_t block_bytes, const void *w, size_t row_bytes, size_t n_rows,
                            size_t n, const void *act, float *y)
{
    struct small_row a = small_row_at(act, n);
    const uint8_t *row = w;
    size_t n_blocks = n / QUANT_SMALL;

    for (size_t r = 0; r < n_rows; r++, row += row_bytes) {
        __m256 lanes[2] = { _mm256_setzero_ps(), _mm256_setzero_ps() };
        size_t b = 0;

        for (; b + 2 <= n_blocks; b += 2) {
            lanes[0] = packed_add(type, lanes[0], row + b * block_bytes, &a, b);
            lanes[1] = packed_add(type, lanes[1], row + (b + 1) * block_bytes, &a, b + 1);
        }
        if (b < n_blocks)
            lanes[0] = packed_add(type, lanes[0], row + b * block_bytes, &a, b);
        y[r] = lanes_sum(lanes);
        if (type == QUANT_Q4_1 || type == QUANT_Q5_1)
            y[r] += packed_mins(row, block_bytes, &a, n_blocks);
    }
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

void avx2_small_fill(struct cpu_kernels *k)
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
