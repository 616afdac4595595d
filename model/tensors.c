/* SPDX-License-Identifier: MIT */
#include "model/tensors_internal.h"

#include "base/mem.h"
#include "model/hparams.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHAPE_BYTES 96

enum dim { DIM_NONE, DIM_ONE, DIM_EMBD, DIM_Q, DIM_KV, DIM_Q_NORM, DIM_K_NORM, DIM_FF, DIM_FF_SHARED, DIM_EXPERTS };

enum place {
    IN_ALL,
    IN_ANY,    /* may be missing */
    IN_BIASED, /* required by arch->qkv_bias, optional otherwise */
    IN_QK_NORMED,
    IN_MOE,
    IN_SHARED,
    IN_DENSE,
};

struct rule {
    const char *name; /* behind "blk.N." */
    size_t field;     /* offset in struct layer_tensors */
    enum place place;
    enum dim cols, rows; /* as in the file: the contiguous one first. Without rows: F32 required */
};

#define RULE(file_name, member, ...)                                   \
    {                                                                  \
        file_name, offsetof(struct layer_tensors, member), __VA_ARGS__ \
    }

static const struct rule rules[] = {
    RULE("attn_norm.weight", attn_norm, IN_ALL, DIM_EMBD, DIM_NONE),
    RULE("attn_q.weight", q, IN_ALL, DIM_EMBD, DIM_Q),
    RULE("attn_k.weight", k, IN_ALL, DIM_EMBD, DIM_KV),
    RULE("attn_v.weight", v, IN_ALL, DIM_EMBD, DIM_KV),
    RULE("attn_output.weight", o, IN_ALL, DIM_Q, DIM_EMBD),
    RULE("attn_q.bias", q_bias, IN_BIASED, DIM_Q, DIM_NONE),
    RULE("attn_k.bias", k_bias, IN_BIASED, DIM_KV, DIM_NONE),
    RULE("attn_v.bias", v_bias, IN_BIASED, DIM_KV, DIM_NONE),
    RULE("attn_output.bias", o_bias, IN_ANY, DIM_EMBD, DIM_NONE),
    RULE("attn_q_norm.weight", q_norm, IN_QK_NORMED, DIM_Q_NORM, DIM_NONE),
    RULE("attn_k_norm.weight", k_norm, IN_QK_NORMED, DIM_K_NORM, DIM_NONE),
    RULE("ffn_norm.weight", ffn_norm, IN_ALL, DIM_EMBD, DIM_NONE),
    RULE("ffn_gate_inp.weight", router, IN_MOE, DIM_EMBD, DIM_EXPERTS),
    RULE("ffn_gate_inp_shexp.weight", shared_router, IN_SHARED, DIM_EMBD, DIM_ONE),
    RULE("ffn_gate_shexp.weight", shared_gate, IN_SHARED, DIM_EMBD, DIM_FF_SHARED),
    RULE("ffn_up_shexp.weight", shared_up, IN_SHARED, DIM_EMBD, DIM_FF_SHARED),
    RULE("ffn_down_shexp.weight", shared_down, IN_SHARED, DIM_FF_SHARED, DIM_EMBD),
    RULE("ffn_gate.weight", gate, IN_DENSE, DIM_EMBD, DIM_FF),
    RULE("ffn_up.weight", up, IN_DENSE, DIM_EMBD, DIM_FF),
    RULE("ffn_down.weight", down, IN_DENSE, DIM_FF, DIM_EMBD),
};

#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static uint64_t dim_size(const struct binder *b, enum dim dim)
{
    const struct hparams *hp = b->hp;
    uint64_t q = (uint64_t)hp->n_heads * hp->head_dim, kv = (uint64_t)hp->n_kv_heads * hp->head_dim;

    switch (dim) {
    case DIM_EMBD:
        return hp->n_embd;
    case DIM_Q:
        return q;
    case DIM_KV:
        return kv;
    case DIM_Q_NORM:
        return b->arch->qk_norm == QK_NORM_HEAD ? hp->head_dim : q;
    case DIM_K_NORM:
        return b->arch->qk_norm == QK_NORM_HEAD ? hp->head_dim : kv;
    case DIM_FF:
        return hp->n_ff;
    case DIM_FF_SHARED:
        return hp->n_ff_shared;
    case DIM_EXPERTS:
        return hp->n_experts;
    case DIM_NONE:
    case DIM_ONE:
        break;
    }
    return 1;
}

static const char *shape_text(const uint64_t *dims, char *ret_text)
{
    snprintf(ret_text, SHAPE_BYTES, "[%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", dims[0], dims[1], dims[2],
             dims[3]);
    return ret_text;
}

static int check_shape(const struct binder *b, const struct gguf_tensor *t, const uint64_t dims[GGUF_MAX_DIMS])
{
    char is[SHAPE_BYTES], should[SHAPE_BYTES];

    if (!memcmp(t->dims, dims, sizeof(t->dims)))
        return 0;
    return err_set(b->err, ERR_FORMAT, "tensor '%s': shape %s where the keys ask for %s", t->name,
                   shape_text(t->dims, is), shape_text(dims, should));
}

static int check_format(const struct binder *b, const struct gguf_tensor *t, bool f32_only)
{
    const struct quant_info *info = quant_info(t->type);

    if (f32_only && t->type != QUANT_F32)
        return err_set(b->err, ERR_UNSUPPORTED, "tensor '%s': stored as %s where F32 is supported", t->name,
                       info->name);
    if (!info->computable)
        return err_set(b->err, ERR_UNSUPPORTED,
                       "tensor '%s': format %s is not supported; use a quantisation such as Q4_K_M, Q6_K or Q8_0",
                       t->name, info->name);
    return 0;
}

int tensors_check(const struct binder *b, const struct gguf_tensor *t, const uint64_t dims[GGUF_MAX_DIMS],
                  bool f32_only)
{
    int rc = check_shape(b, t, dims);

    return rc ? rc : check_format(b, t, f32_only);
}

static const struct gguf_tensor *claim(const struct binder *b, const char *name)
{
    const struct gguf_tensor *t = gguf_tensor_find(b->gguf, name);

    if (t)
        b->bound[t - gguf_tensor_at(b->gguf, 0)] = true;
    return t;
}

static const char *full_name(uint32_t layer, const char *name, char ret_full[TENSOR_NAME_BYTES])
{
    snprintf(ret_full, TENSOR_NAME_BYTES, "blk.%" PRIu32 ".%s", layer, name);
    return ret_full;
}

bool tensors_has(const struct binder *b, uint32_t layer, const char *name)
{
    char full[TENSOR_NAME_BYTES];

    return gguf_tensor_find(b->gguf, full_name(layer, name, full)) != NULL;
}

const struct gguf_tensor *tensors_claim(const struct binder *b, uint32_t layer, const char *name)
{
    char full[TENSOR_NAME_BYTES];

    return claim(b, full_name(layer, name, full));
}

int tensors_missing(const struct binder *b, uint32_t layer, const char *name)
{
    return err_set(b->err, ERR_FORMAT, "tensor 'blk.%" PRIu32 ".%s' is missing", layer, name);
}

enum need { FORBIDDEN, OPTIONAL, REQUIRED };

static enum need need_of(const struct binder *b, enum place place, bool moe)
{
    switch (place) {
    case IN_ALL:
        break;
    case IN_ANY:
        return OPTIONAL;
    case IN_BIASED:
        return b->arch->qkv_bias ? REQUIRED : OPTIONAL;
    case IN_QK_NORMED:
        return b->arch->qk_norm != QK_NORM_NONE ? REQUIRED : FORBIDDEN;
    case IN_MOE:
        return moe ? REQUIRED : FORBIDDEN;
    case IN_SHARED:
        return moe && b->arch->shared_expert ? REQUIRED : FORBIDDEN;
    case IN_DENSE:
        return moe ? FORBIDDEN : REQUIRED;
    }
    return REQUIRED;
}

static int bind_rule(const struct binder *b, const struct rule *rule, uint32_t layer, bool moe, struct layer_tensors *l)
{
    enum need need = need_of(b, rule->place, moe);
    const uint64_t dims[GGUF_MAX_DIMS] = { dim_size(b, rule->cols), dim_size(b, rule->rows), 1, 1 };
    const struct gguf_tensor *t;
    int rc;

    if (need == FORBIDDEN) /* one that is there all the same is found unbound at the end */
        return 0;
    t = tensors_claim(b, layer, rule->name);
    if (!t)
        return need == OPTIONAL ? 0 : tensors_missing(b, layer, rule->name);
    rc = tensors_check(b, t, dims, rule->rows == DIM_NONE);
    if (rc == 0)
        *(const struct gguf_tensor **)((char *)l + rule->field) = t;
    return rc;
}

static int bind_layer(struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    bool moe = !tensors_has(b, layer, "ffn_gate.weight");

    if (!moe && b->hp->n_dense_layers != layer)
        return err_set(b->err, ERR_UNSUPPORTED, "layer %" PRIu32 " is dense, after layers with experts", layer);
    if (!moe)
        b->hp->n_dense_layers++;
    for (size_t i = 0; i < N_RULES; i++) {
        int rc = bind_rule(b, &rules[i], layer, moe, l);

        if (rc)
            return rc;
    }
    return moe ? tensors_bind_experts(b, layer, l) : 0;
}

/* As many tokens as the vocabulary has, where the file has one: an id above would be a row that is not there. */
static int check_vocab(const struct binder *b)
{
    enum gguf_type type;
    size_t n;
    int rc = gguf_get_array(b->gguf, "tokenizer.ggml.tokens", &type, &n, b->err);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && n != b->hp->n_vocab)
        rc = err_set(b->err, ERR_FORMAT,
                     "key 'tokenizer.ggml.tokens': %zu tokens, but tensor 'token_embd.weight' has %" PRIu32 " rows", n,
                     b->hp->n_vocab);
    return rc;
}

static int bind_global(struct binder *b, struct model_tensors *g)
{
    const struct gguf_tensor *embd = claim(b, "token_embd.weight"), *norm = claim(b, "output_norm.weight"),
                             *output = claim(b, "output.weight");
    struct hparams *hp = b->hp;
    int rc;

    claim(b, "rope_freqs.weight");
    if (!embd || !norm)
        return err_set(b->err, ERR_FORMAT, "tensor '%s' is missing", embd ? "output_norm.weight" : "token_embd.weight");
    if (embd->dims[1] > MODEL_MAX_VOCAB)
        return err_set(b->err, ERR_FORMAT, "tensor '%s': %" PRIu64 " rows; the limit is %u", embd->name, embd->dims[1],
                       MODEL_MAX_VOCAB);
    hp->n_vocab = (uint32_t)embd->dims[1];
    output = output ? output : embd;
    rc = tensors_check(b, embd, (uint64_t[GGUF_MAX_DIMS]){ hp->n_embd, hp->n_vocab, 1, 1 }, false);
    if (rc == 0)
        rc = tensors_check(b, norm, (uint64_t[GGUF_MAX_DIMS]){ hp->n_embd, 1, 1, 1 }, true);
    if (rc == 0)
        rc = tensors_check(b, output, (uint64_t[GGUF_MAX_DIMS]){ hp->n_embd, hp->n_vocab, 1, 1 }, false);
    *g = (struct model_tensors){ embd, norm, output };
    return rc ? rc : check_vocab(b);
}

static int check_unbound(const struct binder *b)
{
    for (size_t i = 0; i < gguf_tensor_count(b->gguf); i++)
        if (!b->bound[i])
            return err_set(
                b->err, ERR_UNSUPPORTED,
                "tensor '%s': has no place in architecture '%s' as it is supported; leaving it out would give wrong "
                "answers",
                gguf_tensor_at(b->gguf, i)->name, b->arch->name);
    return 0;
}

static int check_dense_count(const struct binder *b)
{
    char key[TENSOR_NAME_BYTES];
    uint32_t n;
    int rc;

    if (b->hp->n_dense_layers == b->hp->n_layers)
        return err_set(b->err, ERR_UNSUPPORTED, "no layer has experts");
    snprintf(key, sizeof(key), "%s.leading_dense_block_count", b->arch->name);
    rc = gguf_get_u32(b->gguf, key, &n, b->err);
    if (rc == 0 && n != b->hp->n_dense_layers)
        rc = err_set(b->err, ERR_FORMAT, "key '%s': %" PRIu32 ", but %" PRIu32 " layers are dense", key, n,
                     b->hp->n_dense_layers);
    return rc == -ENOENT ? 0 : rc;
}

static int bind_all(struct binder *b, struct model_tensors *global, struct layer_tensors *layers)
{
    int rc = bind_global(b, global);

    b->hp->n_dense_layers = 0;
    for (uint32_t i = 0; rc == 0 && i < b->hp->n_layers; i++)
        rc = bind_layer(b, i, &layers[i]);
    if (rc == 0)
        rc = check_dense_count(b);
    return rc ? rc : check_unbound(b);
}

int tensors_bind(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, struct model_tensors *global,
                 struct layer_tensors *layers, struct err *err)
{
    struct binder b = { gguf, arch, hp, NULL, err };
    int rc;

    b.bound = mem_calloc(gguf_tensor_count(gguf), sizeof(*b.bound));
    if (!b.bound)
        return err_sys(err, ENOMEM, "checking the tensors");
    rc = bind_all(&b, global, layers);
    mem_free(b.bound);
    return rc;
}
