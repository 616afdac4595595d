/* SPDX-License-Identifier: MIT
 *
 * device_products.cu: prepared activations, and the operations that multiply: linear and experts.
 */
#include "gpu/device_internal.h"

extern "C" {
#include "base/mem.h"
}

#include <errno.h>
#include <string.h>

enum { PAD = 256 };

static size_t pad(size_t bytes)
{
    return (bytes + PAD - 1) / PAD * PAD;
}

size_t gpu_acts_bytes(struct device *, uint32_t max_rows, uint32_t max_cols)
{
    return pad(max_rows * small_row_bytes(max_cols)) + pad(max_rows * super_row_bytes(max_cols));
}

int gpu_acts_open(struct device *device, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts)
{
    struct gpu_device *gpu = gpu_device_of(device);
    struct acts *acts = (struct acts *)mem_zalloc(sizeof(*acts));
    void *p;
    int r;

    if (acts == NULL)
        return err_set(&device->err, -ENOMEM, "no memory for prepared activations");
    acts->max_rows = max_rows;
    acts->max_cols = max_cols;
    acts->bytes = gpu_acts_bytes(device, max_rows, max_cols);
    r = queue_alloc(gpu->queue, acts->bytes, &p);
    if (r < 0) {
        mem_free(acts);
        return err_wrap(&device->err, "%u rows of %u prepared activations", max_rows, max_cols);
    }
    acts->small = (char *)p;
    acts->super = acts->small + pad(max_rows * small_row_bytes(max_cols));
    *ret_acts = acts;
    return 0;
}

void gpu_acts_close(struct device *device, struct acts *acts)
{
    if (acts == NULL)
        return;
    queue_free(gpu_device_of(device)->queue, acts->small, acts->bytes);
    mem_free(acts);
}

int gpu_acts_set(struct device *device, struct acts *acts, const float *x, uint32_t n_rows, uint32_t n_cols)
{
    if (n_rows > acts->max_rows || n_cols > acts->max_cols)
        return err_set(&device->err, -EINVAL, "%u rows of %u activations, where at most %u of %u were announced",
                       n_rows, n_cols, acts->max_rows, acts->max_cols);
    acts->x = x;
    acts->n_rows = n_rows;
    acts->n_cols = n_cols;
    acts->small_ready = acts->super_ready = false;
    return 0;
}

int acts_ready(struct gpu_device *gpu, struct acts *acts, enum quant_type type, struct act_rows *ret_rows)
{
    uint32_t block = quant_info(type)->block_len;
    bool *ready = block == 32 ? &acts->small_ready : &acts->super_ready;
    struct quantise_params p;
    int r;

    if (block == 1) {
        *ret_rows = (struct act_rows){ (const char *)acts->x, acts->n_cols * sizeof(float) };
        return 0;
    }
    if (!*ready) {
        memset(&p, 0, sizeof(p));
        p.x = acts->x;
        p.stride = p.n_cols = acts->n_cols;
        p.n_rows = acts->n_rows;
        p.small = block == 32 ? acts->small : NULL;
        p.super = block == 32 ? NULL : acts->super;
        p.small_stride = small_row_bytes(acts->n_cols);
        p.super_stride = super_row_bytes(acts->n_cols);
        r = launch_quantise(gpu->queue, &p);
        if (r < 0)
            return r;
        *ready = true;
    }
    if (block == 32)
        *ret_rows = (struct act_rows){ acts->small, small_row_bytes(acts->n_cols) };
    else
        *ret_rows = (struct act_rows){ acts->super, super_row_bytes(acts->n_cols) };
    return 0;
}

/* What a format's kernels read at a time. */
static uint32_t alignment_of(enum quant_type type)
{
    switch (type) {
    case QUANT_MXFP4:
        return 1;
    case QUANT_F32:
    case QUANT_Q4_1:
    case QUANT_Q5_1:
    case QUANT_Q2_K:
    case QUANT_Q4_K:
    case QUANT_Q5_K:
    case QUANT_IQ4_XS:
        return 4;
    default:
        return 2;
    }
}

int weight_check(struct gpu_device *gpu, const struct weight *w)
{
    const struct quant_info *info = quant_info(w->type);

    if (info == NULL || !info->computable)
        return err_set(&gpu->device.err, ERR_UNSUPPORTED, "weights of type %d cannot be computed with", (int)w->type);
    if (w->cols % info->block_len != 0)
        return err_set(&gpu->device.err, -EINVAL, "%u columns of %s, which comes in blocks of %u", w->cols, info->name,
                       info->block_len);
    if ((uintptr_t)w->data % alignment_of(w->type) != 0)
        return err_set(&gpu->device.err, -EINVAL, "%s weights that do not begin at a multiple of %u bytes", info->name,
                       alignment_of(w->type));
    return 0;
}

void batch_init(struct product_batch *batch, const struct gpu_device *gpu, enum quant_type type)
{
    batch->type = type;
    batch->n = batch->max_rows = batch->max_tokens = 0;
    batch->params.points = gpu->s.points;
}

int batch_launch(struct product_batch *batch, struct queue *queue)
{
    uint32_t n = batch->n, rows = batch->max_rows, tokens = batch->max_tokens;

    batch->n = batch->max_rows = batch->max_tokens = 0;
    if (n == 0 || tokens == 0)
        return 0;
    switch (batch->type) {
    case QUANT_F32:
    case QUANT_F16:
    case QUANT_BF16:
        return launch_product_plain(queue, batch->type, &batch->params, n, rows, tokens);
    case QUANT_Q2_K:
    case QUANT_Q3_K:
    case QUANT_Q4_K:
    case QUANT_Q5_K:
    case QUANT_Q6_K:
    case QUANT_IQ4_XS:
        return launch_product_super(queue, batch->type, &batch->params, n, rows, tokens);
    default:
        if (quant_info(batch->type)->block_len == 32)
            return launch_product_small(queue, batch->type, &batch->params, n, rows, tokens);
        return launch_product_lattice(queue, batch->type, &batch->params, n, rows, tokens);
    }
}

int batch_add(struct product_batch *batch, struct queue *queue, const struct product_job *job)
{
    int r = 0;

    if (batch->n == PRODUCT_JOBS)
        r = batch_launch(batch, queue);
    if (r < 0)
        return r;
    batch->params.jobs[batch->n++] = *job;
    batch->max_rows = job->rows > batch->max_rows ? job->rows : batch->max_rows;
    batch->max_tokens = job->n_tokens > batch->max_tokens ? job->n_tokens : batch->max_tokens;
    return 0;
}

struct product_job job_of(const struct weight *w, struct act_rows rows, uint32_t n_tokens, float *y)
{
    struct product_job job;

    memset(&job, 0, sizeof(job)); /* padding too */
    job.w = (const uint8_t *)w->data;
    job.acts = rows.base;
    job.acts_stride = (uint32_t)rows.stride;
    job.y = y;
    job.y_stride = w->rows;
    job.n_tokens = n_tokens;
    job.rows = w->rows;
    job.cols = w->cols;
    return job;
}

/* Those of one type, from the first of it on. */
static int linear_of_type(struct gpu_device *gpu, struct acts *acts, const struct linear *lin, uint32_t n_lin)
{
    struct product_batch batch;
    struct act_rows rows;
    int r = acts_ready(gpu, acts, lin[0].w.type, &rows);

    batch_init(&batch, gpu, lin[0].w.type);
    for (uint32_t i = 0; i < n_lin && r >= 0; i++)
        if (lin[i].w.type == lin[0].w.type) {
            struct product_job job = job_of(&lin[i].w, rows, acts->n_rows, lin[i].y);

            job.bias = lin[i].bias;
            r = batch_add(&batch, gpu->queue, &job);
        }
    return r < 0 ? r : batch_launch(&batch, gpu->queue);
}

int gpu_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin)
{
    struct gpu_device *gpu = gpu_device_of(device);
    uint64_t done = 0;
    int r = 0;

    for (uint32_t i = 0; i < n_lin && r >= 0; i++) {
        r = weight_check(gpu, &lin[i].w);
        if (r >= 0 && lin[i].w.cols != acts->n_cols)
            r = err_set(&device->err, -EINVAL, "a matrix of %u columns times %u activations", lin[i].w.cols,
                        acts->n_cols);
    }
    for (uint32_t i = 0; i < n_lin && r >= 0; i++) {
        if (done >> lin[i].w.type & 1)
            continue;
        done |= (uint64_t)1 << lin[i].w.type;
        r = linear_of_type(gpu, acts, lin + i, n_lin - i);
    }
    return r;
}

int expert_check(struct gpu_device *gpu, const struct acts *acts, const struct expert_call *call)
{
    int r;

    if ((r = weight_check(gpu, &call->gate)) < 0 || (r = weight_check(gpu, &call->up)) < 0 ||
        (r = weight_check(gpu, &call->down)) < 0)
        return r;
    if (call->gate.cols != acts->n_cols || call->up.cols != acts->n_cols || call->up.rows != call->gate.rows ||
        call->down.cols != call->gate.rows)
        return err_set(&gpu->device.err, -EINVAL, "an expert of %ux%u, %ux%u, %ux%u on rows of %u", call->gate.rows,
                       call->gate.cols, call->up.rows, call->up.cols, call->down.rows, call->down.cols, acts->n_cols);
    if (call->gate.rows > gpu->options.max_ff)
        return err_set(&gpu->device.err, -EINVAL, "an expert %u wide, where at most %u was announced", call->gate.rows,
                       gpu->options.max_ff);
    return 0;
}

struct slice {
    uint32_t n_parts, n_rows;
    bool lists; /* src and dst are on the card */
};

/* One token, or tokens in a row, need no list. */
static bool runs_on(const uint32_t *list, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (list[i] != list[0] + i)
            return false;
    return true;
}

/* The index lists of all parts, to the card, if any part needs one. */
static int lists_send(struct gpu_device *gpu, struct slice *slice)
{
    uint32_t *src = gpu->index_lists, *dst = src + gpu->options.max_expert_rows;
    const void *staged_src, *staged_dst;
    int r;

    slice->lists = false;
    for (uint32_t i = 0; i < slice->n_parts; i++) {
        const struct part *part = &gpu->parts[i];

        memcpy(src + part->hidden0, part->call->src + part->row0, part->n_rows * sizeof(*src));
        memcpy(dst + part->hidden0, part->call->dst + part->row0, part->n_rows * sizeof(*dst));
        if (!runs_on(src + part->hidden0, part->n_rows) || !runs_on(dst + part->hidden0, part->n_rows))
            slice->lists = true;
    }
    if (!slice->lists)
        return 0;
    if ((r = queue_stage(gpu->queue, src, slice->n_rows * sizeof(*src), &staged_src)) < 0 ||
        (r = queue_copy(gpu->queue, gpu->s.src, staged_src, slice->n_rows * sizeof(*src))) < 0 ||
        (r = queue_stage(gpu->queue, dst, slice->n_rows * sizeof(*dst), &staged_dst)) < 0)
        return r;
    return queue_copy(gpu->queue, gpu->s.dst, staged_dst, slice->n_rows * sizeof(*dst));
}

static int hidden_add(struct gpu_device *gpu, struct product_batch *batch, struct acts *acts, const struct slice *slice,
                      const struct part *part, const struct weight *w, float *hidden)
{
    struct product_job job;
    struct act_rows rows;
    int r;

    if (w->type != batch->type)
        return 0;
    r = acts_ready(gpu, acts, w->type, &rows);
    if (r < 0)
        return r;
    job = job_of(w, rows, part->n_rows, hidden + (size_t)part->hidden0 * gpu->options.max_ff);
    job.y_stride = gpu->options.max_ff;
    job.src = slice->lists ? gpu->s.src + part->hidden0 : NULL;
    job.src0 = part->call->src[part->row0];
    return batch_add(batch, gpu->queue, &job);
}

/* gate x and up x of all parts, one launch for each type among them. */
static int hidden_products(struct gpu_device *gpu, struct acts *acts, const struct slice *slice)
{
    uint64_t types = 0;
    int r = 0;

    for (uint32_t i = 0; i < slice->n_parts; i++)
        types |= (uint64_t)1 << gpu->parts[i].call->gate.type | (uint64_t)1 << gpu->parts[i].call->up.type;
    for (uint32_t type = 0; type < QUANT_TYPES && r >= 0; type++) {
        struct product_batch batch;

        if (!(types >> type & 1))
            continue;
        batch_init(&batch, gpu, (enum quant_type)type);
        for (uint32_t i = 0; i < slice->n_parts && r >= 0; i++) {
            const struct part *part = &gpu->parts[i];

            r = hidden_add(gpu, &batch, acts, slice, part, &part->call->gate, gpu->s.gate);
            if (r >= 0)
                r = hidden_add(gpu, &batch, acts, slice, part, &part->call->up, gpu->s.up);
        }
        if (r >= 0)
            r = batch_launch(&batch, gpu->queue);
    }
    return r;
}

int hidden_prepare(struct gpu_device *gpu, const struct weight *down, uint32_t row0, uint32_t n)
{
    uint32_t block = quant_info(down->type)->block_len;
    size_t at = (size_t)row0 * gpu->options.max_ff;
    struct quantise_params p;

    memset(&p, 0, sizeof(p));
    p.x = gpu->s.up + at;
    p.gate = gpu->s.gate + at;
    p.plain = block == 1 ? gpu->s.up + at : NULL;
    p.small = block == 32 ? gpu->s.hidden_small + row0 * gpu->s.small_stride : NULL;
    p.super = block == 256 ? gpu->s.hidden_super + row0 * gpu->s.super_stride : NULL;
    p.stride = gpu->options.max_ff;
    p.small_stride = gpu->s.small_stride;
    p.super_stride = gpu->s.super_stride;
    p.n_rows = n;
    p.n_cols = down->cols;
    return launch_quantise(gpu->queue, &p);
}

/* Parts of one width and type that follow each other go together. */
static int hidden_quantise(struct gpu_device *gpu, const struct slice *slice)
{
    int r = 0;

    for (uint32_t i = 0; i < slice->n_parts && r >= 0;) {
        const struct weight *down = &gpu->parts[i].call->down;
        uint32_t block = quant_info(down->type)->block_len, row0 = gpu->parts[i].hidden0, n = 0;

        for (; i < slice->n_parts && gpu->parts[i].call->down.cols == down->cols &&
               quant_info(gpu->parts[i].call->down.type)->block_len == block;
             i++)
            n += gpu->parts[i].n_rows;
        r = hidden_prepare(gpu, down, row0, n);
    }
    return r;
}

struct act_rows hidden_rows(const struct gpu_device *gpu, enum quant_type type, uint32_t row)
{
    size_t plain = gpu->options.max_ff * sizeof(float);

    switch (quant_info(type)->block_len) {
    case 1:
        return (struct act_rows){ (const char *)gpu->s.up + row * plain, plain };
    case 32:
        return (struct act_rows){ gpu->s.hidden_small + row * gpu->s.small_stride, gpu->s.small_stride };
    default:
        return (struct act_rows){ gpu->s.hidden_super + row * gpu->s.super_stride, gpu->s.super_stride };
    }
}

static int down_products(struct gpu_device *gpu, const struct slice *slice, float *y)
{
    uint64_t types = 0;
    int r = 0;

    for (uint32_t i = 0; i < slice->n_parts; i++)
        types |= (uint64_t)1 << gpu->parts[i].call->down.type;
    for (uint32_t type = 0; type < QUANT_TYPES && r >= 0; type++) {
        struct product_batch batch;

        if (!(types >> type & 1))
            continue;
        batch_init(&batch, gpu, (enum quant_type)type);
        for (uint32_t i = 0; i < slice->n_parts && r >= 0; i++) {
            const struct part *part = &gpu->parts[i];
            struct product_job job;

            if (part->call->down.type != type)
                continue;
            job = job_of(&part->call->down, hidden_rows(gpu, (enum quant_type)type, part->hidden0), part->n_rows, y);
            job.dst = slice->lists ? gpu->s.dst + part->hidden0 : NULL;
            job.dst0 = part->call->dst[part->row0];
            r = batch_add(&batch, gpu->queue, &job);
        }
        if (r >= 0)
            r = batch_launch(&batch, gpu->queue);
    }
    return r;
}

static int slice_run(struct gpu_device *gpu, struct acts *acts, struct slice *slice, float *y)
{
    int r = 0;

    if (slice->n_rows > 0 &&
        ((r = lists_send(gpu, slice)) < 0 || (r = hidden_products(gpu, acts, slice)) < 0 ||
         (r = hidden_quantise(gpu, slice)) < 0 || (r = down_products(gpu, slice, y)) < 0))
        return r;
    slice->n_parts = slice->n_rows = 0;
    return 0;
}

/* Parts are collected until the scratch is full, then computed together. */
int gpu_experts(struct device *device, struct acts *acts, const struct expert_call *calls, uint32_t n_calls, float *y)
{
    struct gpu_device *gpu = gpu_device_of(device);
    uint32_t max_rows = gpu->options.max_expert_rows;
    struct slice slice = { 0, 0, false };
    int r = 0;

    for (uint32_t c = 0; c < n_calls && r >= 0; c++)
        r = expert_check(gpu, acts, &calls[c]);
    for (uint32_t c = 0; c < n_calls && r >= 0; c++)
        for (uint32_t row = 0; row < calls[c].n_rows && r >= 0;) {
            uint32_t left = calls[c].n_rows - row, room = max_rows - slice.n_rows, n = left < room ? left : room;

            gpu->parts[slice.n_parts++] = (struct part){ &calls[c], row, n, slice.n_rows };
            slice.n_rows += n;
            row += n;
            if (slice.n_rows == max_rows)
                r = slice_run(gpu, acts, &slice, y);
        }
    return r < 0 ? r : slice_run(gpu, acts, &slice, y);
}
