/* SPDX-License-Identifier: MIT
 *
 * kernels_avxvnni.c: the table of the level: AVX2 with the dot products of AVX-VNNI, on what AVX2 has filled.
 */
#include "compute/cpu/avx2.h"

void cpu_kernels_avxvnni(struct cpu_kernels *k)
{
    k->level = CPU_AVXVNNI;
    avxvnni_iq_fill(k);
    avxvnni_small_fill(k);
    avxvnni_super_fill(k);
}
