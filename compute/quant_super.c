/* SPDX-License-Identifier: MIT */
#include "compute/quant_super.h"

void quant_unpack_super(enum quant_type type, const void *src, size_t n_blocks, struct quant_super *ret_blocks)
{
    super_unpack(type, src, n_blocks, ret_blocks);
}
