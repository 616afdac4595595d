/* SPDX-License-Identifier: MIT
 *
 * arith.h: arithmetic on sizes that come from files. Each returns true and writes the result when it fits,
 * false on overflow. Units are whatever the caller's are.
 */
#ifndef EXPERTD_BASE_ARITH_H
#define EXPERTD_BASE_ARITH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool u64_add(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    return !__builtin_add_overflow(a, b, ret_sum);
}

static inline bool u64_mul(uint64_t a, uint64_t b, uint64_t *ret_product)
{
    return !__builtin_mul_overflow(a, b, ret_product);
}

static inline bool u64_to_size(uint64_t v, size_t *ret_size)
{
    return !__builtin_add_overflow(v, (uint64_t)0, ret_size);
}

/* Next multiple of `unit` (a power of two) at or above `v`. */
static inline bool u64_align_up(uint64_t v, uint64_t unit, uint64_t *ret_aligned)
{
    if (!u64_add(v, unit - 1, ret_aligned))
        return false;
    *ret_aligned &= ~(unit - 1);
    return true;
}

static inline uint64_t u64_align_down(uint64_t v, uint64_t unit)
{
    return v & ~(unit - 1);
}

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
