/* SPDX-License-Identifier: MIT
 *
 * amx.h: tiles of sixteen weight rows (kernels.h) as AMX multiplies them. Internal to that level, but for the sizes.
 *
 * Tokens are the rows of a tile register and weight rows the columns of its product, so activations are loaded from
 * where they lie, and weights lie four of each row side by side: bytes 4k .. 4k+3 of sixteen rows are line k.
 *
 * In a super-block scales belong to groups, and a product must not be interrupted for each: weights go in multiplied by
 * their scales, in two planes of bytes. Both products are whole numbers, and so is what they add up to: the same whole
 * number as anywhere else.
 */
#ifndef EXPERTD_COMPUTE_CPU_AMX_H
#define EXPERTD_COMPUTE_CPU_AMX_H

#include "compute/cpu/kernels.h"

enum { AMX_ROWS = 16, AMX_LINE = 64 /* bytes */, AMX_STEP = 64 /* weights of a row in one product */ };

void amx_super_fill(struct cpu_kernels *k);

#endif
