/* SPDX-License-Identifier: MIT
 *
 * vec.h: f32 vectors as wide as the level's registers ("parts"), and sixteen lanes made of them.
 *
 * The same source gives the same bits at every level: what is computed element by element does not depend on the
 * width, sums over a row go to sixteen lanes whatever the width, and no multiplication is fused with an addition.
 * Functions are inlined into files that are compiled once per level; nothing here has linkage.
 */
#ifndef EXPERTD_COMPUTE_CPU_VEC_H
#define EXPERTD_COMPUTE_CPU_VEC_H

#include "compute/half.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#define VEC_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define PART_LANES 16
#elif defined(__AVX2__)
#define PART_LANES 8
#else
#define PART_LANES 4
#endif

enum { VEC_LANES = 16, VEC_PARTS = VEC_LANES / PART_LANES };

typedef float part_f32 __attribute__((vector_size(PART_LANES * 4)));
typedef int32_t part_i32 __attribute__((vector_size(PART_LANES * 4)));
typedef uint32_t part_u32 __attribute__((vector_size(PART_LANES * 4)));
typedef uint16_t part_u16 __attribute__((vector_size(PART_LANES * 2)));
typedef int8_t part_i8 __attribute__((vector_size(PART_LANES)));
typedef double part_f64 __attribute__((vector_size(PART_LANES * 4))); /* half as many lanes */
typedef float part_half_f32 __attribute__((vector_size(PART_LANES * 2)));

struct vec {
    part_f32 part[VEC_PARTS];
};

/* Do something with each part p of a vec, without a loop that the compiler might keep. */
#if PART_LANES == 16
#define EACH_PART(p, ...) \
    do {                  \
        enum { p = 0 };   \
        __VA_ARGS__;      \
    } while (0)
#else
#define EACH_PART(p, ...)                                       \
    _Pragma("GCC unroll 4") for (int p = 0; p < VEC_PARTS; p++) \
    {                                                           \
        __VA_ARGS__;                                            \
    }
#endif

VEC_INLINE part_f32 part_splat(float x)
{
    return x - (part_f32){ 0 };
}

VEC_INLINE part_f32 part_load(const float *p)
{
    part_f32 v;

    memcpy(&v, p, sizeof(v));
    return v;
}

VEC_INLINE void part_store(float *p, part_f32 v)
{
    memcpy(p, &v, sizeof(v));
}

/* The first n lanes, the others 0. */
VEC_INLINE part_f32 part_load_some(const float *p, size_t n)
{
    part_f32 v = { 0 };

    memcpy(&v, p, n * sizeof(float));
    return v;
}

VEC_INLINE void part_store_some(float *p, part_f32 v, size_t n)
{
    memcpy(p, &v, n * sizeof(float));
}

/* mask lanes are all ones or all zeros */
VEC_INLINE part_f32 part_select(part_i32 mask, part_f32 yes, part_f32 no)
{
    return (part_f32)((mask & (part_i32)yes) | (~mask & (part_i32)no));
}

VEC_INLINE part_f32 part_from_bf16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (part_f32)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#elif defined(__AVX2__)
    return (part_f32)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
#else
    part_u16 h;

    memcpy(&h, p, sizeof(h));
    return (part_f32)(__builtin_convertvector(h, part_u32) << 16);
#endif
}

VEC_INLINE part_f32 part_from_f16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (part_f32)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__F16C__)
    return (part_f32)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    part_u16 h;
    part_u32 bits, magnitude, special;
    part_f32 scaled;

    memcpy(&h, p, sizeof(h));
    bits = __builtin_convertvector(h, part_u32);
    magnitude = (bits & 0x7fff) << 13;
    special = (part_u32)(magnitude >= 0x0f800000); /* infinity, NaN */
    scaled = (part_f32)magnitude * 0x1p112f;
    return (part_f32)((bits & 0x8000) << 16 | (special & (magnitude | 0x7f800000)) | (~special & (part_u32)scaled));
#endif
}

/* One number of half precision in every lane. */
VEC_INLINE part_f32 part_splat_f16(const void *p)
{
#if defined(__AVX512F__)
    return (part_f32)_mm512_cvtph_ps(_mm256_set1_epi16((short)half_load(p)));
#elif defined(__F16C__)
    return (part_f32)_mm256_cvtph_ps(_mm_set1_epi16((short)half_load(p)));
#else
    return part_splat(half_to_float(half_load(p)));
#endif
}

VEC_INLINE part_f32 part_from_i8(const int8_t *p)
{
#if defined(__AVX512F__)
    return (part_f32)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif defined(__AVX2__)
    return (part_f32)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
    part_i8 bytes;

    memcpy(&bytes, p, sizeof(bytes));
    return __builtin_convertvector(__builtin_convertvector(bytes, part_i32), part_f32);
#endif
}

/* To half precision, nearest even. */
VEC_INLINE void part_to_f16(uint16_t *p, part_f32 v)
{
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int l = 0; l < PART_LANES; l++)
        p[l] = float_to_half(v[l]);
#endif
}

/* e^x to about one unit in the last place; 0 below -104, infinity above 88.73, NaN for NaN.
 * Source of the method and coefficients: Cephes, expf. */
VEC_INLINE part_f32 part_exp(part_f32 x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number, in the low bits */
    part_f32 n, r, p;
    part_i32 whole, half;

    x = part_select(x < -104.0f, part_splat(-104.0f), x);
    x = part_select(x > 89.0f, part_splat(89.0f), x);
    n = x * 1.44269504f + magic;
    whole = (part_i32)n - 0x4b400000;
    n = n - magic;
    r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    half = whole >> 1; /* in two steps, so that subnormal results come out rounded */
    p = p * (part_f32)((half + 127) << 23);
    return p * (part_f32)((whole - half + 127) << 23);
}

typedef float vec_quarter __attribute__((vector_size(16)));

/* The one order in which lanes are added: halves, quarters, pairs. */
VEC_INLINE vec_quarter vec_fold(const struct vec *v)
{
    vec_quarter q[4];

    memcpy(q, v, sizeof(q));
    return (q[0] + q[2]) + (q[1] + q[3]);
}

VEC_INLINE float vec_sum(const struct vec *v)
{
    vec_quarter sum = vec_fold(v);

    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* vec_sum of four at once. */
VEC_INLINE vec_quarter vec_sum_four(const struct vec *v0, const struct vec *v1, const struct vec *v2,
                                    const struct vec *v3)
{
    vec_quarter a = vec_fold(v0), b = vec_fold(v1), c = vec_fold(v2), d = vec_fold(v3);
    vec_quarter ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    vec_quarter cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);

    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

#if PART_LANES == 16
/* The first step of that order for two, the second for four, the third for eight, the last for sixteen. */
VEC_INLINE part_f32 fold_halves(const struct vec *a, const struct vec *b)
{
    return __builtin_shufflevector(a->part[0], b->part[0], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a->part[0], b->part[0], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                   31);
}

VEC_INLINE part_f32 fold_quarters(const struct vec *v)
{
    part_f32 a = fold_halves(v, v + 4), b = fold_halves(v + 8, v + 12);

    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

VEC_INLINE part_f32 fold_pairs(const struct vec *v)
{
    part_f32 a = fold_quarters(v), b = fold_quarters(v + 1);

    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

/* vec_sum of sixteen at once. */
VEC_INLINE void vec_sum_sixteen(const struct vec *v, float *sums)
{
    part_f32 a = fold_pairs(v), b = fold_pairs(v + 2);

    part_store(sums, __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
                         __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31));
}
#else
VEC_INLINE void vec_sum_sixteen(const struct vec *v, float *sums)
{
    for (int i = 0; i < 16; i += 4) {
        vec_quarter four = vec_sum_four(v + i, v + i + 1, v + i + 2, v + i + 3);

        memcpy(sums + i, &four, sizeof(four));
    }
}
#endif

VEC_INLINE vec_quarter quarter_greater(vec_quarter a, vec_quarter b)
{
    typedef int32_t whole __attribute__((vector_size(16)));
    whole take = (b > a) | (b != b);

    return (vec_quarter)((take & (whole)b) | (~take & (whole)a));
}

/* The greatest lane, or NaN where there is one. */
VEC_INLINE float part_greatest(part_f32 v)
{
    vec_quarter q[PART_LANES / 4];
    float max;

    memcpy(q, &v, sizeof(q));
    for (int n = PART_LANES / 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            q[i] = quarter_greater(q[i], q[i + n]);
    max = q[0][0];
    for (int l = 1; l < 4; l++)
        max = q[0][l] > max || q[0][l] != q[0][l] ? q[0][l] : max;
    return max;
}

#endif
