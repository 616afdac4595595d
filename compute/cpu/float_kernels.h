/* SPDX-License-Identifier: MIT
 *
 * float_kernels.h: the kernels that compute in f32, written once in vec.h's vectors and compiled once per level.
 *
 * Included by each level's file, which puts them into its table with float_kernels_fill. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H
#define EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/tile_rows.h"
#include "compute/cpu/vec.h"
#include "compute/half.h"

#include <math.h>

VEC_INLINE part_f32 load_weights(enum quant_type type, const void *w, size_t i)
{
    if (type == QUANT_F32)
        return part_load((const float *)w + i);
    return type == QUANT_F16 ? part_from_f16((const uint16_t *)w + i) : part_from_bf16((const uint16_t *)w + i);
}

VEC_INLINE float load_weight(enum quant_type type, const void *w, size_t i)
{
    if (type == QUANT_F32)
        return ((const float *)w)[i];
    return type == QUANT_F16 ? half_to_float(((const uint16_t *)w)[i]) : bf16_to_float(((const uint16_t *)w)[i]);
}

/* Sixteen weights, of which n are there and the others 0, as f32. */
VEC_INLINE void load_tail(enum quant_type type, const void *w, size_t i, size_t n, float tail[VEC_LANES])
{
    for (size_t j = 0; j < VEC_LANES; j++)
        tail[j] = j < n ? load_weight(type, w, i + j) : 0;
}

VEC_INLINE void add_products(struct vec *sum, enum quant_type type, const void *w, const float *x, size_t i)
{
    EACH_PART(p, sum->part[p] += load_weights(type, w, i + PART_LANES * p) * part_load(x + i + PART_LANES * p));
}

VEC_INLINE void add_last_products(struct vec *sum, enum quant_type type, const void *w, const float *x, size_t i,
                                  size_t n)
{
    float w_tail[VEC_LANES], x_tail[VEC_LANES];

    if (i == n)
        return;
    load_tail(type, w, i, n - i, w_tail);
    load_tail(QUANT_F32, x, i, n - i, x_tail);
    EACH_PART(p, sum->part[p] += part_load(w_tail + PART_LANES * p) * part_load(x_tail + PART_LANES * p));
}

VEC_INLINE float dot_one(enum quant_type type, const void *w, const float *x, size_t n)
{
    struct vec sum = { 0 };
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES)
        add_products(&sum, type, w, x, i);
    add_last_products(&sum, type, w, x, i, n);
    return vec_sum(&sum);
}

/* Four dot products at once: w[j] . x[j]; callers repeat one side. */
VEC_INLINE void dot_four(enum quant_type type, const void *const w[4], const float *const x[4], size_t n, float y[4])
{
    struct vec s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    vec_quarter sums;
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        add_products(&s0, type, w[0], x[0], i);
        add_products(&s1, type, w[1], x[1], i);
        add_products(&s2, type, w[2], x[2], i);
        add_products(&s3, type, w[3], x[3], i);
    }
    add_last_products(&s0, type, w[0], x[0], i, n);
    add_last_products(&s1, type, w[1], x[1], i, n);
    add_last_products(&s2, type, w[2], x[2], i, n);
    add_last_products(&s3, type, w[3], x[3], i, n);
    sums = vec_sum_four(&s0, &s1, &s2, &s3);
    memcpy(y, &sums, sizeof(sums));
}

/* Rows that are in the cache: four at a time. */
VEC_INLINE void rows_near(enum quant_type type, const void *w, size_t row_bytes, size_t n_rows, size_t n,
                          const void *act, float *y)
{
    const char *p = w;
    const float *x = act;
    size_t r = 0;

    for (; r + 4 <= n_rows; r += 4, p += 4 * row_bytes)
        dot_four(type, (const void *const[4]){ p, p + row_bytes, p + 2 * row_bytes, p + 3 * row_bytes },
                 (const float *const[4]){ x, x, x, x }, n, y + r);
    for (; r < n_rows; r++, p += row_bytes)
        y[r] = dot_one(type, p, x, n);
}

/* Rows that come from memory: one after the other, as the prefetcher likes it. */
VEC_INLINE void rows_far(enum quant_type type, const void *w, size_t row_bytes, size_t n_rows, size_t n,
                         const void *act, float *y)
{
    for (size_t r = 0; r < n_rows; r++)
        y[r] = dot_one(type, (const char *)w + r * row_bytes, act, n);
}

static void rows_f32(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_far(QUANT_F32, w, row_bytes, n_rows, n, act, y);
}

static void rows_f16(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_far(QUANT_F16, w, row_bytes, n_rows, n, act, y);
}

static void rows_bf16(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_far(QUANT_BF16, w, row_bytes, n_rows, n, act, y);
}

/* Four rows at a time stay in the first-level cache, and an act is loaded once for them. */
static void dots_float(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                       size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r += 4)
        for (size_t t = 0; t < n_acts; t++)
            rows_near(QUANT_F32, tile_row(tile, ACT_F32, n, r), tile_row_bytes(ACT_F32, n),
                      n_rows - r < 4 ? n_rows - r : 4, n, acts[t], y + t * y_stride + r);
}

VEC_INLINE void decode_float(enum quant_type type, const void *src, size_t n, float *dst)
{
    size_t i = 0;

    for (; i + PART_LANES <= n; i += PART_LANES)
        part_store(dst + i, load_weights(type, src, i));
    for (; i < n; i++)
        dst[i] = load_weight(type, src, i);
}

VEC_INLINE void unpack_float(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n,
                             void *tile)
{
    for (size_t r = 0; r < n_rows; r++)
        decode_float(type, (const char *)src + r * row_bytes, n,
                     (float *)((char *)tile + r * tile_row_bytes(ACT_F32, n)));
}

static void unpack_f32(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile)
{
    unpack_float(QUANT_F32, src, row_bytes, n_rows, n, tile);
}

static void unpack_f16(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile)
{
    unpack_float(QUANT_F16, src, row_bytes, n_rows, n, tile);
}

static void unpack_bf16(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile)
{
    unpack_float(QUANT_BF16, src, row_bytes, n_rows, n, tile);
}

/* x [n], n <= 256 and a multiple of 16, to 8 bits; returns the scale. An infinity or NaN makes the scale NaN, so that
 * it is seen in every product. */
VEC_INLINE float act_quantise(const float *x, size_t n, int8_t *q)
{
    const float magic = 0x1.8p23f;
    part_i32 most = { 0 };
    int32_t amax = 0;
    float inverse;

    for (size_t i = 0; i < n; i += PART_LANES) {
        part_i32 magnitude = (part_i32)part_load(x + i) & 0x7fffffff;
        part_i32 more = magnitude > most;

        most = (magnitude & more) | (most & ~more);
    }
    for (int l = 0; l < PART_LANES; l++)
        amax = most[l] > amax ? most[l] : amax;
    if (amax < 0x01000000 || amax >= 0x7f800000) { /* too small to have an inverse, or not finite */
        memset(q, 0, n);
        return amax >= 0x7f800000 ? NAN : 0;
    }
    inverse = 127.0f / float_from_bits((uint32_t)amax);
    for (size_t i = 0; i < n; i += PART_LANES) {
        part_i32 whole = (part_i32)(part_load(x + i) * inverse + magic) - 0x4b400000;
        part_i8 bytes = __builtin_convertvector(whole, part_i8);

        memcpy(q + i, &bytes, sizeof(bytes));
    }
    return float_from_bits((uint32_t)amax) / 127.0f;
}

static int32_t sum_bytes(const int8_t *q, size_t n)
{
    int32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void act_small_quantise(const float *x, size_t n, size_t col, size_t n_cols, void *row)
{
    int8_t *q = (int8_t *)row + col;
    float *d = (float *)((char *)row + small_d_offset(n_cols)) + col / QUANT_SMALL;
    int32_t *sum = (int32_t *)((char *)row + small_m_offset(n_cols)) + col / QUANT_SMALL;

    for (size_t b = 0; b < n / QUANT_SMALL; b++) {
        d[b] = act_quantise(x + b * QUANT_SMALL, QUANT_SMALL, q + b * QUANT_SMALL);
        sum[b] = sum_bytes(q + b * QUANT_SMALL, QUANT_SMALL);
    }
}

static void act_super_quantise(const float *x, size_t n, size_t col, void *row)
{
    struct act_super *a = (struct act_super *)row + col / QUANT_SUPER;

    for (size_t b = 0; b < n / QUANT_SUPER; b++) {
        a[b].d = act_quantise(x + b * QUANT_SUPER, QUANT_SUPER, a[b].q);
        for (int g = 0; g < QUANT_GROUPS; g++)
            a[b].sum[g] = (int16_t)sum_bytes(a[b].q + g * QUANT_GROUP, QUANT_GROUP);
        for (int g = 0; g < QUANT_GROUPS / 2; g++)
            a[b].pair_sum[g] = (int16_t)(a[b].sum[2 * g] + a[b].sum[2 * g + 1]);
    }
}

static void rms_norm_float(const float *x, const float *w, float eps, size_t n, float *y)
{
    enum { HALF = PART_LANES / 2 };
    union {
        part_f64 part[VEC_PARTS];
        double lane[8];
    } sum = { 0 };
    double total = 0;
    float scale;
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        EACH_PART(p, part_half_f32 h; memcpy(&h, x + i + HALF * p, sizeof(h));
                  sum.part[p] += __builtin_convertvector(h, part_f64) * __builtin_convertvector(h, part_f64));
    for (; i < n; i++)
        sum.lane[i % 8] += (double)x[i] * (double)x[i];
    for (int l = 0; l < 8; l++)
        total += sum.lane[l];
    scale = (float)(1.0 / sqrt(total / (double)n + (double)eps));
    for (i = 0; i + PART_LANES <= n; i += PART_LANES)
        part_store(y + i, part_load(x + i) * scale * part_load(w + i));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

VEC_INLINE part_f32 silu(part_f32 x)
{
    return x / (1.0f + part_exp(-x));
}

static void silu_mul_float(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;

    for (; i + PART_LANES <= n; i += PART_LANES)
        part_store(y + i, silu(part_load(gate + i)) * part_load(up + i));
    if (i < n)
        part_store_some(y + i, silu(part_load_some(gate + i, n - i)) * part_load_some(up + i, n - i), n - i);
}

static void add_scaled_float(const float *x, float scale, size_t n, float *y)
{
    size_t i = 0;

    for (; i + PART_LANES <= n; i += PART_LANES)
        part_store(y + i, part_load(y + i) + part_load(x + i) * scale);
    for (; i < n; i++)
        y[i] += x[i] * scale;
}

static void to_f16_float(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;

    for (; i + PART_LANES <= n; i += PART_LANES)
        part_to_f16(y + i, part_load(x + i));
    for (; i < n; i++)
        y[i] = float_to_half(x[i]);
}

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

/* y = y * keep + sum over keys of weight * value, in order of position, for n_vecs times sixteen dimensions. */
VEC_INLINE void attend_span(const struct attend_rows *rows, enum quant_type type, const float *weights, uint32_t n,
                            float keep, size_t i, const int n_vecs, float *y)
{
    const char *v = rows->v;
    struct vec sum[8];

    _Pragma("GCC unroll 8") for (int s = 0; s < n_vecs; s++)
        EACH_PART(p, sum[s].part[p] = part_load(y + i + VEC_LANES * s + PART_LANES * p) * keep);
    for (uint32_t j = 0; j < n; j++, v += rows->stride)
        _Pragma("GCC unroll 8") for (int s = 0; s < n_vecs; s++)
            EACH_PART(p, sum[s].part[p] += load_weights(type, v, i + VEC_LANES * s + PART_LANES * p) * weights[j]);
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
    size_t element = type == QUANT_F16 ? 2 : 4;
    struct attend_rows rows = { b->k, b->v, b->kv_stride * element };
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
    else
        attend_typed(b, QUANT_F32);
}

static void float_kernels_fill(struct cpu_kernels *k)
{
    k->act_small = act_small_quantise;
    k->act_super = act_super_quantise;
    k->unpack[QUANT_F32] = unpack_f32;
    k->unpack[QUANT_F16] = unpack_f16;
    k->unpack[QUANT_BF16] = unpack_bf16;
    k->dots[QUANT_F32] = k->dots[QUANT_F16] = k->dots[QUANT_BF16] = dots_float;
    k->rows[QUANT_F32] = rows_f32;
    k->rows[QUANT_F16] = rows_f16;
    k->rows[QUANT_BF16] = rows_bf16;
    k->rms_norm = rms_norm_float;
    k->silu_mul = silu_mul_float;
    k->add_scaled = add_scaled_float;
    k->to_f16 = to_f16_float;
    k->attend = attend_float;
}

#endif
