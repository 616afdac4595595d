/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "tests/support/sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define F32(n) ((size_t)(n) * sizeof(float))

/* A compute operation: everything before it is done, since it is done at once. */
int sim_compute_begin(struct sim_device *d)
{
    int r = sim_call(d);

    if (r == 0)
        sim_compute_flush(d, false);
    return r;
}

int sim_bad_call(struct sim_device *d, const char *what)
{
    return err_set(&d->device.err, -EFAULT, "%s: %s", what, d->sim->complaint);
}

int sim_ended(struct sim_device *d, int r)
{
    if (r < 0)
        d->device.err = d->cpu->err;
    return r;
}

static size_t weight_bytes(const struct weight *w)
{
    return quant_row_bytes(w->type, w->cols) * w->rows;
}

static struct weight weight_real(struct sim_device *d, const struct weight *w, bool *bad)
{
    struct weight real = *w;

    real.data = sim_real(d, w->data, weight_bytes(w), bad);
    *bad |= w->data == NULL;
    return real;
}

static int sim_upload(struct device *device, void *dst, const void *src, size_t bytes)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    int r = sim_compute_begin(d);
    void *real = r == 0 ? sim_real(d, dst, bytes, &bad) : NULL;

    if (r < 0)
        return r;
    if (bad || !sim_is_host(d, src, bytes))
        return sim_bad_call(d, "upload");
    memcpy(real, src, bytes);
    d->sim->n_uploads++;
    return 0;
}

static int sim_download(struct device *device, void *dst, const void *src, size_t bytes)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    int r = sim_compute_begin(d);
    void *real = r == 0 ? sim_real(d, src, bytes, &bad) : NULL;

    if (r < 0)
        return r;
    if (bad || !sim_is_host(d, dst, bytes))
        return sim_bad_call(d, "download");
    sim_compute_flush(d, true);
    memcpy(dst, real, bytes);
    d->sim->n_downloads++;
    return 0;
}

static int sim_sync(struct device *device)
{
    struct sim_device *d = sim_of(device);
    int r = sim_compute_begin(d);

    if (r == 0)
        sim_compute_flush(d, true);
    d->sim->n_syncs++;
    return r;
}

static int sim_acts_open(struct device *device, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts)
{
    struct sim_device *d = sim_of(device);
    size_t bytes = d->cpu->ops->acts_bytes(d->cpu, max_rows, max_cols);
    int r = sim_call(d);

    if (r < 0)
        return r;
    if (d->sim->used_bytes + bytes > d->sim->memory_bytes)
        return err_set(&device->err, -ENOMEM, "out of device memory: %zu bytes asked for", bytes);
    d->sim->used_bytes += bytes;
    d->scratch_bytes += bytes;
    if (d->sim->used_bytes > d->sim->most_bytes)
        d->sim->most_bytes = d->sim->used_bytes;
    return sim_ended(d, d->cpu->ops->acts_open(d->cpu, max_rows, max_cols, ret_acts));
}

static void sim_acts_close(struct device *device, struct acts *acts)
{
    struct sim_device *d = sim_of(device);

    sim_compute_flush(d, false);
    d->cpu->ops->acts_close(d->cpu, acts);
}

static size_t sim_acts_bytes(struct device *device, uint32_t max_rows, uint32_t max_cols)
{
    return sim_of(device)->cpu->ops->acts_bytes(sim_of(device)->cpu, max_rows, max_cols);
}

static int sim_acts_set(struct device *device, struct acts *acts, const float *x, uint32_t n_rows, uint32_t n_cols)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    int r = sim_compute_begin(d);
    const float *real = r == 0 ? sim_real(d, x, F32(n_rows) * n_cols, &bad) : NULL;

    return r < 0 ? r
           : bad ? sim_bad_call(d, "acts_set")
                 : sim_ended(d, d->cpu->ops->acts_set(d->cpu, acts, real, n_rows, n_cols));
}

static int sim_embed(struct device *device, const struct weight *table, const int32_t *ids, uint32_t n, float *y)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    struct weight real;
    float *to;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    real = weight_real(d, table, &bad);
    to = sim_real(d, y, F32(n) * table->cols, &bad);
    if (bad || !sim_is_host(d, ids, n * sizeof(*ids)))
        return sim_bad_call(d, "embed");
    return sim_ended(d, d->cpu->ops->embed(d->cpu, &real, ids, n, to));
}

static int sim_rms_norm(struct device *device, const float *x, const float *w, float eps, uint32_t n_rows,
                        uint32_t n_cols, float *y)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    const float *from, *by;
    float *to;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    from = sim_real(d, x, F32(n_rows) * n_cols, &bad);
    by = sim_real(d, w, F32(n_cols), &bad);
    to = sim_real(d, y, F32(n_rows) * n_cols, &bad);
    return bad ? sim_bad_call(d, "rms_norm")
               : sim_ended(d, d->cpu->ops->rms_norm(d->cpu, from, by, eps, n_rows, n_cols, to));
}

static int sim_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin)
{
    struct sim_device *d = sim_of(device);
    struct linear real[8];
    bool bad = n_lin > 8;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n_lin && !bad; i++) {
        real[i].w = weight_real(d, &lin[i].w, &bad);
        real[i].bias = sim_real(d, lin[i].bias, F32(lin[i].w.rows), &bad);
        real[i].y = sim_real(d, lin[i].y, F32(lin[i].w.rows), &bad);
    }
    return bad ? sim_bad_call(d, "linear") : sim_ended(d, d->cpu->ops->linear(d->cpu, acts, real, n_lin));
}

static int sim_rope(struct device *device, const struct rope *rope, float *x, const uint32_t *pos, uint32_t n_tokens,
                    uint32_t n_heads, uint32_t head_dim)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    float *real;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    real = sim_real(d, x, F32(n_tokens) * n_heads * head_dim, &bad);
    if (bad || !sim_is_host(d, pos, n_tokens * sizeof(*pos)) || !sim_is_host(d, rope->inv_freq, F32(rope->n_rot / 2)))
        return sim_bad_call(d, "rope");
    return sim_ended(d, d->cpu->ops->rope(d->cpu, rope, real, pos, n_tokens, n_heads, head_dim));
}

/* Up to the last head's row of the last position. */
static struct kv_view kv_real(struct sim_device *d, const struct kv_view *kv, enum kv_type type, uint32_t last,
                              uint32_t n_kv_heads, uint32_t head_dim, bool *bad)
{
    size_t row_bytes = kv_row_bytes(type, head_dim);
    size_t bytes = kv_at(kv, row_bytes, n_kv_heads - 1, last) + row_bytes;
    struct kv_view real = *kv;

    real.k = sim_real(d, kv->k, bytes, bad);
    real.v = sim_real(d, kv->v, bytes, bad);
    return real;
}

static int sim_kv_store(struct device *device, const struct kv_view *kv, enum kv_type type, uint32_t pos0, uint32_t n,
                        uint32_t n_kv_heads, uint32_t head_dim, const float *k, const float *v)
{
    struct sim_device *d = sim_of(device);
    size_t bytes = F32(n) * n_kv_heads * head_dim;
    bool bad = false;
    struct kv_view real;
    const float *rk, *rv;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    real = kv_real(d, kv, type, pos0 + n - 1, n_kv_heads, head_dim, &bad);
    rk = sim_real(d, k, bytes, &bad);
    rv = sim_real(d, v, bytes, &bad);
    return bad ? sim_bad_call(d, "kv_store")
               : sim_ended(d, d->cpu->ops->kv_store(d->cpu, &real, type, pos0, n, n_kv_heads, head_dim, rk, rv));
}

static int sim_attention(struct device *device, const struct attention *a)
{
    struct sim_device *d = sim_of(device);
    size_t bytes = F32(a->n_tokens) * a->n_heads * a->head_dim;
    struct attention real = *a;
    bool bad = false;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    real.q = sim_real(d, a->q, bytes, &bad);
    real.y = sim_real(d, a->y, bytes, &bad);
    real.kv = kv_real(d, &a->kv, a->kv_type, a->pos0 + a->n_tokens - 1, a->n_kv_heads, a->head_dim, &bad);
    return bad ? sim_bad_call(d, "attention") : sim_ended(d, d->cpu->ops->attention(d->cpu, &real));
}

static int sim_route(struct device *device, const struct route *route, const float *logits, uint32_t n,
                     uint16_t *ret_ids, float *ret_weights)
{
    struct sim_device *d = sim_of(device);
    size_t n_out = (size_t)n * route->n_used;
    bool bad = false;
    const float *real;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    real = sim_real(d, logits, F32(n) * route->n_experts, &bad);
    if (bad || !sim_is_host(d, ret_ids, n_out * sizeof(*ret_ids)) || !sim_is_host(d, ret_weights, F32(n_out)))
        return sim_bad_call(d, "route");
    sim_compute_flush(d, true);
    d->sim->n_routes++;
    return sim_ended(d, d->cpu->ops->route(d->cpu, route, real, n, ret_ids, ret_weights));
}

static uint32_t *rows_copy(const uint32_t *rows, uint32_t n)
{
    uint32_t *copy = mem_alloc(n * sizeof(*copy));

    memcpy(copy, rows, n * sizeof(*copy));
    return copy;
}

void sim_weight_read(struct sim_device *d, struct weight *w, bool *bad)
{
    const void *p = w->data;

    *w = weight_real(d, w, bad);
    if (!*bad)
        sim_read(d, p, weight_bytes(w));
}

static void call_take(struct sim_device *d, const struct expert_call *from, struct expert_call *to, bool *bad)
{
    *to = *from;
    sim_weight_read(d, &to->gate, bad);
    sim_weight_read(d, &to->up, bad);
    sim_weight_read(d, &to->down, bad);
    to->src = rows_copy(from->src, from->n_rows);
    to->dst = rows_copy(from->dst, from->n_rows);
}

/* Experts are what slots are reused under, so they alone are run later than they are asked for. */
static int sim_experts(struct device *device, struct acts *acts, const struct expert_call *calls, uint32_t n_calls,
                       float *y)
{
    struct sim_device *d = sim_of(device);
    struct sim_command *c;
    bool bad = false;
    int r = sim_call(d);

    if (r < 0)
        return r;
    c = mem_zalloc(sizeof(*c));
    *c = (struct sim_command){ .kind = SIM_EXPERTS, .acts = acts };
    c->calls = mem_calloc(n_calls, sizeof(*c->calls));
    for (c->n = 0; c->n < n_calls && !bad; c->n++)
        call_take(d, &calls[c->n], &c->calls[c->n], &bad);
    c->y = sim_real(d, y, n_calls > 0 ? F32(calls[0].down.rows) : 0, &bad);
    if (bad) {
        sim_command_free(c);
        return sim_bad_call(d, "experts");
    }
    sim_compute_add(d, c);
    return 0;
}

static int sim_combine(struct device *device, float *x, const float *y, const float *weights, uint32_t n,
                       uint32_t n_used, uint32_t n_embd)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    const float *from;
    float *to;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    to = sim_real(d, x, F32(n) * n_embd, &bad);
    from = sim_real(d, y, F32(n) * n_used * n_embd, &bad);
    if (bad || !sim_is_host(d, weights, F32(n) * n_used))
        return sim_bad_call(d, "combine");
    return sim_ended(d, d->cpu->ops->combine(d->cpu, to, from, weights, n, n_used, n_embd));
}

static int sim_add(struct device *device, float *x, const float *y, const float *gate, uint32_t n, uint32_t n_cols)
{
    struct sim_device *d = sim_of(device);
    bool bad = false;
    const float *from, *by;
    float *to;
    int r = sim_compute_begin(d);

    if (r < 0)
        return r;
    to = sim_real(d, x, F32(n) * n_cols, &bad);
    from = sim_real(d, y, F32(n) * n_cols, &bad);
    by = sim_real(d, gate, F32(n), &bad);
    return bad ? sim_bad_call(d, "add") : sim_ended(d, d->cpu->ops->add(d->cpu, to, from, by, n, n_cols));
}

static void sim_close(struct device *device)
{
    struct sim_device *d = sim_of(device);

    sim_streams_close(d);
    d->sim->used_bytes -= d->scratch_bytes;
    sim_memory_close(d);
    if (d->cpu != NULL)
        d->cpu->ops->close(d->cpu);
    mem_free(d);
}

static const struct device_ops sim_ops = {
    .alloc = sim_alloc,
    .free = sim_free,
    .upload = sim_upload,
    .download = sim_download,
    .sync = sim_sync,
    .acts_open = sim_acts_open,
    .acts_close = sim_acts_close,
    .acts_bytes = sim_acts_bytes,
    .acts_set = sim_acts_set,
    .embed = sim_embed,
    .rms_norm = sim_rms_norm,
    .linear = sim_linear,
    .rope = sim_rope,
    .kv_store = sim_kv_store,
    .attention = sim_attention,
    .route = sim_route,
    .experts = sim_experts,
    .combine = sim_combine,
    .add = sim_add,
    .close = sim_close,
};

static struct cpu_device_options cpu_options_of(const struct sim *sim, const struct gpu_options *options)
{
    return (struct cpu_device_options){ .n_threads = sim->n_threads > 0 ? sim->n_threads : 2,
                                        .max_level = sim->max_level,
                                        .max_rows = options->max_rows,
                                        .max_ff = options->max_ff,
                                        .max_expert_rows = options->max_expert_rows };
}

size_t sim_device_bytes(const struct gpu_options *options)
{
    struct sim sim = { 0 };
    struct cpu_device_options cpu = cpu_options_of(&sim, options);

    return cpu_device_bytes(&cpu);
}

int sim_device_open(struct sim *sim, const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    struct cpu_device_options cpu = cpu_options_of(sim, options);
    size_t scratch = sim_device_bytes(options);
    struct sim_device *d;
    int r;

    if (sim->memory_bytes == 0)
        sim->memory_bytes = 1 << 30;
    if (sim->n_failing_opens > 0) {
        sim->n_failing_opens--;
        return err_set(err, ERR_DEVICE, "the device cannot be opened (simulated)");
    }
    if (sim->used_bytes + scratch > sim->memory_bytes)
        return err_set(err, -ENOMEM, "out of device memory: %zu bytes of scratch", scratch);
    d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return err_set(err, -ENOMEM, "no memory for a simulated device");
    d->sim = sim;
    d->random = sim->seed;
    snprintf(d->name, sizeof(d->name), "sim:%u", options->index);
    d->device = (struct device){ .ops = &sim_ops, .copy = &sim_copy_ops, .stay = &sim_stay_ops, .name = d->name };
    d->scratch_bytes = scratch;
    sim->used_bytes += scratch;
    r = sim_memory_open(d, sim->memory_bytes);
    if (r < 0)
        err_set(err, r, "no address space for a simulated device");
    if (r == 0)
        r = cpu_device_open(&cpu, &d->cpu, err);
    if (r < 0) {
        sim_close(&d->device);
        return r;
    }
    *ret_device = &d->device;
    return 0;
}
