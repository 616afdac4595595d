/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <errno.h>
#include <math.h>

/* The residual stream from the current row on. */
static float *residual(const struct forward *f)
{
    return f->b.x + (size_t)f->row * f->hp->n_embd;
}

/* h = normed x, prepared for multiplication. */
static int norm_into_acts(struct forward *f, const float *weight, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    int r = ops->rms_norm(f->device, residual(f), weight, f->hp->rms_eps, n, f->hp->n_embd, f->b.h);

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

static int store(struct forward *f, uint32_t layer, const struct batch_span *span, uint32_t first)
{
    const struct kv_view kv = kv_layer(&f->kv, span->seq, layer);
    uint32_t kv_dim = f->hp->n_kv_heads * f->hp->head_dim;

    return f->device->ops->kv_store(f->device, &kv, f->kv.type, span->pos0, span->n_tokens, f->hp->n_kv_heads,
                                    f->hp->head_dim, f->b.k + (size_t)first * kv_dim, f->b.v + (size_t)first * kv_dim);
}

/* Rows from .. end - 1 of the batch, all of one span, of which `first` is the first. */
static int attend(struct forward *f, uint32_t layer, const struct batch_span *span, uint32_t first, uint32_t from,
                  uint32_t end)
{
    const struct hparams *hp = f->hp;
    uint32_t q_dim = hp->n_heads * hp->head_dim;
    const struct attention attention = { .q = f->b.q + (size_t)from * q_dim,
                                         .kv = kv_layer(&f->kv, span->seq, layer),
                                         .kv_type = f->kv.type,
                                         .n_tokens = end - from,
                                         .pos0 = span->pos0 + from - first,
                                         .n_heads = hp->n_heads,
                                         .n_kv_heads = hp->n_kv_heads,
                                         .head_dim = hp->head_dim,
                                         .scale = hp->attn_scale,
                                         .y = f->b.att + (size_t)from * q_dim };

    return f->device->ops->attention(f->device, &attention);
}

/* Keys and values of every token, span by span in order, so that a later span of the same sequence sees an earlier one;
 * queries from the current row on, n of them. */
static int attend_all(struct forward *f, uint32_t layer, const struct batch *batch, uint32_t n)
{
    uint32_t first = 0, end = f->row + n;
    int r = 0;

    for (uint32_t i = 0; i < batch->n_spans && r >= 0; i++) {
        const struct batch_span *span = &batch->spans[i];
        uint32_t from = first > f->row ? first : f->row;
        uint32_t to = first + span->n_tokens < end ? first + span->n_tokens : end;

        r = store(f, layer, span, first);
        if (r >= 0 && from < to)
            r = attend(f, layer, span, first, from, to);
        first += span->n_tokens;
    }
    return r;
}

static int attention_block(struct forward *f, uint32_t layer, const struct batch *batch, uint32_t row, uint32_t n)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct device_ops *ops = f->device->ops;
    const struct linear out = { dense->o, dense->o_bias, f->b.h };
    uint32_t q_dim = f->hp->n_heads * f->hp->head_dim;
    const float *att = f->b.att + (size_t)row * q_dim;
    int r;

    f->row = 0;
    r = queries_keys_values(f, dense, batch->n_tokens);
    f->row = row;
    forward_poll(f);
    if (r < 0 || (r = attend_all(f, layer, batch, n)) < 0 || n == 0)
        return r;
    forward_poll(f);
    if ((r = ops->acts_set(f->device, f->acts, att, n, q_dim)) < 0 ||
        (r = ops->linear(f->device, f->acts, &out, 1)) < 0)
        return r;
    forward_poll(f);
    return ops->add(f->device, residual(f), f->b.h, NULL, n, f->hp->n_embd);
}

static int dense_block(struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    const struct expert_call call = { layer->gate, layer->up, layer->down, f->moe.all, f->moe.all, n };
    int r;

    if ((r = norm_into_acts(f, layer->ffn_norm, n)) < 0 || (r = ops->experts(f->device, f->acts, &call, 1, f->b.y)) < 0)
        return r;
    return ops->add(f->device, residual(f), f->b.y, NULL, n, f->hp->n_embd);
}

/* The router's logits: b.router, and the shared expert's gate. */
static int router(struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    const struct linear lin[] = { { layer->router, NULL, f->b.router },
                                  { layer->shared_router, NULL, f->b.shared_router } };
    int r = norm_into_acts(f, layer->ffn_norm, n);

    return r < 0 ? r : f->device->ops->linear(f->device, f->acts, lin, layer->shared_router.data != NULL ? 2 : 1);
}

/* For on_route: the host has them anyway, or they are brought. */
static bool has_logits(const struct forward *f)
{
    return f->b.host_router == f->b.router || !f->options.hooks.no_logits;
}

/* Choose experts: b.ids and b.weights. */
static int route(struct forward *f, uint32_t n)
{
    const struct device_ops *ops = f->device->ops;
    int r;

    if (f->b.host_router != f->b.router && f->options.hooks.on_route != NULL && has_logits(f) &&
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

static int experts_block(struct forward *f, uint32_t layer, const struct batch *batch, uint32_t n, struct err *err)
{
    const struct forward_hooks *hooks = &f->options.hooks;
    int r = router(f, &f->dense.layers[layer], n);

    if (r >= 0 && f->stay.on)
        return forward_stay_experts(f, layer, batch, n, err);
    if (r >= 0)
        r = route(f, n);
    if (r < 0)
        return forward_device_error(f, r, err);
    r = check_routing(f, layer, n, err);
    if (r < 0)
        return r;
    if (hooks->on_route != NULL)
        hooks->on_route(hooks->ctx, layer, has_logits(f) ? f->b.host_router : NULL, f->b.ids, n);
    return forward_moe(f, layer, n, err);
}

int forward_layer(struct forward *f, uint32_t layer, const struct batch *batch, struct err *err)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct forward_hooks *hooks = &f->options.hooks;
    bool last = layer + 1 == f->hp->n_layers;
    uint32_t row = last ? batch->asked_from : 0, n = last ? batch->asked_end - row : batch->n_tokens;
    int r = attention_block(f, layer, batch, row, n);

    if (r >= 0 && n > 0 && dense->router.data == NULL)
        r = dense_block(f, dense, n);
    if (r < 0)
        return forward_device_error(f, r, err);
    if (n > 0 && dense->router.data != NULL)
        r = experts_block(f, layer, batch, n, err);
    if (r >= 0 && n > 0 && hooks->on_layer != NULL)
        hooks->on_layer(hooks->ctx, layer, residual(f), n);
    return r;
}
