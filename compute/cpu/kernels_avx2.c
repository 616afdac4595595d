/* SPDX-License-Identifier: MIT
 *
 * kernels_avx2.c: the table of the level: AVX2, FMA and F16C.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/float_kernels.h"
#include "compute/cpu/unpack_kernels.h"

void cpu_kernels_avx2(struct cpu_kernels *k)
{
    k->level = CPU_AVX2;
    float_kernels_fill(k);
    unpack_kernels_fill(k);
    avx2_iq_fill(k);
    avx2_small_fill(k);
    avx2_super_fill(k);
}
