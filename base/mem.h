/* SPDX-License-Identifier: MIT
 *
 * mem.h: memory that says when it cannot be had, and that tests can take away.
 *
 * Two kinds. Small objects: mem_alloc and friends, malloc underneath, freed with mem_free. Large arenas
 * (weights, slots, KV): mem_map, anonymous pages, zeroed, asked for as 2 MiB transparent huge pages and
 * pre-faulted, so that the hot path never takes a page fault; returned with mem_unmap.
 *
 * No function here exits or logs. Every allocation of the daemon's own goes through this file, so that
 * mem_fail_after can make the n-th one fail. Thread-safe.
 */
#ifndef EXPERTD_BASE_MEM_H
#define EXPERTD_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_PAGE_BYTES ((size_t)4096)
#define MEM_HUGE_BYTES ((size_t)2 << 20)

void *mem_alloc(size_t bytes);             /* uninitialised; NULL when there is none */
void *mem_zalloc(size_t bytes);            /* zeroed */
void *mem_calloc(size_t n, size_t bytes);  /* zeroed; NULL when n * bytes overflows */
void *mem_realloc(void *p, size_t bytes);  /* as realloc; the old block stays valid on failure */
char *mem_strdup(const char *s);           /* NULL when there is no memory */
char *mem_dup_nul(const void *p, size_t n); /* n bytes, whatever they are, and a NUL behind them */
void mem_free(void *p);                    /* NULL is allowed */

enum mem_map_flags {
    MEM_HUGE = 1 << 0,    /* ask for 2 MiB pages */
    MEM_POPULATE = 1 << 1, /* fault every page in now */
    MEM_SMALL = 1 << 3,   /* never huge pages: what is not touched takes nothing, page by page */
    MEM_LOCK = 1 << 2,    /* mlock; a refusal (RLIMIT_MEMLOCK) is not an error, see mem_map */
};

/* Map `bytes` (rounded up to 4 KiB, or to 2 MiB from 32 MiB on), aligned to 4 KiB, or to 2 MiB with
 * MEM_HUGE from 2 MiB on. Returns 0 or -ENOMEM. `ret_locked` (may be NULL) tells whether MEM_LOCK was granted. */
int mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked);
size_t mem_map_bytes(size_t bytes); /* what mem_map really takes, after rounding; 0 when that overflows */
/* From now on mem_map with MEM_HUGE spreads pages over these memory nodes, a set of 1 << node, page by page: any thread
 * may come to work on any of them. 0, the default: where they are first touched. Refused by the kernel: likewise. */
void mem_interleave(uint64_t nodes);
void mem_unmap(void *p, size_t bytes); /* the same `bytes` that mem_map was given; NULL is allowed */

/* Part of a mapping, whole pages (of 2 MiB where MEM_HUGE was asked for, or they are not set free). Let go: the
 * addresses stay, what lay there does not. Take: have memory there again, zeroed, before it is touched; 0 or -ENOMEM.
 */
void mem_map_let_go(void *p, size_t bytes);
int mem_map_take(void *p, size_t bytes);

/* Test hook: let `n` more allocations succeed, then fail every one that follows. Negative: never fail
 * (the default). The count is process-wide. */
void mem_fail_after(long n);

#endif
