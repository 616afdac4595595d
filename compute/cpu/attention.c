/* SPDX-License-Identifier: MIT
 *
 * attention.c: keys and values, and attention over them with an online softmax.
 *
 * Positions are visited in blocks of ATTEND_KEYS counted from position 0, so what a query computes depends on its own
 * position alone. Each ATTEND_SPAN of them is computed by itself and merged with what the spans before it gave: so a
 * device may compute the spans beside each other, and the bits are the same. A unit of work is one KV head with the
 * query heads that share it and a few tokens, which read each block of keys and values once.
 */
#include "compute/cpu/cpu_internal.h"
#include "compute/cpu/vec.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    UNIT_QUERIES = 64,
    UNIT_FLOATS = 8192, /* of a span's results, on the stack; a head is no wider */
};

struct attention_job {
    struct cpu_device *cpu;
    const struct attention *a;
    uint32_t group;      /* query heads per KV head */
    uint32_t unit_heads; /* of the group, in one unit */
    uint32_t unit_tokens;
    uint32_t n_head_units, n_token_units; /* head units of all KV heads */
};

struct query_set {
    const float *q[UNIT_QUERIES];
    float *y[UNIT_QUERIES];
    uint32_t pos[UNIT_QUERIES];
    uint32_t n_keys[UNIT_QUERIES];
    float max[UNIT_QUERIES], sum[UNIT_QUERIES];
    uint32_t n;
};

static void queries_add(struct query_set *set, const struct attention *a, uint32_t token, uint32_t head)
{
    size_t row = ((size_t)token * a->n_heads + head) * a->head_dim;

    set->q[set->n] = a->q + row;
    set->y[set->n] = a->y + row;
    set->pos[set->n] = a->pos0 + token;
    set->max[set->n] = -INFINITY;
    set->sum[set->n] = 0;
    memset(a->y + row, 0, a->head_dim * sizeof(float));
    set->n++;
}

/* Keys key0 .. end - 1, into y, max and sum. */
static void queries_attend(const struct attention_job *job, struct query_set *set, float *const *y, uint32_t kv_head,
                           uint32_t key0, uint32_t end)
{
    const struct attention *a = job->a;
    size_t row_bytes = kv_row_bytes(a->kv_type, a->head_dim);

    for (; key0 < end; key0 += ATTEND_KEYS) {
        size_t at = kv_at(&a->kv, row_bytes, kv_head, key0);
        struct attend_block block = {
            .k = (const char *)a->kv.k + at,
            .v = (const char *)a->kv.v + at,
            .kv_type = a->kv_type,
            .row_bytes = row_bytes,
            .head_dim = a->head_dim,
            .scale = a->scale,
            .n_queries = set->n,
            .q = set->q,
            .y = y,
            .n_keys = set->n_keys,
            .max = set->max,
            .sum = set->sum,
        };

        for (uint32_t i = 0; i < set->n; i++) {
            uint32_t seen = set->pos[i] + 1 > key0 ? set->pos[i] + 1 - key0 : 0;

            set->n_keys[i] = seen < ATTEND_KEYS ? seen : ATTEND_KEYS;
        }
        job->cpu->kernels.attend(&block);
    }
}

/* What a query has of the spans before, and what the next one gives it. */
struct span_result {
    float *y;
    float max, sum;
};

static void span_merge(struct span_result *total, const struct span_result *span, uint32_t head_dim)
{
    float max = span->max > total->max || span->max != span->max ? span->max : total->max;
    float keep_total = part_exp(part_splat(total->max - max))[0];
    float keep_span = part_exp(part_splat(span->max - max))[0];

    for (uint32_t d = 0; d < head_dim; d++)
        total->y[d] = total->y[d] * keep_total + span->y[d] * keep_span;
    total->sum = total->sum * keep_total + span->sum * keep_span;
    total->max = max;
}

/* A later span, which starts from nothing. */
static void queries_attend_span(const struct attention_job *job, struct query_set *set, uint32_t kv_head, uint32_t key0,
                                uint32_t end)
{
    uint32_t head_dim = job->a->head_dim;
    float y[UNIT_FLOATS], max[UNIT_QUERIES], sum[UNIT_QUERIES], *rows[UNIT_QUERIES];

    memset(y, 0, set->n * head_dim * sizeof(float));
    for (uint32_t i = 0; i < set->n; i++) {
        rows[i] = y + i * head_dim;
        max[i] = set->max[i];
        sum[i] = set->sum[i];
        set->max[i] = -INFINITY;
        set->sum[i] = 0;
    }
    queries_attend(job, set, rows, kv_head, key0, end);
    for (uint32_t i = 0; i < set->n; i++) {
        struct span_result total = { set->y[i], max[i], sum[i] };

        if (set->pos[i] >= key0)
            span_merge(&total, &(struct span_result){ rows[i], set->max[i], set->sum[i] }, head_dim);
        set->max[i] = total.max;
        set->sum[i] = total.sum;
    }
}

static void queries_attend_all(const struct attention_job *job, struct query_set *set, uint32_t kv_head, uint32_t last)
{
    uint32_t end = last + 1;

    queries_attend(job, set, set->y, kv_head, 0, end < ATTEND_SPAN ? end : ATTEND_SPAN);
    for (uint32_t key0 = ATTEND_SPAN; key0 < end; key0 += ATTEND_SPAN)
        queries_attend_span(job, set, kv_head, key0, end - key0 < ATTEND_SPAN ? end : key0 + ATTEND_SPAN);
    for (uint32_t i = 0; i < set->n; i++)
        for (uint32_t d = 0; d < job->a->head_dim; d++)
            set->y[i][d] /= set->sum[i];
}

static void attention_on_thread(void *arg, uint32_t thread)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->a;
    uint32_t units_per_kv_head = (job->group + job->unit_heads - 1) / job->unit_heads;
    uint32_t n_units = job->n_head_units * job->n_token_units;

    for (uint32_t unit = thread; unit < n_units; unit = cpu_take_unit(job->cpu, 0)) {
        /* All of a head's, whose keys and values the cache then holds; late tokens first, which see the most keys. */
        uint32_t token0 = (job->n_token_units - 1 - unit % job->n_token_units) * job->unit_tokens;
        uint32_t head_unit = unit / job->n_token_units, kv_head = head_unit / units_per_kv_head;
        uint32_t head0 = head_unit % units_per_kv_head * job->unit_heads;
        uint32_t token_end = token0 + job->unit_tokens < a->n_tokens ? token0 + job->unit_tokens : a->n_tokens;
        uint32_t head_end = head0 + job->unit_heads < job->group ? head0 + job->unit_heads : job->group;
        struct query_set set = { .n = 0 };

        for (uint32_t t = token0; t < token_end; t++)
            for (uint32_t h = head0; h < head_end; h++)
                queries_add(&set, a, t, kv_head * job->group + h);
        queries_attend_all(job, &set, kv_head, a->pos0 + token_end - 1);
    }
}

int cpu_attention(struct device *device, const struct attention *a)
{
    struct attention_job job = { .cpu = cpu_device_of(device), .a = a };
    uint32_t unit;

    if (a->n_kv_heads == 0 || a->n_heads % a->n_kv_heads != 0)
        return err_set(&device->err, -EINVAL, "%u query heads cannot share %u KV heads", a->n_heads, a->n_kv_heads);
    if (a->n_tokens == 0)
        return 0;
    if (a->head_dim == 0 || a->head_dim > UNIT_FLOATS)
        return err_set(&device->err, -EINVAL, "heads of %u dimensions, where at most %u are computed", a->head_dim,
                       UNIT_FLOATS);
    job.group = a->n_heads / a->n_kv_heads;
    unit = UNIT_FLOATS / a->head_dim < UNIT_QUERIES ? UNIT_FLOATS / a->head_dim : UNIT_QUERIES;
    job.unit_heads = job.group < unit ? job.group : unit;
    job.unit_tokens = unit / job.unit_heads;
    job.n_head_units = a->n_kv_heads * ((job.group + job.unit_heads - 1) / job.unit_heads);
    job.n_token_units = (a->n_tokens + job.unit_tokens - 1) / job.unit_tokens;
    cpu_run(job.cpu, attention_on_thread, &job);
    return 0;
}

struct kv_store_job {
    struct cpu_device *cpu;
    const struct kv_view *kv;
    enum kv_type type;
    uint32_t pos0, n_kv_heads, head_dim;
    const float *k, *v;
};

static void kv_store_head(const struct kv_store_job *job, const float *x, void *row)
{
    if (job->type == KV_F16)
        job->cpu->kernels.to_f16(x, job->head_dim, row);
    else if (job->type == KV_Q8_0)
        job->cpu->kernels.to_q8_0(x, job->head_dim, row);
    else
        memcpy(row, x, job->head_dim * sizeof(float));
}

static void kv_store_row(void *arg, size_t t)
{
    const struct kv_store_job *job = arg;
    size_t row_bytes = kv_row_bytes(job->type, job->head_dim);

    for (size_t h = 0; h < job->n_kv_heads; h++) {
        size_t from = (t * job->n_kv_heads + h) * job->head_dim;
        size_t to = kv_at(job->kv, row_bytes, (uint32_t)h, job->pos0 + (uint32_t)t);

        kv_store_head(job, job->k + from, (char *)job->kv->k + to);
        kv_store_head(job, job->v + from, (char *)job->kv->v + to);
    }
}

int cpu_kv_store(struct device *device, const struct kv_view *kv, enum kv_type type, uint32_t pos0, uint32_t n,
                 uint32_t n_kv_heads, uint32_t head_dim, const float *k, const float *v)
{
    struct kv_store_job job = { cpu_device_of(device), kv, type, pos0, n_kv_heads, head_dim, k, v };

    cpu_each_row(job.cpu, n, (size_t)n_kv_heads * head_dim, kv_store_row, &job);
    return 0;
}
