/* SPDX-License-Identifier: MIT
 *
 * memory_count.h: what a program takes through base/mem.h, for tests that hold it against what was announced. Programs
 * that use it are linked with $(MEMORY_COUNT_LDFLAGS). Not thread-safe.
 */
#ifndef EXPERTD_TESTS_MEMORY_COUNT_H
#define EXPERTD_TESTS_MEMORY_COUNT_H

#include <stdint.h>

struct memory_count {
    uint64_t mapped_bytes;    /* by mem_map, as rounded */
    uint64_t allocated_bytes; /* by mem_alloc, mem_calloc and mem_zalloc */
    int64_t held_bytes;       /* of small objects, as malloc rounds them: what was taken and not freed yet */
    int64_t peak_bytes;       /* the most that was held; while a block grows, it counts twice */
};

/* The first two grow with every call; a test sets all to zero. Held, after that, is what has been taken since, less
 * what has been freed. */
extern struct memory_count memory_count;

#endif
