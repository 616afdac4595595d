/* SPDX-License-Identifier: MIT
 *
 * parallel.h: threads that somebody lends, for work that falls into equal pieces.
 *
 * run calls fn(arg, i) once for each i below n, on several threads at once and in no order, and returns when all calls
 * have. Their results must not depend on the order. fn must not run anything in parallel itself.
 *
 * Threads: one run at a time, from the thread to which the lender lent them. Ownership: the lender's.
 */
#ifndef EXPERTD_BASE_PARALLEL_H
#define EXPERTD_BASE_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

struct parallel {
    void (*run)(void *ctx, uint32_t n, void (*fn)(void *arg, size_t i), void *arg);
    void *ctx;
};

/* Without threads (NULL), one call after the other. */
static inline void parallel_run(const struct parallel *parallel, uint32_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    if (parallel != NULL) {
        parallel->run(parallel->ctx, n, fn, arg);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(arg, i);
}

#endif
