/* SPDX-License-Identifier: MIT
 *
 * What a device does wrong, at every so-manieth of its calls: memory that is not to be had, a copy that fails, a device
 * that is lost. Each is an error with a code and a sentence; what was taken is given back; a step that failed alone can
 * be done again, and after a loss a device can be opened anew, with the same bits in the end.
 */
#include "tests/support/device_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { STRIDE = 61 };

static const struct rig_shape shapes[] = {
    { .vram = LEAST, .ram = LEAST, .hints = true },
    { .vram = MOST, .ram = LEAST, .help = true, .hints = true },
    { .vram = MOST, .ram = HALF },
    { .vram = ALL, .ram = HALF, .fill = true },
};

static void fault_setup(void)
{
    rig_setup("olmoe-q4_0");
}

TestSuite(device_fault, .init = fault_setup, .fini = rig_teardown);

/* Calls of an undisturbed run. */
static uint64_t calls_of(const struct rig_shape *shape, uint64_t seed)
{
    struct rig_run run = { 0 };

    rig_sim_reset(seed, 1 << 20);
    cr_assert_eq(rig_open(&run, shape), 0, "%s", err_text(&run.err));
    cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    rig_close(&run);
    return rig_sim.n_calls;
}

static enum sim_fault fault;

static int must_match(struct rig_run *run, int code)
{
    int wanted = fault == SIM_MEMORY ? -ENOMEM : fault == SIM_COPY ? -EIO : ERR_DEVICE;

    cr_assert_eq(code, wanted, "%s", err_text(&run->err));
    cr_assert_not_null(strstr(err_text(&run->err), "simulated"), "%s", err_text(&run->err));
    return code;
}

static int once_more(struct rig_run *run, int code)
{
    must_match(run, code);
    return 0;
}

/* One fault at call `at`; a run that it ends is followed by another, which nothing disturbs. */
static void run_with_fault(const struct rig_shape *shape, uint64_t seed, uint64_t at)
{
    struct rig_run run = { 0 };
    int r;

    rig_sim_reset(seed, 1 << 20);
    rig_sim.fault = fault;
    rig_sim.fault_at = at;
    rig_sim.n_faults = 1;
    r = rig_open(&run, shape);
    if (r < 0) {
        must_match(&run, r);
        rig_close(&run);
        r = rig_open(&run, shape);
        cr_assert_eq(r, 0, "call %llu: %s", (unsigned long long)at, err_text(&run.err));
    }
    r = rig_rows(&run, fault == SIM_LOST ? must_match : once_more);
    if (r < 0) {
        rig_close(&run);
        cr_assert_eq(rig_open(&run, shape), 0, "%s", err_text(&run.err));
        cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    }
    rig_assert_same("after a fault");
    cr_assert_eq(rig_sim.n_misuse + rig_sim.n_races, 0, "call %llu: %s", (unsigned long long)at, rig_sim.complaint);
    rig_close(&run);
}

static void at_every_call(enum sim_fault which)
{
    fault = which;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        uint64_t n = calls_of(&shapes[i], i + 1);

        cr_assert_gt(n, 500);
        for (uint64_t at = i; at < n; at += at < 40 ? 1 : STRIDE)
            run_with_fault(&shapes[i], i + 1, at);
    }
}

Test(device_fault, out_of_memory_at_any_call)
{
    at_every_call(SIM_MEMORY);
}

Test(device_fault, a_failed_call_at_any_call)
{
    at_every_call(SIM_COPY);
}

Test(device_fault, lost_at_any_call)
{
    at_every_call(SIM_LOST);
}

/* ---- shrinking ---- */

static uint64_t slot_bytes_before;

static int give_back(struct rig_run *run, int code)
{
    struct tier_stats stats;

    cr_assert_eq(code, -ENOMEM, "%s", err_text(&run->err));
    tier_stats(run->tier, &stats);
    slot_bytes_before = stats.slot_bytes;
    if (!tier_give_back(run->tier, 4096))
        return code;
    tier_stats(run->tier, &stats);
    cr_assert_lt(stats.slot_bytes, slot_bytes_before);
    return 0;
}

/* Each time that memory runs out, slots go back, and the answer is the same; at the least that can work it ends. */
Test(device_fault, slots_are_given_back_when_memory_runs_out)
{
    const struct rig_shape shape = { .vram = ALL, .ram = QUARTER };
    struct rig_run run = { 0 };
    struct tier_stats stats;
    uint64_t used;

    rig_sim_reset(3, 1 << 20);
    cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
    cr_assert_eq(rig_rows(&run, NULL), 0);
    for (int i = 0; i < 3; i++) {
        used = rig_sim.used_bytes;
        tier_stats(run.tier, &stats);
        rig_sim.fault = SIM_MEMORY;
        rig_sim.fault_at = rig_sim.n_calls + 150;
        rig_sim.n_faults = 1;
        cr_assert_eq(rig_rows(&run, give_back), 0, "%s", err_text(&run.err));
        rig_assert_same("after slots were given back");
        slot_bytes_before = stats.slot_bytes;
        tier_stats(run.tier, &stats);
        cr_assert_eq(used - rig_sim.used_bytes, slot_bytes_before - stats.slot_bytes);
    }
    while (tier_give_back(run.tier, 4096))
        ;
    tier_stats(run.tier, &stats);
    cr_assert_geq(stats.slots, model_layout(rig_model)->n_used);
    rig_sim.fault = SIM_NONE;
    cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    rig_assert_same("with the least slots");
    cr_assert_eq(rig_sim.n_misuse + rig_sim.n_races, 0, "%s", rig_sim.complaint);
    rig_close(&run);
}

/* The number that fits, when slots do not. */
Test(device_fault, too_little_memory_at_the_start_names_what_there_is)
{
    const struct expert_layout *layout = model_layout(rig_model);
    struct gpu_options gpu = { .max_rows = 1, .max_ff = 256, .max_expert_rows = 1 };
    struct rig_run run = { 0 };
    struct tier_options options = { .slot_budget = 4 * tier_min_bytes(layout) };
    struct cache_options cache;
    uint64_t had = 0;

    rig_sim_reset(0, 0);
    cache_options_default(&cache);
    cache.slot_budget = cache_min_bytes(layout);
    cr_assert_eq(sim_device_open(&rig_sim, &gpu, &run.device, &run.err), 0);
    cr_assert_eq(cache_open(layout, &cache, &run.cache, &run.err), 0);
    rig_sim.memory_bytes = rig_sim.used_bytes + 2 * tier_min_bytes(layout);
    cr_assert_eq(tier_open(layout, run.cache, run.device, &options, &run.tier, &had, &run.err), -ENOMEM);
    cr_assert_leq(had, 2 * tier_min_bytes(layout));
    cr_assert_gt(had, tier_min_bytes(layout));
    cr_assert_not_null(strstr(err_text(&run.err), "could be had"), "%s", err_text(&run.err));
    options.slot_budget = had;
    cr_assert_eq(tier_open(layout, run.cache, run.device, &options, &run.tier, NULL, &run.err), 0, "%s",
                 err_text(&run.err));
    rig_close(&run);
}
