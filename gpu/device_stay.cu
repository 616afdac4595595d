/* SPDX-License-Identifier: MIT
 *
 * device_stay.cu: compute/device_stay.h: a layer whose experts the card looks up itself, and the best of the logits.
 */
#include "gpu/device_internal.h"

#include <errno.h>
#include <string.h>

enum { SMALL_FETCH = 64 << 10, FETCH_PARTS = 8 };

/* ---- experts by address ---- */

/* One of the three matrices of each pair's expert. */
enum which { GATES, UPS, DOWNS };

static const struct weight *weight_of(const struct expert_table *table, enum which which)
{
    return which == GATES ? &table->gate : which == UPS ? &table->up : &table->down;
}

/* A pair is a token and one of the experts it chose; its hidden row has its number. */
static int pair_add(struct gpu_device *gpu, struct product_batch *batch, const struct routed *routed, enum which which,
                    struct act_rows rows, uint32_t src, uint32_t pair, float *y)
{
    const struct weight *w = weight_of(routed->table, which);
    struct product_job job = job_of(w, rows, 1, y);

    job.w = (const uint8_t *)(routed->table->addresses + (size_t)which * routed->route->n_experts);
    job.chosen = routed->ids + pair;
    job.src0 = src;
    if (which == DOWNS)
        job.dst0 = pair;
    return batch_add(batch, gpu->queue, &job);
}

/* Gates or ups of all pairs, if they are of the batch's type. */
static int pairs_hidden(struct gpu_device *gpu, struct product_batch *batch, struct acts *acts,
                        const struct routed *routed, enum which which, float *hidden)
{
    uint32_t n_used = routed->route->n_used;
    struct act_rows rows;
    int r;

    if (weight_of(routed->table, which)->type != batch->type)
        return 0;
    r = acts_ready(gpu, acts, batch->type, &rows);
    for (uint32_t pair = 0; pair < routed->n * n_used && r >= 0; pair++)
        r = pair_add(gpu, batch, routed, which, rows, pair / n_used, pair, hidden + (size_t)pair * gpu->options.max_ff);
    return r;
}

static int routed_hidden(struct gpu_device *gpu, struct acts *acts, const struct routed *routed)
{
    enum quant_type types[] = { routed->table->gate.type, routed->table->up.type };
    int r = 0;

    for (int i = 0; i < (types[0] == types[1] ? 1 : 2) && r >= 0; i++) {
        struct product_batch batch;

        batch_init(&batch, gpu, types[i]);
        r = pairs_hidden(gpu, &batch, acts, routed, GATES, gpu->s.gate);
        if (r >= 0)
            r = pairs_hidden(gpu, &batch, acts, routed, UPS, gpu->s.up);
        if (r >= 0)
            r = batch_launch(&batch, gpu->queue);
    }
    return r;
}

static int routed_down(struct gpu_device *gpu, const struct routed *routed)
{
    const struct weight *down = &routed->table->down;
    uint32_t n_pairs = routed->n * routed->route->n_used;
    struct product_batch batch;
    int r = hidden_prepare(gpu, down, 0, n_pairs);

    batch_init(&batch, gpu, down->type);
    for (uint32_t pair = 0; pair < n_pairs && r >= 0; pair++)
        r = pair_add(gpu, &batch, routed, DOWNS, hidden_rows(gpu, down->type, pair), 0, pair, routed->y);
    return r < 0 ? r : batch_launch(&batch, gpu->queue);
}

static int routed_combine(struct gpu_device *gpu, const struct routed *routed)
{
    struct combine_params p;

    memset(&p, 0, sizeof(p));
    p.x = routed->x;
    p.y = routed->y;
    p.weights = gpu->s.weights;
    p.n = routed->n;
    p.n_used = routed->route->n_used;
    p.n_embd = routed->table->down.rows;
    return launch_combine(gpu->queue, &p);
}

static int stay_routed(struct device *device, struct acts *acts, const struct routed *routed)
{
    struct gpu_device *gpu = gpu_device_of(device);
    const struct expert_table *t = routed->table;
    const struct expert_call like = { { NULL, t->gate.type, t->gate.rows, t->gate.cols },
                                      { NULL, t->up.type, t->up.rows, t->up.cols },
                                      { NULL, t->down.type, t->down.rows, t->down.cols },
                                      NULL,
                                      NULL,
                                      0 };
    size_t n_pairs = (size_t)routed->n * routed->route->n_used;
    struct route_params p;
    int r = route_params_of(gpu, routed->route, routed->logits, routed->n, &p);

    if (r >= 0)
        r = expert_check(gpu, acts, &like);
    if (r >= 0 && n_pairs > gpu->options.max_expert_rows)
        r = err_set(&device->err, -EINVAL, "%zu experts for %u tokens, where at most %u were announced", n_pairs,
                    routed->n, gpu->options.max_expert_rows);
    if (r < 0 || n_pairs == 0)
        return r;
    p.ids = routed->ids;
    p.weights = gpu->s.weights;
    if ((r = launch_route(gpu->queue, &p)) < 0 || (r = routed_hidden(gpu, acts, routed)) < 0 ||
        (r = routed_down(gpu, routed)) < 0)
        return r;
    return routed_combine(gpu, routed);
}

/* ---- the best ---- */

/* n_rows rows, for whose keys the scratch has room. */
static int top_k_rows(struct gpu_device *gpu, const struct top_k_params *first, uint32_t n_rows)
{
    struct top_k_params p = *first;
    int r = 0;

    for (uint32_t step = 0, n_chunks = 2; n_chunks > 1 && r >= 0; step++) {
        n_chunks = top_k_chunks(p.n_in);
        p.out = gpu->s.keys[step % 2];
        r = launch_top_k(gpu->queue, &p, n_rows);
        p.in = p.out;
        p.n_in = n_chunks * p.k;
    }
    return r;
}

static int stay_top_k(struct device *device, const float *x, uint32_t n_rows, uint32_t n_cols, uint32_t k,
                      int32_t *ret_ids, float *ret_values)
{
    struct gpu_device *gpu = gpu_device_of(device);
    uint32_t at_once = k > 0 ? TOP_KEYS / k / top_k_chunks(n_cols) : 0;
    struct top_k_params p;
    int r = 0;

    if (k == 0 || k > TOP_K_MOST || k > n_cols || at_once == 0)
        return err_set(&device->err, -EINVAL, "cannot choose the %u best of %u", k, n_cols);
    memset(&p, 0, sizeof(p));
    p.n_in = p.n_cols = n_cols;
    p.k = k;
    for (uint32_t row = 0; row < n_rows && r >= 0; row += at_once) {
        p.x = x + (size_t)row * n_cols;
        p.ids = ret_ids + (size_t)row * k;
        p.values = ret_values + (size_t)row * k;
        r = top_k_rows(gpu, &p, n_rows - row < at_once ? n_rows - row : at_once);
    }
    return r;
}

/* ---- bringing back ---- */

/* What is small is copied behind the kernels, as a part of their graph; what is large, directly. */
static int stay_fetch(struct device *device, const struct device_copy *parts, uint32_t n)
{
    struct gpu_device *gpu = gpu_device_of(device);
    void *staged[FETCH_PARTS] = { NULL };
    bool waited = false;
    int r = n <= FETCH_PARTS ? 0 : err_set(&device->err, -EINVAL, "%u parts to fetch at once", n);

    for (uint32_t i = 0; i < n && r >= 0; i++) {
        if (parts[i].bytes == 0 || parts[i].bytes > SMALL_FETCH)
            continue;
        r = queue_stage_room(gpu->queue, parts[i].bytes, &staged[i]);
        if (r >= 0)
            r = queue_copy(gpu->queue, staged[i], parts[i].src, parts[i].bytes);
    }
    device->n_waits++;
    for (uint32_t i = 0; i < n && r >= 0; i++) {
        if (parts[i].bytes <= SMALL_FETCH)
            continue;
        r = queue_download(gpu->queue, parts[i].dst, parts[i].src, parts[i].bytes);
        waited = true;
    }
    if (r >= 0 && !waited)
        r = queue_wait(gpu->queue);
    for (uint32_t i = 0; i < n && r >= 0; i++)
        if (staged[i] != NULL)
            memcpy(parts[i].dst, staged[i], parts[i].bytes);
    return r;
}

const struct device_stay_ops gpu_stay_ops = {
    .routed = stay_routed,
    .top_k = stay_top_k,
    .fetch = stay_fetch,
};
