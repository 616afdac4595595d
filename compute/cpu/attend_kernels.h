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

/* Products of a query with n keys become scores, those of the rest of the block minus infinity; returns the greatest,
 * or NaN where there is one. */
VEC_INLINE float scores_finish(const struct attend_block *b, uint32_t n, float *scores)
{
    part_f32 most = part_splat(-INFINITY);

    for (uint32_t j = n; j < ATTEND_KEYS; j++)
        scores[j] = 0;
    for (uint32_t j = 0; j < ATTEND_KEYS; j += PART_LANES)
        part_store(scores + j, part_load(scores + j) * b->scale);
    for (uint32_t j = n; j < ATTEND_KEYS; j++)
        scores[j] = -INFINITY;
    for (uint32_t j = 0; j < ATTEND_KEYS; j += PART_LANES) {
        part_f32 s = part_load(scores + j);

        most = part_select((s > most) | (s != s), s, most);
    }
    return part_greatest(most);
}

/* Scores become weights, which the query's greatest score and sum take in; returns what its values so far count. */
VEC_INLINE float weigh(const struct attend_block *b, uint32_t t, float *scores)
{
    float max = scores_finish(b, b->n_keys[t], scores), keep;
    struct vec sum = { 0 };

    max = max > b->max[t] || max != max ? max : b->max[t];
    keep = part_exp(part_splat(b->max[t] - max))[0];
    for (uint32_t j = 0; j < ATTEND_KEYS; j += VEC_LANES)
        EACH_PART(p, float *at = scores + j + PART_LANES * p; part_f32 e = part_exp(part_load(at) - max);
                  part_store(at, e); sum.part[p] += e);
    b->sum[t] = b->sum[t] * keep + vec_sum(&sum);
    b->max[t] = max;
    return keep;
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

VEC_INLINE void attend_query(const struct attend_block *b, const struct attend_rows *rows, enum quant_type type,
                             uint32_t t)
{
    float weights[ATTEND_KEYS], keep;

    if (b->n_keys[t] == 0)
        return;
    rows_near(type, rows->k, rows->stride, b->n_keys[t], b->head_dim, b->q[t], weights);
    keep = weigh(b, t, weights);
    attend_values(b, rows, type, weights, b->n_keys[t], keep, b->y[t]);
}

/* ---- four queries at once, where there are registers for it: a key or value that is loaded serves all four ---- */

enum { GROUP = 4, GROUP_VECS = 4 };

/* Products of four queries with four keys of n dimensions, a multiple of sixteen. Out of line, for all of its pointers
 * to find registers. */
static __attribute__((noinline)) void group_dots(const float *k, const float *const *q, uint32_t n,
                                                 float dots[GROUP * 4])
{
    struct vec sum[GROUP * 4] = { 0 };
    const float *q0 = q[0], *q1 = q[1], *q2 = q[2], *q3 = q[3], *k2 = k + 2 * (size_t)n;

    for (uint32_t i = 0; i < n; i += VEC_LANES)
        EACH_PART(
            p, size_t at = i + PART_LANES * p;
            part_f32 key[4] = { part_load(k + at), part_load(k + n + at), part_load(k2 + at), part_load(k2 + n + at) };
            part_f32 x[GROUP] = { part_load(q0 + at), part_load(q1 + at), part_load(q2 + at), part_load(q3 + at) };
            _Pragma("GCC unroll 16") for (int t = 0; t < GROUP * 4; t++) sum[t].part[p] += key[t % 4] * x[t / 4]);
    vec_sum_sixteen(sum, dots);
}

/* attend_span for four queries, which see n keys each. */
VEC_INLINE void group_span(const float *v, uint32_t dim, float (*weights)[ATTEND_KEYS], uint32_t n, const float *keep,
                           size_t i, const int n_vecs, float *const *y)
{
    struct vec sum[GROUP][GROUP_VECS];

    _Pragma("GCC unroll 4") for (int t = 0; t < GROUP; t++) _Pragma("GCC unroll 4") for (int s = 0; s < n_vecs; s++)
        EACH_PART(p, sum[t][s].part[p] = part_load(y[t] + i + VEC_LANES * s + PART_LANES * p) * keep[t]);
    for (uint32_t j = 0; j < n; j++)
        _Pragma("GCC unroll 4") for (int s = 0; s < n_vecs; s++)
            EACH_PART(p, part_f32 x = part_load(v + (size_t)j * dim + i + VEC_LANES * s + PART_LANES * p);
                      _Pragma("GCC unroll 4") for (int t = 0; t < GROUP; t++) sum[t][s].part[p] += x * weights[t][j]);
    _Pragma("GCC unroll 4") for (int t = 0; t < GROUP; t++) _Pragma("GCC unroll 4") for (int s = 0; s < n_vecs; s++)
        EACH_PART(p, part_store(y[t] + i + VEC_LANES * s + PART_LANES * p, sum[t][s].part[p]));
}

static __attribute__((noinline)) void group_values(const float *v, uint32_t dim, float (*weights)[ATTEND_KEYS],
                                                   uint32_t n, const float *keep, float *const *y)
{
    size_t i = 0;

    for (; i + GROUP_VECS * VEC_LANES <= dim; i += GROUP_VECS * VEC_LANES)
        group_span(v, dim, weights, n, keep, i, GROUP_VECS, y);
    for (; i < dim; i += VEC_LANES)
        group_span(v, dim, weights, n, keep, i, 1, y);
}

/* Queries t .. t + 3, of which each sees at least `least` keys and none more than `most`. */
VEC_INLINE void attend_group(const struct attend_block *b, const struct attend_rows *rows, uint32_t t, uint32_t least,
                             uint32_t most)
{
    float weights[GROUP][ATTEND_KEYS], keep[GROUP];
    uint32_t dim = b->head_dim, j = 0;

    for (; j + 4 <= most; j += 4) {
        float dots[GROUP * 4];

        group_dots((const float *)rows->k + (size_t)j * dim, b->q + t, dim, dots);
        for (int g = 0; g < GROUP; g++)
            memcpy(&weights[g][j], dots + (ptrdiff_t)4 * g, 4 * sizeof(float));
    }
    for (; j < most; j++)
        for (uint32_t g = 0; g < GROUP; g++)
            weights[g][j] = dot_one(QUANT_F32, (const float *)rows->k + (size_t)j * dim, b->q[t + g], dim);
    for (uint32_t g = 0; g < GROUP; g++)
        keep[g] = weigh(b, t + g, weights[g]);
    group_values(rows->v, dim, weights, least, keep, b->y + t);
    for (uint32_t g = 0; g < GROUP; g++) {
        struct attend_rows rest = { rows->k, (const float *)rows->v + (size_t)least * dim, rows->stride };

        if (b->n_keys[t + g] > least)
            attend_values(b, &rest, QUANT_F32, weights[g] + least, b->n_keys[t + g] - least, 1, b->y[t + g]);
    }
}

/* Rows lie side by side as f32. */
VEC_INLINE void attend_near_queries(const struct attend_block *b, const struct attend_rows *rows)
{
    bool groups = PART_LANES == VEC_LANES && b->head_dim % VEC_LANES == 0;
    uint32_t t = 0;

    while (t < b->n_queries) {
        uint32_t least = ATTEND_KEYS, most = 0;

        for (uint32_t g = t; g < t + GROUP && g < b->n_queries; g++) {
            least = b->n_keys[g] < least ? b->n_keys[g] : least;
            most = b->n_keys[g] > most ? b->n_keys[g] : most;
        }
        if (groups && t + GROUP <= b->n_queries && least > 0) {
            attend_group(b, rows, t, least, most);
            t += GROUP;
        } else {
            attend_query(b, rows, QUANT_F32, t++);
        }
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
    attend_near_queries(b, &near);
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
        for (uint32_t t = 0; t < b->n_queries; t++)
            attend_query(b, &rows, type, t);
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
