/* SPDX-License-Identifier: MIT
 *
 * float_kernels.h: the kernels that compute in f32, written once in vec.h's vectors and compiled once per level.
 *
 * Included by each level's file, which puts them into its table with float_kernels_fill. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H
#define EXPERTD_COMPUTE_CPU_FLOAT_KERNELS_H

#include "compute/cpu/attend_kernels.h"
#include "compute/cpu/float_dots.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/tile_rows.h"
#include "compute/cpu/to_bytes.h"
#include "compute/cpu/vec.h"
#include "compute/half.h"

#include <math.h>

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
    uint32_t most = bytes_most(x, n);

    if (most < 0x01000000 || most >= 0x7f800000) { /* too small to have an inverse, or not finite */
        memset(q, 0, n);
        return most >= 0x7f800000 ? NAN : 0;
    }
    bytes_round(x, n, 127.0f / float_from_bits(most), q);
    return float_from_bits(most) / 127.0f;
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
    k->to_q8_0 = to_q8_0_float;
    k->attend = attend_float;
}

#endif
