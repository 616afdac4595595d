/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include "base/arith.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUND_FROM_BYTES (32UL << 20) /* rounding a smaller block to huge pages would waste more than a sixteenth */

static atomic_long allocations_left = -1;
static _Atomic uint64_t interleaved_nodes;

static bool may_allocate(void)
{
    long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);

    while (left > 0)
        if (atomic_compare_exchange_weak(&allocations_left, &left, left - 1))
            return true;
    return left < 0;
}

void mem_fail_after(long n)
{
    atomic_store(&allocations_left, n);
}

void *mem_alloc(size_t bytes)
{
    return may_allocate() ? malloc(bytes > 0 ? bytes : 1) : NULL;
}

void *mem_zalloc(size_t bytes)
{
    return mem_calloc(1, bytes);
}

void *mem_calloc(size_t n, size_t bytes)
{
    uint64_t total;

    if (!u64_mul(n, bytes, &total) || !may_allocate())
        return NULL;
    return calloc(1, total > 0 ? total : 1);
}

void *mem_realloc(void *p, size_t bytes)
{
    return may_allocate() ? realloc(p, bytes > 0 ? bytes : 1) : NULL;
}

char *mem_strdup(const char *s)
{
    return mem_dup_nul(s, strlen(s));
}

char *mem_dup_nul(const void *p, size_t n)
{
    char *copy = n < SIZE_MAX ? mem_alloc(n + 1) : NULL;

    if (copy == NULL)
        return NULL;
    memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

size_t mem_map_bytes(size_t bytes)
{
    uint64_t rounded;

    return u64_align_up(bytes > 0 ? bytes : 1, bytes >= ROUND_FROM_BYTES ? MEM_HUGE_BYTES : MEM_PAGE_BYTES, &rounded)
               ? rounded
               : 0;
}

/* Reserve with room to align to 2 MiB, then give the ends back. */
static void *map_aligned(size_t bytes)
{
    char *raw = mmap(NULL, bytes + MEM_HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t head;

    if (raw == MAP_FAILED)
        return NULL;
    head = (MEM_HUGE_BYTES - (uintptr_t)raw % MEM_HUGE_BYTES) % MEM_HUGE_BYTES;
    if (head > 0)
        munmap(raw, head);
    munmap(raw + head + bytes, MEM_HUGE_BYTES - head);
    return raw + head;
}

static void *map_plain(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

void mem_interleave(uint64_t nodes)
{
    atomic_store(&interleaved_nodes, nodes);
}

/* mbind; its numbers are of linux/mempolicy.h. */
static void interleave(void *p, size_t bytes)
{
    enum { MPOL_INTERLEAVE = 3 };
    uint64_t nodes = atomic_load(&interleaved_nodes);

    if (nodes != 0)
        syscall(SYS_mbind, p, bytes, MPOL_INTERLEAVE, &nodes, 8 * sizeof(nodes) + 1, 0);
}

int mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked)
{
    size_t total = mem_map_bytes(bytes);
    bool huge = (flags & MEM_HUGE) && total >= MEM_HUGE_BYTES;
    bool locked = false;
    void *p;

    if (total == 0 || !may_allocate())
        return -ENOMEM;
    p = huge ? map_aligned(total) : map_plain(total);
    if (p == NULL)
        return -ENOMEM;
    if (huge) {
        madvise(p, total, MADV_HUGEPAGE);
        interleave(p, total);
    }
    if (flags & MEM_SMALL)
        madvise(p, total, MADV_NOHUGEPAGE);
    if ((flags & MEM_POPULATE) && madvise(p, total, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        munmap(p, total);
        return -ENOMEM;
    }
    if (flags & MEM_LOCK)
        locked = mlock(p, total) == 0;
    if (ret_locked != NULL)
        *ret_locked = locked;
    *ret_p = p;
    return 0;
}

void mem_map_let_go(void *p, size_t bytes)
{
    if (bytes > 0)
        madvise(p, bytes, MADV_DONTNEED);
}

int mem_map_take(void *p, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (!may_allocate())
        return -ENOMEM;
    return madvise(p, bytes, MADV_POPULATE_WRITE) == 0 || errno == EINVAL ? 0 : -ENOMEM;
}

void mem_unmap(void *p, size_t bytes)
{
    if (p != NULL)
        munmap(p, mem_map_bytes(bytes));
}
