/* SPDX-License-Identifier: MIT
 *
 * kernels_avx512.c: AVX-512 F, BW, VL, DQ and VNNI.
 */
#include "compute/cpu/float_kernels.h"

void cpu_kernels_avx512(struct cpu_kernels *k)
{
    k->level = CPU_AVX512;
    float_kernels_fill(k);
}
