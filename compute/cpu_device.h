/* SPDX-License-Identifier: MIT
 *
 * cpu_device.h: the CPU as a device: the C reference and, above it, SIMD kernels chosen by CPU flags.
 */
#ifndef EXPERTD_COMPUTE_CPU_DEVICE_H
#define EXPERTD_COMPUTE_CPU_DEVICE_H

#include "base/parallel.h"
#include "compute/device.h"

/* The staircases of all architectures, one after the other; a CPU may lack a step and have the next. */
enum cpu_level {
    CPU_C,
    CPU_AVX2, /* x86-64 */
    CPU_AVXVNNI,
    CPU_AVX512,
    CPU_AMX,
    CPU_NEON, /* aarch64 */
    CPU_DOTPROD,
    CPU_I8MM,
    CPU_LEVELS,
    CPU_LEVEL_BEST = CPU_LEVELS - 1, /* as a cap: none */
};

struct cpu_device_options {
    uint32_t n_threads;       /* including the calling one; 0: physical cores within the cgroup quota */
    enum cpu_level max_level; /* cap on the kernels; what the CPU lacks is never used */
    uint32_t max_rows;        /* most activation rows of one call */
    uint32_t max_ff;          /* widest hidden row of an expert or dense block: sizes the scratch */
    uint32_t max_expert_rows; /* most (token, expert) pairs of one `experts` call */
};

/* "auto", "c", or a level of this architecture (case-insensitive); -EINVAL otherwise, with the list in err. */
int cpu_level_parse(const char *name, enum cpu_level *ret_level, struct err *err);
const char *cpu_level_name(enum cpu_level level);
const char *cpu_level_needs(enum cpu_level level);   /* of the CPU, in words */
bool cpu_level_runs(enum cpu_level level);           /* on this machine */
enum cpu_level cpu_level_within(enum cpu_level cap); /* the best that this machine runs, up to the cap */
/* Whether the level multiplies packed weights of a format without unpacking rows. */
bool cpu_level_is_fast(enum cpu_level level, enum quant_type type);
uint64_t cpu_nodes_detect(void);   /* memory nodes with usable CPUs, a set of 1 << node; 0 when unknown */
uint32_t cpu_threads_detect(void); /* physical cores, affinity and cgroup quota considered; at least 1 */

/* Its threads, for other work while it does none; the device's, valid until close. */
const struct parallel *cpu_device_threads(struct device *device);

/* Bytes that cpu_device_open will take for scratch, for the budget. */
size_t cpu_device_bytes(const struct cpu_device_options *options);
int cpu_device_open(const struct cpu_device_options *options, struct device **ret_device, struct err *err);

#endif
