/* SPDX-License-Identifier: MIT */
#include "parity/variant.h"

#include <criterion/criterion.h>

enum { MAX_THREADS = 4 };

struct device *device_of(enum cpu_level level, uint32_t n_threads, uint32_t max_expert_rows)
{
    struct cpu_device_options options = {
        .n_threads = n_threads,
        .max_level = level,
        .max_rows = 128,
        .max_ff = 512,
        .max_expert_rows = max_expert_rows,
    };
    struct device *device;
    struct err err = { 0 };

    cr_assert_eq(cpu_device_open(&options, &device, &err), 0, "%s", err_text(&err));
    return device;
}

bool variant_next(struct variant *v)
{
    static const uint32_t splits[] = { TOKENS, 1, 2, 3, 5, 8 };

    for (size_t i = 0; i + 1 < sizeof(splits) / sizeof(splits[0]); i++)
        if (v->n_split == splits[i]) {
            v->n_split = splits[i + 1];
            return true;
        }
    v->n_split = splits[0];
    if (++v->n_threads <= MAX_THREADS)
        return true;
    v->n_threads = 1;
    while (++v->level < CPU_LEVELS)
        if (cpu_level_runs(v->level))
            return true;
    return false;
}
