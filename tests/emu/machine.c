/* SPDX-License-Identifier: MIT */
#include "emu/machine.h"

#include "emu/fibre.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024, WARP = 32, SHARED_MAX = 48 << 10, SHARED_GUARD = 256, FILL = 0xff, GUARD = 0xa5 };

enum state { RUNS, AT_BARRIER, AT_MEETING, ENDED };

struct thread {
    struct fibre *fibre;
    enum state state;
    enum meeting meeting;
    const char *file;
    int line;
    const void *given;
    uint64_t *ret_got;
    uint32_t from;
};

static struct {
    struct fibres *fibres;
    struct thread threads[MAX_THREADS];
    const struct machine_launch *launch;
    uint32_t block[3];
    uint32_t thread; /* whose turn it is */
    bool failed;
    char why[400];
    _Alignas(64) unsigned char shared[SHARED_MAX + SHARED_GUARD];
} m;

__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list args;

    if (m.failed)
        return;
    m.failed = true;
    va_start(args, fmt);
    vsnprintf(m.why, sizeof(m.why), fmt, args);
    va_end(args);
}

uint32_t machine_thread(void)
{
    return m.thread;
}

uint32_t machine_n_threads(void)
{
    return m.launch->n_threads;
}

uint32_t machine_block(int axis)
{
    return m.block[axis];
}

/* The thread that fails never gets the turn again. */
static void stop(void)
{
    for (;;)
        fibre_yield();
}

void *machine_shared(size_t bytes)
{
    if (bytes > m.launch->shared_bytes) {
        fail("%zu bytes of shared memory are used, and %u were asked for", bytes, m.launch->shared_bytes);
        stop();
    }
    return m.shared;
}

static void wait_here(enum state state, const char *file, int line)
{
    struct thread *t = &m.threads[m.thread];

    t->state = state;
    t->file = file;
    t->line = line;
    fibre_yield();
}

void machine_barrier(const char *file, int line)
{
    wait_here(AT_BARRIER, file, line);
}

void machine_meet(enum meeting meeting, const char *file, int line, const void *given, uint64_t *ret_got, uint32_t from)
{
    struct thread *t = &m.threads[m.thread];

    t->meeting = meeting;
    t->given = given;
    t->ret_got = ret_got;
    t->from = from;
    wait_here(AT_MEETING, file, line);
}

static const char *state_name(enum state state)
{
    return state == ENDED ? "has ended" : state == AT_BARRIER ? "waits at a barrier" : "waits for its warp";
}

/* Do threads first .. end - 1 wait for each other at one place? */
static bool together(uint32_t first, uint32_t end)
{
    const struct thread *a = &m.threads[first];

    for (uint32_t i = first + 1; i < end; i++) {
        const struct thread *b = &m.threads[i];

        if (b->state == a->state && (a->state == ENDED || (b->file == a->file && b->line == a->line)))
            continue;
        fail("divergence: thread %u %s (%s:%d), thread %u %s (%s:%d)", first, state_name(a->state), a->file, a->line, i,
             state_name(b->state), b->file, b->line);
        return false;
    }
    return true;
}

/* Byte k of row r: four to a word, as gpu/product_many.cuh says. */
static int fragment_a(const struct thread *warp, int r, int k)
{
    const struct machine_fragments *f = warp[r % 8 * 4 + k % 16 / 4].given;

    return (int8_t)(f->a[k / 16 * 2 + r / 8] >> (8 * (k % 4)));
}

static int fragment_b(const struct thread *warp, int k, int n)
{
    const struct machine_fragments *f = warp[n * 4 + k % 16 / 4].given;

    return (int8_t)(f->b[k / 16] >> (8 * (k % 4)));
}

static void multiply(const struct thread *warp)
{
    int a[16][32], b[8][32];
    int depth = ((const struct machine_fragments *)warp[0].given)->depth;

    for (int k = 0; k < depth; k++) {
        for (int r = 0; r < 16; r++)
            a[r][k] = fragment_a(warp, r, k);
        for (int n = 0; n < 8; n++)
            b[n][k] = fragment_b(warp, k, n);
    }
    for (int thread = 0; thread < WARP; thread++)
        for (int i = 0; i < 4; i++) {
            int *c = ((const struct machine_fragments *)warp[thread].given)->c + i;

            for (int k = 0; k < depth; k++)
                *c += a[thread / 4 + i / 2 * 8][k] * b[thread % 4 * 2 + i % 2][k];
        }
}

static void exchange(struct thread *warp)
{
    uint64_t given[WARP];

    for (int i = 0; i < WARP; i++)
        memcpy(&given[i], warp[i].given, sizeof(given[i]));
    for (int i = 0; i < WARP; i++)
        *warp[i].ret_got = given[warp[i].from];
}

/* Run a warp until all its threads wait at one barrier of the block, or have ended. */
static void run_warp(uint32_t first, uint32_t end)
{
    struct thread *warp = &m.threads[first];

    while (!m.failed) {
        for (uint32_t i = first; i < end && !m.failed; i++) {
            m.thread = i;
            if (m.threads[i].state == RUNS)
                fibre_run(m.threads[i].fibre);
            if (fibre_ended(m.threads[i].fibre))
                m.threads[i].state = ENDED;
        }
        if (m.failed || !together(first, end) || warp->state != AT_MEETING)
            return;
        if (warp->meeting == MEET_SHUFFLE)
            exchange(warp);
        else if (warp->meeting == MEET_PRODUCT)
            multiply(warp);
        for (uint32_t i = first; i < end; i++)
            m.threads[i].state = RUNS;
    }
}

static void thread_main(void *arg)
{
    m.launch->call(m.launch->kernel, m.launch->params);
}

static void check_guards(void)
{
    for (size_t i = m.launch->shared_bytes; i < m.launch->shared_bytes + SHARED_GUARD; i++)
        if (m.shared[i] != GUARD) {
            fail("byte %zu behind the shared memory was written", i - m.launch->shared_bytes);
            return;
        }
    for (uint32_t i = 0; i < m.launch->n_threads; i++)
        if (fibre_overflowed(m.threads[i].fibre))
            fail("thread %u needs more stack than there is", i);
}

static void run_block(void)
{
    uint32_t n = m.launch->n_threads;

    memset(m.shared, FILL, m.launch->shared_bytes);
    memset(m.shared + m.launch->shared_bytes, GUARD, SHARED_GUARD);
    for (uint32_t i = 0; i < n; i++) {
        m.threads[i] = (struct thread){ .fibre = fibres_at(m.fibres, i), .state = RUNS };
        fibre_start(m.threads[i].fibre, thread_main, NULL);
    }
    do {
        for (uint32_t first = 0; first < n && !m.failed; first += WARP)
            run_warp(first, first + WARP);
        if (m.failed || !together(0, n))
            break;
        for (uint32_t i = 0; i < n; i++)
            if (m.threads[i].state != ENDED)
                m.threads[i].state = RUNS;
    } while (m.threads[0].state == RUNS);
    check_guards();
}

int machine_run(const struct machine_launch *launch, const char **ret_why)
{
    char why[sizeof(m.why)];

    m.launch = launch;
    m.failed = false;
    *ret_why = m.why;
    if (m.fibres == NULL)
        m.fibres = fibres_open(MAX_THREADS);
    if (m.fibres == NULL)
        fail("no memory for fibres");
    if (launch->n_threads == 0 || launch->n_threads > MAX_THREADS || launch->n_threads % WARP != 0)
        fail("blocks of %u threads", launch->n_threads);
    if (launch->shared_bytes > SHARED_MAX)
        fail("%u bytes of shared memory, where a block has %d", launch->shared_bytes, SHARED_MAX);
    for (m.block[2] = 0; m.block[2] < launch->grid[2] && !m.failed; m.block[2]++)
        for (m.block[1] = 0; m.block[1] < launch->grid[1] && !m.failed; m.block[1]++)
            for (m.block[0] = 0; m.block[0] < launch->grid[0] && !m.failed; m.block[0]++) {
                run_block();
                if (!m.failed)
                    continue;
                memcpy(why, m.why, sizeof(why));
                snprintf(m.why, sizeof(m.why), "block %u, %u, %u: %.300s", m.block[0], m.block[1], m.block[2], why);
            }
    if (!m.failed && machine_check() < 0)
        fail("a kernel wrote before or behind a buffer");
    return m.failed ? -1 : 0;
}
