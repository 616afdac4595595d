/* SPDX-License-Identifier: MIT
 *
 * variant.h: everything that could make a difference to what a CPU device computes, and must not.
 */
#ifndef EXPERTD_TESTS_VARIANT_H
#define EXPERTD_TESTS_VARIANT_H

#include "compute/cpu_device.h"

#include <stdbool.h>

enum { TOKENS = 13 }; /* that most tests compute */

struct variant {
    enum cpu_level level;
    uint32_t n_threads;
    uint32_t n_split; /* tokens per call */
};

/* The next one of those that this machine runs. */
bool variant_next(struct variant *v);

struct device *device_of(enum cpu_level level, uint32_t n_threads, uint32_t max_expert_rows);

#endif
