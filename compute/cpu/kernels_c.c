/* SPDX-License-Identifier: MIT
 *
 * kernels_c.c: the reference level. See kernels.h for what the products mean.
 */
#include "compute/cpu/float_kernels.h"
#include "compute/cpu/unpack_kernels.h"

static float lanes_sum(const float lanes[VEC_LANES])
{
    struct vec v;

    memcpy(&v, lanes, sizeof(v));
    return vec_sum(&v);
}

static float dot_small(const void *row, size_t n, const void *act)
{
    struct small_row w = small_row_at(row, n), a = small_row_at(act, n);
    float lanes[VEC_LANES] = { 0 };

    for (size_t b = 0; b < n / QUANT_SMALL; b++) {
        int32_t sum = 0;

        for (size_t i = 0; i < QUANT_SMALL; i++)
            sum += w.q[QUANT_SMALL * b + i] * a.q[QUANT_SMALL * b + i];
        lanes[b % 8] += w.d[b] * a.d[b] * (float)sum;
        lanes[b % 8] += w.m[b] * a.d[b] * (float)a.sum[b];
    }
    return lanes_sum(lanes);
}

static float dot_super(const struct quant_super *w, size_t n_blocks, const struct act_super *a)
{
    float lanes[VEC_LANES] = { 0 };

    for (size_t b = 0; b < n_blocks; b++, w++, a++) {
        int32_t whole = 0, mins = 0;

        for (int g = 0; g < QUANT_GROUPS; g++) {
            int32_t sum = 0;

            for (int i = QUANT_GROUP * g; i < QUANT_GROUP * (g + 1); i++)
                sum += w->q[i] * a->q[i];
            whole += w->scale[g] * (sum - w->offset * a->sum[g]);
            mins += w->min[g] * a->sum[g];
        }
        lanes[b % 8] += w->d * a->d * (float)whole;
        lanes[b % 8] -= w->dmin * a->d * (float)mins;
    }
    return lanes_sum(lanes);
}

static void dots_small(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                       size_t y_stride)
{
    for (size_t t = 0; t < n_acts; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = dot_small(tile_row(tile, ACT_SMALL, n, r), n, acts[t]);
}

static void dots_super(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                       size_t y_stride)
{
    for (size_t t = 0; t < n_acts; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = dot_super(tile_row(tile, ACT_SUPER, n, r), n / QUANT_SUPER, acts[t]);
}

void cpu_kernels_c(struct cpu_kernels *k)
{
    *k = (struct cpu_kernels){ .level = CPU_C, .few_acts = 3 };
    float_kernels_fill(k);
    unpack_kernels_fill(k);
    for (uint32_t type = 0; type < QUANT_TYPES; type++) {
        const struct quant_info *info = quant_info(type);

        if (info != NULL && info->computable && info->block_len > 1)
            k->dots[type] = info->block_len == QUANT_SMALL ? dots_small : dots_super;
    }
}
