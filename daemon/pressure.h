/* SPDX-License-Identifier: MIT
 *
 * pressure.h: how much memory the expert slots may hold, by what the machine and the control group have left.
 *
 * Slots are the one part of the budget that can be given back while answers are written: they are a cache. They are
 * given back when a limit comes close (it was lowered, or others took what was left), at once and as much as is
 * missing; and when the kernel says that processes wait for memory (PSI) where little of it is left, a sixteenth at a
 * time. What waits while plenty is left waits for something else, such as a page cache that is read through. They are
 * taken again an eighth at a time, each after a time of calm that doubles when taking turns out to have been too soon.
 *
 * Pure arithmetic over looks (daemon/machine.h), a second or so apart; it reads nothing and changes nothing.
 * Bytes, nanoseconds. Caller's storage, nothing to free. Threads: one.
 */
#ifndef EXPERTD_DAEMON_PRESSURE_H
#define EXPERTD_DAEMON_PRESSURE_H

#include "daemon/machine.h"

#include <stdbool.h>
#include <stdint.h>

#define PRESSURE_CALM_NS 10000000000u          /* without trouble, before some is taken again */
#define PRESSURE_LONGEST_CALM_NS 320000000000u

struct pressure {
    uint64_t least, most; /* that the slots can hold, and what they held at the start */
    uint64_t target;      /* what they are to hold */
    uint64_t n_given, n_taken;
    char why[160]; /* the last change, for the log: "the control group leaves 3 MiB of 512 MiB" */

    struct machine_memory seen; /* at the last look */

    uint64_t looked_ns; /* 0: not yet */
    uint64_t machine_stall_us, group_stall_us;
    uint64_t calm_since_ns, calm_ns, taken_ns;
};

void pressure_init(struct pressure *pressure, uint64_t least, uint64_t most);
/* What is left now, while the slots hold `held`, which follows the target when the engine comes to it. True when the
 * target has changed. */
bool pressure_look(struct pressure *pressure, const struct machine_memory *memory, uint64_t held, uint64_t now_ns);

#endif
