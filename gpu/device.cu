/* SPDX-License-Identifier: MIT */
#include "gpu/device_internal.h"

extern "C" {
#include "base/mem.h"
#include "compute/quant_grids.h"
}

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int device_alloc(struct device *device, size_t bytes, void **ret_p)
{
    return queue_alloc(gpu_device_of(device)->queue, bytes, ret_p);
}

static void device_free(struct device *device, void *p, size_t bytes)
{
    if (p != NULL)
        queue_free(gpu_device_of(device)->queue, p, bytes);
}

static int device_upload(struct device *device, void *dst, const void *src, size_t bytes)
{
    return queue_upload(gpu_device_of(device)->queue, dst, src, bytes);
}

static int device_download(struct device *device, void *dst, const void *src, size_t bytes)
{
    device->n_waits++;
    return queue_download(gpu_device_of(device)->queue, dst, src, bytes);
}

static int device_sync(struct device *device)
{
    device->n_waits++;
    return queue_wait(gpu_device_of(device)->queue);
}

static int device_embed(struct device *device, const struct weight *table, const int32_t *ids, uint32_t n, float *y)
{
    struct gpu_device *gpu = gpu_device_of(device);
    struct embed_params p;
    const void *staged;
    int r = weight_check(gpu, table);

    for (uint32_t i = 0; i < n && r >= 0; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= table->rows)
            r = err_set(&device->err, -EINVAL, "token %d of a vocabulary of %u", ids[i], table->rows);
    if (r < 0)
        return r;
    memset(&p, 0, sizeof(p));
    p.table = (const uint8_t *)table->data;
    p.y = y;
    p.points = gpu->s.points;
    p.n = n;
    p.n_cols = table->cols;
    p.type = table->type;
    if (n <= FEW) {
        memcpy(p.few, ids, n * sizeof(*ids));
    } else {
        r = queue_stage(gpu->queue, ids, n * sizeof(*ids), &staged);
        p.ids = (const int32_t *)staged;
    }
    return r < 0 ? r : launch_embed(gpu->queue, &p);
}

static int device_rms_norm(struct device *device, const float *x, const float *w, float eps, uint32_t n_rows,
                           uint32_t n_cols, float *y)
{
    struct rms_norm_params p;

    memset(&p, 0, sizeof(p));
    p.x = x;
    p.w = w;
    p.y = y;
    p.eps = eps;
    p.n_rows = n_rows;
    p.n_cols = n_cols;
    return launch_rms_norm(gpu_device_of(device)->queue, &p);
}

static bool angles_are(const struct angles_of *a, const struct rope *rope, const uint32_t *pos, uint32_t n_tokens)
{
    return a->n_tokens == n_tokens && a->n_rot == rope->n_rot && a->magnitude == rope->magnitude &&
           memcmp(a->pos, pos, n_tokens * sizeof(*pos)) == 0 &&
           memcmp(a->inv_freq, rope->inv_freq, rope->n_rot / 2 * sizeof(float)) == 0;
}

static void angles_fill(const struct rope *rope, const uint32_t *pos, uint32_t n_tokens, float *angles)
{
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
            double sine, cosine;

            sincos((double)pos[t] * (double)rope->inv_freq[i], &sine, &cosine);
            *angles++ = (float)cosine * rope->magnitude;
            *angles++ = (float)sine * rope->magnitude;
        }
}

/* Queries and keys of every layer turn by the same angles: they are made once and stay on the card. */
static int angles_ready(struct gpu_device *gpu, const struct rope *rope, const uint32_t *pos, uint32_t n_tokens)
{
    struct angles_of *a = &gpu->angles_of;
    size_t bytes = (size_t)n_tokens * rope->n_rot * sizeof(float);
    void *staged;
    int r;

    if (angles_are(a, rope, pos, n_tokens))
        return 0;
    a->n_tokens = 0;
    r = queue_stage_room(gpu->queue, bytes, &staged);
    if (r < 0)
        return r;
    angles_fill(rope, pos, n_tokens, (float *)staged);
    r = queue_copy(gpu->queue, gpu->s.angles, staged, bytes);
    if (r < 0)
        return r;
    memcpy(a->pos, pos, n_tokens * sizeof(*pos));
    memcpy(a->inv_freq, rope->inv_freq, rope->n_rot / 2 * sizeof(float));
    a->n_rot = rope->n_rot;
    a->magnitude = rope->magnitude;
    a->n_tokens = n_tokens;
    return 0;
}

static int device_rope(struct device *device, const struct rope *rope, float *x, const uint32_t *pos,
                       uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim)
{
    struct gpu_device *gpu = gpu_device_of(device);
    struct rope_params p;
    int r;

    if (rope->n_rot > head_dim || rope->n_rot % 2 != 0 || rope->n_rot > MAX_ROT)
        return err_set(&device->err, -EINVAL, "cannot rotate %u of %u dimensions", rope->n_rot, head_dim);
    if (n_tokens > gpu->options.max_rows)
        return err_set(&device->err, -EINVAL, "%u tokens to rotate, where at most %u were announced", n_tokens,
                       gpu->options.max_rows);
    if (n_tokens == 0 || rope->n_rot == 0)
        return 0;
    r = angles_ready(gpu, rope, pos, n_tokens);
    if (r < 0)
        return r;
    memset(&p, 0, sizeof(p));
    p.x = x;
    p.angles = gpu->s.angles;
    p.n_tokens = n_tokens;
    p.n_heads = n_heads;
    p.head_dim = head_dim;
    p.n_rot = rope->n_rot;
    p.neox = rope->layout == ROPE_NEOX;
    return launch_rope(gpu->queue, &p);
}

/* Number by number: launches are compared by their bytes, and what lies between numbers is none. */
static void kv_copy(const struct kv_view *from, struct kv_view *to)
{
    to->k = from->k;
    to->v = from->v;
    to->head_bytes = from->head_bytes;
    to->block_bytes = from->block_bytes;
    to->block_rows = from->block_rows;
}

static int device_kv_store(struct device *device, const struct kv_view *kv, enum kv_type type, uint32_t pos0,
                           uint32_t n, uint32_t n_kv_heads, uint32_t head_dim, const float *k, const float *v)
{
    struct kv_store_params p;

    memset(&p, 0, sizeof(p));
    p.k = k;
    p.v = v;
    kv_copy(kv, &p.kv);
    p.pos0 = pos0;
    p.n = n;
    p.n_kv_heads = n_kv_heads;
    p.head_dim = head_dim;
    p.kv_type = type;
    return launch_kv_store(gpu_device_of(device)->queue, &p);
}

/* Spans beside each other, where there are several, few other blocks, and room for their results. */
static bool spans_apart(const struct attention *a, uint32_t n_spans)
{
    size_t blocks = (size_t)a->n_tokens * a->n_heads / 8;

    return n_spans > 1 && blocks < BLOCKS_THAT_FILL &&
           (size_t)a->n_tokens * a->n_heads * n_spans * (a->head_dim + 2) <= PARTIAL_FLOATS;
}

static int device_attention(struct device *device, const struct attention *a)
{
    struct gpu_device *gpu = gpu_device_of(device);
    struct attention_params p;

    if (a->n_kv_heads == 0 || a->n_heads % a->n_kv_heads != 0)
        return err_set(&device->err, -EINVAL, "%u query heads cannot share %u KV heads", a->n_heads, a->n_kv_heads);
    if (a->n_tokens == 0)
        return 0;
    if (a->head_dim == 0 || attention_shared_bytes(a->head_dim) > SHARED_BYTES)
        return err_set(&device->err, -EINVAL, "heads of %u dimensions are not computed", a->head_dim);
    memset(&p, 0, sizeof(p));
    p.q = a->q;
    kv_copy(&a->kv, &p.kv);
    p.y = a->y;
    p.n_tokens = a->n_tokens;
    p.pos0 = a->pos0;
    p.n_heads = a->n_heads;
    p.n_kv_heads = a->n_kv_heads;
    p.head_dim = a->head_dim;
    p.scale = a->scale;
    p.n_spans = (a->pos0 + a->n_tokens - 1) / ATTEND_SPAN + 1;
    p.partial = spans_apart(a, p.n_spans) ? gpu->s.partial : NULL;
    p.kv_type = a->kv_type;
    return launch_attention(gpu->queue, &p);
}

int route_params_of(struct gpu_device *gpu, const struct route *route, const float *logits, uint32_t n,
                    struct route_params *ret_params)
{
    if (route->n_used > route->n_experts || route->n_experts > UINT16_MAX ||
        route_shared_bytes(route->n_experts, route->n_used) > SHARED_BYTES)
        return err_set(&gpu->device.err, -EINVAL, "cannot choose %u of %u experts", route->n_used, route->n_experts);
    memset(ret_params, 0, sizeof(*ret_params));
    ret_params->logits = logits;
    ret_params->n = n;
    ret_params->n_experts = route->n_experts;
    ret_params->n_used = route->n_used;
    ret_params->scale = route->scale;
    ret_params->sigmoid = route->gating == ROUTE_SIGMOID;
    ret_params->renormalise = route->renormalise;
    return 0;
}

static int device_route(struct device *device, const struct route *route, const float *logits, uint32_t n,
                        uint16_t *ret_ids, float *ret_weights)
{
    struct gpu_device *gpu = gpu_device_of(device);
    size_t n_pairs = (size_t)n * route->n_used;
    struct route_params p;
    void *ids, *weights;
    int r = route_params_of(gpu, route, logits, n, &p);

    if (r < 0 || n_pairs == 0)
        return r;
    if ((r = queue_stage_room(gpu->queue, n_pairs * sizeof(*ret_ids), &ids)) < 0 ||
        (r = queue_stage_room(gpu->queue, n_pairs * sizeof(*ret_weights), &weights)) < 0)
        return r;
    p.ids = (uint16_t *)ids;
    p.weights = (float *)weights;
    device->n_waits++;
    if ((r = launch_route(gpu->queue, &p)) < 0 || (r = queue_wait(gpu->queue)) < 0)
        return r;
    memcpy(ret_ids, ids, n_pairs * sizeof(*ret_ids));
    memcpy(ret_weights, weights, n_pairs * sizeof(*ret_weights));
    return 0;
}

static int device_combine(struct device *device, float *x, const float *y, const float *weights, uint32_t n,
                          uint32_t n_used, uint32_t n_embd)
{
    struct gpu_device *gpu = gpu_device_of(device);
    size_t n_pairs = (size_t)n * n_used;
    struct combine_params p;
    const void *staged;
    int r = 0;

    memset(&p, 0, sizeof(p));
    p.x = x;
    p.y = y;
    p.n = n;
    p.n_used = n_used;
    p.n_embd = n_embd;
    if (n_pairs <= FEW) {
        memcpy(p.few, weights, n_pairs * sizeof(*weights));
    } else {
        r = queue_stage(gpu->queue, weights, n_pairs * sizeof(*weights), &staged);
        p.weights = (const float *)staged;
        if (r >= 0 && n_pairs <= gpu->options.max_expert_rows) {
            r = queue_copy(gpu->queue, gpu->s.weights, staged, n_pairs * sizeof(*weights));
            p.weights = gpu->s.weights;
        }
    }
    return r < 0 ? r : launch_combine(gpu->queue, &p);
}

static int device_add(struct device *device, float *x, const float *y, const float *gate, uint32_t n, uint32_t n_cols)
{
    struct add_params p;

    memset(&p, 0, sizeof(p));
    p.x = x;
    p.y = y;
    p.gate = gate;
    p.n = n;
    p.n_cols = n_cols;
    return launch_add(gpu_device_of(device)->queue, &p);
}

static void device_close(struct device *device)
{
    struct gpu_device *gpu = gpu_device_of(device);

    if (gpu->arena != NULL)
        queue_free(gpu->queue, gpu->arena, gpu->arena_bytes);
    if (gpu->queue != NULL)
        queue_close(gpu->queue);
    mem_free(gpu->angles_of.pos);
    mem_free(gpu->angles_of.inv_freq);
    mem_free(gpu->parts);
    mem_free(gpu->index_lists);
    mem_free(gpu);
}

static const struct device_ops gpu_ops = {
    .alloc = device_alloc,
    .free = device_free,
    .upload = device_upload,
    .download = device_download,
    .sync = device_sync,
    .acts_open = gpu_acts_open,
    .acts_close = gpu_acts_close,
    .acts_bytes = gpu_acts_bytes,
    .acts_set = gpu_acts_set,
    .embed = device_embed,
    .rms_norm = device_rms_norm,
    .linear = gpu_linear,
    .rope = device_rope,
    .kv_store = device_kv_store,
    .attention = device_attention,
    .route = device_route,
    .experts = gpu_experts,
    .combine = device_combine,
    .add = device_add,
    .close = device_close,
};

enum { PART_ALIGN = 256 };

static void *take(char *base, size_t bytes, size_t *at)
{
    void *p = base != NULL ? base + *at : NULL;

    *at += (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
    return p;
}

/* Lay the scratch out behind `base`; returns its size. With base NULL only the size counts. */
static size_t scratch_lay(struct scratch *s, char *base, const struct gpu_options *o)
{
    size_t rows = o->max_expert_rows, at = 0;

    s->small_stride = small_row_bytes(o->max_ff);
    s->super_stride = super_row_bytes(o->max_ff);
    s->points = (struct lattices *)take(base, sizeof(*s->points), &at);
    s->gate = (float *)take(base, rows * o->max_ff * sizeof(float), &at);
    s->up = (float *)take(base, rows * o->max_ff * sizeof(float), &at);
    s->hidden_small = (char *)take(base, rows * s->small_stride, &at);
    s->hidden_super = (char *)take(base, rows * s->super_stride, &at);
    s->src = (uint32_t *)take(base, rows * sizeof(uint32_t), &at);
    s->dst = (uint32_t *)take(base, rows * sizeof(uint32_t), &at);
    s->weights = (float *)take(base, rows * sizeof(float), &at);
    s->angles = (float *)take(base, (size_t)o->max_rows * MAX_ROT * sizeof(float), &at);
    s->partial = (float *)take(base, PARTIAL_FLOATS * sizeof(float), &at);
    s->keys[0] = (uint64_t *)take(base, TOP_KEYS * sizeof(uint64_t), &at);
    s->keys[1] = (uint64_t *)take(base, TOP_KEYS * sizeof(uint64_t), &at);
    return at;
}

size_t gpu_device_bytes(const struct gpu_options *options)
{
    struct scratch s;

    return scratch_lay(&s, NULL, options);
}

static int points_upload(struct gpu_device *gpu)
{
    struct lattices *points = (struct lattices *)mem_alloc(sizeof(*points));
    int r;

    if (points == NULL)
        return err_set(&gpu->device.err, -ENOMEM, "no memory for the lattices of the IQ formats");
    memcpy(points->iq2_xxs, quant_grid_iq2_xxs, sizeof(points->iq2_xxs));
    memcpy(points->iq2_xs, quant_grid_iq2_xs, sizeof(points->iq2_xs));
    memcpy(points->iq2_s, quant_grid_iq2_s, sizeof(points->iq2_s));
    memcpy(points->iq3_xxs, quant_grid_iq3_xxs, sizeof(points->iq3_xxs));
    memcpy(points->iq3_s, quant_grid_iq3_s, sizeof(points->iq3_s));
    memcpy(points->iq1, quant_grid_iq1, sizeof(points->iq1));
    r = queue_upload(gpu->queue, gpu->s.points, points, sizeof(*points));
    mem_free(points);
    return r;
}

static int host_memory(struct gpu_device *gpu)
{
    const struct gpu_options *o = &gpu->options;

    gpu->angles_of.pos = (uint32_t *)mem_calloc(o->max_rows, sizeof(uint32_t));
    gpu->angles_of.inv_freq = (float *)mem_calloc(MAX_ROT / 2, sizeof(float));
    gpu->parts = (struct part *)mem_calloc(o->max_expert_rows, sizeof(*gpu->parts));
    gpu->index_lists = (uint32_t *)mem_calloc(o->max_expert_rows, 2 * sizeof(uint32_t));
    if (gpu->angles_of.pos == NULL || gpu->angles_of.inv_freq == NULL || gpu->parts == NULL ||
        gpu->index_lists == NULL)
        return err_set(&gpu->device.err, -ENOMEM, "no memory for the GPU device");
    return 0;
}

/* What is staged for one launch at most: angles, index lists, routing weights, token ids. */
static size_t stage_bytes(const struct gpu_options *o)
{
    size_t most = (size_t)o->max_rows * MAX_ROT * sizeof(float);

    if (most < (size_t)o->max_expert_rows * 16)
        most = (size_t)o->max_expert_rows * 16;
    return 2 * most + (1 << 20);
}

int gpu_device_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    struct gpu_device *gpu;
    int r;

    if (options->max_expert_rows == 0 || options->max_ff == 0 || options->max_rows == 0)
        return err_set(err, -EINVAL, "a GPU device needs room for at least one row and one expert row");
    gpu = (struct gpu_device *)mem_zalloc(sizeof(*gpu));
    if (gpu == NULL)
        return err_set(err, -ENOMEM, "no memory for the GPU device");
    gpu->options = *options;
    gpu->device.ops = &gpu_ops;
    gpu->device.copy = &gpu_copy_ops;
    gpu->device.stay = &gpu_stay_ops;
    gpu->device.name = gpu->name;
    r = queue_open(options->index, stage_bytes(options), &gpu->device.err, &gpu->queue);
    if (r >= 0) {
        snprintf(gpu->name, sizeof(gpu->name), "cuda:%u %s", options->index, queue_card_name(gpu->queue));
        gpu->arena_bytes = gpu_device_bytes(options);
        r = host_memory(gpu);
    }
    if (r >= 0)
        r = queue_alloc(gpu->queue, gpu->arena_bytes, &gpu->arena);
    if (r >= 0) {
        scratch_lay(&gpu->s, (char *)gpu->arena, options);
        r = points_upload(gpu);
    }
    if (r < 0) {
        err_set(err, r, "%s", err_text(&gpu->device.err));
        device_close(&gpu->device);
        return r;
    }
    *ret_device = &gpu->device;
    return 0;
}
