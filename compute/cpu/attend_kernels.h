/* SPDX-License-Identifier: MIT
 *
 * attend_kernels.h: queries against the keys and values of a block of positions, one step of an online softmax.
 *
 * Part of float_kernels.h: written in vec.h's vectors, compiled once per level. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_ATTEND_KERNELS_H
#define EXPERTD_COMPUTE_CPU_ATTEND_KERNELS_H

#include "compute/cpu/float_dots.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/vec.h"

#include <math.h>

enum { NEAR_QUERIES = 4, NEAR_DIM = 128 };

/* Keys and values where one query after the other reads them. */
struct attend_rows {
    const void *k, *v;
    size_t stride; /* bytes */
};

/* Scores of one query against n keys, the rest of the block at minus infinity; returns the greatest, or NaN. */
VEC_INLINE float attend_scores(const struct attend_block *b, const struct attend_rows *rows, enum quant_type type,
                               const float *q, uint32_t n, float *scores)
{
    float max = -INFINITY;

    rows_near(type, rows->k, rows->stride, n, b->head_dim, q, scores);
    for (uint32_t j = 0; j < n; j++) {
        scores[j] *= b->scale;
        max = scores[j] > max || scores[j] != scores[j] ? scores[j] : max;
    }
    for (uint32_t j = n; j < ATTEND_KEYS; j++)
        scores[j] = -INFINITY;
    return max;
}

/* n_vecs times sixteen dimensions of a value, from i on; those of Q8_0 begin with a block where there are several. */
VEC_INLINE void add_value(enum quant_type type, const void *v, size_t i, const int n_vecs, float weight,
                          struct vec *sum)
{
    if (type != QUANT_Q8_0 || n_vecs == 1) {
        _Pragma("GCC unroll 8") for (int s = 0; s < n_vecs; s++)
            EACH_PART(p, sum[s].part[p] += load_weights(type, v, i + VEC_LANES * s + PART_LANES * p) * weight);
        return;
    }
    _Pragma("GCC unroll 4") for (int s = 0; s < n_vecs; s += 2)
    {
        const int8_t *q = q8_0_bytes(v, i + VEC_LANES * s);
        part_f32 d = part_splat_f16(q8_0_block(v, i + VEC_LANES * s));

        __builtin_prefetch(q + Q8_0_AHEAD);
        EACH_PART(p, sum[s].part[p] += d * part_from_i8(q + PART_LANES * p) * weight);
        q += VEC_LANES;
        EACH_PART(p, sum[s + 1].part[p] += d * part_from_i8(q + PART_LANES * p) * weight);
    }
}

/* y = y * keep + sum over keys of weight * value, in order of position, for n_vecs times sixteen dimensions. */
VEC_INLINE void attend_span(const struct attend_rows *rows, enum quant_type type, const float *weights, uint32_t n,
                            float keep, size_t i, const int n_vecs, float *y)
{
    const char *v = rows->v;
    struct vec sum[8];

    _Pragma("GCC unroll 8") for (int s = 0; s < n_vecs; s++)
        EACH_PART(p, sum[s].part[p] = part_load(y + i + VEC_LANES * s + PART_LANES * p) * keep);
    for (uint32_t j = 0; j < n; j++, v += rows->stride)
        add_value(type, v, i, n_vecs, weights[j], sum);
    _Pragma("GCC unroll 8") for (int s = 0; s < n_vecs; s++)
        EACH_PART(p, part_store(y + i + VEC_LANES * s + PART_LANES * p, sum[s].part[p]));
}

VEC_INLINE void attend_values(const struct attend_block *b, const struct attend_rows *rows, enum quant_type type,
                              const float *weights, uint32_t n, float keep, float *y)
{
    enum { SPAN = PART_LANES == 16 ? 8 : PART_LANES == 8 ? 4 : 2 }; /* as many sums as there are registers */
    size_t i = 0;

    for (; i + SPAN * VEC_LANES <= b->head_dim; i += SPAN * VEC_LANES)
        attend_span(rows, type, weights, n, keep, i, SPAN, y);
    for (; SPAN > 2 && i + 2 * VEC_LANES <= b->head_dim; i += 2 * VEC_LANES)
        attend_span(rows, type, weights, n, keep, i, 2, y);
    for (; i + VEC_LANES <= b->head_dim; i += VEC_LANES)
        attend_span(rows, type, weights, n, keep, i, 1, y);
    for (; i < b->head_dim; i++) {
        y[i] *= keep;
        for (uint32_t j = 0; j < n; j++)
            y[i] += load_weight(type, (const char *)rows->v + j * rows->stride, i) * weights[j];
    }
}

VEC_INLINE void attend_queries(const struct attend_block *b, const struct attend_rows *rows, enum quant_type type)
{
    for (uint32_t t = 0; t < b->n_queries; t++) {
        float weights[ATTEND_KEYS], max, keep;
        struct vec sum = { 0 };

        if (b->n_keys[t] == 0)
            continue;
        max = attend_scores(b, rows, type, b->q[t], b->n_keys[t], weights);
        max = max > b->max[t] || max != max ? max : b->max[t];
        keep = part_exp(part_splat(b->max[t] - max))[0];
        for (uint32_t j = 0; j < ATTEND_KEYS; j += VEC_LANES)
            EACH_PART(p, float *at = weights + j + PART_LANES * p; part_f32 e = part_exp(part_load(at) - max);
                      part_store(at, e); sum.part[p] += e);
        attend_values(b, rows, type, weights, b->n_keys[t], keep, b->y[t]);
        b->sum[t] = b->sum[t] * keep + vec_sum(&sum);
        b->max[t] = max;
    }
}

/* Many queries: rows are made f32 and put side by side once. */
VEC_INLINE void attend_near(const struct attend_block *b, const struct attend_rows *far, enum quant_type type,
                            uint32_t n)
{
    float k[ATTEND_KEYS * NEAR_DIM], v[ATTEND_KEYS * NEAR_DIM];
    struct attend_rows near = { k, v, b->head_dim * sizeof(float) };

    for (uint32_t j = 0; j < n; j++) {
        decode_float(type, (const char *)far->k + j * far->stride, b->head_dim, k + (size_t)j * b->head_dim);
        decode_float(type, (const char *)far->v + j * far->stride, b->head_dim, v + (size_t)j * b->head_dim);
    }
    attend_queries(b, &near, QUANT_F32);
}

VEC_INLINE void attend_typed(const struct attend_block *b, enum quant_type type)
{
    struct attend_rows rows = { b->k, b->v, b->row_bytes };
    uint32_t n = 0;

    for (uint32_t t = 0; t < b->n_queries; t++)
        n = b->n_keys[t] > n ? b->n_keys[t] : n;
    if (b->n_queries >= NEAR_QUERIES && b->head_dim <= NEAR_DIM)
        attend_near(b, &rows, type, n);
    else
        attend_queries(b, &rows, type);
}

static void attend_float(const struct attend_block *b)
{
    if (b->kv_type == KV_F16)
        attend_typed(b, QUANT_F16);
    else if (b->kv_type == KV_Q8_0)
        attend_typed(b, QUANT_Q8_0);
    else
        attend_typed(b, QUANT_F32);
}

#endif
