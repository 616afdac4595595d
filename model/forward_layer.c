/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <errno.h>
#include <math.h>

/* h = normed x, prepared for multiplication. */
static int norm_into_acts(struct forward *f, const float *weight, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    int r = ops->rms_norm(f->device, f->b.x, weight, f->hp->rms_eps, n, f->hp->n_embd, f->b.h);

    return r < 0 ? r : ops->acts_set(f->device, f->acts, f->b.h, n, f->hp->n_embd);
}

/* Heads are rows of their own, or all heads of a token are one row. */
static int qk_norm(struct forward *f, float *x, const float *weight, uint32_t n, uint32_t n_heads)
{
    bool by_head = f->arch->qk_norm == QK_NORM_HEAD;
    uint32_t rows = by_head ? n * n_heads : n, cols = by_head ? f->hp->head_dim : n_heads * f->hp->head_dim;

    return weight != NULL ? f->device->ops->rms_norm(f->device, x, weight, f->hp->rms_eps, rows, cols, x) : 0;
}

static int queries_keys_values(struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    const struct hparams *hp = f->hp;
    const struct linear qkv[] = { { layer->q, layer->q_bias, f->b.q },
                                  { layer->k, layer->k_bias, f->b.k },
                                  { layer->v, layer->v_bias, f->b.v } };
    int r;

    if ((r = norm_into_acts(f, layer->attn_norm, n)) < 0 || (r = ops->linear(f->device, f->acts, qkv, 3)) < 0 ||
        (r = qk_norm(f, f->b.q, layer->q_norm, n, hp->n_heads)) < 0 ||
        (r = qk_norm(f, f->b.k, layer->k_norm, n, hp->n_kv_heads)) < 0 ||
        (r = ops->rope(f->device, &hp->rope, f->b.q, f->b.pos, n, hp->n_heads, hp->head_dim)) < 0 ||
        (r = ops->rope(f->device, &hp->rope, f->b.k, f->b.pos, n, hp->n_kv_heads, hp->head_dim)) < 0)
        return r;
    return 0;
}

/* One sequence's part of the batch, `row` its first row. */
static int attend(struct forward *f, uint32_t layer, const struct batch_span *span, uint32_t row)
{
    const struct device_ops *ops = f->device->ops;
    const struct hparams *hp = f->hp;
    uint32_t q_dim = hp->n_heads * hp->head_dim, kv_dim = hp->n_kv_heads * hp->head_dim;
    const struct attention attention = { .q = f->b.q + (size_t)row * q_dim,
                                         .kv = kv_layer(&f->kv, span->seq, layer),
                                         .kv_type = f->kv.type,
                                         .n_tokens = span->n_tokens,
                                         .pos0 = span->pos0,
                                         .n_heads = hp->n_heads,
                                         .n_kv_heads = hp->n_kv_heads,
                                         .head_dim = hp->head_dim,
                                         .scale = hp->attn_scale,
                                         .y = f->b.att + (size_t)row * q_dim };
    int r = ops->kv_store(f->device, &attention.kv, f->kv.type, span->pos0, span->n_tokens, kv_dim,
                          f->b.k + (size_t)row * kv_dim, f->b.v + (size_t)row * kv_dim);

    return r < 0 ? r : ops->attention(f->device, &attention);
}

static int attention_block(struct forward *f, uint32_t layer, const struct batch *batch)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct device_ops *ops = f->device->ops;
    const struct linear out = { dense->o, dense->o_bias, f->b.h };
    uint32_t n = batch->n_tokens, row = 0;
    int r = queries_keys_values(f, dense, n);

    for (uint32_t i = 0; i < batch->n_spans && r >= 0; i++) {
        r = attend(f, layer, &batch->spans[i], row);
        row += batch->spans[i].n_tokens;
    }
    if (r < 0 || (r = ops->acts_set(f->device, f->acts, f->b.att, n, f->hp->n_heads * f->hp->head_dim)) < 0 ||
        (r = ops->linear(f->device, f->acts, &out, 1)) < 0)
        return r;
    return ops->add(f->device, f->b.x, f->b.h, NULL, n, f->hp->n_embd);
}

static int dense_block(struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    const struct expert_call call = { layer->gate, layer->up, layer->down, f->moe.all, f->moe.all, n };
    int r;

    if ((r = norm_into_acts(f, layer->ffn_norm, n)) < 0 || (r = ops->experts(f->device, f->acts, &call, 1, f->b.y)) < 0)
        return r;
    return ops->add(f->device, f->b.x, f->b.y, NULL, n, f->hp->n_embd);
}

/* Choose experts: b.ids and b.weights. */
static int route(struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    const struct linear lin[] = { { layer->router, NULL, f->b.router },
                                  { layer->shared_router, NULL, f->b.shared_router } };
    int r;

    if ((r = norm_into_acts(f, layer->ffn_norm, n)) < 0 ||
        (r = ops->linear(f->device, f->acts, lin, layer->shared_router.data != NULL ? 2 : 1)) < 0)
        return r;
    if (f->b.host_router != f->b.router && f->options.hooks.on_route != NULL &&
        (r = ops->download(f->device, f->b.host_router, f->b.router, (size_t)n * f->hp->n_experts * sizeof(float))) < 0)
        return r;
    return ops->route(f->device, &f->hp->route, f->b.router, n, f->b.ids, f->b.weights);
}

/* Cheap, and it names the place: what is not finite anywhere before has reached the router. */
static int check_routing(const struct forward *f, uint32_t layer, uint32_t n, struct err *err)
{
    for (size_t i = 0; i < (size_t)n * f->hp->n_used; i++)
        if (!isfinite(f->b.weights[i]) || f->b.ids[i] >= f->hp->n_experts)
            return err_set(err, ERR_FORMAT, "layer %u: the router's output is not finite (corrupt weights?)", layer);
    return 0;
}

int forward_layer(struct forward *f, uint32_t layer, const struct batch *batch, struct err *err)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct forward_hooks *hooks = &f->options.hooks;
    uint32_t n = batch->n_tokens;
    int r = attention_block(f, layer, batch);

    if (r >= 0)
        r = dense->router.data != NULL ? route(f, dense, n) : dense_block(f, dense, n);
    if (r < 0)
        return forward_device_error(f, r, err);
    if (dense->router.data != NULL) {
        r = check_routing(f, layer, n, err);
        if (r < 0)
            return r;
        if (hooks->on_route != NULL)
            hooks->on_route(hooks->ctx, layer, f->b.host_router, f->b.ids, n);
        r = forward_moe(f, layer, n, err);
        if (r < 0)
            return r;
    }
    if (hooks->on_layer != NULL)
        hooks->on_layer(hooks->ctx, layer, f->b.x, n);
    return 0;
}
