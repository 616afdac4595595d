/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <math.h>

static uint32_t n_moe_layers(const struct forward *f)
{
    return f->hp->n_layers - f->hp->n_dense_layers;
}

uint32_t forward_stay_rows(const struct forward *f)
{
    return f->device->stay != NULL ? f->options.stay_rows : 0;
}

/* ---- laying out ---- */

void forward_stay_lay(struct forward *f)
{
    size_t rows = forward_stay_rows(f), n_moe = rows > 0 ? n_moe_layers(f) : 0, n_experts = f->hp->n_experts;
    struct arena *work = &f->work_arena, *host = &f->host_arena;
    struct stay *s = &f->stay;

    s->addresses = arena_take(work, n_moe * EXPERT_MATRICES, n_experts * sizeof(*s->addresses));
    s->ids = arena_take(work, n_moe * rows, f->hp->n_used * sizeof(*s->ids));
    s->best_ids = arena_take(work, rows, TOP_K_MOST * sizeof(*s->best_ids));
    s->best_values = arena_take(work, rows, TOP_K_MOST * sizeof(*s->best_values));
    s->host_addresses = arena_take(host, n_moe * EXPERT_MATRICES, n_experts * sizeof(*s->host_addresses));
    s->tables = arena_take(host, n_moe, sizeof(*s->tables));
    s->host_ids = arena_take(host, n_moe * rows, f->hp->n_used * sizeof(*s->host_ids));
    s->host_best_ids = arena_take(host, rows, TOP_K_MOST * sizeof(*s->host_best_ids));
    s->host_best_values = arena_take(host, rows, TOP_K_MOST * sizeof(*s->host_best_values));
    s->best = arena_take(host, rows, TOP_K_MOST * sizeof(*s->best));
}

/* ---- where the experts lie ---- */

static void table_fill(struct forward *f, uint32_t moe)
{
    size_t n_experts = f->hp->n_experts, first = moe * EXPERT_MATRICES * n_experts;
    const void **gate = f->stay.host_addresses + first, **up = gate + n_experts, **down = up + n_experts;
    struct expert_view view;

    for (uint32_t e = 0; e < n_experts; e++) {
        f->door->ops->look(f->door, moe + f->hp->n_dense_layers, (uint16_t)e, &view);
        gate[e] = view.gate.data;
        up[e] = view.up.data;
        down[e] = view.down.data;
    }
    f->stay.tables[moe] = (struct expert_table){ view.gate, view.up, view.down, f->stay.addresses + first };
}

static int tables_renew(struct forward *f, uint64_t settled)
{
    size_t n = (size_t)n_moe_layers(f) * EXPERT_MATRICES * f->hp->n_experts;
    int r;

    f->stay.settled = 0;
    for (uint32_t moe = 0; moe < n_moe_layers(f); moe++)
        table_fill(f, moe);
    r = f->device->ops->upload(f->device, f->stay.addresses, f->stay.host_addresses, n * sizeof(f->stay.addresses[0]));
    if (r >= 0)
        f->stay.settled = settled;
    return r;
}

/* ---- a batch ---- */

/* A hook that wants router logits is told of them layer by layer. */
static bool may_stay(const struct forward *f, const struct batch *batch)
{
    const struct forward_hooks *hooks = &f->options.hooks;

    return batch->n_tokens <= forward_stay_rows(f) && n_moe_layers(f) > 0 && f->door->ops->settled != NULL &&
           (hooks->on_route == NULL || hooks->no_logits);
}

int forward_stay_begin(struct forward *f, const struct batch *batch, struct err *err)
{
    uint64_t settled = may_stay(f, batch) ? f->door->ops->settled(f->door) : 0;
    int r = 0;

    f->stay.on = settled != 0;
    if (settled != 0 && settled != f->stay.settled)
        r = tables_renew(f, settled);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}

/* A layer's choices lie behind those of the layers before; only the last layer may have fewer rows. */
static size_t ids_before(const struct forward *f, const struct batch *batch, uint32_t moe)
{
    return (size_t)moe * batch->n_tokens * f->hp->n_used;
}

int forward_stay_experts(struct forward *f, uint32_t layer, const struct batch *batch, uint32_t n, struct err *err)
{
    uint32_t moe = layer - f->hp->n_dense_layers;
    const struct routed routed = { .route = &f->hp->route,
                                   .table = &f->stay.tables[moe],
                                   .logits = f->b.router,
                                   .n = n,
                                   .ids = f->stay.ids + ids_before(f, batch, moe),
                                   .y = f->b.y,
                                   .x = f->b.x + (size_t)f->row * f->hp->n_embd };
    int r = forward_shared(f, layer, n, err);

    if (r < 0)
        return r;
    r = f->device->stay->routed(f->device, f->acts, &routed);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}

/* ---- what comes back ---- */

uint32_t forward_stay_best(const struct forward *f, const struct batch *batch)
{
    uint32_t best = 0;

    if (batch->n_rows > forward_stay_rows(f))
        return 0;
    for (uint32_t i = 0; i < batch->n_spans; i++) {
        const struct batch_span *span = &batch->spans[i];

        if (span->no_logits)
            continue;
        if (span->best == 0 || span->best > TOP_K_MOST || span->best > f->hp->n_vocab || span->all_logits)
            return 0;
        best = span->best > best ? span->best : best;
    }
    return best;
}

static void best_fill(struct forward *f, const struct batch *batch)
{
    for (size_t i = 0; i < (size_t)batch->n_rows * batch->best; i++)
        f->stay.best[i] = (struct token_logit){ f->stay.host_best_values[i], f->stay.host_best_ids[i] };
}

int forward_bring(struct forward *f, const struct batch *batch)
{
    const struct device_stay_ops *stay = f->device->stay;
    const struct stay *s = &f->stay;
    size_t n = (size_t)batch->n_rows * batch->best, n_logits = (size_t)batch->n_rows * f->hp->n_vocab;
    size_t n_ids = s->on ? ids_before(f, batch, n_moe_layers(f)) : 0;
    const struct device_copy parts[] = {
        { s->host_ids, s->ids, n_ids * sizeof(*s->ids) },
        { s->host_best_ids, s->best_ids, n * sizeof(*s->best_ids) },
        { s->host_best_values, s->best_values, n * sizeof(*s->best_values) },
        { f->b.host_logits, f->b.logits, batch->best > 0 ? 0 : n_logits * sizeof(float) },
    };
    int r;

    if (batch->n_rows == 0 && n_ids == 0) /* nothing comes back to wait for */
        return f->device->ops->sync(f->device);
    if (f->b.host_logits == f->b.logits)
        return 0;
    if (stay == NULL)
        return f->device->ops->download(f->device, parts[3].dst, parts[3].src, parts[3].bytes);
    r = stay->fetch(f->device, parts, sizeof(parts) / sizeof(parts[0]));
    if (r >= 0)
        best_fill(f, batch);
    return r;
}

int forward_stay_end(struct forward *f, const struct batch *batch, struct err *err)
{
    const struct forward_hooks *hooks = &f->options.hooks;
    uint32_t n_moe = f->stay.on ? n_moe_layers(f) : 0, n_last = batch->asked_end - batch->asked_from;

    for (uint32_t moe = 0; moe < n_moe; moe++) {
        const uint16_t *ids = f->stay.host_ids + ids_before(f, batch, moe);
        uint32_t layer = moe + f->hp->n_dense_layers, n = moe + 1 < n_moe ? batch->n_tokens : n_last;
        size_t n_ids = (size_t)n * f->hp->n_used;

        if (n == 0)
            continue;
        for (size_t i = 0; i < n_ids; i++)
            if (ids[i] >= f->hp->n_experts)
                return err_set(err, ERR_FORMAT, "layer %u: the device chose expert %u of %u", layer, ids[i],
                               f->hp->n_experts);
        f->door->ops->used(f->door, layer, ids, n_ids);
        if (hooks->on_route != NULL)
            hooks->on_route(hooks->ctx, layer, NULL, ids, n);
    }
    return 0;
}

const struct token_logit *forward_best(const struct forward *f, uint32_t *ret_n)
{
    *ret_n = f->best;
    return f->best > 0 ? f->stay.best : NULL;
}
