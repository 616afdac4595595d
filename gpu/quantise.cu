/* SPDX-License-Identifier: MIT
 *
 * quantise.cu: activations to 8 bits, in blocks of 32 or 256, with the gate's activation on the way where there is one.
 *
 * A warp takes 256 columns of a row, a thread eight of them. The numbers are those of act_quantise in
 * compute/cpu/float_kernels.h.
 */
#include "gpu/exact.cuh"
#include "gpu/kernels.h"

enum { WARPS = 4, SPAN = 256, EACH = 8 };

/* Eight of n_cols numbers, 0 behind the last. */
DEVICE void load_eight(const struct quantise_params &p, uint32_t row, uint32_t col, float x[EACH])
{
    UNROLL for (int i = 0; i < EACH; i++) {
        size_t at = row * p.stride + col + i;

        x[i] = 0;
        if (col + i < p.n_cols)
            x[i] = p.gate != NULL ? silu(p.gate[at]) * p.x[at] : p.x[at];
    }
}

/* Magnitudes as whole numbers, among which infinity and what is no number are the greatest. */
DEVICE uint32_t most_of(const float x[EACH])
{
    uint32_t most = 0;

    UNROLL for (int i = 0; i < EACH; i++) {
        uint32_t magnitude = float_bits(x[i]) & 0x7fffffff;

        most = magnitude > most ? magnitude : most;
    }
    return most;
}

DEVICE uint32_t most_among(uint32_t most, int n_threads)
{
    for (int mask = 1; mask < n_threads; mask *= 2) {
        uint32_t other = warp_shuffle_xor(most, mask);

        most = other > most ? other : most;
    }
    return most;
}

struct eight {
    uint32_t q[2]; /* two runs of four */
    int sum;
    float d;
};

DEVICE struct eight quantise(const float x[EACH], uint32_t most)
{
    struct eight e = { { 0, 0 }, 0, 0 };
    float inverse;

    if (most < 0x01000000 || most >= 0x7f800000) { /* too small to have an inverse, or not finite */
        e.d = most >= 0x7f800000 ? bits_float(0x7fc00000) : 0;
        return e;
    }
    inverse = 127.0f / bits_float(most);
    UNROLL for (int i = 0; i < EACH; i++) {
        int whole = (int)(float_bits(x[i] * inverse + 12582912.0f) - 0x4b400000u);

        e.q[i / 4] |= ((uint32_t)whole & 255) << (i % 4 * 8);
        e.sum += whole;
    }
    e.d = bits_float(most) / 127.0f;
    return e;
}

DEVICE void store_small(const struct eight *e, uint32_t col, bool there, char *row)
{
    uint32_t part = THREAD % 4;
    struct act_small *block = (struct act_small *)row + col / 32;
    int sum = e->sum + warp_shuffle_xor(e->sum, 1);

    sum = sum + warp_shuffle_xor(sum, 2);
    if (!there)
        return;
    block->q[2 * part] = e->q[0];
    block->q[2 * part + 1] = e->q[1];
    if (part == 0) {
        block->d = e->d;
        block->sum = sum;
    }
}

DEVICE void store_super(const struct eight *e, uint32_t block, char *row)
{
    struct act_super *to = (struct act_super *)row + block;
    uint32_t thread = THREAD % 32, lane = 2 * thread % 8, run = thread / 4;
    int group = e->sum + warp_shuffle_xor(e->sum, 1), next = warp_shuffle_xor(group, 2);

    to->q[8 * lane + run] = e->q[0];
    to->q[8 * lane + 8 + run] = e->q[1];
    if (thread % 4 == 0)
        to->sums[thread / 4] = ((uint32_t)group & 0xffff) | (uint32_t)next << 16;
    if (thread == 0)
        to->d = e->d;
}

KERNEL(32 * WARPS) quantise_kernel(PARAMS(quantise_params) p)
{
    uint32_t block = BLOCK_Y * WARPS + THREAD / 32, row = BLOCK_X, col = block * SPAN + THREAD % 32 * EACH, most;
    float x[EACH];
    struct eight e;

    if (block * SPAN >= p.n_cols)
        return;
    load_eight(p, row, col, x);
    UNROLL for (int i = 0; i < EACH; i++)
        if (p.plain != NULL && col + i < p.n_cols)
            p.plain[row * p.stride + col + i] = x[i];
    most = most_of(x);
    if (p.small != NULL) {
        e = quantise(x, most_among(most, 4));
        store_small(&e, col, col < p.n_cols, p.small + row * p.small_stride);
    }
    if (p.super != NULL) {
        e = quantise(x, most_among(most, 32));
        store_super(&e, block, p.super + row * p.super_stride);
    }
}

int launch_quantise(struct queue *queue, const struct quantise_params *p)
{
    uint32_t blocks = (p->n_cols + SPAN * WARPS - 1) / (SPAN * WARPS);

    return launch(queue, quantise_kernel, p->n_rows, blocks, 1, 32 * WARPS, 0, *p);
}
