/* SPDX-License-Identifier: MIT
 *
 * top_k.cu: the greatest numbers of a row, greatest first, the lower index first among equals.
 *
 * A number and its index make a key of 64 bits, no two of which are equal; so the order is the same however the row is
 * cut. A block sorts a chunk in shared memory and leaves its k best; a step makes at most a sixteenth of what it is
 * given, until one chunk is left.
 */
#include "gpu/kernels.h"

enum { TOP_THREADS = 256 };
#define TOP_CHUNK 2048u /* numbers that a block sorts */

/* Keys rise with their numbers; both zeros are equal, and what is not finite is above everything. */
DEVICE uint64_t top_key(float x, uint32_t index)
{
    uint32_t bits = float_bits(x);

    if ((bits & 0x7f800000) == 0x7f800000)
        bits = 0xffffffff;
    else if (bits << 1 == 0)
        bits = 0x80000000;
    else
        bits = bits >> 31 ? ~bits : bits | 0x80000000;
    return (uint64_t)bits << 32 | (uint32_t)~index;
}

/* The chunk's keys, and 0, which is below every key, up to a power of two: returns it. */
DEVICE uint32_t load_chunk(const struct top_k_params &p, uint64_t *keys)
{
    const uint32_t from = BLOCK_X * TOP_CHUNK, left = p.n_in - from, n = left < TOP_CHUNK ? left : TOP_CHUNK;
    uint32_t length = 2;

    while (length < n)
        length *= 2;
    for (uint32_t i = THREAD; i < length; i += TOP_THREADS) {
        if (i >= n)
            keys[i] = 0;
        else if (p.in != NULL)
            keys[i] = p.in[(size_t)BLOCK_Y * p.n_in + from + i];
        else
            keys[i] = top_key(p.x[(size_t)BLOCK_Y * p.n_cols + from + i], from + i);
    }
    return length;
}

/* Greatest first: Batcher's bitonic sort. */
DEVICE void sort_chunk(uint64_t *keys, uint32_t length)
{
    for (uint32_t size = 2; size <= length; size *= 2)
        for (uint32_t step = size / 2; step > 0; step /= 2) {
            block_barrier();
            for (uint32_t i = THREAD; i < length / 2; i += TOP_THREADS) {
                uint32_t a = 2 * i - (i & (step - 1)), b = a + step;
                uint64_t first = keys[a], second = keys[b];

                if ((first < second) == ((a & size) == 0)) {
                    keys[a] = second;
                    keys[b] = first;
                }
            }
        }
    block_barrier();
}

KERNEL(TOP_THREADS) top_k_kernel(PARAMS(top_k_params) p)
{
    const uint32_t n_chunks = (p.n_in + TOP_CHUNK - 1) / TOP_CHUNK;
    SHARED(uint64_t, keys);
    uint32_t length = load_chunk(p, keys);

    sort_chunk(keys, length);
    for (uint32_t i = THREAD; i < p.k; i += TOP_THREADS) {
        if (n_chunks > 1) {
            p.out[((size_t)BLOCK_Y * n_chunks + BLOCK_X) * p.k + i] = i < length ? keys[i] : 0;
        } else {
            uint32_t index = ~(uint32_t)keys[i];

            p.ids[(size_t)BLOCK_Y * p.k + i] = (int32_t)index;
            p.values[(size_t)BLOCK_Y * p.k + i] = p.x[(size_t)BLOCK_Y * p.n_cols + index];
        }
    }
}

uint32_t top_k_chunks(uint32_t n_in)
{
    return (n_in + TOP_CHUNK - 1) / TOP_CHUNK;
}

int launch_top_k(struct queue *queue, const struct top_k_params *p, uint32_t n_rows)
{
    return launch(queue, top_k_kernel, top_k_chunks(p->n_in), n_rows, 1, TOP_THREADS, TOP_CHUNK * sizeof(uint64_t), *p);
}
