/* SPDX-License-Identifier: MIT
 *
 * Residency on the GPU device itself (the emulated one, or a card: tests/emu/under_test.h): the logits are the CPU's
 * whatever share of the experts lies in VRAM; and with all of them there a token is one hand-off and one graph.
 */
#include "emu/queue_emu.h"
#include "emu/under_test.h"
#include "tests/support/device_rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static void on_gpu(void)
{
    rig_device_open = gpu_under_test;
}

TestSuite(residency_gpu, .init = on_gpu);

static void some_ways(const char *name)
{
    static const struct rig_shape shapes[] = {
        { .vram = ALL, .ram = LEAST },
        { .vram = HALF, .ram = ALL, .hints = true },
        { .vram = QUARTER, .ram = HALF, .help = true },
        { .vram = LEAST, .ram = LEAST, .inclusive = true },
    };

    rig_setup(name);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct rig_run run = { 0 };
        char what[300];

        rig_sim_reset(0, 0);
        snprintf(what, sizeof(what), "%s, shape %zu", name, i);
        cr_assert_eq(rig_open(&run, &shapes[i]), 0, "%s", err_text(&run.err));
        for (int twice = 0; twice < 2; twice++) {
            cr_assert_eq(rig_rows(&run, NULL), 0, "%s: %s", what, err_text(&run.err));
            rig_assert_same(what);
        }
        rig_close(&run);
    }
    rig_teardown();
}

Test(residency_gpu, olmoe)
{
    some_ways("olmoe-q4_0");
}

Test(residency_gpu, qwen2moe_with_a_shared_expert)
{
    some_ways("qwen2moe-q8_0");
}

Test(residency_gpu, olmoe_with_keys_and_values_as_q8_0)
{
    rig_kv_type = KV_Q8_0;
    some_ways("olmoe-q4_0");
}

Test(residency_gpu, with_everything_there_an_eval_is_one_hand_off)
{
    rig_check_one_hand_off("qwen3moe-dense-first-f32", LEAST);
    rig_check_one_hand_off("qwen2moe-q8_0", QUARTER);
    rig_kv_type = KV_Q8_0;
    rig_check_one_hand_off("qwen3moe-q4_k", LEAST);
}

/* The emulated card counts: from the second of a shape on nothing is launched but one graph for each. */
static void check_one_graph(enum kv_type kv_type)
{
    const struct rig_shape shape = { .vram = ALL, .ram = LEAST };
    struct emu_counts before, after;
    struct rig_run run = { 0 };

    if (getenv("EXPERTD_TEST_GPU") != NULL)
        cr_skip_test("skipped: a card does not count");
    rig_kv_type = kv_type;
    rig_setup("qwen2moe-q8_0");
    rig_sim_reset(0, 0);
    cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
    rig_fill(&run);
    for (int twice = 0; twice < 2; twice++)
        cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    emu_get_counts(&before);
    cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    emu_get_counts(&after);
    rig_assert_same("as graphs");
    cr_expect_eq(after.alone, before.alone);
    cr_expect_eq(after.graphs, before.graphs);
    cr_expect_eq(after.graph_runs - before.graph_runs, RIG_EVALS);
    cr_expect_eq(after.waits - before.waits, RIG_EVALS);
    rig_close(&run);
    rig_teardown();
}

Test(residency_gpu, with_everything_there_a_token_is_one_graph)
{
    check_one_graph(KV_F16);
}

Test(residency_gpu, a_token_is_one_graph_with_keys_and_values_as_q8_0)
{
    check_one_graph(KV_Q8_0);
}

/* What the division says, forward, device and slots take of the card, and within a hundredth no less. */
Test(residency_gpu, vram_is_what_was_said)
{
    const struct rig_shape shape = { .vram = HALF, .ram = LEAST };
    struct forward_bytes bytes;
    struct rig_run run = { 0 };
    struct gpu_options gpu;
    struct tier_stats stats;
    uint64_t free_bytes, total_bytes, sum;

    if (getenv("EXPERTD_TEST_GPU") != NULL)
        cr_skip_test("skipped: a card is not ours alone");
    rig_setup("olmoe-q4_0");
    rig_sim_reset(0, 0);
    cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
    rig_measure(&run, &gpu, &bytes);
    tier_stats(run.tier, &stats);
    sum = bytes.dense + bytes.kv + bytes.activations + emu_device_bytes(&gpu) + stats.slot_bytes;
    cr_assert_eq(run.device->copy->memory(run.device, &free_bytes, &total_bytes), 0);
    cr_assert_leq(total_bytes - free_bytes, sum);
    cr_assert_geq(total_bytes - free_bytes, sum - sum / 100);
    rig_close(&run);
    rig_teardown();
}
