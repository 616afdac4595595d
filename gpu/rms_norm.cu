/* SPDX-License-Identifier: MIT
 *
 * rms_norm.cu: y = x / sqrt(mean(x^2) + eps) * w, to the bits of the CPU.
 *
 * There the squares are summed in f64 in eight lanes, one after the other, which a GPU would take long over. Here they
 * are summed in any order, and the scale is computed with a bound on how far the other order can lead: squares are not
 * negative, so two orders differ by at most n units in the last place each. Where both ends of that interval round to
 * the same f32, that is the scale; where they do not, one row in many thousands, the lanes are summed as on the CPU.
 */
#include "gpu/exact.cuh"
#include "gpu/kernels.h"

enum { MOST_WARPS = 8, WIDE = 1024 };

struct norm_shared {
    double warps[MOST_WARPS];
    float scale;
};

DEVICE double warp_total(double sum)
{
    UNROLL for (int mask = 16; mask > 0; mask /= 2)
        sum = sum + warp_shuffle_xor(sum, mask);
    return sum;
}

DEVICE double row_scale(double total, const struct rms_norm_params &p)
{
    return 1.0 / sqrt(total / (double)p.n_cols + (double)p.eps);
}

/* As on the CPU. */
DEVICE float scale_in_order(const float *x, const struct rms_norm_params &p)
{
    double total = 0;

    for (uint32_t l = 0; l < 8; l++) {
        double lane = 0;

        for (uint32_t i = l; i < p.n_cols; i += 8)
            lane += (double)x[i] * (double)x[i];
        total += lane;
    }
    return (float)row_scale(total, p);
}

KERNEL(32 * MOST_WARPS) rms_norm_kernel(PARAMS(rms_norm_params) p)
{
    const float *x = p.x + (size_t)BLOCK_X * p.n_cols;
    float *y = p.y + (size_t)BLOCK_X * p.n_cols;
    SHARED(struct norm_shared, s);
    double total = 0;

    for (uint32_t i = THREAD; i < p.n_cols; i += N_THREADS)
        total += (double)x[i] * (double)x[i];
    total = warp_total(total);
    if (THREAD % 32 == 0)
        s->warps[THREAD / 32] = total;
    block_barrier();
    if (THREAD == 0) {
        double unsure = (double)p.n_cols * 4.440892098500626e-16 + 8.881784197001252e-16, scale;

        total = 0;
        for (uint32_t warp = 0; warp < N_THREADS / 32; warp++)
            total += s->warps[warp];
        scale = row_scale(total, p);
        s->scale = (float)scale;
        if ((float)(scale * (1 - unsure)) != (float)(scale * (1 + unsure)))
            s->scale = scale_in_order(x, p);
    }
    block_barrier();
    for (uint32_t i = THREAD; i < p.n_cols; i += N_THREADS)
        y[i] = x[i] * s->scale * p.w[i];
}

int launch_rms_norm(struct queue *queue, const struct rms_norm_params *p)
{
    uint32_t warps = p->n_cols >= WIDE ? MOST_WARPS : 1;

    return launch(queue, rms_norm_kernel, p->n_rows, 1, 1, 32 * warps, sizeof(struct norm_shared), *p);
}
