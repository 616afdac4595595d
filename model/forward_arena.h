/* SPDX-License-Identifier: MIT
 *
 * forward_arena.h: a region of memory carved into parts, measured by the very code that carves it.
 *
 * A layout is a function that takes its parts one after the other. Run over a fresh arena it only counts; after
 * arena_open it is run again and gets addresses. So the estimate that the budget relies on cannot drift from what is
 * taken. Parts are 64-byte aligned and zero. A total that overflows sticks at SIZE_MAX, which arena_open refuses.
 *
 * Ownership: an arena owns its memory until arena_close. Threads: one at a time.
 */
#ifndef EXPERTD_MODEL_FORWARD_ARENA_H
#define EXPERTD_MODEL_FORWARD_ARENA_H

#include "base/err.h"
#include "base/mem.h"
#include "compute/device.h"

#include <stddef.h>

struct arena {
    struct device *device; /* whose memory; NULL: the host's */
    char *base;            /* NULL while only counting */
    size_t used;           /* bytes taken so far */
    size_t bytes;          /* of the region, once open */
};

/* Take n objects of `each` bytes; NULL while only counting. */
void *arena_take(struct arena *arena, size_t n, size_t each);

/* What arena_open will take for what has been counted. */
size_t arena_bytes(const struct arena *arena);

/* How the host's memory is taken: base/mem.h. A device's own is there whole, whatever is asked for. */
enum arena_flags {
    ARENA_HUGE = MEM_HUGE,
    ARENA_SMALL = MEM_SMALL,
    ARENA_POPULATE = MEM_POPULATE,
    ARENA_LOCK = MEM_LOCK, /* where that is permitted */
    ARENA_PLAIN = ARENA_HUGE | ARENA_POPULATE,
};

/* Get memory for what has been counted and start again at its beginning. `what` names it in the error. */
int arena_open(struct arena *arena, unsigned flags, const char *what, struct err *err);
void arena_close(struct arena *arena); /* an arena that was never opened is fine */

#endif
