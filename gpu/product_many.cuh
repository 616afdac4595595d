/* SPDX-License-Identifier: MIT
 *
 * product_many.cuh: weight rows times many activation rows: tiles of 64 by 64 through shared memory and the integer
 * tensor cores.
 *
 * A block of weights and activations gives a whole number (compute/cpu/kernels.h), and tensor cores compute whole
 * numbers exactly: so a tile has the bits of product.cuh and of the CPU. Blocks are visited lane by lane, in the order
 * in which lanes are added at the end, so that a thread holds three sums per result and not eight.
 *
 * Fragments of a product of 16 by 8 by 32: thread 4g + c has columns 4c .. 4c + 3 and 16 + 4c .. of weight rows g and
 * g + 8, the same columns of activation row g, and the results of weight rows g and g + 8 with activation rows 2c and
 * 2c + 1.
 */
#ifndef EXPERTD_GPU_PRODUCT_MANY_H
#define EXPERTD_GPU_PRODUCT_MANY_H

#include "gpu/product.cuh"

enum {
    TILE_ROWS = 64,
    TILE_TOKENS = 64,
    TILE_THREADS = 256, /* eight warps: four of 16 rows by two of 32 tokens */
    WARP_NS = 4,        /* products of 16 by 8 side by side in a warp's 32 tokens */
    STEP = 256,         /* columns in shared memory at a time: a SUPER block, eight SMALL ones */
    TILE_STRIDE = 68    /* words from row to row: what a warp reads together lies in 32 banks */
};

struct small_extras {
    float w_m[TILE_ROWS][8];
    int32_t a_sum[TILE_TOKENS][8];
};

struct super_extras {
    int8_t scale[TILE_ROWS][16];
    uint32_t min[TILE_ROWS][4];      /* 16 bytes */
    uint32_t a_high[TILE_TOKENS][4]; /* sums of groups: 128 * high + low */
    uint32_t a_low[TILE_TOKENS][4];
    float w_dmin[TILE_ROWS];
};

struct product_tile {
    uint32_t w[TILE_ROWS][TILE_STRIDE], a[TILE_TOKENS][TILE_STRIDE]; /* columns in order, four to a word */
    float w_d[TILE_ROWS][8], a_d[TILE_TOKENS][8];                    /* SUPER: the first */
    union {
        struct small_extras small;
        struct super_extras super;
    };
    const char *acts[TILE_TOKENS];
};

/* Lanes in the order in which they are added: 0 to 4, 2 to 6, both; 1 to 5, 3 to 7, both; all. */
DEVICE uint32_t nth_lane(uint32_t i)
{
    return (i & 1) << 2 | (i & 2) | i >> 2;
}

/* The sixteen results of a thread: [product][weight row g or g + 8, token 2c or 2c + 1]. */
struct results {
    float lane[WARP_NS][4], first[WARP_NS][4], half[WARP_NS][4], total[WARP_NS][4];
};

DEVICE void results_clear(struct results *r)
{
    UNROLL for (int i = 0; i < 4 * WARP_NS; i++)
        r->lane[i / 4][i % 4] = r->first[i / 4][i % 4] = r->half[i / 4][i % 4] = r->total[i / 4][i % 4] = 0;
}

DEVICE void results_end_lane(struct results *r, uint32_t nth)
{
    UNROLL for (int i = 0; i < 4 * WARP_NS; i++) {
        float lane = r->lane[i / 4][i % 4], pair = r->first[i / 4][i % 4] + lane, half = r->half[i / 4][i % 4] + pair;

        if (nth % 2 == 0)
            r->first[i / 4][i % 4] = lane;
        else if (nth % 4 == 1)
            r->half[i / 4][i % 4] = pair;
        else
            r->total[i / 4][i % 4] = nth == 3 ? half : r->total[i / 4][i % 4] + half;
        r->lane[i / 4][i % 4] = 0;
    }
}

/* Where a thread's fragments lie: its first weight row, its first token, g and c. */
struct place {
    uint32_t row, token, g, c;
};

/* Words 8k .. 8k + 7 of a tile's rows are the columns of product k. */
DEVICE void weight_fragment(const struct product_tile *s, const struct place *at, uint32_t k, uint32_t a[4])
{
    const uint32_t *w = &s->w[at->row + at->g][8 * k + at->c];

    a[0] = w[0];
    a[1] = w[8 * TILE_STRIDE];
    a[2] = w[4];
    a[3] = w[8 * TILE_STRIDE + 4];
}

DEVICE void act_fragment(const struct product_tile *s, const struct place *at, uint32_t n, uint32_t k, uint32_t b[2])
{
    const uint32_t *a = &s->a[at->token + 8 * n + at->g][8 * k + at->c];

    b[0] = a[0];
    b[1] = a[4];
}

template <int TYPE, int FAMILY> struct tile_product;

template <int TYPE> struct tile_product<TYPE, SMALL> {
    typedef format<TYPE> F;
    enum { BLOCKS = 8 }; /* in a step, of one lane: eight apart in the row */

    /* Block thread % 8 of the step, rows thread / 8 and 32 on. */
    DEVICE_MEMBER void load_weights(struct product_tile *s, const uint8_t *w, size_t row_bytes, uint32_t first_row,
                                    uint32_t n_rows, uint32_t block, uint32_t n_blocks, const struct lattices *)
    {
        uint32_t b = THREAD % 8;

        if (block + 8 * b >= n_blocks)
            return;
        for (uint32_t r = THREAD / 8; r < TILE_ROWS; r += TILE_THREADS / 8) {
            uint32_t row = first_row + r < n_rows ? first_row + r : n_rows - 1;
            const uint8_t *from = w + row * row_bytes + (size_t)(block + 8 * b) * F::BYTES;

            UNROLL for (int run = 0; run < 8; run++)
                s->w[r][8 * b + run] = F::run(from, run);
            s->w_d[r][b] = F::d(from);
            if (F::MINS)
                s->small.w_m[r][b] = F::m(from);
        }
    }

    DEVICE_MEMBER void load_acts(struct product_tile *s, uint32_t block, uint32_t n_blocks)
    {
        uint32_t b = THREAD % 8;

        if (block + 8 * b >= n_blocks)
            return;
        for (uint32_t t = THREAD / 8; t < TILE_TOKENS; t += TILE_THREADS / 8) {
            const struct act_small *a = (const struct act_small *)s->acts[t] + block + 8 * b;

            UNROLL for (uint32_t run = 0; run < 8; run++)
                s->a[t][8 * b + run] = a->q[run];
            s->a_d[t][b] = a->d;
            if (F::MINS)
                s->small.a_sum[t][b] = a->sum;
        }
    }

    DEVICE_MEMBER void step(const struct product_tile *s, const struct place *at, uint32_t block, uint32_t n_blocks,
                            struct results *r)
    {
        for (uint32_t b = 0; b < BLOCKS && block + 8 * b < n_blocks; b++) {
            uint32_t w[4];

            weight_fragment(s, at, b, w);
            UNROLL for (uint32_t n = 0; n < WARP_NS; n++) {
                uint32_t a[2];
                int whole[4] = { 0, 0, 0, 0 };

                act_fragment(s, at, n, b, a);
                mma_16x8x32(whole, w, a);
                UNROLL for (uint32_t i = 0; i < 4; i++)
                    add(s, at->row + at->g + i / 2 * 8, at->token + 8 * n + 2 * at->c + i % 2, b, whole[i],
                        &r->lane[n][i]);
            }
        }
    }

    DEVICE_MEMBER void add(const struct product_tile *s, uint32_t row, uint32_t token, uint32_t b, int whole,
                           float *lane)
    {
        *lane += s->w_d[row][b] * s->a_d[token][b] * (float)whole;
        if (F::MINS)
            *lane += s->small.w_m[row][b] * s->a_d[token][b] * (float)s->small.a_sum[token][b];
    }
};

template <int TYPE> struct tile_product<TYPE, SUPER> {
    typedef format<TYPE> F;
    enum { BLOCKS = 1 };

    /* Column thread % 8 of rows thread / 8 and 32 on. */
    DEVICE_MEMBER void load_weights(struct product_tile *s, const uint8_t *w, size_t row_bytes, uint32_t first_row,
                                    uint32_t n_rows, uint32_t block, uint32_t, const struct lattices *points)
    {
        uint32_t l = THREAD % 8;

        for (uint32_t r = THREAD / 8; r < TILE_ROWS; r += TILE_THREADS / 8) {
            uint32_t row = first_row + r < n_rows ? first_row + r : n_rows - 1, q[8];
            const uint8_t *from = w + row * row_bytes + (size_t)block * F::BYTES;

            F::column(from, (int)l, points, q);
            UNROLL for (int j = 0; j < 8; j++)
                s->w[r][8 * j + l] = F::OFFSET != 0 ? bytes_less(q[j], F::OFFSET) : q[j];
            s->super.scale[r][2 * l] = (int8_t)F::scale(from, (int)(2 * l));
            s->super.scale[r][2 * l + 1] = (int8_t)F::scale(from, (int)(2 * l + 1));
            if (F::MINS) {
                ((uint8_t *)s->super.min[r])[2 * l] = (uint8_t)F::min(from, (int)(2 * l));
                ((uint8_t *)s->super.min[r])[2 * l + 1] = (uint8_t)F::min(from, (int)(2 * l + 1));
            }
            if (l == 0) {
                s->w_d[r][0] = F::d(from);
                s->super.w_dmin[r] = F::dmin(from);
            }
        }
    }

    DEVICE_MEMBER void load_acts(struct product_tile *s, uint32_t block, uint32_t)
    {
        uint32_t l = THREAD % 8;

        for (uint32_t t = THREAD / 8; t < TILE_TOKENS; t += TILE_THREADS / 8) {
            const struct act_super *a = (const struct act_super *)s->acts[t] + block;

            UNROLL for (uint32_t j = 0; j < 8; j++)
                s->a[t][8 * j + l] = a->q[8 * l + j];
            if (F::MINS) {
                int first = low_half(a->sums[l]), second = high_half(a->sums[l]);

                ((int8_t *)s->super.a_high[t])[2 * l] = (int8_t)(first >> 7);
                ((int8_t *)s->super.a_high[t])[2 * l + 1] = (int8_t)(second >> 7);
                ((int8_t *)s->super.a_low[t])[2 * l] = (int8_t)(first & 127);
                ((int8_t *)s->super.a_low[t])[2 * l + 1] = (int8_t)(second & 127);
            }
            if (l == 0)
                s->a_d[t][0] = a->d;
        }
    }

    DEVICE_MEMBER void step(const struct product_tile *s, const struct place *at, uint32_t, uint32_t,
                            struct results *r)
    {
        int whole[WARP_NS][4];

        UNROLL for (int i = 0; i < 4 * WARP_NS; i++)
            whole[i / 4][i % 4] = 0;
        UNROLL_BY(2) for (uint32_t k = 0; k < 8; k++) {
            const int8_t *low = &s->super.scale[at->row + at->g][2 * k], *high = low + 8 * 16;
            uint32_t w[4];

            weight_fragment(s, at, k, w);
            UNROLL for (uint32_t n = 0; n < WARP_NS; n++) {
                uint32_t a[2];

                act_fragment(s, at, n, k, a);
                if (F::PAIRS) {
                    int part[4] = { 0, 0, 0, 0 };

                    mma_16x8x32(part, w, a);
                    add_scaled(part, low[0], high[0], whole[n]);
                } else {
                    int first[4] = { 0, 0, 0, 0 }, second[4] = { 0, 0, 0, 0 };

                    mma_16x8x16(first, w[0], w[1], a[0]);
                    mma_16x8x16(second, w[2], w[3], a[1]);
                    add_scaled(first, low[0], high[0], whole[n]);
                    add_scaled(second, low[1], high[1], whole[n]);
                }
            }
        }
        UNROLL for (uint32_t n = 0; n < WARP_NS; n++)
            add(s, at, n, whole[n], r->lane[n]);
    }

    DEVICE_MEMBER void add_scaled(const int part[4], int low, int high, int whole[4])
    {
        whole[0] += low * part[0];
        whole[1] += low * part[1];
        whole[2] += high * part[2];
        whole[3] += high * part[3];
    }

    DEVICE_MEMBER void add(const struct product_tile *s, const struct place *at, uint32_t n, const int whole[4],
                           float lane[4])
    {
        uint32_t row = at->row + at->g, token = at->token + 8 * n;
        int high[4] = { 0, 0, 0, 0 }, low[4] = { 0, 0, 0, 0 };

        if (F::MINS) {
            uint32_t w0 = s->super.min[row][at->c], w1 = s->super.min[row + 8][at->c];

            mma_16x8x16(high, w0, w1, s->super.a_high[token + at->g][at->c]);
            mma_16x8x16(low, w0, w1, s->super.a_low[token + at->g][at->c]);
        }
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            uint32_t own_row = row + i / 2 * 8;
            float a_d = s->a_d[token + 2 * at->c + i % 2][0];

            lane[i] += s->w_d[own_row][0] * a_d * (float)whole[i];
            if (F::MINS)
                lane[i] -= s->super.w_dmin[own_row] * a_d * (float)(128 * high[i] + low[i]);
        }
    }
};

template <int TYPE> KERNEL(TILE_THREADS) product_many_kernel(PARAMS(product_params) p)
{
    typedef format<TYPE> F;
    typedef tile_product<TYPE, F::FAMILY> tile;
    const struct product_job &job = p.jobs[BLOCK_Z];
    const uint32_t first_row = BLOCK_X * TILE_ROWS, first_token = BLOCK_Y * TILE_TOKENS, warp = THREAD / 32;
    const struct place at = { warp / 2 * 16, warp % 2 * 32, THREAD % 32 / 4, THREAD % 4 };
    const uint32_t n_blocks = job.cols / F::BLOCK;
    SHARED(struct product_tile, s);
    struct results r;

    if (first_row >= job.rows || first_token >= job.n_tokens)
        return;
    find_acts(&job, first_token, TILE_TOKENS, s->acts);
    results_clear(&r);
    for (uint32_t nth = 0; nth < 8; nth++) {
        for (uint32_t block = nth_lane(nth); block < n_blocks; block += 8 * tile::BLOCKS) {
            block_barrier();
            tile::load_weights(s, find_weights(&job), (size_t)n_blocks * F::BYTES, first_row, job.rows, block, n_blocks, p.points);
            tile::load_acts(s, block, n_blocks);
            block_barrier();
            tile::step(s, &at, block, n_blocks, &r);
        }
        results_end_lane(&r, nth);
    }
    UNROLL for (uint32_t n = 0; n < WARP_NS; n++)
        UNROLL for (uint32_t i = 0; i < 4; i++)
            store_product(&job, first_row + at.row + at.g + i / 2 * 8,
                          first_token + at.token + 8 * n + 2 * at.c + i % 2, r.total[n][i]);
}

/* The kernels of one format. */
template <int TYPE> int launch_product_of(struct queue *queue, const struct product_params *p, uint32_t n_jobs,
                                          uint32_t max_rows, uint32_t max_tokens)
{
    if (max_tokens < PRODUCT_MANY)
        return launch_product_few<TYPE>(queue, p, n_jobs, max_rows, max_tokens);
    return launch(queue, product_many_kernel<TYPE>, (max_rows + TILE_ROWS - 1) / TILE_ROWS,
                  (max_tokens + TILE_TOKENS - 1) / TILE_TOKENS, n_jobs, TILE_THREADS, sizeof(struct product_tile), *p,
                  product_bytes(n_jobs));
}

#endif
