/* SPDX-License-Identifier: MIT
 *
 * pool.h: a fixed set of threads that run one function together.
 *
 * pool_run calls fn(arg, thread) once for each thread number 0 .. n-1, number 0 on the caller, and returns when all
 * have returned; what they wrote is then visible to the caller. Inside, pool_barrier holds each thread until all have
 * come to it. Workers that wait spin for some tens of microseconds, then sleep: an idle pool uses no CPU. With more
 * threads than the process may use CPUs, nobody spins.
 *
 * Nothing is allocated and no lock is taken after pool_open. Threads: one thread at a time calls pool_run, not from
 * inside fn. Ownership: pool_open returns a heap object that pool_close ends; it must not be running.
 */
#ifndef EXPERTD_COMPUTE_POOL_H
#define EXPERTD_COMPUTE_POOL_H

#include "base/err.h"

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

/* n_threads counts the caller: 1 starts no thread. */
int pool_open(uint32_t n_threads, struct pool **ret_pool, struct err *err);
void pool_close(struct pool *pool); /* NULL is allowed */

/* Keep a thread on some CPUs; 1 <= thread < n. Thread 0 is the caller's own and is left alone: threads that it starts
 * later would inherit the place. A refusal changes nothing but speed. */
void pool_place(struct pool *pool, uint32_t thread, const cpu_set_t *place);

uint32_t pool_threads(const struct pool *pool);
void pool_run(struct pool *pool, void (*fn)(void *arg, uint32_t thread), void *arg);
void pool_barrier(struct pool *pool); /* inside fn only, by all threads or by none */

#endif
