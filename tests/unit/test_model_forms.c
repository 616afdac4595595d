/* SPDX-License-Identifier: MIT
 *
 * The forms in which files keep experts: whichever it is, the layout leads to the same bytes.
 */
#include "model/model.h"
#include "tests/support/gguf_forms.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    builder_mkdir(dir);
}

static void remove_dir(void)
{
    builder_rmdir(dir);
}

TestSuite(forms, .init = make_dir, .fini = remove_dir);

static struct model *open_built(struct gguf_builder *b, const char *name)
{
    struct model *model = NULL;
    struct err err = { 0 };
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    gguf_builder_write(b, path);
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err.text);
    return model;
}

static void *part_read(const struct model *model, uint32_t layer, int part, uint32_t expert)
{
    const struct expert_layout *layout = model_layout(model);
    const struct expert_part_layout *p = &layout->layers[layer].part[part];
    struct expert_place place = expert_part_place(p, expert);
    void *bytes = malloc(p->part_bytes);

    cr_assert_lt(place.file, layout->n_files);
    cr_assert_eq(pread(layout->files[place.file].fd, bytes, p->part_bytes, (off_t)place.offset), p->part_bytes);
    return bytes;
}

static void expect_same_part(const struct model *a, const struct model *b, uint32_t layer, int part)
{
    const struct expert_part_layout *p = &model_layout(a)->layers[layer].part[part];
    const struct expert_part_layout *q = &model_layout(b)->layers[layer].part[part];

    cr_assert(p->type == q->type && p->rows == q->rows && p->cols == q->cols && p->part_bytes == q->part_bytes);
    for (uint32_t e = 0; e < model_layout(a)->n_experts; e++) {
        void *x = part_read(a, layer, part, e), *y = part_read(b, layer, part, e);

        cr_expect_eq(memcmp(x, y, p->part_bytes), 0, "layer %u, part %d, expert %u", layer, part, e);
        free(x);
        free(y);
    }
}

/* The same model, and another file. */
static void expect_same_experts(const struct model *a, const struct model *b)
{
    const struct expert_layout *layout = model_layout(a);

    cr_assert_eq(layout->n_layers, model_layout(b)->n_layers);
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        cr_expect_eq(layout->layers[i].expert_bytes, model_layout(b)->layers[i].expert_bytes);
        for (int p = 0; p < EXPERT_PARTS; p++)
            expect_same_part(a, b, i, p);
    }
    cr_expect_eq(model_expert_bytes(a), model_expert_bytes(b));
    cr_expect_eq(model_dense_bytes(a), model_dense_bytes(b));
    cr_expect_neq(memcmp(layout->identity, model_layout(b)->identity, sizeof(layout->identity)), 0);
}

/* Of mixed formats, so that no two parts are of one size. */
static void build(struct gguf_builder *b, const char *arch)
{
    struct random_model shape = RANDOM_MODEL(arch);

    shape.n_layers = 3;
    shape.n_dense_layers = strstr(arch, "qwen3") ? 1 : 0;
    gguf_builder_model(b, &shape);
    gguf_forms_retype(b, "blk.1.ffn_down_exps.weight", QUANT_Q8_0, 1);
    gguf_forms_retype(b, "blk.2.ffn_gate_exps.weight", QUANT_Q4_0, 2);
    gguf_forms_retype(b, "blk.2.ffn_up_exps.weight", QUANT_Q4_0, 3);
}

static const char *const archs[] = { "llama", "qwen2moe", "qwen3moe", "olmoe" };

Test(forms, fused)
{
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        struct model *stacked, *fused;
        struct gguf_builder b;

        build(&b, archs[i]);
        stacked = open_built(&b, "stacked.gguf");
        gguf_forms_fuse(&b);
        fused = open_built(&b, "fused.gguf");
        cr_expect_eq(model_layer(fused, 2)->expert_form, EXPERTS_FUSED);
        expect_same_experts(stacked, fused);
        model_close(fused);
        model_close(stacked);
        gguf_builder_fini(&b);
    }
}
