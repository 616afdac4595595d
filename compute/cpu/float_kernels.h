/* SPDX-License-Identifier: MIT
 *
 * float_kernels.h: the kernels that compute in f32, written once in vec.h's vectors and compiled once per level.
 *
 * Included by each level's file, which puts them into its table with float_kernels_fill. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H
#define EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/vec.h"
#include "compute/half.h"

#include <math.h>

VEC_INLINE vec_f32 load_weights(enum quant_type type, const void *w, size_t i)
{
    if (type == QUANT_F32)
        return vec_load((const float *)w + i);
    return type == QUANT_F16 ? vec_from_f16((const uint16_t *)w + i) : vec_from_bf16((const uint16_t *)w + i);
}

VEC_INLINE vec_f32 load_some_weights(enum quant_type type, const void *w, size_t i, size_t n)
{
    uint16_t h[VEC_LANES] = { 0 };

    if (type == QUANT_F32)
        return vec_load_some((const float *)w + i, n);
    memcpy(h, (const uint16_t *)w + i, n * sizeof(h[0]));
    return load_weights(type, h, 0);
}

VEC_INLINE float dot_one(enum quant_type type, const void *w, const float *x, size_t n)
{
    vec_f32 sum = { 0 };
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES)
        sum += load_weights(type, w, i) * vec_load(x + i);
    if (i < n)
        sum += load_some_weights(type, w, i, n - i) * vec_load_some(x + i, n - i);
    return vec_sum(sum);
}

/* Four dot products at once, with either side repeated: w[r] . x[r]. */
VEC_INLINE void dot_four(enum quant_type type, const void *const w[4], const float *const x[4], size_t n, float y[4])
{
    vec_f32 s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        s0 += load_weights(type, w[0], i) * vec_load(x[0] + i);
        s1 += load_weights(type, w[1], i) * vec_load(x[1] + i);
        s2 += load_weights(type, w[2], i) * vec_load(x[2] + i);
        s3 += load_weights(type, w[3], i) * vec_load(x[3] + i);
    }
    if (i < n) {
        s0 += load_some_weights(type, w[0], i, n - i) * vec_load_some(x[0] + i, n - i);
        s1 += load_some_weights(type, w[1], i, n - i) * vec_load_some(x[1] + i, n - i);
        s2 += load_some_weights(type, w[2], i, n - i) * vec_load_some(x[2] + i, n - i);
        s3 += load_some_weights(type, w[3], i, n - i) * vec_load_some(x[3] + i, n - i);
    }
    y[0] = vec_sum(s0);
    y[1] = vec_sum(s1);
    y[2] = vec_sum(s2);
    y[3] = vec_sum(s3);
}

VEC_INLINE void rows_float(enum quant_type type, const void *w, size_t row_bytes, size_t n_rows, size_t n,
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

static void rows_f32(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_float(QUANT_F32, w, row_bytes, n_rows, n, act, y);
}

static void rows_f16(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_float(QUANT_F16, w, row_bytes, n_rows, n, act, y);
}

static void rows_bf16(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y)
{
    rows_float(QUANT_BF16, w, row_bytes, n_rows, n, act, y);
}

static void dots_float(const void *row, size_t n, const void *const *acts, size_t n_acts, float *y)
{
    size_t t = 0;

    for (; t + 4 <= n_acts; t += 4)
        dot_four(QUANT_F32, (const void *const[4]){ row, row, row, row },
                 (const float *const[4]){ acts[t], acts[t + 1], acts[t + 2], acts[t + 3] }, n, y + t);
    for (; t < n_acts; t++)
        y[t] = dot_one(QUANT_F32, row, acts[t], n);
}

static void unpack_float(enum quant_type type, const void *src, size_t n, void *row)
{
    float *dst = row;
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(dst + i, load_weights(type, src, i));
    if (i < n)
        vec_store_some(dst + i, load_some_weights(type, src, i, n - i), n - i);
}

/* x [n], n <= 256 and a multiple of 16, to 8 bits; returns the scale. An infinity or NaN makes the scale NaN, so that
 * it is seen in every product. */
VEC_INLINE float act_quantise(const float *x, size_t n, int8_t *q)
{
    const float magic = 0x1.8p23f;
    vec_i32 most = { 0 };
    int32_t amax = 0;
    float inverse;

    for (size_t i = 0; i < n; i += VEC_LANES) {
        vec_i32 magnitude = (vec_i32)vec_load(x + i) & 0x7fffffff;
        vec_i32 more = magnitude > most;

        most = (magnitude & more) | (most & ~more);
    }
    for (int l = 0; l < VEC_LANES; l++)
        amax = most[l] > amax ? most[l] : amax;
    if (amax < 0x01000000 || amax >= 0x7f800000) { /* too small to have an inverse, or not finite */
        memset(q, 0, n);
        return amax >= 0x7f800000 ? NAN : 0;
    }
    inverse = 127.0f / float_from_bits((uint32_t)amax);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vec_i32 whole = (vec_i32)(vec_load(x + i) * inverse + magic) - 0x4b400000;
        vec_i8 bytes = __builtin_convertvector(whole, vec_i8);

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
    }
}

static void rms_norm_float(const float *x, const float *w, float eps, size_t n, float *y)
{
    vec_f64 sum = { 0 };
    double mean = 0;
    float scale;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        vec_half_f32 v;

        memcpy(&v, x + i, sizeof(v));
        sum += __builtin_convertvector(v, vec_f64) * __builtin_convertvector(v, vec_f64);
    }
    for (; i < n; i++)
        sum[i % 8] += (double)x[i] * (double)x[i];
    for (int l = 0; l < 8; l++)
        mean += sum[l];
    mean /= (double)n;
    scale = (float)(1.0 / sqrt(mean + (double)eps));
    for (i = 0; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, vec_load(x + i) * scale * vec_load(w + i));
    for (; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

VEC_INLINE vec_f32 silu(vec_f32 x)
{
    return x / (1.0f + vec_exp(-x));
}

static void silu_mul_float(const float *gate, const float *up, size_t n, float *y)
{
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, silu(vec_load(gate + i)) * vec_load(up + i));
    if (i < n)
        vec_store_some(y + i, silu(vec_load_some(gate + i, n - i)) * vec_load_some(up + i, n - i), n - i);
}

static void add_scaled_float(const float *x, float scale, size_t n, float *y)
{
    size_t i = 0;

    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, vec_load(y + i) + vec_load(x + i) * scale);
    for (; i < n; i++)
        y[i] += x[i] * scale;
}

static void softmax_float(float *x, size_t n)
{
    vec_f32 sum = { 0 };
    float max = x[0], inverse;
    size_t i;

    for (i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (i = 0; i + VEC_LANES <= n; i += VEC_LANES) {
        vec_f32 e = vec_exp(vec_load(x + i) - max);

        vec_store(x + i, e);
        sum += e;
    }
    if (i < n) {
        vec_f32 e = vec_exp(vec_load_some(x + i, n - i) - max);

        vec_store_some(x + i, e, n - i);
        sum += vec_load_some(x + i, n - i);
    }
    inverse = 1.0f / vec_sum(sum);
    for (i = 0; i < n; i++)
        x[i] *= inverse;
}

static void to_f16_float(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = float_to_half(x[i]);
}

VEC_INLINE vec_f32 load_kv(enum kv_type type, const void *p, size_t i)
{
    return load_weights(type == KV_F16 ? QUANT_F16 : QUANT_F32, p, i);
}

VEC_INLINE vec_f32 load_some_kv(enum kv_type type, const void *p, size_t i, size_t n)
{
    return load_some_weights(type == KV_F16 ? QUANT_F16 : QUANT_F32, p, i, n);
}

/* Scores of one query against n keys, the rest of the block at minus infinity; returns the greatest. */
VEC_INLINE float attend_scores(const struct attend_block *b, enum kv_type type, const float *q, uint32_t n,
                               float *scores)
{
    const char *k = b->k;
    size_t stride = b->kv_stride * (type == KV_F16 ? 2 : 4);
    float max = -INFINITY;

    for (uint32_t j = 0; j < n; j++, k += stride) {
        scores[j] = dot_one(type == KV_F16 ? QUANT_F16 : QUANT_F32, k, q, b->head_dim) * b->scale;
        max = scores[j] > max || scores[j] != scores[j] ? scores[j] : max;
    }
    for (uint32_t j = n; j < ATTEND_KEYS; j++)
        scores[j] = -INFINITY;
    return max;
}

/* y = y * keep + sum over keys of weight * value, in order of position. */
VEC_INLINE void attend_values(const struct attend_block *b, enum kv_type type, const float *weights, uint32_t n,
                              float keep, float *y)
{
    size_t stride = b->kv_stride * (type == KV_F16 ? 2 : 4), i = 0;
    const char *v;
    vec_f32 sum;

    for (; i + VEC_LANES <= b->head_dim; i += VEC_LANES) {
        sum = vec_load(y + i) * keep;
        v = b->v;
        for (uint32_t j = 0; j < n; j++, v += stride)
            sum += load_kv(type, v, i) * weights[j];
        vec_store(y + i, sum);
    }
    if (i == b->head_dim)
        return;
    sum = vec_load_some(y + i, b->head_dim - i) * keep;
    v = b->v;
    for (uint32_t j = 0; j < n; j++, v += stride)
        sum += load_some_kv(type, v, i, b->head_dim - i) * weights[j];
    vec_store_some(y + i, sum, b->head_dim - i);
}

VEC_INLINE void attend_typed(const struct attend_block *b, enum kv_type type)
{
    for (uint32_t t = 0; t < b->n_queries; t++) {
        float weights[ATTEND_KEYS], max, keep;
        vec_f32 sum = { 0 };

        if (b->n_keys[t] == 0)
            continue;
        max = attend_scores(b, type, b->q[t], b->n_keys[t], weights);
        max = max > b->max[t] || max != max ? max : b->max[t];
        keep = vec_exp(vec_splat(b->max[t] - max))[0];
        for (uint32_t j = 0; j < ATTEND_KEYS; j += VEC_LANES) {
            vec_f32 e = vec_exp(vec_load(weights + j) - max);

            vec_store(weights + j, e);
            sum += e;
        }
        attend_values(b, type, weights, b->n_keys[t], keep, b->y[t]);
        b->sum[t] = b->sum[t] * keep + vec_sum(sum);
        b->max[t] = max;
    }
}

static void attend_float(const struct attend_block *b)
{
    if (b->kv_type == KV_F16)
        attend_typed(b, KV_F16);
    else
        attend_typed(b, KV_F32);
}

static void float_kernels_fill(struct cpu_kernels *k)
{
    k->act_small = act_small_quantise;
    k->act_super = act_super_quantise;
    k->unpack[QUANT_F32] = k->unpack[QUANT_F16] = k->unpack[QUANT_BF16] = unpack_float;
    k->dots[ACT_F32] = dots_float;
    k->rows[QUANT_F32] = rows_f32;
    k->rows[QUANT_F16] = rows_f16;
    k->rows[QUANT_BF16] = rows_bf16;
    k->rms_norm = rms_norm_float;
    k->silu_mul = silu_mul_float;
    k->add_scaled = add_scaled_float;
    k->softmax = softmax_float;
    k->to_f16 = to_f16_float;
    k->attend = attend_float;
}

#endif
