/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "tests/support/sim_internal.h"

#include "compute/device_stay.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define F32(n) ((size_t)(n) * sizeof(float))

/* One pair of a token and an expert it chose: its matrices lie where the table on the device says. */
static void pair_call(struct sim_device *d, const struct routed *routed, const void *const *addresses, uint16_t expert,
                      uint32_t *rows, struct expert_call *ret_call, bool *bad)
{
    struct weight *to[] = { &ret_call->gate, &ret_call->up, &ret_call->down };

    *ret_call = (struct expert_call){ .gate = routed->table->gate,
                                      .up = routed->table->up,
                                      .down = routed->table->down,
                                      .src = rows,
                                      .dst = rows + 1,
                                      .n_rows = 1 };
    for (int i = 0; i < 3; i++) {
        to[i]->data = addresses[i * routed->route->n_experts + expert];
        if ((uintptr_t)to[i]->data % 16 != 0)
            *bad = true;
        sim_weight_read(d, to[i], bad);
    }
}

static int pairs_run(struct sim_device *d, struct acts *acts, const struct routed *routed, const void *const *addresses,
                     const uint16_t *ids, float *y)
{
    uint32_t n_used = routed->route->n_used;
    bool bad = false;
    int r = 0;

    for (uint32_t i = 0; i < routed->n * n_used && r == 0; i++) {
        uint32_t rows[2] = { i / n_used, i };
        struct expert_call call;

        pair_call(d, routed, addresses, ids[i], rows, &call, &bad);
        r = bad ? sim_bad_call(d, "routed") : sim_ended(d, d->cpu->ops->experts(d->cpu, acts, &call, 1, y));
    }
    return r;
}

static int sim_routed(struct device *device, struct acts *acts, const struct routed *routed)
{
    struct sim_device *d = sim_of(device);
    const struct route *route = routed->route;
    size_t n_pairs = (size_t)routed->n * route->n_used, n_embd = routed->table->down.rows;
    bool bad = false;
    float *weights;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    const float *logits = sim_real(d, routed->logits, F32(routed->n) * route->n_experts, &bad);
    const void *const *addresses =
        sim_real(d, routed->table->addresses, 3 * route->n_experts * sizeof(*addresses), &bad);
    uint16_t *ids = sim_real(d, routed->ids, n_pairs * sizeof(*ids), &bad);
    float *y = sim_real(d, routed->y, F32(n_pairs) * n_embd, &bad), *x = sim_real(d, routed->x, F32(n_embd), &bad);

    if (bad)
        return sim_bad_call(d, "routed");
    weights = mem_alloc(F32(n_pairs));
    r = sim_ended(d, d->cpu->ops->route(d->cpu, route, logits, routed->n, ids, weights));
    if (r == 0)
        r = pairs_run(d, acts, routed, addresses, ids, y);
    if (r == 0)
        r = sim_ended(d,
                      d->cpu->ops->combine(d->cpu, x, y, weights, routed->n, route->n_used, routed->table->down.rows));
    mem_free(weights);
    d->sim->n_routed++;
    return r;
}

struct entry {
    float x;
    int32_t id;
};

static int greatest_first(const void *a, const void *b)
{
    const struct entry *p = a, *q = b;

    if (isfinite(p->x) != isfinite(q->x))
        return isfinite(p->x) ? 1 : -1;
    if (isfinite(p->x) && p->x != q->x)
        return p->x < q->x ? 1 : -1;
    return p->id < q->id ? -1 : 1;
}

static int sim_top_k(struct device *device, const float *x, uint32_t n_rows, uint32_t n_cols, uint32_t k,
                     int32_t *ret_ids, float *ret_values)
{
    struct sim_device *d = sim_of(device);
    bool bad = k == 0 || k > TOP_K_MOST || k > n_cols;
    struct entry *all;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    const float *from = sim_real(d, x, F32(n_rows) * n_cols, &bad);
    int32_t *ids = sim_real(d, ret_ids, F32(n_rows) * k, &bad);
    float *values = sim_real(d, ret_values, F32(n_rows) * k, &bad);

    if (bad)
        return sim_bad_call(d, "top_k");
    all = mem_calloc(n_cols, sizeof(*all));
    for (uint32_t row = 0; row < n_rows; row++) {
        for (uint32_t i = 0; i < n_cols; i++)
            all[i] = (struct entry){ from[(size_t)row * n_cols + i], (int32_t)i };
        qsort(all, n_cols, sizeof(*all), greatest_first);
        for (uint32_t i = 0; i < k; i++) {
            ids[row * k + i] = all[i].id;
            values[row * k + i] = all[i].x;
        }
    }
    mem_free(all);
    return 0;
}

static int sim_fetch(struct device *device, const struct device_copy *parts, uint32_t n)
{
    struct sim_device *d = sim_of(device);
    bool bad = n > 8;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    sim_compute_flush(d, true);
    for (uint32_t i = 0; i < n && !bad; i++) {
        const void *from = parts[i].bytes > 0 ? sim_real(d, parts[i].src, parts[i].bytes, &bad) : NULL;

        if (from == NULL)
            continue;
        bad |= !sim_is_host(d, parts[i].dst, parts[i].bytes);
        if (!bad)
            memcpy(parts[i].dst, from, parts[i].bytes);
        d->sim->n_fetched_bytes += parts[i].bytes;
    }
    return bad ? sim_bad_call(d, "fetch") : 0;
}

const struct device_stay_ops sim_stay_ops = {
    .routed = sim_routed,
    .top_k = sim_top_k,
    .fetch = sim_fetch,
};
