/* SPDX-License-Identifier: MIT
 *
 * The forms in which files keep experts: whichever it is, the layout leads to the same bytes.
 */
#include "base/mem.h"
#include "model/model.h"
#include "tests/support/gguf_forms.h"

#include <criterion/criterion.h>
#include <errno.h>
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

static struct model *open_written(const char *name)
{
    struct model *model = NULL;
    struct err err = { 0 };
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err.text);
    return model;
}

static struct model *open_built(struct gguf_builder *b, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    gguf_builder_write(b, path);
    return open_written(name);
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

static void expect_form_is_read(void (*form)(struct gguf_builder *), enum expert_form expected)
{
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        struct model *stacked, *formed;
        struct gguf_builder b;

        build(&b, archs[i]);
        stacked = open_built(&b, "stacked.gguf");
        form(&b);
        formed = open_built(&b, "formed.gguf");
        cr_expect_eq(model_layer(stacked, 2)->expert_form, EXPERTS_STACKED);
        cr_expect_eq(model_layer(formed, 2)->expert_form, expected);
        expect_same_experts(stacked, formed);
        model_close(formed);
        model_close(stacked);
        gguf_builder_fini(&b);
    }
}

Test(forms, fused)
{
    expect_form_is_read(gguf_forms_fuse, EXPERTS_FUSED);
}

Test(forms, apart)
{
    expect_form_is_read(gguf_forms_apart, EXPERTS_APART);
}

Test(forms, strewn_over_the_file)
{
    expect_form_is_read(gguf_forms_strew, EXPERTS_APART);
}

static void expect_both_files(const struct model *model)
{
    const struct expert_layout *layout = model_layout(model);
    uint32_t n_in[2] = { 0 };

    for (uint32_t i = 0; i < layout->n_layers; i++)
        for (int p = 0; p < EXPERT_PARTS; p++)
            for (uint32_t e = 0; e < layout->n_experts; e++)
                n_in[expert_part_place(&layout->layers[i].part[p], e).file]++;
    cr_expect(n_in[0] > 20 && n_in[1] > 20, "%u and %u", n_in[0], n_in[1]);
}

/* Experts of one part and layer may lie in different files of a split model. */
Test(forms, strewn_over_files)
{
    struct model *stacked, *strewn;
    struct gguf_builder b;

    build(&b, "llama");
    stacked = open_built(&b, "stacked.gguf");
    gguf_forms_strew(&b);
    gguf_forms_write_split(&b, dir, "strewn", 2);
    strewn = open_written("strewn-00001-of-00002.gguf");
    expect_same_experts(stacked, strewn);
    expect_both_files(strewn);
    model_close(strewn);
    model_close(stacked);
    gguf_builder_fini(&b);
}

Test(forms, lack_of_memory_is_an_error)
{
    struct gguf_builder b;
    char path[256];
    int rc = -ENOMEM;

    build(&b, "llama");
    gguf_forms_strew(&b);
    snprintf(path, sizeof(path), "%s/strewn.gguf", dir);
    gguf_builder_write(&b, path);
    gguf_builder_fini(&b);
    for (long n = 0; rc == -ENOMEM; n++) {
        struct model *model = NULL;

        cr_assert_lt(n, 1000);
        mem_fail_after(n);
        rc = model_open(path, &model, NULL);
        mem_fail_after(-1);
        cr_assert_eq(model != NULL, rc == 0);
        model_close(model);
    }
    cr_assert_eq(rc, 0);
}

/* The form is a layer's own. */
Test(forms, mixed)
{
    struct model *stacked, *mixed;
    struct gguf_builder b;

    build(&b, "llama");
    stacked = open_built(&b, "stacked.gguf");
    gguf_forms_apart_layer(&b, 2);
    gguf_forms_fuse(&b);
    mixed = open_built(&b, "mixed.gguf");
    cr_expect_eq(model_layer(mixed, 0)->expert_form, EXPERTS_FUSED);
    cr_expect_eq(model_layer(mixed, 2)->expert_form, EXPERTS_APART);
    expect_same_experts(stacked, mixed);
    model_close(mixed);
    model_close(stacked);
    gguf_builder_fini(&b);
}
