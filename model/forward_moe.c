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

/* Take what is ready, at least one; what lies on the host is set aside for the helper. Returns how many were taken, 0
 * when the request is done, and counts the device's calls in ret_calls. */
static int take_ready(struct forward *f, uint32_t *ret_calls, struct err *err)
{
    struct expert_door *door = f->door;
    struct expert_view *views = f->moe.views;
    size_t index;
    uint32_t n_calls = 0;
    int n = 0, r = door->ops->next(door, &index, &views[n], err);

    f->moe.n_helped = 0;
    while (r > 0) {
        if (views[n].on_host)
            f->moe.helped[f->moe.n_helped++] = expert_call_of(f, &views[n]);
        else
            f->moe.calls[n_calls++] = expert_call_of(f, &views[n]);
        n++;
        r = door->ops->try_next(door, &index, &views[n], err);
    }
    *ret_calls = n_calls;
    return r < 0 && r != -EAGAIN ? r : n;
}

/* A part of a layer's experts, and what is to be done once they have been requested. */
struct part {
    uint32_t layer, n_tokens;
    const uint16_t *ids;
    uint32_t n_ids;
    const uint16_t *next; /* the part behind it */
    uint32_t n_next;
    bool first; /* the shared expert is still to be run */
    bool last;  /* what comes next is another layer */
};

/* The shared expert needs no reading: it goes first, while the others are on their way, and straight into the residual,
 * so that whoever looks ahead sees it there. */
int forward_shared(struct forward *f, uint32_t layer, uint32_t n, struct err *err)
{
    const struct dense_layer *dense = &f->dense.layers[layer];
    const struct expert_call call = shared_call_of(f, dense, n);
    const float *gate = dense->shared_router.data != NULL ? f->b.shared_router : NULL;
    const float *y = f->b.y + (size_t)f->n_held * f->hp->n_used * f->hp->n_embd;
    float *x = f->b.x + (size_t)f->row * f->hp->n_embd;
    int r = 0;

    if (dense->shared_gate.data == NULL)
        return 0;
    r = f->device->ops->experts(f->device, f->acts, &call, 1, f->b.y);
    if (r >= 0)
        r = f->device->ops->add(f->device, x, y, gate, n, f->hp->n_embd);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}

/* What will be wanted, with certainty or most likely, from wherever it lies. */
static void expect(struct forward *f, uint32_t layer, const uint16_t *ids, uint32_t n)
{
    if (n > 0 && f->door->ops->hint != NULL)
        f->door->ops->hint(f->door, layer, ids, n);
    if (n > 0 && f->door->ops->lift != NULL)
        f->door->ops->lift(f->door, layer, ids, n);
}

/* Best choices of all tokens first, then the second best, so that the likeliest are read first. */
static uint32_t likely_gather(struct forward *f, const uint16_t *ids, uint32_t n_tokens, uint32_t most)
{
    struct predict *p = &f->predict;
    uint32_t n = 0;

    memset(p->named, 0, f->hp->n_experts * sizeof(*p->named));
    for (uint32_t rank = 0; rank < f->hp->n_used; rank++)
        for (uint32_t t = 0; t < n_tokens && n < most; t++) {
            uint16_t e = ids[(size_t)t * f->hp->n_used + rank];

            if (!p->named[e])
                p->likely[n++] = e;
            p->named[e] = true;
        }
    return n;
}

/* While a prompt's chunk computes attention, the next layer's experts are read: those that its router would choose now,
 * or of more tokens, which name an expert twice over on average and so want most of them, the first ones. The last
 * layer may serve a few rows only. Whoever looks ahead for decode has the governor's leave to ask for. */
static void expect_next_layer(struct forward *f, uint32_t layer, uint32_t n_tokens)
{
    uint32_t next = layer + 1, n_half = (uint32_t)f->door->max_request / 2;
    uint32_t most = f->hp->n_experts < n_half ? f->hp->n_experts : n_half;
    const uint16_t *ids;

    if (!f->door->burst || next + 1 >= f->hp->n_layers || f->dense.layers[next].router.data == NULL)
        return;
    if (n_tokens <= f->options.predict_rows) {
        if (forward_predict(f, next, n_tokens, &ids, NULL) == 0)
            expect(f, next, f->predict.likely, likely_gather(f, ids, n_tokens, most));
    } else if (n_tokens * f->hp->n_used >= 2 * f->hp->n_experts) {
        expect(f, next, f->moe.every, most);
    }
}

/* The part's experts are on their way. */
static int go_on(struct forward *f, const struct part *part, struct err *err)
{
    const struct forward_hooks *hooks = &f->options.hooks;
    int r = part->first ? forward_shared(f, part->layer, part->n_tokens, err) : 0;

    if (r < 0)
        return r;
    if (part->last)
        expect_next_layer(f, part->layer, part->n_tokens);
    else
        expect(f, part->layer, part->next, part->n_next);
    if (hooks->on_request != NULL)
        hooks->on_request(hooks->ctx, part->layer, part->n_tokens);
    return 0;
}

/* What take_ready has collected: the device's part first, which it does while the helper does the other. */
static int run_ready(struct forward *f, uint32_t n_tokens, uint32_t n_calls, struct err *err)
{
    bool help = f->moe.n_helped > 0;
    int r = help ? forward_help_begin(f, n_tokens, err) : 0;

    if (r < 0)
        return r;
    if (n_calls > 0) {
        r = f->device->ops->experts(f->device, f->acts, f->moe.calls, n_calls, f->b.y);
        if (r < 0)
            return forward_device_error(f, r, err);
    }
    return help ? forward_help_run(f, err) : 0;
}

/* One request: run what is ready while the rest arrives. */
static int run_part(struct forward *f, const struct part *part, struct err *err)
{
    struct expert_door *door = f->door;
    uint32_t n_done = 0, n_calls;
    int n, r;

    door->host_views = forward_may_help(f, part->n_tokens);
    r = door->ops->request(door, part->layer, part->ids, part->n_ids, err);
    if (r >= 0)
        r = go_on(f, part, err);
    while (r >= 0 && n_done < part->n_ids) {
        n = take_ready(f, &n_calls, err);
        if (n < 0) {
            r = n;
            break;
        }
        if (n == 0) {
            r = err_set(err, -EPROTO, "layer %u: %u of %u experts came through the door", part->layer, n_done,
                        part->n_ids);
            break;
        }
        r = run_ready(f, part->n_tokens, n_calls, err);
        for (int i = 0; i < n && r >= 0; i++)
            door->ops->release(door, &f->moe.views[i]);
        n_done += (uint32_t)n;
    }
    if (r < 0)
        door->ops->abandon(door);
    return r;
}

/* All wanted experts, in parts of half the slots when there are too many for one request: one half is computed while
 * the other is read. */
static int run_experts(struct forward *f, uint32_t layer, uint32_t n_tokens, uint32_t n_wanted, struct err *err)
{
    uint32_t limit = f->door->max_request < n_wanted ? (uint32_t)(f->door->max_request + 1) / 2 : n_wanted;
    int r = 0;

    if (limit < n_wanted && f->door->ops->arrange != NULL)
        f->door->ops->arrange(f->door, layer, f->moe.wanted, n_wanted);
    for (uint32_t at = 0; at < n_wanted && r >= 0; at += limit) {
        struct part part = { .layer = layer, .n_tokens = n_tokens, .ids = f->moe.wanted + at };

        part.n_ids = n_wanted - at < limit ? n_wanted - at : limit;
        part.first = at == 0;
        part.last = n_wanted - at <= limit;
        if (!part.last) {
            part.next = part.ids + limit;
            part.n_next = n_wanted - at - limit < limit ? n_wanted - at - limit : limit;
        }
        r = run_part(f, &part, err);
    }
    return r;
}

int forward_moe(struct forward *f, uint32_t layer, uint32_t n, struct err *err)
{
    uint32_t n_embd = f->hp->n_embd, n_wanted = sort_pairs(f, n);
    float *x = f->b.x + (size_t)f->row * n_embd;
    int r;

    f->help.has_h = false;
    if (f->door->ops->weigh != NULL && f->b.host_router == f->b.router)
        f->door->ops->weigh(f->door, layer, f->b.router, n);
    r = run_experts(f, layer, n, n_wanted, err);
    if (r < 0)
        return r;
    r = f->device->ops->combine(f->device, x, f->b.y, f->b.weights, n, f->hp->n_used, n_embd);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}
