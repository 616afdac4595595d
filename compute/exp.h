/* SPDX-License-Identifier: MIT
 *
 * exp.h: e^x in double precision, with the same bits on every machine.
 *
 * The C library's exp differs from one version to the next, and a GPU's from both, by a unit in the last place: enough
 * to choose another token one day. This one uses additions and multiplications only, each rounded, so that a CPU and a
 * GPU agree. Within two units in the last place; 0 below -745.14, infinity above 709.79, NaN for NaN.
 *
 * Method: x = n ln 2 + r with ln 2 in two parts, a Taylor polynomial of r, and a multiplication by 2^n in two steps so
 * that subnormal results come out rounded.
 *
 * CUDA sources define EXP_FUNCTION before they include this.
 */
#ifndef EXPERTD_COMPUTE_EXP_H
#define EXPERTD_COMPUTE_EXP_H

#include <stdint.h>
#include <string.h>

#ifndef EXP_FUNCTION
#define EXP_FUNCTION static inline
#endif

EXP_FUNCTION double exp_power_of_two(int64_t n) /* -1022 .. 1023 */
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double d;

    memcpy(&d, &bits, sizeof(d));
    return d;
}

EXP_FUNCTION double exp_f64(double x)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number */
    double n, r, p;
    int64_t whole, half;

    if (x != x)
        return x;
    x = x < -800.0 ? -800.0 : x;
    x = x > 800.0 ? 800.0 : x;
    n = (x * 1.4426950408889634 + magic) - magic;
    whole = (int64_t)n;
    r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    half = whole >> 1;
    return p * exp_power_of_two(half) * exp_power_of_two(whole - half);
}

#endif
