/* SPDX-License-Identifier: MIT
 *
 * kernels_avx512.c: the table of the level: AVX-512 F, BW, VL, DQ and VNNI.
 */
#include "compute/cpu/avx512_tile.h"
#include "compute/cpu/float_kernels.h"
#include "compute/cpu/unpack_kernels.h"

void cpu_kernels_avx512(struct cpu_kernels *k)
{
    k->level = CPU_AVX512;
    k->few_acts = 6;
    float_kernels_fill(k);
    unpack_kernels_fill(k);
    avx512_iq_fill(k);
    avx512_nibbles_fill(k);
    avx512_small_fill(k);
    avx512_super_fill(k);
    avx512_headed_fill(k);
    avx512_tile_small_fill(k);
    avx512_tile_super_fill(k);
}
