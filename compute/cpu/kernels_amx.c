/* SPDX-License-Identifier: MIT
 *
 * kernels_amx.c: the table of the level: products of tiles by AMX-INT8; all else is what lies below.
 *
 * Only integers are multiplied. AMX-BF16 would round activations to eight bits of mantissa and add in an order of its
 * own, which is not what ACT_F32 means.
 */
#include "compute/cpu/amx.h"

void cpu_kernels_amx(struct cpu_kernels *k)
{
    k->level = CPU_AMX;
    amx_super_fill(k);
}
