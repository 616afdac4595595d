/* SPDX-License-Identifier: MIT
 *
 * product.cuh: a weight row times a few activation rows, a warp to each weight row.
 *
 * Sums are those of compute/cpu/kernels.h: a block gives a whole number, which a few threads compute together, and
 * block b goes to lane b % 8. A warp takes eight blocks at a time, so that a lane stays with its threads from the first
 * block to the last, and the bits are the CPU's, whatever the number of tokens.
 */
#ifndef EXPERTD_GPU_PRODUCT_H
#define EXPERTD_GPU_PRODUCT_H

#include "gpu/formats.cuh"
#include "gpu/kernels.h"

enum { PRODUCT_WARPS = 8 };

DEVICE int low_half(uint32_t pair)
{
    return (int16_t)(pair & 0xffff);
}

DEVICE int high_half(uint32_t pair)
{
    return (int16_t)(pair >> 16);
}

template <int THREADS> DEVICE int sum_among(int x)
{
    UNROLL for (int mask = 1; mask < THREADS; mask *= 2)
        x += warp_shuffle_xor(x, mask);
    return x;
}

template <int TYPE, int FAMILY> struct warp_product;

/* Thread 4b + c has runs c and c + 4 of block b of the eight in a step, and its four hold lane b. */
template <int TYPE> struct warp_product<TYPE, SMALL> {
    typedef format<TYPE> F;

    template <int N> DEVICE_MEMBER void sum(const uint8_t *row, uint32_t n, const char *const acts[N],
                                            const struct lattices *, float y[N])
    {
        const uint32_t part = THREAD % 4, n_blocks = n / 32;
        float lane[N];

        UNROLL for (int t = 0; t < N; t++)
            lane[t] = 0;
        UNROLL_BY(2) for (uint32_t b0 = 0; b0 < n_blocks; b0 += 8) {
            uint32_t b = b0 + THREAD % 32 / 4;
            bool there = b < n_blocks;
            const uint8_t *block = row + (size_t)(there ? b : 0) * F::BYTES;
            uint32_t low = F::run(block, (int)part), high = F::run(block, (int)part + 4);
            float d = F::d(block), m = F::m(block);

            UNROLL for (int t = 0; t < N; t++) {
                const struct act_small *a = (const struct act_small *)acts[t] + (there ? b : 0);
                int whole = sum_among<4>(dot4(low, a->q[part], dot4(high, a->q[part + 4], 0)));

                if (there)
                    lane[t] += d * a->d * (float)whole;
                if (there && F::MINS)
                    lane[t] += m * a->d * (float)a->sum;
            }
        }
        UNROLL for (int t = 0; t < N; t++)
            y[t] = sum_of_lanes(lane[t]);
    }

    /* Lane b in threads 4b .. 4b + 3. */
    DEVICE_MEMBER float sum_of_lanes(float lane)
    {
        float sum = lane + warp_shuffle_xor(lane, 16);

        sum = sum + warp_shuffle_xor(sum, 8);
        return sum + warp_shuffle_xor(sum, 4);
    }
};

/* Thread 8g + l has column l of block g of four; they hold lanes g and g + 4. */
template <int TYPE> struct warp_product<TYPE, SUPER> {
    typedef format<TYPE> F;

    template <int N> DEVICE_MEMBER void sum(const uint8_t *row, uint32_t n, const char *const acts[N],
                                            const struct lattices *points, float y[N])
    {
        const uint32_t n_blocks = n / 256, g = THREAD % 32 / 8;
        float lane[2][N];

        UNROLL for (int t = 0; t < N; t++)
            lane[0][t] = lane[1][t] = 0;
        for (uint32_t b0 = 0; b0 < n_blocks; b0 += 8) {
            step<N>(row, acts, b0 + g, n_blocks, points, lane[0]);
            if (b0 + 4 < n_blocks)
                step<N>(row, acts, b0 + 4 + g, n_blocks, points, lane[1]);
        }
        UNROLL for (int t = 0; t < N; t++) {
            float sum = lane[0][t] + lane[1][t];

            sum = sum + warp_shuffle_xor(sum, 16);
            y[t] = sum + warp_shuffle_xor(sum, 8);
        }
    }

    template <int N> DEVICE_MEMBER void step(const uint8_t *row, const char *const acts[N], uint32_t b,
                                             uint32_t n_blocks, const struct lattices *points, float lane[N])
    {
        const int l = (int)(THREAD % 8);
        const bool there = b < n_blocks;
        const uint8_t *block = row + (size_t)(there ? b : 0) * F::BYTES;
        const float d = F::d(block), dmin = F::dmin(block);
        uint32_t q[8];
        int scale[8], s0 = 0, s1 = 0, m0 = 0, m1 = 0;

        F::column(block, l, points, q);
        UNROLL for (int j = 0; j < 8; j++)
            scale[j] = F::scale(block, 2 * j + l / 4);
        if (F::OFFSET != 0) {
            s0 = F::OFFSET * F::scale(block, 2 * l);
            s1 = F::OFFSET * F::scale(block, 2 * l + 1);
        }
        if (F::MINS) {
            m0 = F::min(block, 2 * l);
            m1 = F::min(block, 2 * l + 1);
        }
        UNROLL for (int t = 0; t < N; t++) {
            const struct act_super *a = (const struct act_super *)acts[t] + (there ? b : 0);
            int sum = 0, mins = 0;

            UNROLL for (int j = 0; j < 8; j++)
                sum += scale[j] * dot4(q[j], a->q[8 * l + j], 0);
            if (F::OFFSET != 0)
                sum -= s0 * low_half(a->sums[l]) + s1 * high_half(a->sums[l]);
            sum = sum_among<8>(sum);
            if (F::MINS)
                mins = sum_among<8>(m0 * low_half(a->sums[l]) + m1 * high_half(a->sums[l]));
            if (there)
                lane[t] += d * a->d * (float)sum;
            if (there && F::MINS)
                lane[t] -= dmin * a->d * (float)mins;
        }
    }
};

/* Thread i has column i of the 32 in a step; lane l of the definition is summed by the threads l and l + 16. */
template <int TYPE> struct warp_product<TYPE, PLAIN> {
    typedef format<TYPE> F;

    template <int N> DEVICE_MEMBER void sum(const uint8_t *row, uint32_t n, const char *const acts[N], const struct lattices *,
                                            float y[N])
    {
        const uint32_t thread = THREAD % 32, lane_of = thread % 16;
        float lane[N];

        UNROLL for (int t = 0; t < N; t++)
            lane[t] = 0;
        UNROLL_BY(4) for (uint32_t i0 = 0; i0 < n; i0 += 32) {
            uint32_t i = i0 + thread;
            float w = i < n ? F::value(row + (size_t)i * F::BYTES) : 0;

            UNROLL for (int t = 0; t < N; t++) {
                float term = i < n ? w * ((const float *)acts[t])[i] : 0;
                float first = warp_shuffle(term, lane_of), second = warp_shuffle(term, lane_of + 16);

                lane[t] += first;
                if (i0 + 16 < n)
                    lane[t] += second;
            }
        }
        UNROLL for (int t = 0; t < N; t++)
            y[t] = sum_of_sixteen(lane[t]);
    }
};

/* Where the activations of n tokens lie, a thread each. */
DEVICE void find_acts(const struct product_job *job, uint32_t first_token, uint32_t n, const char **acts)
{
    if (THREAD < n) {
        uint32_t i = first_token + THREAD < job->n_tokens ? first_token + THREAD : first_token;

        acts[THREAD] = job->acts + (size_t)(job->src != NULL ? job->src[i] : job->src0 + i) * job->acts_stride;
    }
}

DEVICE const uint8_t *find_weights(const struct product_job *job)
{
    return job->chosen != NULL ? ((const uint8_t *const *)job->w)[*job->chosen] : job->w;
}

/* y + bias, where the row and the token are there. */
DEVICE void store_product(const struct product_job *job, uint32_t row, uint32_t token, float y)
{
    if (row < job->rows && token < job->n_tokens)
        job->y[(size_t)(job->dst != NULL ? job->dst[token] : job->dst0 + token) * job->y_stride + row] =
            job->bias != NULL ? y + job->bias[row] : y;
}

template <int TYPE, int N> KERNEL(32 * PRODUCT_WARPS) product_few_kernel(PARAMS(product_params) p)
{
    const struct product_job &job = p.jobs[BLOCK_Z];
    uint32_t row = BLOCK_X * PRODUCT_WARPS + THREAD / 32, token0 = BLOCK_Y * N;
    const char *acts[N];
    float y[N];

    if (row >= job.rows || token0 >= job.n_tokens)
        return;
    UNROLL for (uint32_t t = 0; t < N; t++) {
        uint32_t i = token0 + t < job.n_tokens ? token0 + t : token0;

        acts[t] = job.acts + (size_t)(job.src != NULL ? job.src[i] : job.src0 + i) * job.acts_stride;
    }
    warp_product<TYPE, format<TYPE>::FAMILY>::template sum<N>(
        find_weights(&job) + (size_t)row * (job.cols / format<TYPE>::BLOCK * format<TYPE>::BYTES), job.cols, acts, p.points, y);
    UNROLL for (uint32_t t = 0; t < N; t++)
        if (THREAD % 32 == t)
            store_product(&job, row, token0 + t, y[t]);
}

/* Tokens of one pass over the weights, and from where on the tiled kernels take over: the bits are the same. */
enum { PRODUCT_FEW = 4, PRODUCT_MANY = 9 };

/* What travels of the arguments. */
static inline size_t product_bytes(uint32_t n_jobs)
{
    return offsetof(struct product_params, jobs) + n_jobs * sizeof(struct product_job);
}

template <int TYPE> int launch_product_few(struct queue *queue, const struct product_params *p, uint32_t n_jobs,
                                           uint32_t max_rows, uint32_t max_tokens)
{
    uint32_t blocks = (max_rows + PRODUCT_WARPS - 1) / PRODUCT_WARPS;

    if (max_tokens == 1)
        return launch(queue, product_few_kernel<TYPE, 1>, blocks, 1, n_jobs, 32 * PRODUCT_WARPS, 0, *p, product_bytes(n_jobs));
    return launch(queue, product_few_kernel<TYPE, PRODUCT_FEW>, blocks, (max_tokens + PRODUCT_FEW - 1) / PRODUCT_FEW,
                  n_jobs, 32 * PRODUCT_WARPS, 0, *p, product_bytes(n_jobs));
}

#endif
