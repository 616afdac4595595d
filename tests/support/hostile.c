/* SPDX-License-Identifier: MIT */
#include "tests/support/hostile.h"

#include "model/model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hostile_u32(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_u32(b, h->target, (uint32_t)h->u);
}

void hostile_f32(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_f32(b, h->target, (float)h->f);
}

void hostile_str(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_str(b, h->target, h->s);
}

void hostile_bool(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_bool(b, h->target, h->u != 0);
}

void hostile_key_type(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_key(b, h->target)->type = (uint32_t)h->u;
}

void hostile_drop_key(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_drop_key(b, h->target);
}

void hostile_drop_tensor(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_drop_tensor(b, h->target);
}

void hostile_rename(struct gguf_builder *b, const struct hostile *h)
{
    struct builder_tensor *t = gguf_builder_tensor(b, h->target);

    strcpy(t->name, h->s);
    t->name_len = strlen(h->s);
}

void hostile_type(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->type = (uint32_t)h->u;
}

void hostile_n_dims(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->n_dims = (uint32_t)h->u;
}

void hostile_dim0(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->dims[0] = h->u;
}

void hostile_dim1(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->dims[1] = h->u;
}

void hostile_dim2(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->dims[2] = h->u;
}

void hostile_offset(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->offset += h->u;
}

void hostile_add(struct gguf_builder *b, const struct hostile *h)
{
    float *v = malloc(h->u * sizeof(*v));

    cr_assert_not_null(v);
    for (uint64_t i = 0; i < h->u; i++)
        v[i] = (float)h->f;
    gguf_builder_add(b, h->target, QUANT_F32, 1, &h->u, v, h->u * sizeof(*v));
    free(v);
}

void hostile_check(const struct hostile *h, const char *arch, const char *dir)
{
    struct random_model shape = RANDOM_MODEL(arch);
    struct model *model = NULL;
    struct gguf_builder b;
    struct err err = { 0 };
    char path[128];
    int rc;

    gguf_builder_model(&b, &shape);
    h->distort(&b, h);
    snprintf(path, sizeof(path), "%s/bad.gguf", dir);
    gguf_builder_write(&b, path);
    gguf_builder_fini(&b);
    rc = model_open(path, &model, &err);
    cr_expect_eq(rc, h->code, "%s: code %d where %d is expected: %s", h->what, rc, h->code, err_text(&err));
    cr_expect_null(model, "%s", h->what);
    cr_expect_eq(err.code, rc, "%s: the code returned and the one recorded differ", h->what);
    cr_expect(strstr(err.text, h->text), "%s: '%s' is not in '%s'", h->what, h->text, err.text);
    cr_expect(strstr(err.text, "bad.gguf"), "%s: the file is not named: %s", h->what, err.text);
    model_close(model);
    /* Nobody has to ask for the text. */
    cr_expect_eq(model_open(path, &model, NULL), rc, "%s: another code without err", h->what);
}
