/* SPDX-License-Identifier: MIT
 *
 * float_dots.h: rows of floats of whatever width, and of Q8_0 blocks, as f32, and their products with f32 rows.
 *
 * A number of Q8_0 is its scale times its byte, which is exact; from there on it is treated as the floats are.
 *
 * Included by the kernels that are written in vec.h's vectors and compiled once per level. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_FLOAT_DOTS_H
#define EXPERTD_COMPUTE_CPU_FLOAT_DOTS_H

#include "compute/cpu/vec.h"
#include "compute/half.h"
#include "compute/quant.h"

enum {
    Q8_0_LEN = 32,
    Q8_0_BYTES = 34,
    Q8_0_QS = 2,
    Q8_0_AHEAD = 2048, /* bytes: rows follow each other, and what a block takes to compute is what it takes to arrive */
};

VEC_INLINE const char *q8_0_block(const void *w, size_t i)
{
    return (const char *)w + i / Q8_0_LEN * Q8_0_BYTES;
}

VEC_INLINE const int8_t *q8_0_bytes(const void *w, size_t i)
{
    return (const int8_t *)q8_0_block(w, i) + Q8_0_QS + i % Q8_0_LEN;
}

VEC_INLINE part_f32 load_weights(enum quant_type type, const void *w, size_t i)
{
    if (type == QUANT_Q8_0)
        return part_splat_f16(q8_0_block(w, i)) * part_from_i8(q8_0_bytes(w, i));
    if (type == QUANT_F32)
        return part_load((const float *)w + i);
    return type == QUANT_F16 ? part_from_f16((const uint16_t *)w + i) : part_from_bf16((const uint16_t *)w + i);
}

VEC_INLINE float load_weight(enum quant_type type, const void *w, size_t i)
{
    if (type == QUANT_Q8_0)
        return half_to_float(half_load(q8_0_block(w, i))) * (float)*q8_0_bytes(w, i);
    if (type == QUANT_F32)
        return ((const float *)w)[i];
    return type == QUANT_F16 ? half_to_float(((const uint16_t *)w)[i]) : bf16_to_float(((const uint16_t *)w)[i]);
}

VEC_INLINE void decode_block(const void *src, size_t i, float *dst)
{
    const int8_t *q = q8_0_bytes(src, i);
    part_f32 d = part_splat_f16(q8_0_block(src, i));

    __builtin_prefetch(q + Q8_0_AHEAD);
    for (int j = 0; j < Q8_0_LEN; j += PART_LANES)
        part_store(dst + i + j, d * part_from_i8(q + j));
}

VEC_INLINE void decode_float(enum quant_type type, const void *src, size_t n, float *dst)
{
    size_t i = 0;

    for (; type == QUANT_Q8_0 && i + Q8_0_LEN <= n; i += Q8_0_LEN)
        decode_block(src, i, dst);
    for (; i + PART_LANES <= n; i += PART_LANES)
        part_store(dst + i, load_weights(type, src, i));
    for (; i < n; i++)
        dst[i] = load_weight(type, src, i);
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

/* A block of Q8_0, whose scale is read once, and what is read next fetched ahead. */
VEC_INLINE void add_block_products(struct vec *sum, const void *w, const float *x, size_t i)
{
    const int8_t *q = q8_0_bytes(w, i);
    part_f32 d = part_splat_f16(q8_0_block(w, i));

    __builtin_prefetch(q + Q8_0_AHEAD);
    EACH_PART(p, sum->part[p] += d * part_from_i8(q + PART_LANES * p) * part_load(x + i + PART_LANES * p));
    q += VEC_LANES;
    x += VEC_LANES;
    EACH_PART(p, sum->part[p] += d * part_from_i8(q + PART_LANES * p) * part_load(x + i + PART_LANES * p));
}

VEC_INLINE float dot_one(enum quant_type type, const void *w, const float *x, size_t n)
{
    struct vec sum = { 0 };
    size_t i = 0;

    for (; type == QUANT_Q8_0 && i + Q8_0_LEN <= n; i += Q8_0_LEN)
        add_block_products(&sum, w, x, i);
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

    for (; type == QUANT_Q8_0 && i + Q8_0_LEN <= n; i += Q8_0_LEN) {
        add_block_products(&s0, w[0], x[0], i);
        add_block_products(&s1, w[1], x[1], i);
        add_block_products(&s2, w[2], x[2], i);
        add_block_products(&s3, w[3], x[3], i);
    }
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

#endif
