/* SPDX-License-Identifier: MIT */
#include "compute/cpu/cpu_internal.h"

#include <errno.h>
#include <string.h>

enum { HELD = 2048 }; /* gate and up values of a unit held on the stack */

struct experts_job {
    struct cpu_device *cpu;
    struct acts *acts;
    struct act_rows rows[ACT_FLAVOURS];
    uint32_t n_parts;
    uint32_t n_rows; /* of the hidden scratch in use */
    uint32_t n_ff_units, n_down_units;
    float *y;
};

static uint32_t units_of(const struct expert_part *part, uint32_t rows)
{
    return (rows + part->unit_rows - 1) / part->unit_rows;
}

static uint32_t unit_rows(const struct expert_part *part, uint32_t rows, uint32_t row0)
{
    return rows - row0 < part->unit_rows ? rows - row0 : part->unit_rows;
}

/* Rows are max_ff apart: experts of one call may differ in width (a shared one among the chosen). */
static float *hidden_row(const struct cpu_device *cpu, size_t row)
{
    return cpu->hidden + row * cpu->options.max_ff;
}

/* A part's rows of activations side by side, as a thread keeps them while it goes through the part's units. */
struct gathered {
    const struct expert_part *part;
    struct act_rows rows;
};

static bool is_super(const struct weight *w)
{
    return act_flavour_of(w->type) == ACT_SUPER;
}

static void part_gather(const struct experts_job *job, const struct expert_part *part, uint32_t thread,
                        struct gathered *g)
{
    const struct acts *acts = job->acts;
    struct act_rows from = job->rows[ACT_SUPER];
    char *to = acts->gathered + thread * acts->gathered_bytes;

    if (g->part == part || part->n_rows < DOTS_MANY || acts->gathered_rows == 0 ||
        !(is_super(&part->call->gate) || is_super(&part->call->up)))
        return;
    for (uint32_t t = 0; t < part->n_rows; t++)
        memcpy(to + t * from.stride, from.base + part->call->src[part->row0 + t] * from.stride, from.stride);
    *g = (struct gathered){ part, { to, from.stride } };
}

/* The activations of a part's tokens from t on. */
static void hidden_acts(const struct experts_job *job, const struct expert_part *part, const struct gathered *g,
                        uint32_t t, struct product *p)
{
    bool gathered = g->part == part && is_super(p->w);

    p->acts = gathered ? g->rows : job->rows[act_flavour_of(p->w->type)];
    p->acts.base += gathered ? t * p->acts.stride : 0;
    p->src = gathered ? NULL : part->call->src + part->row0 + t;
}

/* The product of a part's gate, which for up is the same but for the weights. */
static struct product hidden_product(const struct experts_job *job, const struct expert_part *part, float *y)
{
    const struct expert_call *call = part->call;

    return (struct product){
        .w = &call->gate,
        .acts = job->rows[act_flavour_of(call->gate.type)],
        .src = call->src + part->row0,
        .n_tokens = part->n_rows,
        .y = y,
        .y_stride = part->unit_rows,
    };
}

/* hidden[row][ff0 ..] = silu(gate x) * up x for all rows of a part. */
static void hidden_unit(const struct experts_job *job, const struct expert_part *part, const struct gathered *g,
                        uint32_t ff0, void *unpacked)
{
    const struct cpu_kernels *k = &job->cpu->kernels;
    const struct expert_call *call = part->call;
    uint32_t n_ff = unit_rows(part, call->gate.rows, ff0), n_tokens = HELD / part->unit_rows;
    float gate[HELD], up[HELD];

    for (uint32_t t = 0; t < part->n_rows; t += n_tokens) {
        struct product p = hidden_product(job, part, gate);

        hidden_acts(job, part, g, t, &p);
        p.n_tokens = part->n_rows - t < n_tokens ? part->n_rows - t : n_tokens;
        product_rows(k, &p, ff0, n_ff, unpacked);
        p.w = &call->up;
        p.y = up;
        hidden_acts(job, part, g, t, &p);
        product_rows(k, &p, ff0, n_ff, unpacked);
        for (uint32_t i = 0; i < p.n_tokens; i++)
            k->silu_mul(gate + i * part->unit_rows, up + i * part->unit_rows, n_ff,
                        hidden_row(job->cpu, part->hidden0 + t + i) + ff0);
    }
}

static void ff_streams(const struct expert_part *part, uint32_t ff0, struct row_stream ret_streams[2])
{
    uint32_t n_ff = unit_rows(part, part->call->gate.rows, ff0);

    ret_streams[0] = (struct row_stream){ &part->call->gate, ff0, n_ff, NULL, NULL };
    ret_streams[1] = (struct row_stream){ &part->call->up, ff0, n_ff, NULL, NULL };
}

/* The same for a few tokens: gate and up are two streams, and `next` comes after them. */
static void hidden_few(const struct experts_job *job, const struct expert_part *part, uint32_t ff0,
                       const struct row_stream next[2], void *unpacked)
{
    const struct cpu_kernels *k = &job->cpu->kernels;
    struct row_stream streams[2], none = { .w = &part->call->up };
    float gate[HELD], up[HELD];
    struct product p = hidden_product(job, part, gate);

    ff_streams(part, ff0, streams);
    product_chain(streams, next);
    streams[0].y = gate;
    streams[1].y = none.y = up;
    if (streams[0].w->type == streams[1].w->type) {
        product_streams(k, &p, streams, unpacked);
    } else {
        product_streams(k, &p, (struct row_stream[]){ streams[0], none }, unpacked);
        p.acts = job->rows[act_flavour_of(part->call->up.type)];
        product_streams(k, &p, (struct row_stream[]){ streams[1], none }, unpacked);
    }
    for (uint32_t t = 0; t < part->n_rows; t++)
        k->silu_mul(gate + t * part->unit_rows, up + t * part->unit_rows, streams[0].n_rows,
                    hidden_row(job->cpu, part->hidden0 + t) + ff0);
}

static void prepare_unit(const struct experts_job *job, const struct expert_part *part, uint32_t row)
{
    const struct expert_call *call = part->call;
    enum act_flavour flavour = act_flavour_of(call->down.type);

    cpu_act_prepare(&job->cpu->kernels, flavour, hidden_row(job->cpu, row), call->gate.rows,
                    job->cpu->hidden_acts + row * job->cpu->hidden_stride);
}

static struct product down_product(const struct experts_job *job, const struct expert_part *part)
{
    const struct expert_call *call = part->call;
    const struct cpu_device *cpu = job->cpu;
    struct product p = {
        .w = &call->down,
        .acts = { cpu->hidden_acts + part->hidden0 * cpu->hidden_stride, cpu->hidden_stride },
        .n_tokens = part->n_rows,
        .y = job->y,
        .y_stride = call->down.rows,
        .dst = call->dst + part->row0,
    };

    if (act_flavour_of(call->down.type) == ACT_F32)
        p.acts = (struct act_rows){ (const char *)hidden_row(cpu, part->hidden0), cpu->options.max_ff * sizeof(float) };
    return p;
}

static void down_unit(const struct experts_job *job, const struct expert_part *part, uint32_t row0, void *unpacked)
{
    struct product p = down_product(job, part);

    p.y += row0;
    product_rows(&job->cpu->kernels, &p, row0, unit_rows(part, part->call->down.rows, row0), unpacked);
}

static void down_few(const struct experts_job *job, const struct expert_part *part, uint32_t i,
                     const struct row_stream next[2], void *unpacked)
{
    struct product p = down_product(job, part);
    struct row_stream streams[2];

    product_halves(&part->call->down, part->unit_rows, i, streams);
    product_chain(streams, next);
    for (int s = 0; s < 2; s++)
        streams[s].y = p.y + streams[s].row0;
    product_streams(&job->cpu->kernels, &p, streams, unpacked);
}

/* The part that a unit of gate and up rows belongs to, near `part`; NULL behind the last. */
static const struct expert_part *ff_part(const struct experts_job *job, const struct expert_part *part, uint32_t unit)
{
    if (unit >= job->n_ff_units)
        return NULL;
    while (unit < part->ff_unit0)
        part--;
    while (unit >= part->ff_unit0 + units_of(part, part->call->gate.rows))
        part++;
    return part;
}

static const struct expert_part *down_part(const struct experts_job *job, const struct expert_part *part, uint32_t unit)
{
    if (unit >= job->n_down_units)
        return NULL;
    while (unit < part->down_unit0)
        part--;
    while (unit >= part->down_unit0 + units_of(part, part->call->down.rows))
        part++;
    return part;
}

/* What a thread reads when it comes to a unit; nothing behind the last. */
static void down_streams(const struct experts_job *job, const struct expert_part *part, uint32_t unit,
                         struct row_stream ret_streams[2])
{
    part = down_part(job, part, unit);
    if (part != NULL)
        product_halves(&part->call->down, part->unit_rows, unit - part->down_unit0, ret_streams);
}

/* Behind its share of gates and ups a thread has its downs before it. */
static void ff_next(const struct experts_job *job, const struct expert_part *part, uint32_t unit, uint32_t thread,
                    struct row_stream ret_streams[2])
{
    if (unit == cpu_share_first(job->cpu, job->n_ff_units, thread + 1)) {
        down_streams(job, job->cpu->parts, cpu_share_first(job->cpu, job->n_down_units, thread), ret_streams);
        return;
    }
    part = ff_part(job, part, unit);
    if (part != NULL)
        ff_streams(part, (unit - part->ff_unit0) * part->unit_rows, ret_streams);
}

static void ff_units(const struct experts_job *job, uint32_t thread)
{
    void *unpacked = job->acts->unpacked + thread * job->acts->unpacked_bytes;
    const struct expert_part *part = job->cpu->parts;
    struct gathered gathered = { 0 };
    uint32_t unit;

    while (cpu_share_take(job->cpu, 0, thread, &unit)) {
        struct row_stream next[2] = { 0 };

        part = ff_part(job, part, unit);
        if (product_is_few(&job->cpu->kernels, part->n_rows)) {
            ff_next(job, part, unit + 1, thread, next);
            hidden_few(job, part, (unit - part->ff_unit0) * part->unit_rows, next, unpacked);
        } else {
            part_gather(job, part, thread, &gathered);
            hidden_unit(job, part, &gathered, (unit - part->ff_unit0) * part->unit_rows, unpacked);
        }
        cpu_meanwhile(job->cpu, thread);
    }
}

static void down_units(const struct experts_job *job, uint32_t thread)
{
    void *unpacked = job->cpu->unpacked + thread * job->cpu->unpacked_bytes;
    const struct expert_part *part = job->cpu->parts;
    uint32_t unit;

    while (cpu_share_take(job->cpu, 1, thread, &unit)) {
        struct row_stream next[2] = { 0 };

        part = down_part(job, part, unit);
        if (product_is_few(&job->cpu->kernels, part->n_rows)) {
            down_streams(job, part, unit + 1, next);
            down_few(job, part, unit - part->down_unit0, next, unpacked);
        } else {
            down_unit(job, part, (unit - part->down_unit0) * part->unit_rows, unpacked);
        }
        cpu_meanwhile(job->cpu, thread);
    }
}

static void experts_on_thread(void *arg, uint32_t thread)
{
    const struct experts_job *job = arg;
    struct cpu_device *cpu = job->cpu;
    const struct expert_part *part = cpu->parts;

    ff_units(job, thread);
    pool_barrier(cpu->pool);
    for (uint32_t row = thread; row < job->n_rows; row = cpu_take_unit(cpu, 1)) {
        while (row >= part->hidden0 + part->n_rows)
            part++;
        prepare_unit(job, part, row);
    }
    pool_barrier(cpu->pool);
    down_units(job, thread);
}

static int experts_check(struct cpu_device *cpu, const struct acts *acts, const struct expert_call *call)
{
    if (call->gate.cols != acts->n_cols || call->up.cols != acts->n_cols || call->up.rows != call->gate.rows ||
        call->down.cols != call->gate.rows)
        return err_set(&cpu->device.err, -EINVAL, "an expert of %ux%u, %ux%u, %ux%u on rows of %u", call->gate.rows,
                       call->gate.cols, call->up.rows, call->up.cols, call->down.rows, call->down.cols, acts->n_cols);
    if (call->gate.rows > cpu->options.max_ff)
        return err_set(&cpu->device.err, -EINVAL, "an expert %u wide, where at most %u was announced", call->gate.rows,
                       cpu->options.max_ff);
    return 0;
}

static void experts_slice_run(struct experts_job *job)
{
    cpu_share(job->cpu, 0, job->n_ff_units);
    cpu_share(job->cpu, 1, job->n_down_units);
    if (job->n_rows > 0)
        cpu_run(job->cpu, experts_on_thread, job);
    job->n_parts = job->n_rows = job->n_ff_units = job->n_down_units = 0;
}

/* Of so many, with room for so many. */
static uint32_t rows_of_part(const struct acts *acts, uint32_t n_rows, uint32_t room)
{
    uint32_t n = n_rows < room ? n_rows : room;

    return acts->gathered_rows > 0 && n > acts->gathered_rows ? acts->gathered_rows : n;
}

/* Parts are collected until the scratch is full, then computed together. */
int cpu_experts(struct device *device, struct acts *acts, const struct expert_call *calls, uint32_t n_calls, float *y)
{
    struct cpu_device *cpu = cpu_device_of(device);
    struct experts_job job = { .cpu = cpu, .acts = acts, .y = y };
    uint32_t max_rows = cpu->options.max_expert_rows;
    uint64_t ff_rows = 0;

    for (uint32_t c = 0; c < n_calls; c++) {
        int r = experts_check(cpu, acts, &calls[c]);

        if (r < 0)
            return r;
        ff_rows += calls[c].gate.rows;
        job.rows[act_flavour_of(calls[c].gate.type)] = cpu_acts_ready(cpu, acts, calls[c].gate.type);
        job.rows[act_flavour_of(calls[c].up.type)] = cpu_acts_ready(cpu, acts, calls[c].up.type);
    }
    for (uint32_t c = 0; c < n_calls; c++)
        for (uint32_t row = 0; row < calls[c].n_rows;) {
            uint32_t n = rows_of_part(acts, calls[c].n_rows - row, max_rows - job.n_rows);
            struct expert_part *part = &cpu->parts[job.n_parts++];

            *part = (struct expert_part){
                &calls[c], row, n, job.n_rows, job.n_ff_units, job.n_down_units, product_unit_rows(cpu, ff_rows, n)
            };
            job.n_rows += n;
            job.n_ff_units += units_of(part, calls[c].gate.rows);
            job.n_down_units += units_of(part, calls[c].down.rows);
            row += n;
            if (job.n_rows == max_rows)
                experts_slice_run(&job);
        }
    experts_slice_run(&job);
    return 0;
}
