/* SPDX-License-Identifier: MIT */
#include "daemon/pressure.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define S ((uint64_t)1000000000)

enum { LEAST = 64, MOST = 1024 }; /* MiB */

/* A machine of 8 GiB and, unless a test says so, no group; time goes on a second per look. */
static struct pressure p;
static struct machine_memory m;
static uint64_t now_ns, held;

static void setup(void)
{
    now_ns = 1000 * S;
    held = MOST * MIB;
    m = (struct machine_memory){ { 8192 * MIB, 4096 * MIB, 0, 0 }, { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX } };
    pressure_init(&p, LEAST * MIB, MOST * MIB);
}

/* The engine follows at once. */
static bool look(void)
{
    bool changed = pressure_look(&p, &m, held, now_ns);

    now_ns += S;
    if (changed)
        held = p.target;
    return changed;
}

/* Looks until something changes; how many seconds that took, 0 when nothing did in an hour. */
static unsigned seconds_until_change(void)
{
    for (unsigned i = 1; i <= 3600; i++)
        if (look())
            return i;
    return 0;
}

TestSuite(pressure, .init = setup);

Test(pressure, with_plenty_left_nothing_changes)
{
    cr_assert_eq(seconds_until_change(), 0);
    cr_assert_eq(p.target, MOST * MIB);
    m.machine = (struct memory_scope){ UINT64_MAX, UINT64_MAX, 0, UINT64_MAX };
    cr_assert_eq(seconds_until_change(), 0, "nor when nothing is known");
}

Test(pressure, what_is_missing_is_given_back_at_once)
{
    look();
    m.machine.left = 100 * MIB; /* of 8 GiB; 128 are the least, 256 what there shall be */
    cr_assert(look());
    cr_assert_eq(p.target, (MOST - 156) * MIB);
    cr_assert_not_null(strstr(p.why, "the machine has 100 MiB of 8.0 GiB left"), "%s", p.why);
    m.machine.left += 156 * MIB;
    cr_assert_not(look(), "and not more than that");
    m.machine.left = 0;
    for (int i = 0; i < 20; i++)
        look();
    cr_assert_eq(p.target, LEAST * MIB, "down to the least that works");
}

/* The engine is in a long step: the same want is not asked for twice. */
Test(pressure, what_has_been_asked_for_is_not_asked_for_again)
{
    look();
    m.machine.left = 100 * MIB;
    cr_assert(pressure_look(&p, &m, held, now_ns));
    for (int i = 0; i < 100; i++)
        cr_assert_not(pressure_look(&p, &m, held, now_ns += S));
    m.machine.left = 50 * MIB;
    cr_assert(pressure_look(&p, &m, held, now_ns += S), "but more is");
    cr_assert_eq(p.target, (MOST - 206) * MIB);
}

Test(pressure, a_limit_that_is_lowered)
{
    m.group = (struct memory_scope){ 2048 * MIB, 700 * MIB, 0, 0 };
    look();
    m.group.size = 1024 * MIB; /* 1348 are used */
    m.group.left = 0;
    m.group.over = 324 * MIB;
    cr_assert(look());
    cr_assert_eq(p.target, (MOST - 324 - 8) * MIB);
    cr_assert_not_null(strstr(p.why, "the control group has 324 MiB of 1.0 GiB too little"), "%s", p.why);
}

/* A budget as large as the group's limit: nearly nothing is left, and that is as it should be. */
Test(pressure, a_group_that_is_full_is_no_trouble_by_itself)
{
    m.group = (struct memory_scope){ 1200 * MIB, 6 * MIB, 0, 0 };
    cr_assert_eq(seconds_until_change(), 0);
}

Test(pressure, of_a_small_group_a_larger_part_must_be_left)
{
    m.group = (struct memory_scope){ 64 * MIB, 2 * MIB, 0, 0 };
    held = MOST * MIB / 32;
    pressure_init(&p, MIB, held);
    look();
    cr_assert_eq(p.target, MOST * MIB / 32);
    m.group.left = MIB;
    cr_assert(look());
    cr_assert_eq(p.target, MOST * MIB / 32 - 3 * MIB);
}

Test(pressure, waiting_processes_get_a_part_where_little_is_left)
{
    m.group = (struct memory_scope){ 1200 * MIB, 30 * MIB, 0, 0 };
    look();
    for (unsigned i = 1; i <= 3; i++) {
        m.group.stall_us += 150000;
        cr_assert(look());
        cr_assert_eq(p.target, (MOST - i * MOST / 16) * MIB);
    }
    m.group.stall_us += 90000;
    cr_assert_not(look(), "a tenth of the time is the limit");
    m.group.left = 100 * MIB;
    m.group.stall_us += 900000;
    cr_assert_not(look(), "it is not for want of what we could give");
}

Test(pressure, the_machines_stalls_are_not_the_groups)
{
    m.group = (struct memory_scope){ 1200 * MIB, 30 * MIB, 0, 0 };
    look();
    m.machine.stall_us += 900000;
    cr_assert_not(look());
    m.machine.left = 400 * MIB;
    m.machine.stall_us += 900000;
    cr_assert(look());
}

Test(pressure, it_is_taken_again_slowly)
{
    look();
    m.machine.left = 0;
    for (int i = 0; i < 20; i++)
        look();
    cr_assert_eq(p.target, LEAST * MIB);
    m.machine.left = 4096 * MIB;
    for (uint64_t before = p.target; before < MOST * MIB; before = p.target) {
        cr_assert_geq(seconds_until_change(), 10);
        cr_assert(p.target > before && p.target <= before + (MOST / 8 + 1) * MIB);
    }
    cr_assert_eq(p.target, MOST * MIB);
    cr_assert_eq(seconds_until_change(), 0);
    cr_assert_eq(p.n_taken, 8);
}

Test(pressure, not_while_somebody_waits_or_little_is_left)
{
    look();
    m.machine.left = 0;
    cr_assert(look());
    m.machine.left = 300 * MIB; /* more than the least, less than four times it */
    cr_assert_eq(seconds_until_change(), 0);
    m.machine.left = 4096 * MIB;
    for (int i = 0; i < 600; i++) {
        m.machine.stall_us += 20000;
        cr_assert_not(look());
    }
    cr_assert_gt(seconds_until_change(), 0);
}

/* Taking what then is missing again: the next time we wait twice as long. */
Test(pressure, taking_too_soon_teaches_patience)
{
    unsigned waited = 0;

    look();
    for (int i = 0; i < 10; i++) {
        unsigned now;

        m.machine.left = 0;
        cr_assert(look());
        m.machine.left = 4096 * MIB;
        now = seconds_until_change();
        cr_assert_geq(now, waited);
        waited = now;
    }
    cr_assert(waited >= 320 && waited < 340, "%u s", waited);
}

Test(pressure, slots_that_cannot_shrink_stay)
{
    pressure_init(&p, 2 * MOST * MIB, MOST * MIB);
    m.machine.left = 0;
    cr_assert_eq(seconds_until_change(), 0);
    cr_assert_eq(p.target, MOST * MIB);
}
