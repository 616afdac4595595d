/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <errno.h>
#include <string.h>

/* Sort the (token, rank) pairs by expert; returns how many experts are wanted. */
static uint32_t sort_pairs(struct forward *f, uint32_t n)
{
    uint32_t n_experts = f->hp->n_experts, n_pairs = n * f->hp->n_used, n_wanted = 0;
    uint32_t *first = f->moe.first;

    memset(first, 0, (n_experts + 1) * sizeof(*first));
    for (uint32_t i = 0; i < n_pairs; i++)
        first[f->b.ids[i]]++;
    for (uint32_t e = 0, at = 0; e <= n_experts; e++) {
        if (first[e] > 0)
            f->moe.wanted[n_wanted++] = (uint16_t)e;
        at += first[e];
        first[e] = at; /* one past its pairs; walking back below makes it the first */
    }
    for (uint32_t i = n_pairs; i-- > 0;) {
        uint32_t at = --first[f->b.ids[i]];

        f->moe.src[at] = i / f->hp->n_used;
        f->moe.dst[at] = i;
    }
    return n_wanted;
}

static struct expert_call expert_call_of(const struct forward *f, const struct expert_view *view)
{
    uint32_t first = f->moe.first[view->expert];

    return (struct expert_call){ .gate = view->gate,
                                 .up = view->up,
                                 .down = view->down,
                                 .src = f->moe.src + first,
                                 .dst = f->moe.dst + first,
                                 .n_rows = f->moe.first[view->expert + 1] - first };
}

static struct expert_call shared_call_of(const struct forward *f, const struct dense_layer *layer, uint32_t n)
{
    return (struct expert_call){ .gate = layer->shared_gate,
                                 .up = layer->shared_up,
                                 .down = layer->shared_down,
                                 .src = f->moe.all,
                                 .dst = f->moe.shared_dst,
                                 .n_rows = n };
}

/* Take what is ready, at least one unless `have` calls are there already. Returns how many were taken, 0 when the
 * request is done (or, with `have`, when nothing is ready yet). */
static int take_ready(struct forward *f, uint32_t have, struct err *err)
{
    struct expert_door *door = f->door;
    struct expert_view *views = f->moe.views;
    size_t index;
    int n = 0, r = 1;

    if (have == 0)
        r = door->ops->next(door, &index, &views[n], err);
    else
        r = door->ops->try_next(door, &index, &views[n], err);
    while (r > 0) {
        f->moe.calls[have + n] = expert_call_of(f, &views[n]);
        n++;
        r = door->ops->try_next(door, &index, &views[n], err);
    }
    return r < 0 && r != -EAGAIN ? r : n;
}

/* One request: run what is ready while the rest arrives. The first `have` calls are there already. */
static int run_request(struct forward *f, uint32_t layer, uint32_t n_tokens, const uint16_t *ids, uint32_t n_ids,
                       uint32_t have, struct err *err)
{
    struct expert_door *door = f->door;
    uint32_t n_done = 0;
    int n, r = door->ops->request(door, layer, ids, n_ids, err);

    if (r >= 0 && f->options.hooks.on_request != NULL)
        f->options.hooks.on_request(f->options.hooks.ctx, layer, n_tokens);
    while (r >= 0 && (n_done < n_ids || have > 0)) {
        n = take_ready(f, have, err);
        if (n < 0) {
            r = n;
            break;
        }
        if (n == 0 && have == 0) {
            r = err_set(err, -EPROTO, "layer %u: %u of %u experts came through the door", layer, n_done, n_ids);
            break;
        }
        r = f->device->ops->experts(f->device, f->acts, f->moe.calls, have + (uint32_t)n, f->b.y);
        if (r < 0)
            forward_device_error(f, r, err);
        for (int i = 0; i < n && r >= 0; i++)
            door->ops->release(door, &f->moe.views[i]);
        n_done += (uint32_t)n;
        have = 0;
    }
    if (r < 0)
        door->ops->abandon(door);
    return r;
}

int forward_moe(struct forward *f, uint32_t layer, uint32_t n, struct err *err)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct device_ops *ops = f->device->ops;
    uint32_t n_embd = f->hp->n_embd, n_wanted = sort_pairs(f, n), have = 0;
    float *x = f->b.x + (size_t)f->row * n_embd;
    int r;

    /* The shared expert needs no reading: it goes first, while the others are on their way. */
    if (dense->shared_gate.data != NULL)
        f->moe.calls[have++] = shared_call_of(f, dense, n);
    for (uint32_t at = 0; at < n_wanted;) {
        uint32_t part = n_wanted - at < f->door->max_request ? n_wanted - at : (uint32_t)f->door->max_request;

        r = run_request(f, layer, n, f->moe.wanted + at, part, have, err);
        if (r < 0)
            return r;
        at += part;
        have = 0;
    }
    r = ops->combine(f->device, x, f->b.y, f->b.weights, n, f->hp->n_used, n_embd);
    if (r >= 0 && dense->shared_gate.data != NULL)
        r = ops->add(f->device, x, f->b.y + (size_t)f->options.max_batch * f->hp->n_used * n_embd,
                     dense->shared_router.data != NULL ? f->b.shared_router : NULL, n, n_embd);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}
