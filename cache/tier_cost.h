/* SPDX-License-Identifier: MIT
 *
 * tier_cost.h: who computes an expert that lies in RAM: the device after a copy, or the CPU where it is.
 *
 * Two queues, the bus and the CPU, each with a measured time per byte and what has been given to it and is not done.
 * An expert goes where it is expected to end sooner, so several are split between both in proportion to their rates.
 * Every 64th choice goes the other way, so that both rates stay known. Pure arithmetic; threads: one.
 */
#ifndef EXPERTD_CACHE_TIER_COST_H
#define EXPERTD_CACHE_TIER_COST_H

#include <stdbool.h>
#include <stdint.h>

struct tier_cost {
    double copy_ns_per_byte, cpu_ns_per_byte; /* faded averages; 0: not known */
    uint64_t copy_bytes, cpu_bytes;           /* queued */
    uint32_t n_choices;
};

/* True: the CPU. Whichever it is, the bytes are queued there. */
bool tier_cost_choose(struct tier_cost *cost, uint64_t bytes);
/* Queued for a copy without a choice. */
void tier_cost_copying(struct tier_cost *cost, uint64_t bytes);
/* Bytes have been copied, or computed from, in so many nanoseconds. */
void tier_cost_copied(struct tier_cost *cost, uint64_t bytes, uint64_t ns);
void tier_cost_computed(struct tier_cost *cost, uint64_t bytes, uint64_t ns);

#endif
