/* SPDX-License-Identifier: MIT */
#include "tests/golden/golden.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <string.h>

static bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof(*a)) == 0;
}

static void compare(const char *name, const struct golden *ours, const struct golden *cpu, const struct hparams *hp)
{
    for (uint32_t i = 0; i < ours->n_prompts; i++) {
        const struct golden_prompt *a = &ours->prompts[i], *b = &cpu->prompts[i];

        cr_expect(same(a->logits, b->logits, (size_t)a->n_rows * hp->n_vocab), "%s: logits", name);
        cr_expect(same(a->router, b->router, (size_t)ours->n_moe_layers * a->n_rows * hp->n_experts), "%s: router",
                  name);
        cr_expect(same(a->layers, b->layers, (size_t)hp->n_layers * a->n_rows * hp->n_embd), "%s: residual", name);
    }
}

void golden_expect_same_as_cpu(const char *name, const struct golden_run_options *on_device)
{
    struct golden_run_options on_cpu = { 0 };
    const char *path = tiny_model_path(name);
    struct golden *theirs, *cpu, *ours;
    struct model *model;
    struct err err = { 0 };

    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_open(path, model, &theirs, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &on_cpu, &cpu, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, on_device, &ours, &err), 0, "%s: %s", name, err_text(&err));
    compare(name, ours, cpu, model_hparams(model));
    golden_close(ours);
    golden_close(cpu);
    golden_close(theirs);
    model_close(model);
}
