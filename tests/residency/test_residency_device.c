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
    for (uint32_t i = 0; i < SHARES * SHARES * 2; i++) {
        struct rig_shape shape = { .vram = i % SHARES,
                                   .ram = i / SHARES % SHARES,
                                   .inclusive = i / SHARES / SHARES % 2,
                                   .help = i % 3 == 1,
                                   .hints = i % 5 < 2 };
        struct rig_run run = { 0 };
        struct tier_stats stats;
        char what[500];

        rig_sim_reset(i % 4 == 3 ? 0 : i + 1, i % 2 ? 0 : 1 << 20);
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

Test(residency_device, olmoe_with_keys_and_values_as_q8_0)
{
    rig_kv_type = KV_Q8_0;
    every_way("olmoe-q4_0");
}

Test(residency_device, qwen3moe_with_keys_and_values_as_f16)
{
    rig_kv_type = KV_F16;
    every_way("qwen3moe-q4_k");
}

Test(residency_device, qwen2moe_with_a_shared_expert)
{
    every_way("qwen2moe-q8_0");
}

Test(residency_device, qwen3moe_with_a_dense_layer)
{
    every_way("qwen3moe-dense-first-f32");
}

/* Hints that expect every slot there is give way to what the layer at hand needs. */
Test(residency_device, what_is_needed_comes_before_what_is_expected)
{
    const struct rig_shape shape = { .vram = LEAST, .ram = ALL, .hints = true };
    const struct expert_layout *layout;
    struct rig_run run = { 0 };
    struct expert_view view;
    struct expert_door *door;
    uint16_t ids[64];
    size_t index;
    struct err err = { 0 };

    rig_setup("qwen3moe-q4_k");
    rig_sim_reset(1, 0);
    layout = model_layout(rig_model);
    cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
    door = tier_door(run.tier);
    for (uint16_t e = 0; e < layout->n_experts; e++)
        ids[e] = e;
    for (int pass = 0; pass < 3; pass++)
        for (uint32_t i = 0; i < layout->n_layers; i++) {
            uint32_t layer = layout->layers[i].layer, next = layout->layers[(i + 1) % layout->n_layers].layer;

            cr_assert_eq(door->ops->request(door, layer, ids, layout->n_experts, &err), 0, "%s", err_text(&err));
            for (uint32_t n = 0; n < layout->n_experts; n++) {
                door->ops->hint(door, next, ids, layout->n_experts);
                door->ops->lift(door, next, ids, layout->n_used);
                door->ops->hint(door, layer, ids, layout->n_experts);
                cr_assert_eq(door->ops->next(door, &index, &view, &err), 1, "%s", err_text(&err));
                door->ops->release(door, &view);
            }
            cr_assert_eq(door->ops->next(door, &index, &view, &err), 0);
        }
    cr_assert_eq(rig_sim.n_misuse, 0, "%s", rig_sim.complaint);
    rig_close(&run);
    rig_teardown();
}

Test(residency_device, with_everything_there_an_eval_is_one_hand_off)
{
    rig_check_one_hand_off("llama-f32", ALL);
    rig_check_one_hand_off("olmoe-q4_0", LEAST);
    rig_check_one_hand_off("qwen2moe-q8_0", HALF);
    rig_check_one_hand_off("qwen3moe-dense-first-f32", LEAST);
    rig_check_one_hand_off("qwen3moe-q4_k", QUARTER);
}
