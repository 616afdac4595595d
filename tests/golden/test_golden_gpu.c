/* SPDX-License-Identifier: MIT
 *
 * Whole models on the GPU device (the emulated one, or a card: tests/emu/under_test.h): the same bits as on the CPU in
 * every row of logits, of router logits and of every residual stream, however the prompt is cut into chunks.
 */
#include "emu/queue_emu.h"
#include "emu/under_test.h"
#include "tests/golden/golden.h"

#include <criterion/criterion.h>

static int open_like(void *ctx, const struct cpu_device_options *like, struct device **ret_device, struct err *err)
{
    struct gpu_options options = { .max_rows = like->max_rows,
                                   .max_ff = like->max_ff,
                                   .max_expert_rows = like->max_expert_rows };

    return gpu_under_test(&options, ret_device, err);
}

static void compare(const char *name, uint32_t chunk)
{
    struct emu_counts counts;

    golden_expect_same_as_cpu(name, &(struct golden_run_options){ .chunk = chunk, .on_device_open = open_like });
    emu_get_counts(&counts);
    cr_expect_eq(counts.overruns, 0);
    cr_expect_eq(counts.leaked_bytes, 0);
}

#define ON_GPU(name, model, chunk) \
    Test(golden_gpu, name)         \
    {                              \
        compare(model, chunk);     \
    }

ON_GPU(llama, "llama-f32", 0)
ON_GPU(llama_rope_factors_tied_embeddings, "llama-factors-tied-f32", 5)
ON_GPU(llama_linear_scaling_f16, "llama-linear-f16", 0)
ON_GPU(qwen2moe_shared_expert_q8_0, "qwen2moe-q8_0", 0)
ON_GPU(qwen3moe_leading_dense_layer, "qwen3moe-dense-first-f32", 0)
ON_GPU(qwen3moe_yarn_scaling, "qwen3moe-yarn-f32", 1)
ON_GPU(qwen3moe_q4_k, "qwen3moe-q4_k", 0)
ON_GPU(qwen3moe_q4_k_in_chunks, "qwen3moe-q4_k", 3)
ON_GPU(olmoe_q4_0, "olmoe-q4_0", 0)
