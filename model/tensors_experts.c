/* SPDX-License-Identifier: MIT */
#include "model/tensors_internal.h"

#include <inttypes.h>
#include <stdio.h>

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

static const char *apart_name(enum expert_part part, uint32_t expert, char ret_name[TENSOR_NAME_BYTES])
{
    static const char *const parts[EXPERT_PARTS] = { "ffn_gate", "ffn_up", "ffn_down" };

    snprintf(ret_name, TENSOR_NAME_BYTES, "%s.%" PRIu32 ".weight", parts[part], expert);
    return ret_name;
}

const struct gguf_tensor *tensors_expert(const struct gguf *gguf, uint32_t layer, enum expert_part part,
                                         uint32_t expert)
{
    char name[TENSOR_NAME_BYTES], full[TENSOR_NAME_BYTES + 16];

    snprintf(full, sizeof(full), "blk.%" PRIu32 ".%s", layer, apart_name(part, expert, name));
    return gguf_tensor_find(gguf, full);
}

/* A slot holds any expert of a layer, and a table of the device has one format for them all. */
static int check_same_format(const struct binder *b, const struct gguf_tensor *first, const struct gguf_tensor *t)
{
    if (t->type == first->type)
        return 0;
    return err_set(b->err, ERR_UNSUPPORTED,
                   "tensor '%s': stored as %s, but '%s' as %s; a layer's experts must have one format for each part",
                   t->name, quant_info(t->type)->name, first->name, quant_info(first->type)->name);
}

static int bind_apart(const struct binder *b, uint32_t layer, enum expert_part part, const struct gguf_tensor **ret_t)
{
    bool down = part == EXPERT_DOWN;
    const uint64_t dims[GGUF_MAX_DIMS] = { down ? b->hp->n_ff_expert : b->hp->n_embd,
                                           down ? b->hp->n_embd : b->hp->n_ff_expert, 1, 1 };
    int rc = 0;

    for (uint32_t e = 0; rc == 0 && e < b->hp->n_experts; e++) {
        char name[TENSOR_NAME_BYTES];
        const struct gguf_tensor *t = tensors_claim(b, layer, apart_name(part, e, name));

        if (!t)
            return tensors_missing(b, layer, name);
        *ret_t = e == 0 ? t : *ret_t;
        rc = tensors_check(b, t, dims, false);
        if (rc == 0)
            rc = check_same_format(b, *ret_t, t);
    }
    return rc;
}

static int bind_all_apart(const struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    int rc = bind_apart(b, layer, EXPERT_GATE, &l->gate_exps);

    if (rc == 0)
        rc = bind_apart(b, layer, EXPERT_UP, &l->up_exps);
    return rc ? rc : bind_apart(b, layer, EXPERT_DOWN, &l->down_exps);
}

/* Told by any of the first expert's, so that one that is missing is missed by its name. */
static enum expert_form form_of(const struct binder *b, uint32_t layer)
{
    if (tensors_has(b, layer, "ffn_gate_up_exps.weight"))
        return EXPERTS_FUSED;
    for (int p = 0; p < EXPERT_PARTS; p++)
        if (tensors_expert(b->gguf, layer, (enum expert_part)p, 0))
            return EXPERTS_APART;
    return EXPERTS_STACKED;
}

int tensors_bind_experts(const struct binder *b, uint32_t layer, struct layer_tensors *l)
{
    const struct hparams *hp = b->hp;
    int rc;

    l->expert_form = form_of(b, layer);
    if (l->expert_form == EXPERTS_APART)
        return bind_all_apart(b, layer, l);
    rc = l->expert_form == EXPERTS_FUSED ? bind_fused(b, layer, l) : bind_stacked(b, layer, l);
    return rc ? rc : bind_stack(b, layer, "ffn_down_exps.weight", hp->n_ff_expert, hp->n_embd, &l->down_exps);
}
