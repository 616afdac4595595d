/* SPDX-License-Identifier: MIT */
#include "model/softmax.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LEAST_X (-700.0)

/* ln2_hi has few enough bits for k ln2_hi to be exact. */
static const double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33, per_ln2 = 0x1.71547652b82fep+0;

/* Cody and Waite: x = k ln2 + r with |r| <= ln2 / 2; then the Taylor series of e^r, whose 14th term is below 1e-17. */
double softmax_exp(double x)
{
    double k, r, sum = 1.0;

    if (!(x > LEAST_X))
        return 0.0;
    k = floor(x * per_ln2 + 0.5);
    r = (x - k * ln2_hi) - k * ln2_lo;
    for (int i = 13; i > 0; i--)
        sum = 1.0 + sum * r / i;
    return ldexp(sum, (int)k);
}

/* Two to a register, which every machine that is served has, and four registers side by side: each step of the series
 * waits for the one before it. */
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_bits __attribute__((vector_size(16)));

enum { PAIRS = 4 };

#define EACH_PAIR _Pragma("GCC unroll 4") for (int p = 0; p < PAIRS; p++)

/* In place. The same series with the divisions done beforehand. Adding 1.5 * 2^52 rounds to a whole number, which is
 * then in the low bits, ready to be added to the exponent. */
static inline void near_pairs(pair x[PAIRS])
{
    static const double term[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0
    };
    const pair least = { LEAST_X, LEAST_X };
    pair_bits counts[PAIRS];
    pair shifted[PAIRS], r[PAIRS], sum[PAIRS];

    EACH_PAIR
    {
        pair k;

        counts[p] = x[p] > least;
        x[p] = (pair)(((pair_bits)x[p] & counts[p]) | ((pair_bits)least & ~counts[p]));
        shifted[p] = x[p] * per_ln2 + 0x1.8p52;
        k = shifted[p] - 0x1.8p52;
        r[p] = (x[p] - k * ln2_hi) - k * ln2_lo;
        sum[p] = r[p] * term[0] + term[1];
    }
#pragma GCC unroll 12
    for (int i = 2; i < 14; i++)
        EACH_PAIR
    sum[p] = sum[p] * r[p] + term[i];
    EACH_PAIR
    x[p] = (pair)(((pair_bits)sum[p] + ((pair_bits)shifted[p] << 52)) & counts[p]);
}

void softmax_near(const float *logits, size_t n, double best, double temperature, double *ret_weights)
{
    enum { GROUP = 2 * PAIRS };
    pair x[PAIRS];
    size_t i = 0;

    for (; i + GROUP <= n; i += GROUP) {
        EACH_PAIR
        x[p] = ((pair){ (double)logits[i + 2 * p], (double)logits[i + 2 * p + 1] } - best) / temperature;
        near_pairs(x);
        memcpy(ret_weights + i, x, sizeof(x));
    }
    if (i < n) {
        memset(x, 0, sizeof(x));
        for (size_t k = i; k < n; k++)
            x[(k - i) / 2][(k - i) % 2] = ((double)logits[k] - best) / temperature;
        near_pairs(x);
        memcpy(ret_weights + i, x, (n - i) * sizeof(*ret_weights));
    }
}
