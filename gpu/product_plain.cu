/* SPDX-License-Identifier: MIT
 *
 * product_plain.cu: products with weights that are numbers as they are: sixteen f32 lanes, each product and each sum
 * rounded, as compute/cpu/kernels.h has it. That leaves tensor cores out.
 *
 * Many tokens: tiles of 32 weight rows by 16 tokens through shared memory. A warp has four rows and all sixteen tokens;
 * thread 8g + l has lanes l and l + 8 for tokens 4g .. 4g + 3.
 */
#include "gpu/product.cuh"

enum {
    PLAIN_ROWS = 32,
    PLAIN_TOKENS = 16,
    PLAIN_THREADS = 256,
    PLAIN_STEP = 64,  /* columns in shared memory at a time */
    PLAIN_STRIDE = 66 /* four rows on, the same word lies eight banks further */
};

struct plain_tile {
    float w[PLAIN_ROWS][PLAIN_STRIDE], a[PLAIN_TOKENS][PLAIN_STRIDE];
    const float *acts[PLAIN_TOKENS];
};

struct plain_sums {
    float lane[2][4][4]; /* [l or l + 8][row][token] */
};

/* What lies behind the last column is 0. */
template <int TYPE> DEVICE void plain_load(struct plain_tile *s, const uint8_t *row, uint32_t col, uint32_t n)
{
    uint32_t own = THREAD / 8, token = own % PLAIN_TOKENS;

    UNROLL for (uint32_t i = THREAD % 8; i < PLAIN_STEP; i += 8)
        s->w[own][i] = col + i < n ? format<TYPE>::value(row + (size_t)(col + i) * format<TYPE>::BYTES) : 0;
    UNROLL for (uint32_t i = own / PLAIN_TOKENS * 8 + THREAD % 8; i < PLAIN_STEP; i += 16)
        s->a[token][i] = col + i < n ? s->acts[token][col + i] : 0;
}

/* Sixteen columns at a time, the last ones with what is behind them. */
DEVICE void plain_step(const struct plain_tile *s, uint32_t row0, uint32_t token0, uint32_t left,
                       struct plain_sums *sums)
{
    uint32_t l = THREAD % 8;

    UNROLL for (uint32_t c = 0; c < PLAIN_STEP; c += 8) {
        if (c / 16 * 16 >= left)
            break;
        UNROLL for (uint32_t i = 0; i < 4; i++)
            UNROLL for (uint32_t k = 0; k < 4; k++)
                sums->lane[c / 8 % 2][i][k] += s->w[row0 + i][c + l] * s->a[token0 + k][c + l];
    }
}

DEVICE float plain_end(const struct plain_sums *sums, uint32_t i, uint32_t k)
{
    float sum = sums->lane[0][i][k] + sums->lane[1][i][k];

    sum = sum + warp_shuffle_xor(sum, 4);
    sum = sum + warp_shuffle_xor(sum, 2);
    return sum + warp_shuffle_xor(sum, 1);
}

template <int TYPE> KERNEL(PLAIN_THREADS) plain_many_kernel(PARAMS(product_params) p)
{
    const struct product_job &job = p.jobs[BLOCK_Z];
    const uint32_t first_row = BLOCK_X * PLAIN_ROWS, first_token = BLOCK_Y * PLAIN_TOKENS;
    const uint32_t row0 = THREAD / 32 * 4, token0 = THREAD / 8 % 4 * 4;
    const uint32_t own = first_row + THREAD / 8, row = own < job.rows ? own : job.rows - 1;
    const uint8_t *w = find_weights(&job) + (size_t)row * job.cols * format<TYPE>::BYTES;
    SHARED(struct plain_tile, s);
    struct plain_sums sums;

    if (first_row >= job.rows || first_token >= job.n_tokens)
        return;
    find_acts(&job, first_token, PLAIN_TOKENS, (const char **)s->acts);
    UNROLL for (int i = 0; i < 32; i++)
        sums.lane[i / 16][i / 4 % 4][i % 4] = 0;
    for (uint32_t col = 0; col < job.cols; col += PLAIN_STEP) {
        block_barrier();
        plain_load<TYPE>(s, w, col, job.cols);
        block_barrier();
        plain_step(s, row0, token0, job.cols - col, &sums);
    }
    UNROLL for (uint32_t i = 0; i < 4; i++)
        UNROLL for (uint32_t k = 0; k < 4; k++) {
            float y = plain_end(&sums, i, k);

            if (THREAD % 8 == (4 * i + k) % 8)
                store_product(&job, first_row + row0 + i, first_token + token0 + k, y);
        }
}

template <int TYPE> static int launch_plain(struct queue *queue, const struct product_params *p, uint32_t n_jobs,
                                            uint32_t max_rows, uint32_t max_tokens)
{
    if (max_tokens < PRODUCT_MANY)
        return launch_product_few<TYPE>(queue, p, n_jobs, max_rows, max_tokens);
    return launch(queue, plain_many_kernel<TYPE>, (max_rows + PLAIN_ROWS - 1) / PLAIN_ROWS,
                  (max_tokens + PLAIN_TOKENS - 1) / PLAIN_TOKENS, n_jobs, PLAIN_THREADS, sizeof(struct plain_tile), *p,
                  product_bytes(n_jobs));
}

int launch_product_plain(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens)
{
    switch (type) {
    case QUANT_F32:
        return launch_plain<QUANT_F32>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_F16:
        return launch_plain<QUANT_F16>(queue, p, n_jobs, max_rows, max_tokens);
    default:
        return launch_plain<QUANT_BF16>(queue, p, n_jobs, max_rows, max_tokens);
    }
}
