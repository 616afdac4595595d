/* SPDX-License-Identifier: MIT */
#include "model/tensors_internal.h"

static int bind_stack(const struct binder *b, uint32_t layer, const char *name, uint64_t cols, uint64_t rows,
                      const struct gguf_tensor **ret_t)
{
    const struct gguf_tensor *t = tensors_claim(b, layer, name);
    int rc;

    if (!t)
        return tensors_missing(b, layer, name);
    rc = tensors_check(b, t, (uint64_t[GGUF_MAX_DIMS]){ cols, rows, b->hp->n_experts, 1 }, false);
    if (rc == 0)
        *ret_t = t;
    return rc;
}

static int bind_fused(const struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    const struct hparams *hp = b->hp;
    int rc = bind_stack(b, layer, "ffn_gate_up_exps.weight", hp->n_embd, 2 * (uint64_t)hp->n_ff_expert, &l->gate_exps);

    l->up_exps = l->gate_exps;
    return rc;
}

static int bind_stacked(const struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    const struct hparams *hp = b->hp;
    int rc = bind_stack(b, layer, "ffn_gate_exps.weight", hp->n_embd, hp->n_ff_expert, &l->gate_exps);

    return rc ? rc : bind_stack(b, layer, "ffn_up_exps.weight", hp->n_embd, hp->n_ff_expert, &l->up_exps);
}

int tensors_bind_experts(const struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    const struct hparams *hp = b->hp;
    int rc;

    l->expert_form = tensors_has(b, layer, "ffn_gate_up_exps.weight") ? EXPERTS_FUSED : EXPERTS_STACKED;
    rc = l->expert_form == EXPERTS_FUSED ? bind_fused(b, layer, l) : bind_stacked(b, layer, l);
    return rc ? rc : bind_stack(b, layer, "ffn_down_exps.weight", hp->n_ff_expert, hp->n_embd, &l->down_exps);
}
