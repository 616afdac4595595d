/* SPDX-License-Identifier: MIT */
#include "compute/pool.h"

#include "base/mem.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Some tens of microseconds: as long as the serial work between two regions of a token. */
enum { LINE_BYTES = 64, SPINS = 4000 };

/* A counter that threads wait on: it only ever goes up (and round). */
struct gate {
    _Atomic uint32_t count;
    _Atomic uint32_t n_sleepers;
} __attribute__((aligned(LINE_BYTES)));

struct worker {
    struct pool *pool;
    uint32_t thread;
    pthread_t id;
};

struct pool {
    struct gate start;   /* runs begun */
    struct gate done;    /* runs finished by all workers */
    struct gate barrier; /* barriers passed */
    _Atomic uint32_t n_running __attribute__((aligned(LINE_BYTES)));
    _Atomic uint32_t n_arrived __attribute__((aligned(LINE_BYTES)));
    void (*fn)(void *arg, uint32_t thread) __attribute__((aligned(LINE_BYTES)));
    void *arg;
    bool stop;
    uint32_t n_threads;
    uint32_t n_spins;
    struct worker *workers; /* [n_threads - 1] */
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Sleepers announce themselves before they look again, openers look for sleepers after they have counted; in the one
 * order that sequential consistency gives, either the sleeper sees the count or the opener sees the sleeper. */
static void gate_open(struct gate *gate)
{
    atomic_fetch_add(&gate->count, 1);
    if (atomic_load(&gate->n_sleepers) > 0)
        syscall(SYS_futex, &gate->count, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Wait until the count is no longer `old`. */
static void gate_pass(struct gate *gate, uint32_t old, uint32_t n_spins)
{
    for (uint32_t i = 0; i < n_spins; i++) {
        if (atomic_load_explicit(&gate->count, memory_order_acquire) != old)
            return;
        cpu_relax();
    }
    atomic_fetch_add(&gate->n_sleepers, 1);
    while (atomic_load(&gate->count) == old)
        syscall(SYS_futex, &gate->count, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&gate->n_sleepers, 1);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct pool *pool = worker->pool;

    for (uint32_t run = 0;; run++) {
        gate_pass(&pool->start, run, pool->n_spins);
        if (pool->stop)
            return NULL;
        pool->fn(pool->arg, worker->thread);
        if (atomic_fetch_sub(&pool->n_running, 1) == 1)
            gate_open(&pool->done);
    }
}

/* Signals are for the process's own threads, not for workers. */
static int worker_start(struct worker *worker)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&worker->id, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(worker->id, "compute");
    return r;
}

static uint32_t usable_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : UINT32_MAX;
}

static void pool_stop(struct pool *pool, uint32_t n_workers)
{
    pool->stop = true;
    gate_open(&pool->start);
    for (uint32_t i = 0; i < n_workers; i++)
        pthread_join(pool->workers[i].id, NULL);
}

int pool_open(uint32_t n_threads, struct pool **ret_pool, struct err *err)
{
    struct pool *pool = NULL;
    int r;

    if (n_threads == 0)
        return err_set(err, -EINVAL, "a thread pool needs at least one thread");
    r = mem_map(sizeof(*pool), MEM_POPULATE, (void **)&pool, NULL);
    if (r < 0)
        return err_set(err, r, "no memory for the thread pool");
    pool->n_threads = n_threads;
    pool->n_spins = n_threads <= usable_cpus() ? SPINS : 0;
    pool->workers = mem_calloc(n_threads, sizeof(*pool->workers));
    if (pool->workers == NULL) {
        pool_close(pool);
        return err_set(err, -ENOMEM, "no memory for %u compute threads", n_threads);
    }
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        pool->workers[i] = (struct worker){ .pool = pool, .thread = i + 1 };
        r = worker_start(&pool->workers[i]);
        if (r != 0) {
            pool->n_threads = i + 1;
            pool_close(pool);
            return err_sys(err, r, "cannot start compute thread %u of %u", i + 1, n_threads);
        }
    }
    *ret_pool = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->workers != NULL)
        pool_stop(pool, pool->n_threads - 1);
    mem_free(pool->workers);
    mem_unmap(pool, sizeof(*pool));
}

void pool_place(struct pool *pool, uint32_t thread, const cpu_set_t *place)
{
    pthread_setaffinity_np(pool->workers[thread - 1].id, sizeof(*place), place);
}

uint32_t pool_threads(const struct pool *pool)
{
    return pool->n_threads;
}

void pool_run(struct pool *pool, void (*fn)(void *arg, uint32_t thread), void *arg)
{
    uint32_t done = atomic_load_explicit(&pool->done.count, memory_order_relaxed);

    if (pool->n_threads == 1) {
        fn(arg, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->n_running, pool->n_threads - 1, memory_order_relaxed);
    gate_open(&pool->start);
    fn(arg, 0);
    gate_pass(&pool->done, done, pool->n_spins);
}

void pool_barrier(struct pool *pool)
{
    uint32_t passed = atomic_load_explicit(&pool->barrier.count, memory_order_relaxed);

    if (pool->n_threads == 1)
        return;
    if (atomic_fetch_add(&pool->n_arrived, 1) == pool->n_threads - 1) {
        atomic_store_explicit(&pool->n_arrived, 0, memory_order_relaxed);
        gate_open(&pool->barrier);
    } else {
        gate_pass(&pool->barrier, passed, pool->n_spins);
    }
}
