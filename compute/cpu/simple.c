/* SPDX-License-Identifier: MIT
 *
 * simple.c: the operations that are one pass over rows: embedding, norm, rotation, routing, sums.
 */
#include "compute/cpu/cpu_internal.h"
#include "compute/exp.h"

#include <errno.h>
#include <math.h>

int cpu_embed(struct device *device, const struct weight *table, const int32_t *ids, uint32_t n, float *y)
{
    size_t bytes = quant_row_bytes(table->type, table->cols);

    for (uint32_t t = 0; t < n; t++) {
        if (ids[t] < 0 || (uint32_t)ids[t] >= table->rows)
            return err_set(&device->err, -EINVAL, "token %d of a vocabulary of %u", ids[t], table->rows);
        quant_decode(table->type, (const char *)table->data + (uint32_t)ids[t] * bytes, y + (size_t)t * table->cols,
                     table->cols);
    }
    return 0;
}

struct rms_norm_job {
    struct cpu_device *cpu;
    const float *x, *w;
    float *y;
    float eps;
    size_t n_cols;
};

static void rms_norm_row(void *arg, size_t row)
{
    const struct rms_norm_job *job = arg;
    size_t at = row * job->n_cols;

    job->cpu->kernels.rms_norm(job->x + at, job->w, job->eps, job->n_cols, job->y + at);
}

int cpu_rms_norm(struct device *device, const float *x, const float *w, float eps, uint32_t n_rows, uint32_t n_cols,
                 float *y)
{
    struct rms_norm_job job = { cpu_device_of(device), x, w, y, eps, n_cols };

    cpu_each_row(job.cpu, n_rows, n_cols, rms_norm_row, &job);
    return 0;
}

static void rotate(const struct rope *rope, float *x, uint32_t i, float cosine, float sine)
{
    uint32_t a = rope->layout == ROPE_NORM ? 2 * i : i;
    uint32_t b = rope->layout == ROPE_NORM ? 2 * i + 1 : i + rope->n_rot / 2;
    float xa = x[a], xb = x[b];

    x[a] = xa * cosine - xb * sine;
    x[b] = xa * sine + xb * cosine;
}

struct rope_job {
    const struct rope *rope;
    float *x;
    const uint32_t *pos;
    uint32_t n_heads, head_dim;
};

static void rope_token(void *arg, size_t t)
{
    const struct rope_job *job = arg;
    float *x = job->x + t * job->n_heads * job->head_dim;

    for (uint32_t i = 0; i < job->rope->n_rot / 2; i++) {
        double sine, cosine;

        sincos((double)job->pos[t] * (double)job->rope->inv_freq[i], &sine, &cosine);
        for (uint32_t h = 0; h < job->n_heads; h++)
            rotate(job->rope, x + (size_t)h * job->head_dim, i, (float)cosine * job->rope->magnitude,
                   (float)sine * job->rope->magnitude);
    }
}

int cpu_rope(struct device *device, const struct rope *rope, float *x, const uint32_t *pos, uint32_t n_tokens,
             uint32_t n_heads, uint32_t head_dim)
{
    struct rope_job job = { rope, x, pos, n_heads, head_dim };

    if (rope->n_rot > head_dim || rope->n_rot % 2 != 0)
        return err_set(&device->err, -EINVAL, "cannot rotate %u of %u dimensions", rope->n_rot, head_dim);
    cpu_each_row(cpu_device_of(device), n_tokens, (size_t)rope->n_rot * 8 + (size_t)n_heads * head_dim, rope_token,
                 &job);
    return 0;
}

/* Positions of the n greatest logits, best first, ties to the lower index. */
static void choose(const float *logits, uint32_t n_experts, uint32_t n, uint16_t *ret_ids)
{
    for (uint32_t j = 0; j < n; j++) {
        uint32_t best = UINT32_MAX;

        for (uint32_t e = 0; e < n_experts; e++) {
            bool taken = false;

            if (best != UINT32_MAX && !(logits[e] > logits[best]))
                continue;
            for (uint32_t i = 0; i < j && !taken; i++)
                taken = ret_ids[i] == e;
            if (!taken)
                best = e;
        }
        ret_ids[j] = (uint16_t)best;
    }
}

/* Of the experts chosen; with softmax, relative to all. */
static void gate(const struct route *route, const float *logits, const uint16_t *ids, float *ret_weights)
{
    double sum = 0;

    if (route->gating == ROUTE_SIGMOID) {
        for (uint32_t j = 0; j < route->n_used; j++)
            ret_weights[j] = (float)(1 / (1 + exp_f64(-(double)logits[ids[j]])));
        return;
    }
    for (uint32_t e = 0; e < route->n_experts; e++)
        sum += exp_f64((double)logits[e] - (double)logits[ids[0]]);
    for (uint32_t j = 0; j < route->n_used; j++)
        ret_weights[j] = (float)(exp_f64((double)logits[ids[j]] - (double)logits[ids[0]]) / sum);
}

int cpu_route(struct device *device, const struct route *route, const float *logits, uint32_t n, uint16_t *ret_ids,
              float *ret_weights)
{
    if (route->n_used > route->n_experts || route->n_experts > UINT16_MAX)
        return err_set(&device->err, -EINVAL, "cannot choose %u of %u experts", route->n_used, route->n_experts);
    for (size_t t = 0; t < n; t++) {
        uint16_t *ids = ret_ids + t * route->n_used;
        float *weights = ret_weights + t * route->n_used, sum = 0;

        choose(logits + t * route->n_experts, route->n_experts, route->n_used, ids);
        gate(route, logits + t * route->n_experts, ids, weights);
        for (uint32_t j = 0; j < route->n_used; j++)
            sum += weights[j];
        for (uint32_t j = 0; j < route->n_used; j++)
            weights[j] = (route->renormalise ? weights[j] / sum : weights[j]) * route->scale;
    }
    return 0;
}

struct combine_job {
    struct cpu_device *cpu;
    float *x;
    const float *y, *weights;
    size_t n_used, n_embd;
};

/* The sum is complete before it meets x, as in the models' own code. */
static void combine_token(void *arg, size_t t)
{
    enum { SPAN = 256 };
    const struct combine_job *job = arg;
    const struct cpu_kernels *k = &job->cpu->kernels;

    for (size_t at = 0; at < job->n_embd; at += SPAN) {
        size_t len = job->n_embd - at < SPAN ? job->n_embd - at : SPAN;
        float sum[SPAN] = { 0 };

        for (size_t j = t * job->n_used; j < (t + 1) * job->n_used; j++)
            k->add_scaled(job->y + j * job->n_embd + at, job->weights[j], len, sum);
        k->add_scaled(sum, 1, len, job->x + t * job->n_embd + at);
    }
}

int cpu_combine(struct device *device, float *x, const float *y, const float *weights, uint32_t n, uint32_t n_used,
                uint32_t n_embd)
{
    struct combine_job job = { cpu_device_of(device), x, y, weights, n_used, n_embd };

    cpu_each_row(job.cpu, n, (size_t)n_used * n_embd, combine_token, &job);
    return 0;
}

struct add_job {
    struct cpu_device *cpu;
    float *x;
    const float *y, *gate;
    size_t n_cols;
};

static void add_token(void *arg, size_t t)
{
    const struct add_job *job = arg;
    float scale = job->gate != NULL ? (float)(1 / (1 + exp_f64(-(double)job->gate[t]))) : 1;

    job->cpu->kernels.add_scaled(job->y + t * job->n_cols, scale, job->n_cols, job->x + t * job->n_cols);
}

int cpu_add(struct device *device, float *x, const float *y, const float *gate_logits, uint32_t n, uint32_t n_cols)
{
    struct add_job job = { cpu_device_of(device), x, y, gate_logits, n_cols };

    cpu_each_row(job.cpu, n, n_cols, add_token, &job);
    return 0;
}
