/* SPDX-License-Identifier: MIT
 *
 * The forward pass on a device whose memory is not the host's: the same bits as on the CPU, whose mathematics the
 * simulated device borrows, in every row of logits, of router logits and of every residual stream; and the host
 * touches none of its memory, or the test would end with a segmentation fault.
 */
#include "tests/golden/golden.h"
#include "tests/support/sim_device.h"

#include <criterion/criterion.h>

static int sim_open(void *ctx, const struct cpu_device_options *like, struct device **ret_device, struct err *err)
{
    struct gpu_options options = { .max_rows = like->max_rows,
                                   .max_ff = like->max_ff,
                                   .max_expert_rows = like->max_expert_rows };
    struct sim *sim = ctx;

    sim->max_level = like->max_level;
    return sim_device_open(sim, &options, ret_device, err);
}

static void compare(const char *name, uint32_t chunk)
{
    struct sim sim = { .seed = 5 };

    golden_expect_same_as_cpu(name,
                              &(struct golden_run_options){ .chunk = chunk, .on_device_open = sim_open, .ctx = &sim });
    cr_expect_eq(sim.n_misuse, 0, "%s", sim.complaint);
    cr_expect_eq(sim.used_bytes, 0);
    cr_expect_gt(sim.n_routes, 0);
}

#define ON_DEVICE(name, model) \
    Test(golden_device, name)  \
    {                          \
        compare(model, 0);     \
        compare(model, 3);     \
    }

ON_DEVICE(llama, "llama-f32")
ON_DEVICE(llama_rope_factors_tied_embeddings, "llama-factors-tied-f32")
ON_DEVICE(llama_linear_scaling_f16, "llama-linear-f16")
ON_DEVICE(qwen2moe_shared_expert, "qwen2moe-f32")
ON_DEVICE(qwen2moe_q8_0, "qwen2moe-q8_0")
ON_DEVICE(qwen3moe_leading_dense_layer, "qwen3moe-dense-first-f32")
ON_DEVICE(qwen3moe_yarn_scaling, "qwen3moe-yarn-f32")
ON_DEVICE(qwen3moe_q4_k, "qwen3moe-q4_k")
ON_DEVICE(olmoe_q4_0, "olmoe-q4_0")
