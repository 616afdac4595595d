/* SPDX-License-Identifier: MIT
 *
 * levels.h: which levels a CPU runs, told from its features, so that tests can ask about CPUs that are not there.
 */
#ifndef EXPERTD_COMPUTE_CPU_LEVELS_H
#define EXPERTD_COMPUTE_CPU_LEVELS_H

#include "compute/cpu_device.h"

enum cpu_feature {
    FEATURE_AVX2 = 1 << 0,
    FEATURE_FMA = 1 << 1,
    FEATURE_F16C = 1 << 2,
    FEATURE_AVX_VNNI = 1 << 3,
    FEATURE_AVX512 = 1 << 4,   /* F, BW, VL, DQ and VNNI, with BMI2 */
    FEATURE_AMX_INT8 = 1 << 5, /* with AMX-TILE, and the kernel lets us */
    FEATURE_ASIMD = 1 << 6,
    FEATURE_DOTPROD = 1 << 7,
    FEATURE_I8MM = 1 << 8,
};

/* What this CPU and kernel give a process, a set of the above. */
uint32_t cpu_features_detect(void);
/* The levels that run with such features, a set of 1 << level. CPU_C is always among them. */
uint32_t cpu_levels_with(uint32_t features);

#endif
