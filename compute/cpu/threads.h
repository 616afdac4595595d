/* SPDX-License-Identifier: MIT
 *
 * threads.h: cpu_threads_detect with the machine's files under another root, for tests.
 */
#ifndef EXPERTD_COMPUTE_CPU_THREADS_H
#define EXPERTD_COMPUTE_CPU_THREADS_H

#include <sched.h>
#include <stdint.h>

/* `root` stands before /sys and /proc; `usable` are the CPUs that the process may use. At least 1. */
uint32_t cpu_threads_under(const char *root, const cpu_set_t *usable);

#endif
