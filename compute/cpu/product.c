/* SPDX-License-Identifier: MIT */
#include "compute/cpu/cpu_internal.h"

#include <errno.h>
#include <string.h>

enum {
    TILE_TOKENS = 64, /* activations that stay in the second-level cache while a tile is multiplied with them */
    UNIT_ROWS = 32,   /* weight rows that a thread takes at a time when there are many tokens */
    UNITS_EACH = 8,   /* at least, for each thread, when there are few: the last ones end at about the same time */
    UNIT_ROWS_MAX = 128,
};

uint32_t product_unit_rows(const struct cpu_device *cpu, uint64_t rows, uint32_t n_tokens)
{
    uint64_t each = rows / (UNITS_EACH * pool_threads(cpu->pool)) / UNIT_ROWS * UNIT_ROWS;

    if (!product_is_few(&cpu->kernels, n_tokens) || each < UNIT_ROWS)
        return UNIT_ROWS;
    return each < UNIT_ROWS_MAX ? (uint32_t)each : UNIT_ROWS_MAX;
}

static const char *row_at(const struct weight *w, size_t row)
{
    return (const char *)w->data + row * quant_row_bytes(w->type, w->cols);
}

static struct row_stream stream_of(const struct weight *w, uint32_t row0, uint32_t n_rows)
{
    if (row0 >= w->rows)
        n_rows = 0;
    else if (n_rows > w->rows - row0)
        n_rows = w->rows - row0;
    return (struct row_stream){ .w = w, .row0 = row0, .n_rows = n_rows };
}

void product_halves(const struct weight *w, uint32_t unit_rows, uint32_t i, struct row_stream ret_streams[2])
{
    uint32_t each = unit_rows / 2, half = (w->rows + unit_rows - 1) / unit_rows * each;

    ret_streams[0] = stream_of(w, i * each, each);
    ret_streams[1] = stream_of(w, half + i * each, each);
}

void product_chain(struct row_stream streams[2], const struct row_stream next[2])
{
    for (int s = 0; s < 2; s++)
        if (next[s].n_rows > 0)
            streams[s].next = row_at(next[s].w, next[s].row0);
}

static const char *act_of(const struct product *p, uint32_t token)
{
    return p->acts.base + (p->src != NULL ? p->src[token] : token) * p->acts.stride;
}

static size_t result_at(const struct product *p, uint32_t token)
{
    return (p->dst != NULL ? p->dst[token] : token) * p->y_stride;
}

/* One token at a time, straight from the packed weights. */
static void stream_packed(const struct cpu_kernels *k, const struct product *p, const struct row_stream *s)
{
    for (uint32_t t = 0; t < p->n_tokens; t++)
        k->rows[s->w->type](row_at(s->w, s->row0), quant_row_bytes(s->w->type, s->w->cols), s->n_rows, s->w->cols,
                            act_of(p, t), s->y + result_at(p, t));
}

static void streams_packed(const struct cpu_kernels *k, const struct product *p, const struct row_stream streams[2])
{
    const struct weight *w = streams[0].w;
    struct row_runs runs = {
        .row_bytes = quant_row_bytes(w->type, w->cols),
        .n = w->cols,
        .n_acts = p->n_tokens,
    };

    for (int s = 0; s < 2; s++)
        runs.run[s] =
            (struct row_run){ row_at(streams[s].w, streams[s].row0), streams[s].n_rows, streams[s].next, streams[s].y };
    for (uint32_t t = 0; t < p->n_tokens; t++) {
        runs.acts[t] = act_of(p, t);
        runs.y_at[t] = result_at(p, t);
    }
    k->runs[w->type](&runs);
}

static void stream_bias(const struct product *p, const struct row_stream *s)
{
    for (uint32_t t = 0; t < p->n_tokens; t++)
        for (uint32_t r = 0; r < s->n_rows; r++)
            s->y[result_at(p, t) + r] += p->bias[s->row0 + r];
}

/* The sums of a tile and some tokens. */
static void tile_dots(const struct cpu_kernels *k, const struct product *p, uint32_t n_rows, uint32_t token0,
                      uint32_t n_tokens, const void *tile, float *y, size_t y_stride, struct ahead *ahead)
{
    dots_many_kernel many = k->dots_many[p->w->type];
    const void *acts[TILE_TOKENS];

    if (many != NULL && n_tokens >= DOTS_MANY && p->src == NULL) {
        many(tile, n_rows, p->w->cols, act_of(p, token0), p->acts.stride, n_tokens, y, y_stride, ahead);
        return;
    }
    for (uint32_t t = 0; t < n_tokens; t++)
        acts[t] = act_of(p, token0 + t);
    k->dots[p->w->type](tile, n_rows, p->w->cols, acts, n_tokens, y, y_stride);
}

/* n_rows weight rows that have been taken apart, times some tokens. */
static void product_tile(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows,
                         uint32_t token0, uint32_t n_tokens, const void *tile, float *y, struct ahead *ahead)
{
    bool in_place = p->dst == NULL && p->bias == NULL;
    float sums[TILE_TOKENS * DOTS_ROWS];

    tile_dots(k, p, n_rows, token0, n_tokens, tile, in_place ? y + result_at(p, token0) : sums,
              in_place ? p->y_stride : DOTS_ROWS, ahead);
    for (uint32_t t = 0; !in_place && t < n_tokens; t++) {
        float *out = y + result_at(p, token0 + t);

        memcpy(out, sums + t * DOTS_ROWS, n_rows * sizeof(*out));
        for (uint32_t r = 0; p->bias != NULL && r < n_rows; r++)
            out[r] += p->bias[row0 + r];
    }
}

static void product_unpacked(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows,
                             void *tile)
{
    size_t bytes = quant_row_bytes(p->w->type, p->w->cols);

    for (uint32_t r = 0; r < n_rows; r += DOTS_ROWS) {
        uint32_t n = n_rows - r < DOTS_ROWS ? n_rows - r : DOTS_ROWS, left = n_rows - r - n;
        const char *rows = (const char *)p->w->data + (row0 + r) * bytes;
        struct ahead ahead = { rows + n * bytes, rows + (n + (left < DOTS_ROWS ? left : DOTS_ROWS)) * bytes };

        k->unpack[p->w->type](p->w->type, rows, bytes, n, p->w->cols, tile);
        for (uint32_t t = 0; t < p->n_tokens; t += TILE_TOKENS)
            product_tile(k, p, row0 + r, n, t, p->n_tokens - t < TILE_TOKENS ? p->n_tokens - t : TILE_TOKENS, tile,
                         p->y + r, &ahead);
    }
}

static void stream_unpacked(const struct cpu_kernels *k, const struct product *p, const struct row_stream *s,
                            void *tile)
{
    struct product one = *p;

    one.w = s->w;
    one.y = s->y;
    product_unpacked(k, &one, s->row0, s->n_rows, tile);
}

void product_streams(const struct cpu_kernels *k, const struct product *p, const struct row_stream streams[2],
                     void *tile)
{
    enum quant_type type = streams[0].w->type;

    if (k->rows[type] == NULL) {
        stream_unpacked(k, p, &streams[0], tile);
        stream_unpacked(k, p, &streams[1], tile);
        return;
    }
    if (k->runs[type] != NULL) {
        streams_packed(k, p, streams);
    } else {
        stream_packed(k, p, &streams[0]);
        stream_packed(k, p, &streams[1]);
    }
    for (int i = 0; p->bias != NULL && i < 2; i++)
        stream_bias(p, &streams[i]);
}

void product_rows(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows, void *tile)
{
    struct row_stream streams[2] = { stream_of(p->w, row0, n_rows) };

    if (!product_is_few(k, p->n_tokens)) {
        product_unpacked(k, p, row0, n_rows, tile);
        return;
    }
    streams[0].y = p->y;
    streams[1] = (struct row_stream){ .w = p->w, .y = p->y };
    product_streams(k, p, streams, tile);
}

struct linear_job {
    struct cpu_device *cpu;
    struct acts *acts;
    const struct linear *lin;
    uint32_t n_lin;
    uint32_t unit_rows, n_units;
};

static uint32_t linear_units(const struct linear_job *job, uint32_t i)
{
    return (job->lin[i].w.rows + job->unit_rows - 1) / job->unit_rows;
}

/* Which matrix a unit belongs to, and which of its units it is; NULL behind the last. */
static const struct linear *linear_of(const struct linear_job *job, uint32_t unit, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < job->n_lin; i++) {
        if (unit < linear_units(job, i)) {
            *ret_index = unit;
            return &job->lin[i];
        }
        unit -= linear_units(job, i);
    }
    return NULL;
}

static void linear_streams(const struct linear_job *job, struct product *p, const struct linear *lin, uint32_t unit,
                           uint32_t index, void *tile)
{
    struct row_stream streams[2], after[2];
    const struct linear *next;
    uint32_t next_index = 0;

    product_halves(&lin->w, job->unit_rows, index, streams);
    for (int s = 0; s < 2; s++)
        streams[s].y = p->y + streams[s].row0;
    next = linear_of(job, unit + 1, &next_index);
    if (next != NULL) {
        product_halves(&next->w, job->unit_rows, next_index, after);
        product_chain(streams, after);
    }
    product_streams(&job->cpu->kernels, p, streams, tile);
}

static void linear_unit(const struct linear_job *job, uint32_t unit, uint32_t thread)
{
    struct acts *acts = job->acts;
    uint32_t index = 0, row0; /* there is such a unit, which GCC does not see at -O1 */
    const struct linear *lin = linear_of(job, unit, &index);
    void *tile = acts->unpacked + thread * acts->unpacked_bytes;
    struct product p = {
        .w = &lin->w,
        .acts = cpu_acts_ready(job->cpu, acts, lin->w.type),
        .n_tokens = acts->n_rows,
        .y = lin->y,
        .y_stride = lin->w.rows,
        .bias = lin->bias,
    };

    if (product_is_few(&job->cpu->kernels, p.n_tokens)) {
        linear_streams(job, &p, lin, unit, index, tile);
        return;
    }
    row0 = index * job->unit_rows;
    p.y += row0;
    product_rows(&job->cpu->kernels, &p, row0,
                 lin->w.rows - row0 < job->unit_rows ? lin->w.rows - row0 : job->unit_rows, tile);
}

static void linear_on_thread(void *arg, uint32_t thread)
{
    const struct linear_job *job = arg;
    uint32_t unit;

    while (cpu_share_take(job->cpu, 0, thread, &unit)) {
        linear_unit(job, unit, thread);
        cpu_meanwhile(job->cpu, thread);
    }
}

int cpu_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin)
{
    struct linear_job job = { cpu_device_of(device), acts, lin, n_lin, 0, 0 };
    uint64_t rows = 0;

    for (uint32_t i = 0; i < n_lin; i++) {
        rows += lin[i].w.rows;
        if (lin[i].w.cols != acts->n_cols)
            return err_set(&device->err, -EINVAL, "a matrix of %u columns times %u activations", lin[i].w.cols,
                           acts->n_cols);
        cpu_acts_ready(job.cpu, acts, lin[i].w.type);
    }
    job.unit_rows = product_unit_rows(job.cpu, rows, acts->n_rows);
    for (uint32_t i = 0; i < n_lin; i++)
        job.n_units += linear_units(&job, i);
    cpu_share(job.cpu, 0, job.n_units);
    cpu_run(job.cpu, linear_on_thread, &job);
    return 0;
}
