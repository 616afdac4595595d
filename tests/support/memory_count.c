/* SPDX-License-Identifier: MIT */
#include "tests/support/memory_count.h"

#include "base/mem.h"

#include <malloc.h>

struct memory_count memory_count;

int __real_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked);
int __wrap_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked);
void *__real_mem_alloc(size_t bytes);
void *__wrap_mem_alloc(size_t bytes);
void *__real_mem_calloc(size_t n, size_t bytes);
void *__wrap_mem_calloc(size_t n, size_t bytes);
void *__real_mem_zalloc(size_t bytes);
void *__wrap_mem_zalloc(size_t bytes);
void *__real_mem_realloc(void *p, size_t bytes);
void *__wrap_mem_realloc(void *p, size_t bytes);
void __real_mem_free(void *p);
void __wrap_mem_free(void *p);

static int64_t bytes_of(void *p)
{
    return p ? (int64_t)malloc_usable_size(p) : 0;
}

static void *taken(void *p)
{
    memory_count.held_bytes += bytes_of(p);
    if (memory_count.peak_bytes < memory_count.held_bytes)
        memory_count.peak_bytes = memory_count.held_bytes;
    return p;
}

int __wrap_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked)
{
    memory_count.mapped_bytes += mem_map_bytes(bytes);
    return __real_mem_map(bytes, flags, ret_p, ret_locked);
}

void *__wrap_mem_alloc(size_t bytes)
{
    memory_count.allocated_bytes += bytes;
    return taken(__real_mem_alloc(bytes));
}

void *__wrap_mem_calloc(size_t n, size_t bytes)
{
    memory_count.allocated_bytes += n * bytes;
    return taken(__real_mem_calloc(n, bytes));
}

void *__wrap_mem_zalloc(size_t bytes)
{
    memory_count.allocated_bytes += bytes;
    return taken(__real_mem_zalloc(bytes));
}

void *__wrap_mem_realloc(void *p, size_t bytes)
{
    int64_t before = bytes_of(p);
    void *grown = __real_mem_realloc(p, bytes);

    taken(grown);
    if (grown)
        memory_count.held_bytes -= before;
    return grown;
}

void __wrap_mem_free(void *p)
{
    memory_count.held_bytes -= bytes_of(p);
    __real_mem_free(p);
}
