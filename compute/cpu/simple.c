/* SPDX-License-Identifier: MIT
 *
 * simple.c: the operations that are one pass over rows: embedding, norm, rotation, routing, sums.
 */
#include "compute/cpu/cpu_internal.h"

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

int cpu_rms_norm(struct device *device, const float *x, const float *w, float eps, uint32_t n_rows, uint32_t n_cols,
                 float *y)
{
    const struct cpu_kernels *k = &cpu_device_of(device)->kernels;

    for (size_t r = 0; r < n_rows; r++)
        k->rms_norm(x + r * n_cols, w, eps, n_cols, y + r * n_cols);
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

int cpu_rope(struct device *device, const struct rope *rope, float *x, const uint32_t *pos, uint32_t n_tokens,
             uint32_t n_heads, uint32_t head_dim)
{
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
            double angle = (double)pos[t] * (double)rope->inv_freq[i];
            float cosine = (float)cos(angle) * rope->magnitude, sine = (float)sin(angle) * rope->magnitude;

            for (uint32_t h = 0; h < n_heads; h++)
                rotate(rope, x + ((size_t)t * n_heads + h) * head_dim, i, cosine, sine);
        }
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
            ret_weights[j] = (float)(1 / (1 + exp(-(double)logits[ids[j]])));
        return;
    }
    for (uint32_t e = 0; e < route->n_experts; e++)
        sum += exp((double)logits[e] - (double)logits[ids[0]]);
    for (uint32_t j = 0; j < route->n_used; j++)
        ret_weights[j] = (float)(exp((double)logits[ids[j]] - (double)logits[ids[0]]) / sum);
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

/* The sum is complete before it meets x, as in the models' own code. */
int cpu_combine(struct device *device, float *x, const float *y, const float *weights, uint32_t n, uint32_t n_used,
                uint32_t n_embd)
{
    enum { SPAN = 256 };
    const struct cpu_kernels *k = &cpu_device_of(device)->kernels;

    for (size_t t = 0; t < n; t++)
        for (size_t at = 0; at < n_embd; at += SPAN) {
            size_t len = n_embd - at < SPAN ? n_embd - at : SPAN;
            float sum[SPAN] = { 0 };

            for (size_t j = 0; j < n_used; j++)
                k->add_scaled(y + (t * n_used + j) * n_embd + at, weights[t * n_used + j], len, sum);
            k->add_scaled(sum, 1, len, x + t * n_embd + at);
        }
    return 0;
}

int cpu_add(struct device *device, float *x, const float *y, const float *gate_logits, uint32_t n, uint32_t n_cols)
{
    const struct cpu_kernels *k = &cpu_device_of(device)->kernels;

    for (size_t t = 0; t < n; t++) {
        float scale = gate_logits != NULL ? (float)(1 / (1 + exp(-(double)gate_logits[t]))) : 1;

        k->add_scaled(y + t * n_cols, scale, n_cols, x + t * n_cols);
    }
    return 0;
}
