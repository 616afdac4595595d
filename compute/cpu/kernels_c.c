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
    const int8_t *q = row, *a = act;
    const float *d = (const float *)((const char *)row + small_d_offset(n));
    const float *m = (const float *)((const char *)row + small_m_offset(n));
    const float *act_d = (const float *)((const char *)act + small_d_offset(n));
    const int32_t *act_sum = (const int32_t *)((const char *)act + small_m_offset(n));
    float lanes[VEC_LANES] = { 0 };
    float mins[2] = { 0, 0 };

    for (size_t b = 0; b < n / QUANT_SMALL; b++) {
        float scale = d[b] * act_d[b];

        for (size_t run = 0; run < 8; run++) {
            int32_t sum = 0;

            for (size_t i = 32 * b + 4 * run; i < 32 * b + 4 * run + 4; i++)
                sum += q[i] * a[i];
            lanes[8 * (b % 2) + run] += scale * (float)sum;
        }
        mins[b % 2] += m[b] * act_d[b] * (float)act_sum[b];
    }
    return lanes_sum(lanes) + (mins[0] + mins[1]);
}

static float dot_super(const struct quant_super *w, size_t n_blocks, const struct act_super *a)
{
    float lanes[VEC_LANES] = { 0 };

    for (size_t b = 0; b < n_blocks; b++, w++, a++) {
        int32_t sums[8] = { 0 };

        for (int run = 0; run < QUANT_SUPER / 4; run++) {
            int32_t sum = 0;

            for (int i = 4 * run; i < 4 * run + 4; i++)
                sum += w->q[i] * a->q[i];
            sums[run % 8] += w->scale[run / 4] * sum;
        }
        for (int l = 0; l < 8; l++) {
            int32_t scales = w->scale[2 * l] * a->sum[2 * l] + w->scale[2 * l + 1] * a->sum[2 * l + 1];
            int32_t mins = w->min[2 * l] * a->sum[2 * l] + w->min[2 * l + 1] * a->sum[2 * l + 1];

            lanes[l] += w->d * a->d * (float)(sums[l] - w->offset * scales);
            lanes[l] -= w->dmin * a->d * (float)mins;
        }
    }
    return lanes_sum(lanes);
}

static void dots_small(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                       size_t n_acts, float *y, size_t y_stride)
{
    for (size_t t = 0; t < n_acts; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = dot_small((const char *)rows + r * row_bytes, n, acts[t]);
}

static void dots_super(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                       size_t n_acts, float *y, size_t y_stride)
{
    for (size_t t = 0; t < n_acts; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] =
                dot_super((const struct quant_super *)((const char *)rows + r * row_bytes), n / QUANT_SUPER, acts[t]);
}

void cpu_kernels_c(struct cpu_kernels *k)
{
    *k = (struct cpu_kernels){ .level = CPU_C };
    float_kernels_fill(k);
    unpack_kernels_fill(k);
    for (uint32_t type = 0; type < QUANT_TYPES; type++) {
        const struct quant_info *info = quant_info(type);

        if (info != NULL && info->computable && info->block_len > 1)
            k->dots[type] = info->block_len == QUANT_SMALL ? dots_small : dots_super;
    }
}
