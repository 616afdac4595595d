/* SPDX-License-Identifier: MIT */
#include "model/hparams.h"

#include "model/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define GATING_SOFTMAX 1 /* the value of expert_gating_func */

/* Keys that would change the arithmetic in ways that no supported architecture has; each harmless at one value. */
static const struct {
    const char *name;
    float neutral;
} foreign_floats[] = {
    { "logit_scale", 1 },
    { "embedding_scale", 1 },
    { "residual_scale", 1 },
    { "attn_logit_softcapping", 0 },
    { "final_logit_softcapping", 0 },
    { "attention.max_alibi_bias", 0 },
    { "attention.clamp_kqv", 0 },
};

static int check_foreign(const struct key_reader *k)
{
    uint32_t n;
    bool causal;
    int rc;

    for (size_t i = 0; i < sizeof(foreign_floats) / sizeof(foreign_floats[0]); i++) {
        float v;

        rc = key_f32_or(k, foreign_floats[i].name, foreign_floats[i].neutral, &v);
        if (rc)
            return rc;
        if (v != foreign_floats[i].neutral && v != 0)
            return key_refuse(k, foreign_floats[i].name, "%g: this is not something we compute", (double)v);
    }
    rc = key_bool_or(k, "attention.causal", true, &causal);
    if (rc == 0 && !causal)
        rc = key_refuse(k, "attention.causal", "false: this is not a generating model");
    if (rc == 0)
        rc = key_u32_or(k, "expert_group_count", 0, &n);
    if (rc == 0 && n > 1)
        rc = key_refuse(k, "expert_group_count", "%" PRIu32 ": choosing experts by groups is not supported", n);
    return rc;
}

static int read_dims(const struct key_reader *k, struct hparams *hp)
{
    int rc = key_u32(k, "block_count", 1, MODEL_MAX_LAYERS, &hp->n_layers);

    if (rc == 0)
        rc = key_u32(k, "embedding_length", 1, MODEL_MAX_EMBD, &hp->n_embd);
    if (rc == 0)
        rc = key_u32(k, "context_length", 1, INT32_MAX, &hp->n_ctx_train);
    if (rc == 0)
        rc = key_f32(k, "attention.layer_norm_rms_epsilon", &hp->rms_eps);
    if (rc == 0 && !(hp->rms_eps > 0 && hp->rms_eps < 1))
        rc = key_bad(k, "attention.layer_norm_rms_epsilon", "%g is not between 0 and 1", (double)hp->rms_eps);
    return rc;
}

static int read_heads(const struct key_reader *k, struct hparams *hp)
{
    uint32_t value_dim;
    int rc = key_u32(k, "attention.head_count", 1, MODEL_MAX_HEADS, &hp->n_heads);

    if (rc == 0)
        rc = key_u32_or(k, "attention.head_count_kv", hp->n_heads, &hp->n_kv_heads);
    if (rc)
        return rc;
    if (hp->n_kv_heads == 0 || hp->n_heads % hp->n_kv_heads)
        return key_bad(k, "attention.head_count_kv", "%" PRIu32 " does not divide the %" PRIu32 " heads",
                       hp->n_kv_heads, hp->n_heads);
    rc = key_u32_or(k, "attention.key_length", 0, &hp->head_dim);
    if (rc)
        return rc;
    if (hp->head_dim == 0 && hp->n_embd % hp->n_heads)
        return key_bad(k, "attention.head_count", "%" PRIu32 " does not divide embedding_length, %" PRIu32, hp->n_heads,
                       hp->n_embd);
    if (hp->head_dim == 0)
        hp->head_dim = hp->n_embd / hp->n_heads;
    if (hp->head_dim > MODEL_MAX_HEAD_DIM)
        return key_bad(k, "attention.key_length", "%" PRIu32 "; the limit is %u", hp->head_dim, MODEL_MAX_HEAD_DIM);
    rc = key_u32_or(k, "attention.value_length", hp->head_dim, &value_dim);
    if (rc == 0 && value_dim != hp->head_dim)
        rc = key_refuse(k, "attention.value_length", "%" PRIu32 " differs from key_length, %" PRIu32, value_dim,
                        hp->head_dim);
    if (rc == 0)
        rc = key_f32_or(k, "attention.scale", 0, &hp->attn_scale);
    if (rc == 0 && (!isfinite(hp->attn_scale) || hp->attn_scale < 0))
        rc = key_bad(k, "attention.scale", "%g is not a positive number", (double)hp->attn_scale);
    if (rc == 0 && hp->attn_scale == 0)
        hp->attn_scale = 1.0f / sqrtf((float)hp->head_dim);
    return rc;
}

static int read_routing(const struct key_reader *k, struct hparams *hp)
{
    struct route *route = &hp->route;
    uint32_t gating;
    int rc = key_u32(k, "expert_used_count", 1, MODEL_MAX_USED, &hp->n_used);

    if (rc)
        return rc;
    if (hp->n_used > hp->n_experts)
        return key_bad(k, "expert_used_count", "%" PRIu32 " of %" PRIu32 " experts", hp->n_used, hp->n_experts);
    rc = key_u32_or(k, "expert_gating_func", GATING_SOFTMAX, &gating);
    if (rc == 0 && gating != GATING_SOFTMAX && gating != 0)
        rc = key_refuse(k, "expert_gating_func", "%" PRIu32 " where architecture '%s' has softmax (%d)", gating,
                        k->arch->name, GATING_SOFTMAX);
    if (rc == 0)
        rc = key_bool_or(k, "expert_weights_norm", k->arch->renormalise, &route->renormalise);
    if (rc == 0)
        rc = key_f32_or(k, "expert_weights_scale", 1, &route->scale);
    if (rc)
        return rc;
    if (!isfinite(route->scale) || route->scale < 0)
        return key_bad(k, "expert_weights_scale", "%g is not a positive number", (double)route->scale);
    if (route->scale == 0)
        route->scale = 1;
    route->gating = ROUTE_SOFTMAX;
    route->n_experts = hp->n_experts;
    route->n_used = hp->n_used;
    return 0;
}

static int read_expert_width(const struct key_reader *k, struct hparams *hp)
{
    int rc = key_u32_or(k, "expert_feed_forward_length", 0, &hp->n_ff_expert);

    if (rc || hp->n_ff_expert > 0)
        return rc;
    hp->n_ff_expert = hp->n_ff;
    if (k->arch->expert_width == EXPERT_WIDTH_FF)
        return 0;
    if (hp->n_ff % hp->n_used)
        return key_bad(k, "feed_forward_length", "%" PRIu32 " is not a multiple of the %" PRIu32 " experts used",
                       hp->n_ff, hp->n_used);
    hp->n_ff_expert /= hp->n_used;
    return 0;
}

static int read_ff(const struct key_reader *k, struct hparams *hp)
{
    int rc = key_u32_or(k, "feed_forward_length", 0, &hp->n_ff);

    if (rc == 0)
        rc = read_expert_width(k, hp);
    if (rc)
        return rc;
    if (hp->n_ff_expert == 0)
        return key_bad(k, "expert_feed_forward_length", "is missing, and so is feed_forward_length");
    if (k->arch->shared_expert)
        rc = key_u32_or(k, "expert_shared_feed_forward_length", hp->n_ff, &hp->n_ff_shared);
    if (rc == 0 && k->arch->shared_expert && hp->n_ff_shared == 0)
        rc = key_bad(k, "expert_shared_feed_forward_length", "is missing, and so is feed_forward_length");
    if (rc == 0 && (hp->n_ff > MODEL_MAX_FF || hp->n_ff_expert > MODEL_MAX_FF || hp->n_ff_shared > MODEL_MAX_FF))
        rc = key_bad(k, "feed_forward_length", "a width above %u", MODEL_MAX_FF);
    return rc;
}

/* Attention over a window is not computed. Within one window it is the same as full attention. */
static int read_window(const struct key_reader *k, struct hparams *hp, char *note, size_t note_size)
{
    uint32_t window;
    int rc = key_u32_or(k, "attention.sliding_window", 0, &window);

    note[0] = '\0';
    if (rc || window == 0 || window >= hp->n_ctx_train)
        return rc;
    snprintf(note, note_size,
             "the model attends through a sliding window of %" PRIu32
             " positions, which is not supported: its context of %" PRIu32 " is limited to one window",
             window, hp->n_ctx_train);
    hp->n_ctx_train = window;
    return 0;
}

int hparams_read(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, char *note, size_t note_size,
                 struct err *err)
{
    const struct key_reader k = { gguf, arch, err };
    int rc = key_u32_or(&k, "expert_count", 0, &hp->n_experts);

    if (rc == 0 && hp->n_experts == 0)
        return err_set(
            err, ERR_UNSUPPORTED,
            "a dense '%s' model: it has no experts (no key '%s.expert_count'), and only Mixture-of-Experts models "
            "are served",
            arch->name, arch->name);
    if (rc == 0 && hp->n_experts > MODEL_MAX_EXPERTS)
        rc = key_bad(&k, "expert_count", "%" PRIu32 "; the limit is %u", hp->n_experts, MODEL_MAX_EXPERTS);
    if (rc == 0)
        rc = check_foreign(&k);
    if (rc == 0)
        rc = read_dims(&k, hp);
    if (rc == 0)
        rc = read_heads(&k, hp);
    if (rc == 0)
        rc = read_routing(&k, hp);
    if (rc == 0)
        rc = read_ff(&k, hp);
    return rc ? rc : read_window(&k, hp, note, note_size);
}
