/* SPDX-License-Identifier: MIT */
#include "compute/cpu/kernels.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const level_names[CPU_LEVELS] = { "c", "avx2", "avx512" };

int cpu_level_parse(const char *name, enum cpu_level *ret_level, struct err *err)
{
    for (int level = 0; level < CPU_LEVELS; level++)
        if (strcasecmp(name, level_names[level]) == 0) {
            *ret_level = level;
            return 0;
        }
    return err_set(err, -EINVAL, "unknown CPU level '%s': it is one of c, avx2, avx512", name);
}

const char *cpu_level_name(enum cpu_level level)
{
    return level_names[level];
}

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports knows it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

enum cpu_level cpu_level_detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
        return CPU_C;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2"))
        return CPU_AVX512;
    return CPU_AVX2;
#else
    return CPU_C;
#endif
}

void cpu_kernels_get(enum cpu_level level, struct cpu_kernels *ret_kernels)
{
    cpu_kernels_c(ret_kernels);
#if defined(__x86_64__)
    if (level >= CPU_AVX2)
        cpu_kernels_avx2(ret_kernels);
    if (level >= CPU_AVX512)
        cpu_kernels_avx512(ret_kernels);
#endif
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

size_t weight_row_bytes(enum act_flavour flavour, size_t n)
{
    switch (flavour) {
    case ACT_SMALL:
        return act_row_bytes(ACT_SMALL, n);
    case ACT_SUPER:
        return (n + QUANT_SUPER - 1) / QUANT_SUPER * sizeof(struct quant_super);
    default:
        return small_pad(n * sizeof(float));
    }
}
