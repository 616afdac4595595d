/* SPDX-License-Identifier: MIT
 *
 * Residency changes nothing on a device with memory of its own either: the logits are the same bits whatever share of
 * the experts lies in its slots, in RAM, or on the drive, exclusive or not, in whatever order copies and products are
 * executed, and with the CPU's help, which computes as this device does. No copy and no product meet without a fence.
 */
#include "tests/support/device_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* Every share of VRAM x every share of RAM x exclusive or not x slow or fast bus, the other switches in turn. */
static void every_way(const char *name)
{
    rig_setup(name);
    for (uint32_t i = 0; i < SHARES * SHARES * 4; i++) {
        struct rig_shape shape = { .vram = i % SHARES,
                                   .ram = i / SHARES % SHARES,
                                   .inclusive = i / SHARES / SHARES % 2,
                                   .help = i % 3 == 1,
                                   .hints = i % 5 < 2 };
        struct rig_run run = { 0 };
        struct tier_stats stats;
        char what[500];

        rig_sim_reset(i % 4 == 3 ? 0 : i + 1, i / SHARES / SHARES / 2 ? 0 : 1 << 20);
        cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
        snprintf(what, sizeof(what), "%s vram %d ram %d%s%s%s seed %llu", name, shape.vram, shape.ram,
                 shape.inclusive ? " inclusive" : "", shape.help ? " help" : "", shape.hints ? " hints" : "",
                 (unsigned long long)rig_sim.seed);
        cr_assert_eq(rig_rows(&run, NULL), 0, "%s: %s", what, err_text(&run.err));
        rig_assert_same(what);
        cr_assert_eq(rig_rows(&run, NULL), 0, "%s: %s", what, err_text(&run.err));
        rig_assert_same(what);
        tier_stats(run.tier, &stats);
        cr_assert_eq(rig_sim.n_misuse + rig_sim.n_races, 0, "%s: %s", what, rig_sim.complaint);
        cr_assert_gt(stats.hits + stats.copied + stats.helped, 0);
        rig_close(&run);
    }
    rig_teardown();
}

Test(residency_device, llama)
{
    every_way("llama-f32");
}

Test(residency_device, olmoe)
{
    every_way("olmoe-q4_0");
}

Test(residency_device, qwen2moe_with_a_shared_expert)
{
    every_way("qwen2moe-q8_0");
}

Test(residency_device, qwen3moe_with_a_dense_layer)
{
    every_way("qwen3moe-dense-first-f32");
}
