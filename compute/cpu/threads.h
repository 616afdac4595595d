/* SPDX-License-Identifier: MIT
 *
 * threads.h: the machine's cores and memory nodes, with its files under another root for tests.
 *
 * `root` stands before /sys and /proc; `usable` are the CPUs that the process may use. What is not known of a machine
 * (no /sys, say) counts as simple: each CPU a core of its own, one node.
 */
#ifndef EXPERTD_COMPUTE_CPU_THREADS_H
#define EXPERTD_COMPUTE_CPU_THREADS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* See cpu_threads_detect. At least 1. */
uint32_t cpu_threads_under(const char *root, const cpu_set_t *usable);

/* The memory nodes that usable CPUs belong to, a set of 1 << node; 0 when nothing is known. Nodes from 64 on are left
 * out. */
uint64_t cpu_nodes_under(const char *root, const cpu_set_t *usable);

/* Where thread number `thread` of n_threads should stay, or false where it may run. When there is one thread for each
 * physical core and no quota is in the way, each has a core, with all of its usable CPUs; fewer threads are dealt out
 * to the memory nodes, where there are several. All else is the scheduler's: more threads than cores, and machines with
 * one node and no second CPU in any core, where it has nothing to get wrong. */
bool cpu_place_under(const char *root, const cpu_set_t *usable, uint32_t n_threads, uint32_t thread,
                     cpu_set_t *ret_place);

/* The same on this machine. */
bool cpu_place(uint32_t n_threads, uint32_t thread, cpu_set_t *ret_place);

#endif
