/* SPDX-License-Identifier: MIT */
#include "compute/quant_small.h"

const int8_t quant_iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
const int8_t quant_mxfp4_values[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

void quant_unpack_small(enum quant_type type, const void *src, size_t n_blocks, int8_t *q, float *d, float *m)
{
    small_unpack(type, src, n_blocks, q, d, m);
}
