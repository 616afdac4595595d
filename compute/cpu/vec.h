/* SPDX-License-Identifier: MIT
 *
 * vec.h: vectors of sixteen lanes, in the compiler's own vector types.
 *
 * The same source gives the same bits at every level: sixteen lanes are four registers of baseline x86-64 or NEON, two
 * of AVX2, one of AVX-512, and no multiplication is fused with an addition. Functions are inlined into files that are
 * compiled once per level; nothing here has linkage.
 */
#ifndef EXPERTD_COMPUTE_CPU_VEC_H
#define EXPERTD_COMPUTE_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wpsabi" /* these vectors never cross a call */

#define VEC_INLINE static inline __attribute__((always_inline))

enum { VEC_LANES = 16 };

typedef float vec_f32 __attribute__((vector_size(64)));
typedef int32_t vec_i32 __attribute__((vector_size(64)));
typedef uint32_t vec_u32 __attribute__((vector_size(64)));
typedef uint16_t vec_u16 __attribute__((vector_size(32)));
typedef int8_t vec_i8 __attribute__((vector_size(16)));
typedef double vec_f64 __attribute__((vector_size(64))); /* eight lanes */
typedef float vec_half_f32 __attribute__((vector_size(32)));

VEC_INLINE vec_f32 vec_splat(float x)
{
    return (vec_f32){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x };
}

VEC_INLINE vec_f32 vec_load(const float *p)
{
    vec_f32 v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* The first n lanes, the others 0. */
VEC_INLINE vec_f32 vec_load_some(const float *p, size_t n)
{
    vec_f32 v = { 0 };

    memcpy(&v, p, n * sizeof(float));
    return v;
}

VEC_INLINE void vec_store(float *p, vec_f32 v)
{
    memcpy(p, &v, sizeof(v));
}

VEC_INLINE void vec_store_some(float *p, vec_f32 v, size_t n)
{
    memcpy(p, &v, n * sizeof(float));
}

/* mask lanes are all ones or all zeros */
VEC_INLINE vec_f32 vec_select(vec_i32 mask, vec_f32 yes, vec_f32 no)
{
    return (vec_f32)((mask & (vec_i32)yes) | (~mask & (vec_i32)no));
}

VEC_INLINE vec_f32 vec_max(vec_f32 a, vec_f32 b)
{
    return vec_select(a > b, a, b);
}

/* The one order in which lanes are added: halves, quarters, pairs. */
VEC_INLINE float vec_sum(vec_f32 v)
{
    float s[8];

    for (int i = 0; i < 8; i++)
        s[i] = v[i] + v[i + 8];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

VEC_INLINE vec_f32 vec_from_bf16(const uint16_t *p)
{
    vec_u16 h;

    memcpy(&h, p, sizeof(h));
    return (vec_f32)(__builtin_convertvector(h, vec_u32) << 16);
}

#if defined(__F16C__)
#include <immintrin.h>
VEC_INLINE vec_f32 vec_from_f16(const uint16_t *p)
{
    __m256 low = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    __m256 high = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)));
    vec_f32 v;

    memcpy(&v, &low, sizeof(low));
    memcpy((char *)&v + sizeof(low), &high, sizeof(high));
    return v;
}
#else
VEC_INLINE vec_f32 vec_from_f16(const uint16_t *p)
{
    vec_u16 h;
    vec_u32 bits, magnitude, special;
    vec_f32 scaled;

    memcpy(&h, p, sizeof(h));
    bits = __builtin_convertvector(h, vec_u32);
    magnitude = (bits & 0x7fff) << 13;
    special = (vec_u32)(magnitude >= 0x0f800000); /* infinity, NaN */
    scaled = (vec_f32)magnitude * 0x1p112f;
    return (vec_f32)((bits & 0x8000) << 16 | (special & (magnitude | 0x7f800000)) | (~special & (vec_u32)scaled));
}
#endif

/* e^x to about one unit in the last place; 0 below -104, infinity above 88.73, NaN for NaN.
 * Source of the method and coefficients: Cephes, expf. */
VEC_INLINE vec_f32 vec_exp(vec_f32 x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number, in the low bits */
    vec_f32 n, r, p;
    vec_i32 whole, half;

    x = vec_select(x < -104.0f, vec_splat(-104.0f), x);
    x = vec_select(x > 89.0f, vec_splat(89.0f), x);
    n = x * 1.44269504f + magic;
    whole = (vec_i32)n - 0x4b400000;
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
    p = p * (vec_f32)((half + 127) << 23);
    return p * (vec_f32)((whole - half + 127) << 23);
}

#endif
