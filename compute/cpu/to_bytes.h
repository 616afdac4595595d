/* SPDX-License-Identifier: MIT
 *
 * to_bytes.h: f32 rounded to signed bytes with a scale: activations, and keys and values that are kept as Q8_0.
 *
 * Part of float_kernels.h: written in vec.h's vectors, compiled once per level. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_TO_BYTES_H
#define EXPERTD_COMPUTE_CPU_TO_BYTES_H

#include "compute/cpu/float_dots.h"
#include "compute/cpu/vec.h"
#include "compute/half.h"

#include <math.h>

/* The greatest magnitude of x [n], n a multiple of 16, as the bits of an f32: among these infinity and NaN are the
 * greatest. */
VEC_INLINE uint32_t bytes_most(const float *x, size_t n)
{
    part_i32 most = { 0 };
    int32_t amax = 0;

    for (size_t i = 0; i < n; i += PART_LANES) {
        part_i32 magnitude = (part_i32)part_load(x + i) & 0x7fffffff;
        part_i32 more = magnitude > most;

        most = (magnitude & more) | (most & ~more);
    }
    for (int l = 0; l < PART_LANES; l++)
        amax = most[l] > amax ? most[l] : amax;
    return (uint32_t)amax;
}

/* q = x * inverse, to nearest, ties to even. */
VEC_INLINE void bytes_round(const float *x, size_t n, float inverse, int8_t *q)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number, in the low bits */

    for (size_t i = 0; i < n; i += PART_LANES) {
        part_i32 whole = (part_i32)(part_load(x + i) * inverse + magic) - 0x4b400000;
        part_i8 bytes = __builtin_convertvector(whole, part_i8);

        memcpy(q + i, &bytes, sizeof(bytes));
    }
}

enum { HALF_INFINITY = 0x7c00, HALF_NAN = 0x7e00 };

/* The scale of a block in half precision: infinite or NaN where there is none. */
VEC_INLINE uint16_t q8_0_scale(float most)
{
    uint16_t d = float_to_half(most / 127.0f);

    return most * (1.0f / half_to_float(d)) >= 127.5f ? (uint16_t)(d + 1) : d;
}

/* 32 numbers. */
VEC_INLINE void q8_0_store(const float *x, uint8_t *block)
{
    float most = float_from_bits(bytes_most(x, Q8_0_LEN));
    uint16_t d = q8_0_scale(most);

    if (d >= HALF_INFINITY)
        d = HALF_NAN;
    block[0] = (uint8_t)d;
    block[1] = (uint8_t)(d >> 8);
    if (d == 0 || d == HALF_NAN)
        memset(block + Q8_0_QS, 0, Q8_0_LEN);
    else
        bytes_round(x, Q8_0_LEN, 1.0f / half_to_float(d), (int8_t *)block + Q8_0_QS);
}

static void to_q8_0_float(const float *x, size_t n, void *row)
{
    uint8_t *block = row;
    size_t i = 0;

    for (; i + Q8_0_LEN <= n; i += Q8_0_LEN, block += Q8_0_BYTES)
        q8_0_store(x + i, block);
    if (i < n) {
        float tail[Q8_0_LEN] = { 0 };

        memcpy(tail, x + i, (n - i) * sizeof(*x));
        q8_0_store(tail, block);
    }
}

#endif
