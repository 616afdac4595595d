/* SPDX-License-Identifier: MIT
 *
 * rows.cu: what is one pass over rows: embedding, rotation, storing keys and values, sums.
 */
#include "gpu/formats.cuh"
#include "gpu/kernels.h"

enum { ROW_THREADS = 128 };

template <int TYPE, int FAMILY> struct decoder;

/* Four weights from column `col` on. */
template <int TYPE> struct decoder<TYPE, SMALL> {
    DEVICE_MEMBER void four(const uint8_t *row, uint32_t col, uint32_t, const struct lattices *, float *y)
    {
        typedef format<TYPE> F;
        const uint8_t *block = row + (size_t)(col / 32) * F::BYTES;
        uint32_t q = F::run(block, (int)(col % 32 / 4));
        float d = F::d(block), m = F::MINS ? F::m(block) : -0.0f;

        UNROLL for (int i = 0; i < 4; i++)
            y[col + i] = d * (float)(int8_t)(q >> (8 * i)) + m;
    }
};

template <int TYPE> struct decoder<TYPE, SUPER> {
    DEVICE_MEMBER void four(const uint8_t *row, uint32_t col, uint32_t, const struct lattices *points, float *y)
    {
        typedef format<TYPE> F;
        const uint8_t *block = row + (size_t)(col / 256) * F::BYTES;
        int run = (int)(col % 256 / 4), g = run / 4;
        uint32_t q[8];
        float scale = F::d(block) * (float)F::scale(block, g), less = F::dmin(block) * (float)F::min(block, g);

        F::column(block, run % 8, points, q);
        UNROLL for (int j = 0; j < 8; j++)
            if (j == run / 8)
                UNROLL for (int i = 0; i < 4; i++)
                    y[col + i] = scale * (float)((int8_t)(q[j] >> (8 * i)) - F::OFFSET) - less;
    }
};

template <int TYPE> struct decoder<TYPE, PLAIN> {
    DEVICE_MEMBER void four(const uint8_t *row, uint32_t col, uint32_t n, const struct lattices *, float *y)
    {
        UNROLL for (uint32_t i = 0; i < 4; i++)
            if (col + i < n)
                y[col + i] = format<TYPE>::value(row + (size_t)(col + i) * format<TYPE>::BYTES);
    }
};

template <int TYPE> KERNEL(ROW_THREADS) embed_kernel(PARAMS(embed_params) p)
{
    typedef format<TYPE> F;
    int32_t id = p.ids != NULL ? p.ids[BLOCK_X] : p.few[BLOCK_X];
    uint32_t col = (BLOCK_Y * ROW_THREADS + THREAD) * 4;

    if (col < p.n_cols)
        decoder<TYPE, F::FAMILY>::four(p.table + (size_t)(uint32_t)id * (p.n_cols / F::BLOCK * F::BYTES), col, p.n_cols,
                                       p.points, p.y + (size_t)BLOCK_X * p.n_cols);
}

KERNEL(ROW_THREADS) rope_kernel(PARAMS(rope_params) p)
{
    uint32_t half = p.n_rot / 2, pair = BLOCK_Y * ROW_THREADS + THREAD, head = pair / half, i = pair % half;
    float *x = p.x + ((size_t)BLOCK_X * p.n_heads + head) * p.head_dim;
    const float *angle = p.angles + (size_t)BLOCK_X * p.n_rot + 2 * i;
    uint32_t a = p.neox ? i : 2 * i, b = p.neox ? i + half : 2 * i + 1;
    float xa, xb;

    if (head >= p.n_heads)
        return;
    xa = x[a];
    xb = x[b];
    x[a] = xa * angle[0] - xb * angle[1];
    x[b] = xa * angle[1] + xb * angle[0];
}

/* Where a head's rows of the block begin, bytes behind the first. */
DEVICE size_t kv_head(const struct kv_store_params &p, uint32_t head)
{
    return (p.pos0 + BLOCK_X) / p.kv.block_rows * p.kv.block_bytes + head * p.kv.head_bytes;
}

DEVICE uint32_t kv_row(const struct kv_store_params &p)
{
    return (p.pos0 + BLOCK_X) % p.kv.block_rows;
}

KERNEL(ROW_THREADS) kv_store_kernel(PARAMS(kv_store_params) p)
{
    uint32_t i = BLOCK_Y * ROW_THREADS + THREAD, head = i / p.head_dim;
    size_t from = (size_t)BLOCK_X * p.n_kv_heads * p.head_dim + i;
    size_t to = (size_t)kv_row(p) * p.head_dim + i % p.head_dim;
    char *k = (char *)p.kv.k + kv_head(p, head), *v = (char *)p.kv.v + kv_head(p, head);

    if (head >= p.n_kv_heads)
        return;
    if (p.kv_type == KV_F16) {
        ((uint16_t *)k)[to] = float_half(p.k[from]);
        ((uint16_t *)v)[to] = float_half(p.v[from]);
    } else {
        ((float *)k)[to] = p.k[from];
        ((float *)v)[to] = p.v[from];
    }
}

/* The scale of a block of Q8_0 whose greatest magnitude is given: what the CPU's q8_0_scale finds. */
DEVICE uint16_t block_scale(float most)
{
    uint16_t d = float_half(most / 127.0f);

    return most * (1.0f / half_value(d)) >= 127.5f ? (uint16_t)(d + 1) : d;
}

/* A warp a block: thread l has number l of it, or 0 behind the last of the head. */
DEVICE void store_block(float x, char *block)
{
    uint32_t most = float_bits(x) & 0x7fffffff, thread = THREAD % 32;
    uint16_t d;
    int q = 0;

    for (int mask = 1; mask < 32; mask *= 2) {
        uint32_t other = warp_shuffle_xor(most, mask);

        most = other > most ? other : most;
    }
    d = block_scale(bits_float(most));
    if (d >= 0x7c00) /* infinite, or no number */
        d = 0x7e00;
    else if (d > 0)
        q = (int)(float_bits(x * (1.0f / half_value(d)) + 12582912.0f) - 0x4b400000u);
    if (thread == 0)
        *(uint16_t *)block = d;
    block[2 + thread] = (char)q;
}

KERNEL(ROW_THREADS) kv_store_q8_0_kernel(PARAMS(kv_store_params) p)
{
    uint32_t blocks = (p.head_dim + KV_BLOCK - 1) / KV_BLOCK, i = (BLOCK_Y * ROW_THREADS + THREAD) / KV_BLOCK;
    uint32_t head = i / blocks, d = i % blocks * KV_BLOCK + THREAD % KV_BLOCK;
    size_t from = ((size_t)BLOCK_X * p.n_kv_heads + head) * p.head_dim + d;
    size_t to = kv_head(p, head) + ((size_t)kv_row(p) * blocks + i % blocks) * KV_BLOCK_BYTES;

    if (head >= p.n_kv_heads)
        return;
    store_block(d < p.head_dim ? p.k[from] : 0, (char *)p.kv.k + to);
    store_block(d < p.head_dim ? p.v[from] : 0, (char *)p.kv.v + to);
}

/* The sum is complete before it meets x, as on the CPU. */
KERNEL(ROW_THREADS) combine_kernel(PARAMS(combine_params) p)
{
    uint32_t col = BLOCK_Y * ROW_THREADS + THREAD;
    size_t t = BLOCK_X;
    float sum = 0;

    if (col >= p.n_embd)
        return;
    for (size_t j = t * p.n_used; j < (t + 1) * p.n_used; j++)
        sum += p.y[j * p.n_embd + col] * (p.weights != NULL ? p.weights[j] : p.few[j]);
    p.x[t * p.n_embd + col] += sum;
}

KERNEL(ROW_THREADS) add_kernel(PARAMS(add_params) p)
{
    uint32_t col = BLOCK_Y * ROW_THREADS + THREAD;
    size_t at = (size_t)BLOCK_X * p.n_cols + col;

    if (col < p.n_cols)
        p.x[at] += p.y[at] * (p.gate != NULL ? logistic(p.gate[BLOCK_X]) : 1);
}

static uint32_t blocks_of(size_t n)
{
    return (uint32_t)((n + ROW_THREADS - 1) / ROW_THREADS);
}

int launch_embed(struct queue *queue, const struct embed_params *p)
{
    uint32_t blocks = blocks_of(((size_t)p->n_cols + 3) / 4);

    switch (p->type) {
#define EMBED(type)    \
    case QUANT_##type: \
        return launch(queue, embed_kernel<QUANT_##type>, p->n, blocks, 1, ROW_THREADS, 0, *p)
        EMBED(F32);
        EMBED(F16);
        EMBED(BF16);
        EMBED(Q4_0);
        EMBED(Q4_1);
        EMBED(Q5_0);
        EMBED(Q5_1);
        EMBED(Q8_0);
        EMBED(IQ4_NL);
        EMBED(MXFP4);
        EMBED(Q2_K);
        EMBED(Q3_K);
        EMBED(Q4_K);
        EMBED(Q5_K);
        EMBED(Q6_K);
        EMBED(IQ4_XS);
        EMBED(IQ1_S);
        EMBED(IQ1_M);
        EMBED(IQ2_XXS);
        EMBED(IQ2_XS);
        EMBED(IQ2_S);
        EMBED(IQ3_XXS);
        EMBED(IQ3_S);
#undef EMBED
    default:
        return -1;
    }
}

int launch_rope(struct queue *queue, const struct rope_params *p)
{
    return launch(queue, rope_kernel, p->n_tokens, blocks_of((size_t)p->n_heads * p->n_rot / 2), 1, ROW_THREADS, 0, *p);
}

int launch_kv_store(struct queue *queue, const struct kv_store_params *p)
{
    size_t per_head = (p->head_dim + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;

    if (p->kv_type == KV_Q8_0)
        return launch(queue, kv_store_q8_0_kernel, p->n, blocks_of(p->n_kv_heads * per_head), 1, ROW_THREADS, 0, *p);
    return launch(queue, kv_store_kernel, p->n, blocks_of((size_t)p->n_kv_heads * p->head_dim), 1, ROW_THREADS, 0, *p);
}

int launch_combine(struct queue *queue, const struct combine_params *p)
{
    return launch(queue, combine_kernel, p->n, blocks_of(p->n_embd), 1, ROW_THREADS, 0, *p);
}

int launch_add(struct queue *queue, const struct add_params *p)
{
    return launch(queue, add_kernel, p->n, blocks_of(p->n_cols), 1, ROW_THREADS, 0, *p);
}
