/* SPDX-License-Identifier: MIT */
#include "tests/support/memory_count.h"

#include "base/mem.h"

struct memory_count memory_count;

int __real_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked);
int __wrap_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked);
void *__real_mem_alloc(size_t bytes);
void *__wrap_mem_alloc(size_t bytes);
void *__real_mem_calloc(size_t n, size_t bytes);
void *__wrap_mem_calloc(size_t n, size_t bytes);
void *__real_mem_zalloc(size_t bytes);
void *__wrap_mem_zalloc(size_t bytes);

int __wrap_mem_map(size_t bytes, unsigned flags, void **ret_p, bool *ret_locked)
{
    memory_count.mapped_bytes += mem_map_bytes(bytes);
    return __real_mem_map(bytes, flags, ret_p, ret_locked);
}

void *__wrap_mem_alloc(size_t bytes)
{
    memory_count.allocated_bytes += bytes;
    return __real_mem_alloc(bytes);
}

void *__wrap_mem_calloc(size_t n, size_t bytes)
{
    memory_count.allocated_bytes += n * bytes;
    return __real_mem_calloc(n, bytes);
}

void *__wrap_mem_zalloc(size_t bytes)
{
    memory_count.allocated_bytes += bytes;
    return __real_mem_zalloc(bytes);
}
