/* SPDX-License-Identifier: MIT */
#include "compute/cpu/cpu_internal.h"

#include <errno.h>

enum {
    TILE_TOKENS = 64,  /* activations that stay in the second-level cache while a tile is multiplied with them */
    UNPACK_TOKENS = 4, /* from here on it pays to take rows apart first */
    UNIT_ROWS = 32,    /* weight rows that a thread takes at a time when there are many tokens */
    UNITS_EACH = 8,    /* for each thread, when there are few: the last ones end at about the same time */
    FETCH_BYTES = 8192,
};

uint32_t product_unit_rows(const struct cpu_device *cpu, uint64_t rows, uint32_t n_tokens)
{
    uint64_t each = rows / (UNITS_EACH * pool_threads(cpu->pool)) / UNIT_ROWS * UNIT_ROWS;

    if (n_tokens >= UNPACK_TOKENS || each < UNIT_ROWS)
        return UNIT_ROWS;
    return each < UNIT_ROWS_MAX ? (uint32_t)each : UNIT_ROWS_MAX;
}

void product_fetch(const struct weight *w, uint32_t row0)
{
    size_t row_bytes = quant_row_bytes(w->type, w->cols), bytes = (w->rows - row0) * row_bytes;
    const char *p = (const char *)w->data + row0 * row_bytes;

    for (size_t at = 0; at < FETCH_BYTES && at < bytes; at += 64)
        __builtin_prefetch(p + at);
}

/* One token at a time, straight from the packed weights. */
static void product_packed(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows)
{
    size_t bytes = quant_row_bytes(p->w->type, p->w->cols);

    for (uint32_t t = 0; t < p->n_tokens; t++) {
        float *y = p->y + (p->dst != NULL ? p->dst[t] : t) * p->y_stride;

        k->rows[p->w->type]((const char *)p->w->data + row0 * bytes, bytes, n_rows, p->w->cols,
                            p->acts.base + (p->src != NULL ? p->src[t] : t) * p->acts.stride, y);
        for (uint32_t r = 0; p->bias != NULL && r < n_rows; r++)
            y[r] += p->bias[row0 + r];
    }
}

/* n_rows weight rows that have been taken apart, times some tokens. */
static void product_tile(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows,
                         uint32_t token0, uint32_t n_tokens, const void *tile, float *y)
{
    const void *acts[TILE_TOKENS];
    float sums[TILE_TOKENS * DOTS_ROWS];

    for (uint32_t t = 0; t < n_tokens; t++)
        acts[t] = p->acts.base + (p->src != NULL ? p->src[token0 + t] : token0 + t) * p->acts.stride;
    k->dots[p->w->type](tile, n_rows, p->w->cols, acts, n_tokens, sums, DOTS_ROWS);
    for (uint32_t t = 0; t < n_tokens; t++) {
        float *out = y + (p->dst != NULL ? p->dst[token0 + t] : token0 + t) * p->y_stride;

        for (uint32_t r = 0; r < n_rows; r++)
            out[r] = p->bias != NULL ? sums[t * DOTS_ROWS + r] + p->bias[row0 + r] : sums[t * DOTS_ROWS + r];
    }
}

static void product_unpacked(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows,
                             void *tile)
{
    size_t bytes = quant_row_bytes(p->w->type, p->w->cols);

    for (uint32_t r = 0; r < n_rows; r += DOTS_ROWS) {
        uint32_t n = n_rows - r < DOTS_ROWS ? n_rows - r : DOTS_ROWS;

        k->unpack[p->w->type](p->w->type, (const char *)p->w->data + (row0 + r) * bytes, bytes, n, p->w->cols, tile);
        for (uint32_t t = 0; t < p->n_tokens; t += TILE_TOKENS)
            product_tile(k, p, row0 + r, n, t, p->n_tokens - t < TILE_TOKENS ? p->n_tokens - t : TILE_TOKENS, tile,
                         p->y + r);
    }
}

void product_rows(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows, void *tile)
{
    if (p->n_tokens < UNPACK_TOKENS && k->rows[p->w->type] != NULL)
        product_packed(k, p, row0, n_rows);
    else
        product_unpacked(k, p, row0, n_rows, tile);
}

struct linear_job {
    struct cpu_device *cpu;
    struct acts *acts;
    const struct linear *lin;
    uint32_t n_lin;
    uint32_t unit_rows;
};

/* Which matrix a unit belongs to, and its first row there; NULL behind the last. */
static const struct linear *linear_of(const struct linear_job *job, uint32_t unit, uint32_t *ret_row0)
{
    for (uint32_t i = 0; i < job->n_lin; i++) {
        uint32_t units = (job->lin[i].w.rows + job->unit_rows - 1) / job->unit_rows;

        if (unit < units) {
            *ret_row0 = unit * job->unit_rows;
            return &job->lin[i];
        }
        unit -= units;
    }
    return NULL;
}

static void linear_unit(const struct linear_job *job, const struct linear *lin, uint32_t row0, uint32_t thread)
{
    struct acts *acts = job->acts;
    struct product p = {
        .w = &lin->w,
        .acts = cpu_acts_ready(job->cpu, acts, lin->w.type),
        .n_tokens = acts->n_rows,
        .y = lin->y + row0,
        .y_stride = lin->w.rows,
        .bias = lin->bias,
    };

    product_rows(&job->cpu->kernels, &p, row0,
                 lin->w.rows - row0 < job->unit_rows ? lin->w.rows - row0 : job->unit_rows,
                 acts->unpacked + thread * acts->unpacked_bytes);
}

/* The unit that comes after this one, if all threads are as fast. */
static void linear_fetch_next(const struct linear_job *job, uint32_t unit)
{
    uint32_t row0;
    const struct linear *lin = linear_of(job, unit + pool_threads(job->cpu->pool), &row0);

    if (lin != NULL)
        product_fetch(&lin->w, row0);
}

static void linear_on_thread(void *arg, uint32_t thread)
{
    const struct linear_job *job = arg;

    for (uint32_t unit = thread, row0;; unit = cpu_take_unit(job->cpu, 0)) {
        const struct linear *lin = linear_of(job, unit, &row0);

        if (lin == NULL)
            return;
        linear_fetch_next(job, unit);
        linear_unit(job, lin, row0, thread);
    }
}

int cpu_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin)
{
    struct linear_job job = { cpu_device_of(device), acts, lin, n_lin, 0 };
    uint64_t rows = 0;

    for (uint32_t i = 0; i < n_lin; i++) {
        rows += lin[i].w.rows;
        if (lin[i].w.cols != acts->n_cols)
            return err_set(&device->err, -EINVAL, "a matrix of %u columns times %u activations", lin[i].w.cols,
                           acts->n_cols);
        cpu_acts_ready(job.cpu, acts, lin[i].w.type);
    }
    job.unit_rows = product_unit_rows(job.cpu, rows, acts->n_rows);
    cpu_run(job.cpu, linear_on_thread, &job);
    return 0;
}
