/* SPDX-License-Identifier: MIT */
#include "compute/cpu/levels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum { X86_AVX2 = FEATURE_AVX2 | FEATURE_FMA | FEATURE_F16C };

static const struct {
    const char *name;
    uint32_t features;
    const char *needs;
} levels[CPU_LEVELS] = {
    [CPU_C] = { "c", 0, "nothing" },
    [CPU_AVX2] = { "avx2", X86_AVX2, "AVX2, FMA and F16C" },
    [CPU_AVXVNNI] = { "avxvnni", X86_AVX2 | FEATURE_AVX_VNNI, "AVX2, FMA, F16C and AVX-VNNI" },
    [CPU_AVX512] = { "avx512", X86_AVX2 | FEATURE_AVX512, "AVX-512 F, BW, VL, DQ and VNNI" },
    [CPU_AMX] = { "amx", X86_AVX2 | FEATURE_AVX512 | FEATURE_AMX_INT8, "AVX-512, AMX-TILE and AMX-INT8" },
    [CPU_NEON] = { "neon", FEATURE_ASIMD, "ASIMD" },
    [CPU_DOTPROD] = { "dotprod", FEATURE_ASIMD | FEATURE_DOTPROD, "ASIMD with dot products" },
    [CPU_I8MM] = { "i8mm", FEATURE_ASIMD | FEATURE_DOTPROD | FEATURE_I8MM, "ASIMD with dot products and I8MM" },
};

/* Levels that this build has kernels for. */
#if defined(__x86_64__)
enum { FIRST_LEVEL = CPU_AVX2, LAST_LEVEL = CPU_AMX };
#elif defined(__aarch64__)
enum { FIRST_LEVEL = CPU_NEON, LAST_LEVEL = CPU_I8MM };
#else
enum { FIRST_LEVEL = CPU_C + 1, LAST_LEVEL = CPU_C };
#endif

int cpu_level_parse(const char *name, enum cpu_level *ret_level, struct err *err)
{
    char list[64] = "auto, c";
    size_t n = strlen(list);

    if (strcasecmp(name, "auto") == 0) {
        *ret_level = CPU_LEVEL_BEST;
        return 0;
    }
    if (strcasecmp(name, levels[CPU_C].name) == 0) {
        *ret_level = CPU_C;
        return 0;
    }
    for (int level = FIRST_LEVEL; level <= LAST_LEVEL; level++) {
        if (strcasecmp(name, levels[level].name) == 0) {
            *ret_level = level;
            return 0;
        }
        n += (size_t)snprintf(list + n, sizeof(list) - n, ", %s", levels[level].name);
    }
    return err_set(err, -EINVAL, "unknown CPU level '%s': one of %s is needed", name, list);
}

const char *cpu_level_name(enum cpu_level level)
{
    return levels[level].name;
}

const char *cpu_level_needs(enum cpu_level level)
{
    return levels[level].needs;
}

uint32_t cpu_levels_with(uint32_t features)
{
    uint32_t set = 0;

    for (int level = 0; level < CPU_LEVELS; level++)
        if ((levels[level].features & ~features) == 0)
            set |= (uint32_t)1 << level;
    return set;
}

#if defined(__x86_64__)
enum { XFEATURE_TILE_DATA = 18, REQUEST_PERMISSION = 0x1023 /* ARCH_REQ_XCOMP_PERM */ };

/* Tiles are 8 KiB of registers that a process has to ask for. */
static bool may_use_tiles(void)
{
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, XFEATURE_TILE_DATA) == 0;
}

/* Those that not every compiler's __builtin_cpu_supports knows. */
static uint32_t features_by_leaf(void)
{
    enum { F16C = 1 << 29, AVX_VNNI = 1 << 4, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    unsigned a, b, c, d;
    uint32_t features = 0;

    if (__get_cpuid(1, &a, &b, &c, &d) != 0 && (c & F16C) != 0)
        features |= FEATURE_F16C;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & AVX_VNNI) != 0)
        features |= FEATURE_AVX_VNNI;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & AMX_TILE) != 0 && (d & AMX_INT8) != 0 && may_use_tiles())
        features |= FEATURE_AMX_INT8;
    return features;
}

uint32_t cpu_features_detect(void)
{
    uint32_t features = features_by_leaf();

    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        features |= FEATURE_AVX2;
    if (__builtin_cpu_supports("fma"))
        features |= FEATURE_FMA;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2"))
        features |= FEATURE_AVX512;
    return features;
}
#elif defined(__aarch64__)
uint32_t cpu_features_detect(void)
{
    enum { ASIMD = 1 << 1, DOTPROD = 1 << 20, I8MM = 1 << 13 /* of the second word */ };
    unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);

    return ((first & ASIMD) != 0 ? FEATURE_ASIMD : 0u) | ((first & DOTPROD) != 0 ? FEATURE_DOTPROD : 0u) |
           ((second & I8MM) != 0 ? FEATURE_I8MM : 0u);
}
#else
uint32_t cpu_features_detect(void)
{
    return 0;
}
#endif

bool cpu_level_runs(enum cpu_level level)
{
    return (cpu_levels_with(cpu_features_detect()) >> level & 1) != 0;
}

enum cpu_level cpu_level_within(enum cpu_level cap)
{
    uint32_t set = cpu_levels_with(cpu_features_detect());

    while (cap > CPU_C && (set >> cap & 1) == 0)
        cap--;
    return cap;
}
