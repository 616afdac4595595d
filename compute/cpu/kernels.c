/* SPDX-License-Identifier: MIT */
#include "compute/cpu/kernels.h"

#include "compute/cpu/iq_points.h"
#include "compute/cpu/tile_rows.h"

void cpu_kernels_get(enum cpu_level level, struct cpu_kernels *ret_kernels)
{
    cpu_kernels_c(ret_kernels);
    iq_points_init();
#if defined(__x86_64__)
    if (level >= CPU_AVX2)
        cpu_kernels_avx2(ret_kernels);
    if (level == CPU_AVXVNNI) /* above, AVX-512 replaces all of it */
        cpu_kernels_avxvnni(ret_kernels);
    if (level >= CPU_AVX512)
        cpu_kernels_avx512(ret_kernels);
    if (level >= CPU_AMX)
        cpu_kernels_amx(ret_kernels);
#elif defined(__aarch64__)
    if (level >= CPU_I8MM) /* each fills the same entries */
        cpu_kernels_i8mm(ret_kernels);
    else if (level >= CPU_DOTPROD)
        cpu_kernels_dotprod(ret_kernels);
    else if (level >= CPU_NEON)
        cpu_kernels_neon(ret_kernels);
#endif
}

bool cpu_level_is_fast(enum cpu_level level, enum quant_type type)
{
    struct cpu_kernels k;

    cpu_kernels_get(level, &k);
    return k.rows[type] != NULL;
}

enum act_flavour act_flavour_of(enum quant_type type)
{
    switch (quant_info(type)->block_len) {
    case QUANT_SMALL:
        return ACT_SMALL;
    case QUANT_SUPER:
        return ACT_SUPER;
    default:
        return ACT_F32;
    }
}

size_t act_row_bytes(enum act_flavour flavour, size_t n)
{
    switch (flavour) {
    case ACT_SMALL:
        return small_row_bytes((n + QUANT_SMALL - 1) / QUANT_SMALL * QUANT_SMALL);
    case ACT_SUPER:
        return (n + QUANT_SUPER - 1) / QUANT_SUPER * sizeof(struct act_super);
    default:
        return n * sizeof(float);
    }
}

size_t tile_bytes(enum act_flavour flavour, size_t n)
{
    return DOTS_ROWS * tile_row_bytes(flavour, n);
}
