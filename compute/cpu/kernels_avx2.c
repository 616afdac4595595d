/* SPDX-License-Identifier: MIT
 *
 * kernels_avx2.c: AVX2, FMA and F16C.
 */
#include "compute/cpu/float_kernels.h"

void cpu_kernels_avx2(struct cpu_kernels *k)
{
    k->level = CPU_AVX2;
    float_kernels_fill(k);
}
