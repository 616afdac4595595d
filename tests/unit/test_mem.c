/* SPDX-License-Identifier: MIT */
#include "base/arith.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(mem, fails_after_the_nth)
{
    void *a, *b;

    mem_fail_after(1);
    a = mem_alloc(10);
    b = mem_alloc(10);
    cr_assert_not_null(a);
    cr_assert_null(b);
    cr_assert_null(mem_strdup("x"));
    mem_fail_after(-1);
    b = mem_calloc(3, 5);
    cr_assert_not_null(b);
    mem_free(a);
    mem_free(b);
}

Test(mem, calloc_refuses_overflow)
{
    volatile size_t n = SIZE_MAX / 2;

    cr_assert_null(mem_calloc(n, 3));
}

Test(mem, map_is_zeroed_and_aligned)
{
    static const size_t sizes[] = { 1, 4096, 5000, 2 << 20, (2 << 20) + 1, 5 << 20 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned flags = 0; flags < 8; flags++) {
            unsigned char *p;
            bool locked;

            cr_assert_eq(mem_map(sizes[i], flags, (void **)&p, &locked), 0);
            cr_assert_eq((uintptr_t)p % ((flags & MEM_HUGE) && sizes[i] >= 2 << 20 ? 2 << 20 : 4096), 0);
            cr_assert_eq(p[0], 0);
            cr_assert_eq(p[sizes[i] - 1], 0);
            memset(p, 0xff, sizes[i]);
            mem_unmap(p, sizes[i]);
        }
}

Test(mem, map_of_too_much_is_an_error)
{
    void *p;

    cr_assert_lt(mem_map(SIZE_MAX - 4096, 0, &p, NULL), 0);
    cr_assert_lt(mem_map((size_t)1 << 62, 0, &p, NULL), 0);
}

Test(arith, overflow_is_told)
{
    uint64_t v;

    cr_assert(u64_add(1, 2, &v) && v == 3);
    cr_assert_not(u64_add(UINT64_MAX, 1, &v));
    cr_assert_not(u64_mul(UINT64_MAX / 2, 3, &v));
    cr_assert(u64_align_up(4097, 4096, &v) && v == 8192);
    cr_assert(u64_align_up(4096, 4096, &v) && v == 4096);
    cr_assert_not(u64_align_up(UINT64_MAX - 5, 4096, &v));
    cr_assert_eq(u64_align_down(8191, 4096), 4096);
}
