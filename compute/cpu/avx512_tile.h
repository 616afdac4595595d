/* SPDX-License-Identifier: MIT
 *
 * avx512_tile.h: tiles whose sixteen weight rows lie across the lanes of a register.
 *
 * Four consecutive weights of each row make the four bytes of its lane, as vpdpbusd multiplies them with four
 * activations that stand in all lanes: sums of a row stay in its lane, and nothing is added across. A step is one such
 * register. Weights are made unsigned by a bias, which is taken off again through the sums of activations.
 *
 * Rows that a tile lacks are copies of its last one, whose products are not stored. Tokens go TILE_TOKENS at a time.
 *
 * The lanes of kernels.h are done one after the other, in the order in which they are added, so that no more than
 * one sum for each level of that tree is kept. Internal to the AVX-512 level.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_TILE_H
#define EXPERTD_COMPUTE_CPU_AVX512_TILE_H

#include "compute/cpu/avx512.h"

enum { TILE_TOKENS = 8, STEP_BYTES = 64 };

/* Four rows of dwords across sixteen registers; n of 16. */
SIMD_INLINE void transpose_dwords(__m512i v[16])
{
    __m512i u[16];

    UNROLL for (int i = 0; i < 16; i += 4)
    {
        __m512i ab = _mm512_unpacklo_epi32(v[i], v[i + 1]), cd = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]);
        __m512i ef = _mm512_unpackhi_epi32(v[i], v[i + 1]), gh = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);

        u[i] = _mm512_unpacklo_epi64(ab, cd);
        u[i + 1] = _mm512_unpackhi_epi64(ab, cd);
        u[i + 2] = _mm512_unpacklo_epi64(ef, gh);
        u[i + 3] = _mm512_unpackhi_epi64(ef, gh);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        __m512i even_low = _mm512_shuffle_i32x4(u[i], u[i + 4], 0x88);
        __m512i even_high = _mm512_shuffle_i32x4(u[i + 8], u[i + 12], 0x88);
        __m512i odd_low = _mm512_shuffle_i32x4(u[i], u[i + 4], 0xdd);
        __m512i odd_high = _mm512_shuffle_i32x4(u[i + 8], u[i + 12], 0xdd);

        v[i] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        v[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        v[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
}

/* Sixteen steps from 64 bytes of each of sixteen rows, `stride` bytes apart. */
SIMD_INLINE void steps_from_rows(const uint8_t *rows, size_t stride, uint8_t *steps)
{
    __m512i v[16];

    UNROLL for (int r = 0; r < 16; r++) v[r] = _mm512_loadu_si512(rows + (size_t)r * stride);
    transpose_dwords(v);
    UNROLL for (int r = 0; r < 16; r++) _mm512_store_si512(steps + STEP_BYTES * r, v[r]);
}

/* Four bytes in all lanes. */
SIMD_INLINE __m512i spread4(const void *p)
{
    int32_t v;

    memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
}

/* Lanes in the order of their addition. */
static const uint8_t lane_order[LANE_BLOCKS] = { 0, 4, 2, 6, 1, 5, 3, 7 };

/* Sums of lanes that wait for their partners: level by level of the tree, the result in the last. */
struct lane_tree {
    __m512 waiting[4][TILE_TOKENS];
};

/* The i-th lane in that order is done. */
SIMD_INLINE void lane_done(struct lane_tree *tree, int i, const int n_tokens, const __m512 *lane)
{
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        __m512 sum = lane[t];
        int level = 0;

        for (; i >> level & 1; level++)
            sum = _mm512_add_ps(tree->waiting[level][t], sum);
        tree->waiting[level][t] = sum;
    }
}

/* Store the results of the first n_kept tokens. */
SIMD_INLINE void tree_store(const struct lane_tree *tree, size_t n_rows, size_t n_kept, float *y, size_t y_stride)
{
    for (size_t t = 0; t < n_kept; t++)
        _mm512_mask_storeu_ps(y + t * y_stride, (__mmask16)((1u << n_rows) - 1), tree->waiting[3][t]);
}

/* The acts of a group of tokens; the last one stands for those that are not there. */
SIMD_INLINE void acts_gather(const void *const *acts, size_t n_acts, const int n_tokens,
                             const char *ret_acts[TILE_TOKENS])
{
    for (int t = 0; t < n_tokens; t++)
        ret_acts[t] = acts[(size_t)t < n_acts ? (size_t)t : n_acts - 1];
}

void avx512_tile_small_fill(struct cpu_kernels *k);
void avx512_tile_super_fill(struct cpu_kernels *k);

#endif
