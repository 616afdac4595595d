/* SPDX-License-Identifier: MIT
 *
 * amx.h: tiles of sixteen weight rows (kernels.h) as AMX multiplies them. Internal to that level, but for the sizes.
 *
 * Tokens are the rows of a tile register and weight rows the columns of its product, so activations are copied as they
 * are, and weights lie four of each row side by side: bytes 4k .. 4k+3 of sixteen rows are line k.
 *
 * In a super-block scales belong to groups, and a product must not be interrupted for each: the weight goes in as
 * scale * (q - offset), a number of 16 bits, its low byte unsigned in one plane and its high byte signed in another.
 * Both products are whole numbers, and so is low + 256 * high: the same whole number as anywhere else.
 */
#ifndef EXPERTD_COMPUTE_CPU_AMX_H
#define EXPERTD_COMPUTE_CPU_AMX_H

#include "compute/cpu/kernels.h"

enum { AMX_ROWS = 16, AMX_LINE = 64 /* bytes */, AMX_STEP = 64 /* weights of a row in one product */ };

typedef int8_t amx_lines[AMX_STEP / 4][AMX_LINE];

struct amx_super {
    amx_lines low[QUANT_SUPER / AMX_STEP], high[QUANT_SUPER / AMX_STEP];
    int8_t min[QUANT_GROUPS / 4][AMX_LINE];
    float d[AMX_ROWS], dmin[AMX_ROWS];
} __attribute__((aligned(64)));

struct amx_small {
    int8_t q[QUANT_SMALL / 4][AMX_LINE];
    float d[AMX_ROWS], m[AMX_ROWS];
} __attribute__((aligned(64)));

#endif
