/* SPDX-License-Identifier: MIT
 *
 * exact.cuh: the arithmetic that every device shares to the bit: exponentials, logistic functions, half precision,
 * and the order in which sixteen lanes are added.
 *
 * Each function here is the twin of one on the CPU: part_exp, vec_sum and silu of compute/cpu/vec.h and
 * float_kernels.h, float_to_half of compute/half.h.
 */
#ifndef EXPERTD_GPU_EXACT_H
#define EXPERTD_GPU_EXACT_H

#include "dialect.h"

#define EXP_FUNCTION DEVICE
#include "compute/exp.h"

enum { LANES = 16 };

DEVICE bool is_nan(float x)
{
    return x != x;
}

/* e^x, to the bits of part_exp. */
DEVICE float exp_exact(float x)
{
    const float magic = 12582912.0f;
    float n, r, p;
    int whole, half;

    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    n = x * 1.44269504f + magic;
    whole = (int)(float_bits(n) - 0x4b400000u);
    n = n - magic;
    r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    half = whole >> 1;
    p = p * bits_float((uint32_t)(half + 127) << 23);
    return p * bits_float((uint32_t)(whole - half + 127) << 23);
}

DEVICE float silu(float x)
{
    return x / (1.0f + exp_exact(-x));
}

DEVICE float logistic(float x)
{
    return (float)(1 / (1 + exp_f64(-(double)x)));
}

/* To half precision, nearest even. */
DEVICE uint16_t float_half(float f)
{
    uint32_t bits = float_bits(f), sign = bits >> 16 & 0x8000;

    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
    if (bits >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000)
        return (uint16_t)(sign | (float_bits(bits_float(bits) + 0.5f) - 0x3f000000u));
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

/* Lane i of sixteen in thread i % 16. */
DEVICE float sum_of_sixteen(float lane)
{
    float sum = lane + warp_shuffle_xor(lane, 8);

    sum = sum + warp_shuffle_xor(sum, 4);
    sum = sum + warp_shuffle_xor(sum, 2);
    return sum + warp_shuffle_xor(sum, 1);
}

/* The first number that is no number wins, then the greater. */
DEVICE float greater(float a, float b)
{
    return is_nan(a) || is_nan(b) ? a + b : a > b ? a : b;
}

#endif
