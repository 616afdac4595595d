/* SPDX-License-Identifier: MIT
 *
 * Levels by name, and which of them a CPU runs, also CPUs that are not here.
 */
#include "compute/cpu/kernels.h"
#include "compute/cpu/levels.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { AVX2_SET = FEATURE_AVX2 | FEATURE_FMA | FEATURE_F16C };

static uint32_t set_of(enum cpu_level level)
{
    return (uint32_t)1 << level;
}

Test(levels, by_name)
{
    enum cpu_level level = CPU_LEVELS;
    struct err err = { 0 };

    cr_assert_eq(cpu_level_parse("auto", &level, &err), 0);
    cr_assert_eq(level, CPU_LEVEL_BEST);
    cr_assert_eq(cpu_level_parse("C", &level, &err), 0);
    cr_assert_eq(level, CPU_C);
    cr_assert_eq(cpu_level_parse("sse", &level, &err), -EINVAL);
    cr_assert_not_null(strstr(err_text(&err), "auto, c"), "%s", err_text(&err));
    cr_assert_eq(level, CPU_C);
    cr_assert_eq(cpu_level_parse("", &level, &err), -EINVAL);
}

Test(levels, those_of_this_architecture_are_known_by_name_and_listed)
{
    struct err err = { 0 };
    enum cpu_level level;

    cr_assert_eq(cpu_level_parse("nonsense", &level, &err), -EINVAL);
    for (enum cpu_level l = CPU_C; l < CPU_LEVELS; l++)
        if (cpu_level_runs(l)) {
            cr_assert_eq(cpu_level_parse(cpu_level_name(l), &level, NULL), 0);
            cr_assert_eq(level, l);
            cr_assert_not_null(strstr(err_text(&err), cpu_level_name(l)), "%s", err_text(&err));
        }
#if defined(__x86_64__)
    cr_assert_eq(cpu_level_parse("AvxVnni", &level, NULL), 0);
    cr_assert_eq(level, CPU_AVXVNNI);
    cr_assert_eq(cpu_level_parse("neon", &level, &err), -EINVAL);
#endif
}

Test(levels, by_features)
{
    cr_assert_eq(cpu_levels_with(0), set_of(CPU_C));
    cr_assert_eq(cpu_levels_with(FEATURE_AVX2 | FEATURE_FMA), set_of(CPU_C), "AVX2 without F16C is not enough");
    cr_assert_eq(cpu_levels_with(AVX2_SET), set_of(CPU_C) | set_of(CPU_AVX2));
    cr_assert_eq(cpu_levels_with(AVX2_SET | FEATURE_AVX_VNNI), set_of(CPU_C) | set_of(CPU_AVX2) | set_of(CPU_AVXVNNI));
    cr_assert_eq(cpu_levels_with(AVX2_SET | FEATURE_AVX512), set_of(CPU_C) | set_of(CPU_AVX2) | set_of(CPU_AVX512),
                 "AVX-512 does not imply AVX-VNNI");
    cr_assert_eq(cpu_levels_with(AVX2_SET | FEATURE_AMX_INT8), set_of(CPU_C) | set_of(CPU_AVX2));
    cr_assert_eq(cpu_levels_with(FEATURE_AVX512), set_of(CPU_C));
    cr_assert_eq(cpu_levels_with(FEATURE_ASIMD | FEATURE_I8MM), set_of(CPU_C) | set_of(CPU_NEON));
    cr_assert_eq(cpu_levels_with(FEATURE_ASIMD | FEATURE_DOTPROD),
                 set_of(CPU_C) | set_of(CPU_NEON) | set_of(CPU_DOTPROD));
}

Test(levels, a_cap_gives_the_best_below_it_that_runs)
{
    for (enum cpu_level cap = CPU_C; cap < CPU_LEVELS; cap++) {
        enum cpu_level got = cpu_level_within(cap);

        cr_assert_leq(got, cap);
        cr_assert(cpu_level_runs(got));
        for (enum cpu_level between = got + 1; between <= cap; between++)
            cr_assert_not(cpu_level_runs(between));
    }
}

Test(levels, every_table_is_whole_and_knows_its_level)
{
    for (enum cpu_level level = CPU_C; level < CPU_LEVELS; level++) {
        struct cpu_kernels k;

        if (!cpu_level_runs(level))
            continue;
        cpu_kernels_get(level, &k);
        cr_assert_eq(k.level, level, "'%s' is '%s'", cpu_level_name(level), cpu_level_name(k.level));
        for (uint32_t type = 0; type < QUANT_TYPES; type++)
            if (quant_info(type) != NULL && quant_info(type)->computable)
                cr_assert(k.unpack[type] != NULL && k.dots[type] != NULL, "%s", quant_info(type)->name);
    }
}
