/* SPDX-License-Identifier: MIT */
#include "base/arith.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* What the kernel says of an address: its policy. */
static long policy_at(void *p, int *ret_policy)
{
    enum { MPOL_F_ADDR = 2 };

    return syscall(SYS_get_mempolicy, ret_policy, NULL, 0, p, MPOL_F_ADDR);
}

Test(mem, large_blocks_are_interleaved_when_that_is_asked_for)
{
    enum { MPOL_DEFAULT = 0, MPOL_INTERLEAVE = 3 };
    size_t bytes = 4 << 20;
    int policy = -1;
    void *p, *small;

    cr_assert_eq(mem_map(bytes, MEM_HUGE, &p, NULL), 0);
    if (policy_at(p, &policy) != 0)
        cr_skip_test("skipped: this kernel knows no memory nodes");
    cr_assert_eq(policy, MPOL_DEFAULT);
    mem_unmap(p, bytes);
    mem_interleave(1);
    cr_assert_eq(mem_map(bytes, MEM_HUGE | MEM_POPULATE, &p, NULL), 0);
    cr_assert_eq(mem_map(4096, MEM_HUGE, &small, NULL), 0);
    mem_interleave(0);
    cr_assert_eq(policy_at(p, &policy), 0);
    cr_assert_eq(policy, MPOL_INTERLEAVE);
    cr_assert_eq(policy_at(small, &policy), 0);
    cr_assert_eq(policy, MPOL_DEFAULT);
    memset(p, 1, bytes);
    mem_unmap(p, bytes);
    mem_unmap(small, 4096);
}

Test(mem, nodes_that_are_not_there_are_no_error)
{
    unsigned char *p;

    mem_interleave((uint64_t)1 << 63);
    cr_assert_eq(mem_map(4 << 20, MEM_HUGE | MEM_POPULATE, (void **)&p, NULL), 0);
    mem_interleave(0);
    cr_assert_eq(p[12345], 0);
    mem_unmap(p, 4 << 20);
}
