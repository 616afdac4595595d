/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "compute/cpu/cpu_internal.h"
#include "compute/pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>

enum { MAX_THREADS = 8, RUNS = 2000, STEPS = 50 };

enum { UNITS = 501 };

struct share_job {
    struct cpu_device cpu;
    atomic_int taken[UNITS];
};

/* The first thread is slow, so that the others take from it. */
static void take_units(void *arg, uint32_t thread)
{
    struct share_job *job = arg;
    uint32_t unit;

    while (cpu_share_take(&job->cpu, 1, thread, &unit)) {
        cr_assert_lt(unit, UNITS);
        atomic_fetch_add(&job->taken[unit], 1);
        for (volatile int i = 0; thread == 0 && i < 1000; i++)
            ;
    }
}

Test(shares, every_unit_is_taken_once)
{
    for (uint32_t n = 1; n <= MAX_THREADS; n++) {
        static struct unit_share shares[CPU_SHARED_PHASES * MAX_THREADS];
        struct share_job job = { .cpu = { .options.n_threads = n, .shares = shares } };

        cr_assert_eq(pool_open(n, &job.cpu.pool, NULL), 0);
        for (int run = 1; run <= 50; run++) {
            cpu_share(&job.cpu, 1, UNITS);
            pool_run(job.cpu.pool, take_units, &job);
            for (uint32_t i = 0; i < UNITS; i++)
                cr_assert_eq(job.taken[i], run, "unit %u of %u threads, %d times in %d runs", i, n, job.taken[i], run);
        }
        pool_close(job.cpu.pool);
    }
}

struct job {
    struct pool *pool;
    int calls[MAX_THREADS];
    int values[MAX_THREADS];
    atomic_int wrong;
};

static void count_calls(void *arg, uint32_t thread)
{
    struct job *job = arg;

    job->calls[thread]++;
}

Test(pool, each_thread_runs_once_per_run)
{
    for (uint32_t n = 1; n <= MAX_THREADS; n++) {
        struct job job = { 0 };
        struct pool *pool;

        cr_assert_eq(pool_open(n, &pool, NULL), 0);
        cr_assert_eq(pool_threads(pool), n);
        for (int run = 0; run < RUNS; run++)
            pool_run(pool, count_calls, &job);
        pool_close(pool);
        for (uint32_t i = 0; i < MAX_THREADS; i++)
            cr_assert_eq(job.calls[i], i < n ? RUNS : 0, "thread %u of %u ran %d times", i, n, job.calls[i]);
    }
}

/* Each thread writes its step, and between two barriers reads its neighbour's. */
static void step_together(void *arg, uint32_t thread)
{
    struct job *job = arg;
    uint32_t n = pool_threads(job->pool);

    for (int step = 1; step <= STEPS; step++) {
        job->values[thread] = step;
        pool_barrier(job->pool);
        if (job->values[(thread + 1) % n] != step)
            atomic_fetch_add(&job->wrong, 1);
        pool_barrier(job->pool);
    }
}

Test(pool, barriers_hold_until_all_have_come)
{
    for (uint32_t n = 1; n <= MAX_THREADS; n++) {
        struct job job = { 0 };

        cr_assert_eq(pool_open(n, &job.pool, NULL), 0);
        for (int run = 0; run < 20; run++)
            pool_run(job.pool, step_together, &job);
        pool_close(job.pool);
        cr_assert_eq(atomic_load(&job.wrong), 0, "%u threads", n);
    }
}

Test(pool, no_thread_is_refused)
{
    struct pool *pool = NULL;
    struct err err = { 0 };

    cr_assert_eq(pool_open(0, &pool, &err), -EINVAL);
    cr_assert_null(pool);
    cr_assert_neq(err.text[0], '\0');
}

Test(pool, no_memory_is_an_error)
{
    struct pool *pool = NULL;
    struct err err = { 0 };
    int r = -1;

    for (long n = 0; r != 0; n++) {
        mem_fail_after(n);
        r = pool_open(3, &pool, &err);
        mem_fail_after(-1);
        cr_assert(r == 0 || r == -ENOMEM, "after %ld allocations: %d", n, r);
        cr_assert_lt(n, 10);
    }
    pool_close(pool);
}

Test(pool, closing_nothing_is_allowed)
{
    pool_close(NULL);
}
