/* SPDX-License-Identifier: MIT
 *
 * The forward pass on a device whose memory is not the host's: the same bits as on the CPU, whose mathematics the
 * simulated device borrows, in every row of logits, of router logits and of every residual stream; and the host
 * touches none of its memory, or the test would end with a segmentation fault.
 */
#include "tests/golden/golden.h"
#include "tests/support/sim_device.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <string.h>

static int sim_open(void *ctx, const struct cpu_device_options *like, struct device **ret_device, struct err *err)
{
    struct gpu_options options = { .max_rows = like->max_rows,
                                   .max_ff = like->max_ff,
                                   .max_expert_rows = like->max_expert_rows };
    struct sim *sim = ctx;

    sim->max_level = like->max_level;
    return sim_device_open(sim, &options, ret_device, err);
}

static bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

static void compare(const char *name, uint32_t chunk)
{
    struct sim sim = { .seed = 5 };
    struct golden_run_options on_cpu = { .chunk = chunk };
    struct golden_run_options on_sim = { .chunk = chunk, .on_device_open = sim_open, .ctx = &sim };
    const char *path = tiny_model_path(name);
    struct golden *theirs, *cpu, *ours;
    struct model *model;
    struct err err = { 0 };

    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_open(path, model, &theirs, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &on_cpu, &cpu, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &on_sim, &ours, &err), 0, "%s: %s", name, err_text(&err));
    for (uint32_t i = 0; i < ours->n_prompts; i++) {
        const struct golden_prompt *a = &ours->prompts[i], *b = &cpu->prompts[i];
        const struct hparams *hp = model_hparams(model);

        cr_expect(same(a->logits, b->logits, (size_t)a->n_rows * hp->n_vocab), "%s: logits", name);
        cr_expect(same(a->router, b->router, (size_t)ours->n_moe_layers * a->n_rows * hp->n_experts), "%s: router",
                  name);
        cr_expect(same(a->layers, b->layers, (size_t)hp->n_layers * a->n_rows * hp->n_embd), "%s: residual", name);
    }
    cr_expect_eq(sim.n_misuse, 0, "%s", sim.complaint);
    cr_expect_eq(sim.used_bytes, 0);
    cr_expect_gt(sim.n_routes, 0);
    golden_close(ours);
    golden_close(cpu);
    golden_close(theirs);
    model_close(model);
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
