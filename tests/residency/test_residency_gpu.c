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

Test(residency_gpu, with_everything_there_an_eval_is_one_hand_off)
{
    rig_check_one_hand_off("qwen3moe-dense-first-f32", LEAST);
    rig_check_one_hand_off("qwen2moe-q8_0", QUARTER);
    rig_check_one_hand_off("qwen3moe-q4_k", LEAST);
}

/* The emulated card counts: after the second token of its kind nothing is launched but one graph for each. */
Test(residency_gpu, with_everything_there_a_token_is_one_graph)
{
    const struct rig_shape shape = { .vram = ALL, .ram = LEAST };
    struct emu_counts before, after;
    struct rig_run run = { 0 };

    if (getenv("EXPERTD_TEST_GPU") != NULL)
        cr_skip_test("skipped: a card does not count");
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
