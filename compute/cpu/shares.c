/* SPDX-License-Identifier: MIT
 *
 * shares.c: units of work that follow one another in memory, in a share for each thread.
 *
 * A unit is taken once, by whoever takes it: a share only ever becomes smaller under the hands of others, and its owner
 * puts something into it only when it is empty, which others leave alone. A thread that finds all shares empty while
 * another is just moving units to its own leaves them to that one.
 */
#include "compute/cpu/cpu_internal.h"

static uint64_t span(uint32_t first, uint32_t end)
{
    return (uint64_t)end << 32 | first;
}

static uint32_t span_first(uint64_t units)
{
    return (uint32_t)units;
}

static uint32_t span_left(uint64_t units)
{
    return (uint32_t)(units >> 32) - (uint32_t)units;
}

static struct unit_share *share_of(const struct cpu_device *cpu, int phase, uint32_t thread)
{
    return &cpu->shares[(uint32_t)phase * cpu->options.n_threads + thread];
}

uint32_t cpu_share_first(const struct cpu_device *cpu, uint32_t n_units, uint32_t thread)
{
    return (uint32_t)((uint64_t)n_units * thread / cpu->options.n_threads);
}

void cpu_share(struct cpu_device *cpu, int phase, uint32_t n_units)
{
    for (uint32_t t = 0; t < cpu->options.n_threads; t++)
        atomic_store_explicit(&share_of(cpu, phase, t)->units,
                              span(cpu_share_first(cpu, n_units, t), cpu_share_first(cpu, n_units, t + 1)),
                              memory_order_relaxed);
}

/* Who has the most left; NULL when nobody has any. */
static struct unit_share *fullest(const struct cpu_device *cpu, int phase)
{
    struct unit_share *best = NULL;
    uint32_t most = 0;

    for (uint32_t t = 0; t < cpu->options.n_threads; t++) {
        uint32_t left = span_left(atomic_load_explicit(&share_of(cpu, phase, t)->units, memory_order_relaxed));

        if (left > most) {
            most = left;
            best = share_of(cpu, phase, t);
        }
    }
    return best;
}

/* The second half of another's share becomes this thread's; its first unit is taken at once. */
static bool share_steal(struct cpu_device *cpu, int phase, struct unit_share *own, uint32_t *ret_unit)
{
    struct unit_share *from;

    while ((from = fullest(cpu, phase)) != NULL) {
        uint64_t old = atomic_load_explicit(&from->units, memory_order_relaxed);
        uint32_t first = span_first(old), middle = first + span_left(old) / 2, end = first + span_left(old);

        if (middle == end || !atomic_compare_exchange_strong_explicit(&from->units, &old, span(first, middle),
                                                                      memory_order_relaxed, memory_order_relaxed))
            continue;
        atomic_store_explicit(&own->units, span(middle + 1, end), memory_order_relaxed);
        *ret_unit = middle;
        return true;
    }
    return false;
}

bool cpu_share_take(struct cpu_device *cpu, int phase, uint32_t thread, uint32_t *ret_unit)
{
    struct unit_share *own = share_of(cpu, phase, thread);
    uint64_t old = atomic_load_explicit(&own->units, memory_order_relaxed);

    while (span_left(old) > 0)
        if (atomic_compare_exchange_weak_explicit(&own->units, &old, old + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *ret_unit = span_first(old);
            return true;
        }
    return share_steal(cpu, phase, own, ret_unit);
}
