/* SPDX-License-Identifier: MIT
 *
 * avx512_tile_small.c: tiles of 32-weight blocks (ACT_SMALL in kernels.h); see avx512_tile.h for how rows lie.
 */
#include "compute/cpu/avx512_turn_small.h"

_Static_assert(sizeof(struct small_tile) == 16 * (QUANT_SMALL + 2 * sizeof(float)), "a tile has room for it");

SIMD_INLINE void block_add(int bias_shift, bool minima, const struct small_tile *tile, const struct small_row *a,
                           size_t b, const int n_tokens, __m512 *lane)
{
    __m512 d = _mm512_load_ps(tile->d), m = _mm512_load_ps(tile->m);
    __m512i sum[TILE_TOKENS];

    UNROLL for (int t = 0; t < n_tokens; t++) sum[t] = _mm512_setzero_si512();
    UNROLL for (int k = 0; k < SMALL_STEPS; k++)
    {
        __m512i q = _mm512_load_si512(tile->q[k]);

        UNROLL for (int t = 0; t < n_tokens; t++) sum[t] =
            _mm512_dpbusd_epi32(sum[t], q, spread4(a[t].q + QUANT_SMALL * b + 4 * (size_t)k));
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        __m512 act_d = _mm512_set1_ps(a[t].d[b]);
        __m512i act_sum = _mm512_set1_epi32(a[t].sum[b]);

        if (bias_shift >= 0)
            sum[t] = _mm512_sub_epi32(sum[t], _mm512_slli_epi32(act_sum, (unsigned)bias_shift));
        lane[t] = _mm512_add_ps(lane[t], _mm512_mul_ps(_mm512_mul_ps(d, act_d), _mm512_cvtepi32_ps(sum[t])));
        if (minima)
            lane[t] = _mm512_add_ps(lane[t], _mm512_mul_ps(_mm512_mul_ps(m, act_d), _mm512_cvtepi32_ps(act_sum)));
    }
}

SIMD_INLINE void dots_group(int bias_shift, bool minima, const struct small_tile *tile, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, const int n_tokens, float *y, size_t y_stride)
{
    const char *base[TILE_TOKENS];
    struct small_row a[TILE_TOKENS];
    struct lane_tree tree;

    acts_gather(acts, n_acts, n_tokens, base);
    UNROLL for (int t = 0; t < n_tokens; t++) a[t] = small_row_at(base[t], n);
    for (int i = 0; i < LANE_BLOCKS; i++) {
        __m512 lane[TILE_TOKENS];

        UNROLL for (int t = 0; t < n_tokens; t++) lane[t] = _mm512_setzero_ps();
        for (size_t b = lane_order[i]; b < n / QUANT_SMALL; b += LANE_BLOCKS)
            block_add(bias_shift, minima, tile + b, a, b, n_tokens, lane);
        lane_done(&tree, i, n_tokens, lane);
    }
    tree_store(&tree, n_rows, n_acts < (size_t)n_tokens ? n_acts : (size_t)n_tokens, y, y_stride);
}

SIMD_INLINE void dots_tile(int bias_shift, bool minima, const void *tile, size_t n_rows, size_t n,
                           const void *const *acts, size_t n_acts, float *y, size_t y_stride)
{
    size_t t = 0;

    for (; t + TILE_TOKENS / 2 < n_acts; t += TILE_TOKENS)
        dots_group(bias_shift, minima, tile, n_rows, n, acts + t, n_acts - t, TILE_TOKENS, y + t * y_stride, y_stride);
    if (t < n_acts)
        dots_group(bias_shift, minima, tile, n_rows, n, acts + t, n_acts - t, TILE_TOKENS / 2, y + t * y_stride,
                   y_stride);
}

#define DOTS(name, bias_shift, minima)                                                                            \
    static void name(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y, \
                     size_t y_stride)                                                                             \
    {                                                                                                             \
        dots_tile(bias_shift, minima, tile, n_rows, n, acts, n_acts, y, y_stride);                                \
    }

DOTS(dots_by_8, 3, false)
DOTS(dots_by_16, 4, false)
DOTS(dots_by_128, 7, false)
DOTS(dots_minima, -1, true)

#define UNPACK(name, type, block_bytes)                                                                              \
    static void name(enum quant_type unused, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile) \
    {                                                                                                                \
        turn_small(type, false, block_bytes, src, row_bytes, n_rows, n, tile);                                       \
    }

UNPACK(unpack_q4_0_tile, QUANT_Q4_0, 18)
UNPACK(unpack_q4_1_tile, QUANT_Q4_1, 20)
UNPACK(unpack_q5_0_tile, QUANT_Q5_0, 22)
UNPACK(unpack_q5_1_tile, QUANT_Q5_1, 24)
UNPACK(unpack_q8_0_tile, QUANT_Q8_0, 34)
UNPACK(unpack_iq4_nl_tile, QUANT_IQ4_NL, 18)
UNPACK(unpack_mxfp4_tile, QUANT_MXFP4, 17)

static void set(struct cpu_kernels *k, enum quant_type type,
                void (*unpack)(enum quant_type, const void *, size_t, size_t, size_t, void *),
                void (*dots)(const void *, size_t, size_t, const void *const *, size_t, float *, size_t))
{
    k->unpack[type] = unpack;
    k->dots[type] = dots;
}

void avx512_tile_small_fill(struct cpu_kernels *k)
{
    set(k, QUANT_Q4_0, unpack_q4_0_tile, dots_by_8);
    set(k, QUANT_Q5_0, unpack_q5_0_tile, dots_by_16);
    set(k, QUANT_Q8_0, unpack_q8_0_tile, dots_by_128);
    set(k, QUANT_IQ4_NL, unpack_iq4_nl_tile, dots_by_128);
    set(k, QUANT_MXFP4, unpack_mxfp4_tile, dots_by_128);
    set(k, QUANT_Q4_1, unpack_q4_1_tile, dots_minima);
    set(k, QUANT_Q5_1, unpack_q5_1_tile, dots_minima);
}
