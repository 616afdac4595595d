/* SPDX-License-Identifier: MIT
 *
 * Whole models on the GPU device (the emulated one, or a card: tests/emu/under_test.h): the same bits as on the CPU in
 * every row of logits, of router logits and of every residual stream, however the prompt is cut into chunks.
 */
#include "emu/queue_emu.h"
#include "emu/under_test.h"
#include "tests/golden/golden.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <string.h>

static int open_like(void *ctx, const struct cpu_device_options *like, struct device **ret_device, struct err *err)
{
    struct gpu_options options = { .max_rows = like->max_rows,
                                   .max_ff = like->max_ff,
                                   .max_expert_rows = like->max_expert_rows };

    return gpu_under_test(&options, ret_device, err);
}

static bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

static void compare(const char *name, uint32_t chunk)
{
    struct golden_run_options on_cpu = { 0 };
    struct golden_run_options on_gpu = { .chunk = chunk, .on_device_open = open_like };
    const char *path = tiny_model_path(name);
    struct golden *theirs, *cpu, *ours;
    struct model *model;
    struct emu_counts counts;
    struct err err = { 0 };

    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_open(path, model, &theirs, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &on_cpu, &cpu, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &on_gpu, &ours, &err), 0, "%s: %s", name, err_text(&err));
    for (uint32_t i = 0; i < ours->n_prompts; i++) {
        const struct golden_prompt *a = &ours->prompts[i], *b = &cpu->prompts[i];
        const struct hparams *hp = model_hparams(model);

        cr_expect(same(a->logits, b->logits, (size_t)a->n_rows * hp->n_vocab), "%s: logits", name);
        cr_expect(same(a->router, b->router, (size_t)ours->n_moe_layers * a->n_rows * hp->n_experts), "%s: router",
                  name);
        cr_expect(same(a->layers, b->layers, (size_t)hp->n_layers * a->n_rows * hp->n_embd), "%s: residual", name);
    }
    emu_get_counts(&counts);
    cr_expect_eq(counts.overruns, 0);
    cr_expect_eq(counts.leaked_bytes, 0);
    golden_close(ours);
    golden_close(cpu);
    golden_close(theirs);
    model_close(model);
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
