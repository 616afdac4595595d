/* SPDX-License-Identifier: MIT */
#include "model/model.h"
#include "tests/support/gguf_forms.h"

#include <criterion/criterion.h>
#include <math.h>
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

TestSuite(model, .init = make_dir, .fini = remove_dir);

static struct model *open_as(struct gguf_builder *b, const char *name)
{
    struct model *model = NULL;
    struct err err = { 0 };
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    gguf_builder_write(b, path);
    gguf_builder_fini(b);
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err.text);
    return model;
}

static struct model *open_built(struct gguf_builder *b)
{
    return open_as(b, "model.gguf");
}

static void check_sizes(const struct hparams *hp, const struct random_model *shape)
{
    cr_expect_eq(hp->n_layers, shape->n_layers);
    cr_expect_eq(hp->n_dense_layers, shape->n_dense_layers);
    cr_expect_eq(hp->n_embd, shape->n_embd);
    cr_expect_eq(hp->n_vocab, 275);
    cr_expect_eq(hp->n_heads, shape->n_heads);
    cr_expect_eq(hp->n_kv_heads, shape->n_kv_heads);
    cr_expect_eq(hp->head_dim, shape->head_dim);
    cr_expect_eq(hp->n_ff, strstr(shape->arch, "qwen") ? shape->n_ff : shape->n_ff_expert);
    cr_expect_eq(hp->n_ff_expert, shape->n_ff_expert);
    cr_expect_eq(hp->n_experts, shape->n_experts);
    cr_expect_eq(hp->n_used, shape->n_used);
    cr_expect_eq(hp->n_ctx_train, shape->n_ctx);
    cr_expect_eq(hp->rms_eps, 1e-6f);
    cr_expect_eq(hp->attn_scale, 0.25f);
    cr_expect_eq(hp->route.n_experts, shape->n_experts);
    cr_expect_eq(hp->route.n_used, shape->n_used);
    cr_expect_eq(hp->route.scale, 1);
    cr_expect_eq(hp->rope.n_rot, shape->head_dim);
    cr_expect_eq(hp->rope.magnitude, 1);
}

static void check_tensor(const struct gguf_tensor *t, uint32_t layer, const char *what)
{
    char name[64];

    snprintf(name, sizeof(name), "blk.%u.%s", layer, what);
    cr_assert_not_null(t, "%s", name);
    cr_expect_str_eq(t->name, name);
}

/* The layout names the same bytes as the tensors, expert by expert. */
static void check_layout(const struct model *model)
{
    const struct expert_layout *layout = model_layout(model);
    const struct hparams *hp = model_hparams(model);
    uint64_t total = 0;

    cr_expect_eq(layout->n_layers, hp->n_layers - hp->n_dense_layers);
    cr_expect_eq(layout->n_experts, hp->n_experts);
    cr_expect_eq(layout->n_used, hp->n_used);
    cr_expect_eq(layout->n_files, 1);
    for (uint32_t i = 0; i < hp->n_dense_layers; i++)
        cr_expect_eq(expert_layout_find(layout, i), -1);
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        const struct expert_layer_layout *l = &layout->layers[i];
        const struct layer_tensors *t = model_layer(model, l->layer);

        cr_expect_eq(expert_layout_find(layout, l->layer), (int)i);
        cr_expect_eq(l->part[EXPERT_GATE].first.offset, t->gate_exps->offset);
        cr_expect_eq(l->part[EXPERT_UP].first.offset, t->up_exps->offset);
        cr_expect_eq(l->part[EXPERT_DOWN].first.offset, t->down_exps->offset);
        cr_expect_eq(l->part[EXPERT_GATE].rows, hp->n_ff_expert);
        cr_expect_eq(l->part[EXPERT_GATE].cols, hp->n_embd);
        cr_expect_eq(l->part[EXPERT_DOWN].rows, hp->n_embd);
        cr_expect_eq(l->part[EXPERT_DOWN].cols, hp->n_ff_expert);
        cr_expect_eq(l->part[EXPERT_DOWN].part_bytes * hp->n_experts, t->down_exps->bytes);
        cr_expect_eq(l->expert_bytes, 3 * 4 * (uint64_t)hp->n_embd * hp->n_ff_expert);
        total += l->expert_bytes;
    }
    cr_expect_eq(expert_layout_find(layout, hp->n_layers), -1);
    cr_expect_eq(model_expert_bytes(model), total * hp->n_experts);
    cr_expect_eq(model_token_bytes(model), total * hp->n_used);
}

static void check_arch(const char *name, enum rope_layout rope_layout, enum qk_norm qk_norm, bool bias,
                       bool renormalise, bool shared)
{
    struct random_model shape = RANDOM_MODEL(name);
    struct gguf_builder b;
    struct model *model;
    const struct layer_tensors *t;
    uint64_t all = 0;

    gguf_builder_model(&b, &shape);
    for (size_t i = 0; i < b.n_tensors; i++)
        all += b.tensors[i].data_len;
    model = open_built(&b);
    t = model_layer(model, 1);
    check_sizes(model_hparams(model), &shape);
    check_layout(model);
    cr_expect_str_eq(model_arch_name(model), name);
    cr_expect_str_eq(model_quant_name(model), "F32");
    cr_expect_null(model_note(model));
    cr_expect_eq(model_hparams(model)->rope.layout, rope_layout);
    cr_expect_eq(model_hparams(model)->route.gating, ROUTE_SOFTMAX);
    cr_expect_eq(model_hparams(model)->route.renormalise, renormalise);
    cr_expect_eq(model_arch(model)->qk_norm, qk_norm);
    cr_expect_eq(model_hparams(model)->n_ff_shared, shared ? shape.n_ff_shared : 0);
    cr_expect_eq(model_dense_bytes(model) + model_expert_bytes(model), all);
    check_tensor(t->attn_norm, 1, "attn_norm.weight");
    check_tensor(t->q, 1, "attn_q.weight");
    check_tensor(t->k, 1, "attn_k.weight");
    check_tensor(t->v, 1, "attn_v.weight");
    check_tensor(t->o, 1, "attn_output.weight");
    check_tensor(t->ffn_norm, 1, "ffn_norm.weight");
    check_tensor(t->router, 1, "ffn_gate_inp.weight");
    cr_expect_eq(t->q_norm != NULL, qk_norm != QK_NORM_NONE);
    cr_expect_eq(t->k_norm != NULL, qk_norm != QK_NORM_NONE);
    cr_expect_eq(t->q_bias && t->k_bias && t->v_bias, bias);
    cr_expect_eq(t->shared_router && t->shared_gate && t->shared_up && t->shared_down, shared);
    cr_expect(!t->o_bias && !t->gate && !t->up && !t->down);
    cr_expect_str_eq(model_tensors(model)->output->name, "output.weight");
    model_close(model);
}

Test(model, llama)
{
    check_arch("llama", ROPE_NORM, QK_NORM_NONE, false, true, false);
}

Test(model, qwen2moe)
{
    check_arch("qwen2moe", ROPE_NEOX, QK_NORM_NONE, true, false, true);
}

Test(model, qwen3moe)
{
    check_arch("qwen3moe", ROPE_NEOX, QK_NORM_HEAD, false, true, false);
}

Test(model, olmoe)
{
    check_arch("olmoe", ROPE_NEOX, QK_NORM_FULL, false, false, false);
}

Test(model, leading_dense_layers)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;
    struct model *model;

    shape.n_layers = 4;
    shape.n_dense_layers = 2;
    gguf_builder_model(&b, &shape);
    gguf_builder_drop_key(&b, "qwen3moe.leading_dense_block_count"); /* the tensors tell */
    model = open_built(&b);
    cr_expect_eq(model_hparams(model)->n_dense_layers, 2);
    check_layout(model);
    check_tensor(model_layer(model, 1)->gate, 1, "ffn_gate.weight");
    check_tensor(model_layer(model, 1)->down, 1, "ffn_down.weight");
    cr_expect_null(model_layer(model, 1)->router);
    cr_expect_null(model_layer(model, 2)->gate);
    check_tensor(model_layer(model, 2)->gate_exps, 2, "ffn_gate_exps.weight");
    model_close(model);
}

Test(model, tied_embeddings)
{
    struct random_model shape = RANDOM_MODEL("llama");
    struct gguf_builder b;
    struct model *model;

    shape.tied = true;
    gguf_builder_model(&b, &shape);
    model = open_built(&b);
    cr_expect_eq(model_tensors(model)->output, model_tensors(model)->token_embd);
    model_close(model);
}

Test(model, biases_are_used_where_they_are)
{
    static const uint64_t q = 64, embd = 32;
    static const float v[64];
    struct random_model shape = RANDOM_MODEL("llama");
    struct gguf_builder b;
    struct model *model;

    gguf_builder_model(&b, &shape);
    gguf_builder_add(&b, "blk.0.attn_q.bias", QUANT_F32, 1, &q, v, 256);
    gguf_builder_add(&b, "blk.1.attn_output.bias", QUANT_F32, 1, &embd, v, 128);
    model = open_built(&b);
    check_tensor(model_layer(model, 0)->q_bias, 0, "attn_q.bias");
    check_tensor(model_layer(model, 1)->o_bias, 1, "attn_output.bias");
    cr_expect_null(model_layer(model, 1)->q_bias);
    cr_expect_null(model_layer(model, 0)->k_bias);
    model_close(model);
}

/* Each key that a file may leave out. */
Test(model, defaults)
{
    struct random_model shape = RANDOM_MODEL("olmoe");
    struct gguf_builder b;
    struct model *model;
    const struct hparams *hp;

    shape.head_dim = 8;
    shape.n_kv_heads = 4;
    shape.n_ff_expert = 24;
    gguf_builder_model(&b, &shape);
    gguf_builder_drop_key(&b, "olmoe.attention.head_count_kv");
    gguf_builder_drop_key(&b, "olmoe.attention.key_length");
    gguf_builder_drop_key(&b, "olmoe.attention.value_length");
    gguf_builder_drop_key(&b, "olmoe.rope.dimension_count");
    gguf_builder_drop_key(&b, "olmoe.rope.freq_base");
    model = open_built(&b);
    hp = model_hparams(model);
    cr_expect(hp->n_kv_heads == 4 && hp->head_dim == 8 && hp->rope.n_rot == 8 && hp->n_ff_expert == 24);
    cr_expect_float_eq(hp->rope.inv_freq[1], 0.1f, 1e-8f);
    model_close(model);
}

Test(model, expert_width_out_of_the_width_of_all_used)
{
    struct random_model shape = RANDOM_MODEL("qwen2moe");
    struct gguf_builder b;
    struct model *model;

    shape.n_ff = 64; /* 2 used, 32 each */
    shape.n_ff_shared = 64;
    gguf_builder_model(&b, &shape);
    gguf_builder_drop_key(&b, "qwen2moe.expert_feed_forward_length");
    gguf_builder_drop_key(&b, "qwen2moe.expert_shared_feed_forward_length");
    model = open_built(&b);
    cr_expect_eq(model_hparams(model)->n_ff_expert, 32);
    cr_expect_eq(model_hparams(model)->n_ff_shared, 64);
    model_close(model);
}

Test(model, routing_and_attention_scales)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;
    struct model *model;

    gguf_builder_model(&b, &shape);
    gguf_builder_bool(&b, "qwen3moe.expert_weights_norm", false);
    gguf_builder_f32(&b, "qwen3moe.expert_weights_scale", 2.5f);
    gguf_builder_f32(&b, "qwen3moe.attention.scale", 0.5f);
    gguf_builder_f32(&b, "qwen3moe.logit_scale", 1); /* harmless at this value */
    model = open_built(&b);
    cr_expect_not(model_hparams(model)->route.renormalise);
    cr_expect_eq(model_hparams(model)->route.scale, 2.5f);
    cr_expect_eq(model_hparams(model)->attn_scale, 0.5f);
    model_close(model);
}

Test(model, a_sliding_window_limits_the_context_and_says_so)
{
    struct random_model shape = RANDOM_MODEL("llama");
    struct gguf_builder b;
    struct model *model;

    gguf_builder_model(&b, &shape);
    gguf_builder_u32(&b, "llama.attention.sliding_window", 100);
    model = open_built(&b);
    cr_expect_eq(model_hparams(model)->n_ctx_train, 100);
    cr_assert_not_null(model_note(model));
    cr_expect(strstr(model_note(model), "sliding window of 100 positions") && strstr(model_note(model), "of 256"), "%s",
              model_note(model));
    model_close(model);
    gguf_builder_model(&b, &shape);
    gguf_builder_u32(&b, "llama.attention.sliding_window", 256);
    model = open_built(&b);
    cr_expect_eq(model_hparams(model)->n_ctx_train, 256);
    cr_expect_null(model_note(model));
    model_close(model);
}

static void check_freqs(struct gguf_builder *b, const double *expected /* [8] */, double magnitude)
{
    struct model *model = open_built(b);
    const struct rope *rope = &model_hparams(model)->rope;

    cr_assert_eq(rope->n_rot, 16);
    for (int i = 0; i < 8; i++)
        cr_expect_float_eq(rope->inv_freq[i], expected[i], expected[i] * 1e-7, "pair %d: %.9g where %.9g is expected",
                           i, (double)rope->inv_freq[i], expected[i]);
    cr_expect_float_eq(rope->magnitude, magnitude, 1e-7);
    model_close(model);
}

static struct gguf_builder rope_model(const char *type, float factor)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;

    gguf_builder_model(&b, &shape);
    if (type)
        gguf_builder_str(&b, "qwen3moe.rope.scaling.type", type);
    if (factor > 0)
        gguf_builder_f32(&b, "qwen3moe.rope.scaling.factor", factor);
    return b;
}

static const double plain[8] = { 1,    0.31622776601683794,   0.1,   0.031622776601683794,
                                 0.01, 0.0031622776601683794, 0.001, 0.00031622776601683794 };

Test(model, rope_without_scaling)
{
    struct gguf_builder b = rope_model(NULL, 0);

    check_freqs(&b, plain, 1);
    b = rope_model("none", 4); /* a factor that is not to be used */
    check_freqs(&b, plain, 1);
}

Test(model, rope_linear)
{
    struct gguf_builder b = rope_model("linear", 4);
    double quarter[8];

    for (int i = 0; i < 8; i++)
        quarter[i] = plain[i] / 4;
    check_freqs(&b, quarter, 1);
    b = rope_model(NULL, 4); /* a factor alone is linear */
    check_freqs(&b, quarter, 1);
    b = rope_model(NULL, 0); /* the key's old name */
    gguf_builder_f32(&b, "qwen3moe.rope.scale_linear", 4);
    check_freqs(&b, quarter, 1);
}

/* Figures of the paper's formulas, computed apart from this program. */
Test(model, rope_yarn)
{
    static const double of_64[8] = { 1,      0.23717082451262847,   0.05,    0.007905694150420948,
                                     0.0025, 0.0007905694150420947, 0.00025, 7.905694150420948e-05 };
    static const double of_4096[8] = { 1,       0.31622776601683794,   0.1,     0.02569350598886808,
                                       0.00625, 0.0013834964763236657, 0.00025, 7.905694150420948e-05 };
    struct gguf_builder b = rope_model("yarn", 4);

    gguf_builder_u32(&b, "qwen3moe.rope.scaling.original_context_length", 64);
    check_freqs(&b, of_64, 1.138629436111989);
    b = rope_model("yarn", 4);
    gguf_builder_u32(&b, "qwen3moe.rope.scaling.original_context_length", 4096);
    check_freqs(&b, of_4096, 1.138629436111989);
    b = rope_model("yarn", 4); /* without it, the context the model was trained for is the original one */
    gguf_builder_u32(&b, "qwen3moe.context_length", 4096);
    check_freqs(&b, of_4096, 1.138629436111989);
    b = rope_model("yarn", 4);
    gguf_builder_u32(&b, "qwen3moe.rope.scaling.original_context_length", 64);
    gguf_builder_f32(&b, "qwen3moe.rope.scaling.attn_factor", 0.5f);
    check_freqs(&b, of_64, 1.138629436111989 / 2);
    b = rope_model("yarn", 4); /* mscale and mscale_all_dim alike cancel out */
    gguf_builder_u32(&b, "qwen3moe.rope.scaling.original_context_length", 64);
    gguf_builder_f32(&b, "qwen3moe.rope.scaling.yarn_log_multiplier", 1);
    check_freqs(&b, of_64, 1);
}

Test(model, rope_factors_of_each_dimension)
{
    static const uint64_t n = 8;
    static const float factors[8] = { 1, 1, 2, 2, 4, 4, 8, 8 };
    struct gguf_builder b = rope_model(NULL, 0);
    double expected[8];

    for (int i = 0; i < 8; i++)
        expected[i] = plain[i] / (double)factors[i];
    gguf_builder_add(&b, "rope_freqs.weight", QUANT_F32, 1, &n, factors, sizeof(factors));
    check_freqs(&b, expected, 1);
}

static void check_name(const char *general_name, const char *file, const char *expected)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;
    struct model *model;

    gguf_builder_model(&b, &shape);
    if (general_name)
        gguf_builder_str(&b, "general.name", general_name);
    else
        gguf_builder_drop_key(&b, "general.name");
    model = open_as(&b, file);
    cr_expect_str_eq(model_name(model), expected);
    model_close(model);
}

Test(model, names)
{
    check_name("A Model", "x.gguf", "A Model");
    check_name(NULL, "Some-Model.Q4_K_M.gguf", "Some-Model.Q4_K_M");
    check_name(NULL, "model", "model");
    check_name("", "x.gguf", "x");
    check_name("two\nlines", "x.gguf", "x");
    check_name("\xff\xfe", "x.gguf", "x");
}

/* Formats may differ from layer to layer and from part to part. */
Test(model, mixed_formats)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    static const unsigned char data[32 * 34 * 8];
    static const uint64_t dims[3] = { 32, 32, 8 };
    struct gguf_builder b;
    struct model *model;
    const struct expert_layer_layout *l;

    shape.seed = 2;
    gguf_builder_model(&b, &shape);
    gguf_builder_drop_tensor(&b, "blk.1.ffn_down_exps.weight");
    gguf_builder_drop_tensor(&b, "blk.0.ffn_gate_exps.weight");
    gguf_builder_add(&b, "blk.1.ffn_down_exps.weight", QUANT_Q8_0, 3, dims, data, 32 * 34 * 8);
    gguf_builder_add(&b, "blk.0.ffn_gate_exps.weight", QUANT_Q4_0, 3, dims, data, 32 * 18 * 8);
    model = open_built(&b);
    l = model_layout(model)->layers;
    cr_expect_eq(l[0].part[EXPERT_GATE].type, QUANT_Q4_0);
    cr_expect_eq(l[0].part[EXPERT_GATE].part_bytes, 32 * 18);
    cr_expect_eq(l[0].expert_bytes, 32 * 18 + 2 * 4096);
    cr_expect_eq(l[1].part[EXPERT_DOWN].part_bytes, 32 * 34);
    cr_expect_eq(l[1].expert_bytes, 32 * 34 + 2 * 4096);
    cr_expect_str_eq(model_quant_name(model), "F32");
    model_close(model);
}

Test(model, split_over_files)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;
    struct model *model = NULL;
    struct err err = { 0 };
    char path[256];

    gguf_builder_model(&b, &shape);
    gguf_builder_drop_key(&b, "general.name");
    gguf_forms_write_split(&b, dir, "big", 2);
    snprintf(path, sizeof(path), "%s/big-00001-of-00002.gguf", dir);
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err.text);
    cr_expect_eq(model_layout(model)->n_files, 2);
    cr_expect_str_eq(model_name(model), "big");
    for (uint32_t i = 0; i < 2; i++)
        for (int p = 0; p < EXPERT_PARTS; p++) {
            const struct expert_part_layout *part = &model_layout(model)->layers[i].part[p];

            cr_assert_lt(part->first.file, 2);
            cr_expect_leq(part->first.offset + part->part_bytes * 8,
                          model_layout(model)->files[part->first.file].bytes);
        }
    cr_expect_neq(model_layout(model)->layers[0].part[EXPERT_GATE].first.file,
                  model_layout(model)->layers[0].part[EXPERT_UP].first.file);
    model_close(model);
    gguf_builder_fini(&b);
}

static void open_golden(const char *name, const char *arch)
{
    const char *shared = getenv("EXPERTD_SHARED");
    struct model *model = NULL;
    struct err err = { 0 };
    char path[512];

    snprintf(path, sizeof(path), "%s/goldens/%s/model.gguf", shared ? shared : ".", name);
    if (access(path, R_OK))
        cr_skip_test("skipped: no ../shared");
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err.text);
    cr_expect_str_eq(model_arch_name(model), arch);
    model_close(model);
}

Test(model, goldens)
{
    static const char *const quants[] = { "bf16", "f16",  "f32",    "iq4_nl", "iq4_xs", "mxfp4", "q2_k", "q3_k", "q4_0",
                                          "q4_1", "q4_k", "q4_k_m", "q5_0",   "q5_1",   "q5_k",  "q6_k", "q8_0" };

    for (size_t i = 0; i < sizeof(quants) / sizeof(quants[0]); i++) {
        char name[64];

        snprintf(name, sizeof(name), "qwen3moe/qwen3moe-%s", quants[i]);
        open_golden(name, "qwen3moe");
    }
    for (int i = 0; i < 3; i++) {
        static const char *const few[] = { "f32", "q8_0", "q4_k_m" };
        char name[64];

        snprintf(name, sizeof(name), "llama-moe/mixtral-%s", few[i]);
        open_golden(name, "llama");
        snprintf(name, sizeof(name), "qwen2moe/qwen2moe-%s", few[i]);
        open_golden(name, "qwen2moe");
        snprintf(name, sizeof(name), "olmoe/olmoe-%s", few[i]);
        open_golden(name, "olmoe");
    }
}

Test(model, a_vocabulary_alone_is_none)
{
    const char *shared = getenv("EXPERTD_SHARED");
    struct model *model = NULL;
    struct err err = { 0 };
    char path[512];

    snprintf(path, sizeof(path), "%s/vocab/ggml-vocab-qwen2.gguf", shared ? shared : ".");
    if (access(path, R_OK))
        cr_skip_test("skipped: no ../shared");
    cr_expect_eq(model_open(path, &model, &err), ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "no tensors"), "%s", err.text);
}
