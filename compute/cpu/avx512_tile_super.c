/* SPDX-License-Identifier: MIT
 *
 * avx512_tile_super.c: tiles of super-blocks (ACT_SUPER in kernels.h); see avx512_tile.h for how rows lie.
 *
 * The sums of a group's products are multiplied by its scale as whole numbers. A bias of the weights is taken off, and
 * minima are summed, as pairs of 16 bits against pairs of activation sums.
 */
#include "compute/cpu/avx512_turn.h"

_Static_assert(sizeof(struct super_tile) <= 16 * sizeof(struct quant_super), "a tile has room for it");

SIMD_INLINE void unpack_tile(enum quant_type type, enum kind kind, size_t block_bytes, const void *src,
                             size_t row_bytes, size_t n_rows, size_t n, void *ret_tile)
{
    struct super_tile *tile = ret_tile;

    for (size_t b = 0; b < n / QUANT_SUPER; b++)
        turn_rows(type, kind, (const uint8_t *)src + b * block_bytes, row_bytes, n_rows, tile + b);
}

/* The tile's groups times some tokens: whole[t] += scale * (sum of q * a), for sixteen rows. `acts` are at a block. */
SIMD_INLINE void groups_add(const int n_groups, const struct super_tile *tile, const struct act_super *const *a,
                            const int n_tokens, __m512i *whole)
{
    const int n_steps = STEPS / n_groups;

    for (int g = 0; g < n_groups; g++) {
        __m512i sum[TILE_TOKENS], scale;

        UNROLL for (int t = 0; t < n_tokens; t++) sum[t] = _mm512_setzero_si512();
        UNROLL for (int k = 0; k < n_steps; k++)
        {
            __m512i q = _mm512_load_si512(tile->q[g * n_steps + k]);

            UNROLL for (int t = 0; t < n_tokens; t++) sum[t] =
                _mm512_dpbusd_epi32(sum[t], q, spread4(a[t]->q + 4 * (g * n_steps + k)));
        }
        scale = _mm512_load_si512(tile->scale[g]);
        UNROLL for (int t = 0; t < n_tokens; t++) whole[t] =
            _mm512_add_epi32(whole[t], _mm512_mullo_epi32(sum[t], scale));
    }
}

/* sum[t] = the sum over pairs of low * activation sums. */
SIMD_INLINE void lows_sum(const struct super_tile *tile, bool by_pairs, const struct act_super *const *a,
                          const int n_tokens, __m512i *sum)
{
    const int n = by_pairs ? PAIRS / 2 : PAIRS;

    UNROLL for (int t = 0; t < n_tokens; t++) sum[t] = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < n; i++)
    {
        __m512i low = _mm512_load_si512(tile->low[i]);

        UNROLL for (int t = 0; t < n_tokens; t++) sum[t] =
            _mm512_dpwssd_epi32(sum[t], low, spread4((by_pairs ? a[t]->pair_sum : a[t]->sum) + 2 * i));
    }
}

SIMD_INLINE void block_add(enum kind kind, const struct super_tile *tile, const struct act_super *const *a,
                           const int n_tokens, __m512 *lane)
{
    __m512 d = _mm512_load_ps(tile->d), dmin = _mm512_load_ps(tile->dmin);
    __m512i whole[TILE_TOKENS], lows[TILE_TOKENS];

    if (!has_minima(kind))
        lows_sum(tile, false, a, n_tokens, lows);
    UNROLL for (int t = 0; t < n_tokens; t++) whole[t] =
        has_minima(kind) ? _mm512_setzero_si512() : _mm512_sub_epi32(_mm512_setzero_si512(), lows[t]);
    groups_add(is_halved(kind) ? 8 : 16, tile, a, n_tokens, whole);
    if (has_minima(kind))
        lows_sum(tile, kind == MINIMA_HALVED, a, n_tokens, lows);
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        __m512 act_d = _mm512_set1_ps(a[t]->d);

        lane[t] = _mm512_add_ps(lane[t], _mm512_mul_ps(_mm512_mul_ps(d, act_d), _mm512_cvtepi32_ps(whole[t])));
        if (has_minima(kind))
            lane[t] = _mm512_sub_ps(lane[t], _mm512_mul_ps(_mm512_mul_ps(dmin, act_d), _mm512_cvtepi32_ps(lows[t])));
    }
}

SIMD_INLINE void dots_group(enum kind kind, const struct super_tile *tile, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, const int n_tokens, float *y, size_t y_stride)
{
    size_t n_kept = n_acts < (size_t)n_tokens ? n_acts : (size_t)n_tokens;
    const char *base[TILE_TOKENS];
    struct lane_tree tree;

    acts_gather(acts, n_acts, n_tokens, base);
    for (int i = 0; i < LANE_BLOCKS; i++) {
        __m512 lane[TILE_TOKENS];

        UNROLL for (int t = 0; t < n_tokens; t++) lane[t] = _mm512_setzero_ps();
        for (size_t b = lane_order[i]; b < n / QUANT_SUPER; b += LANE_BLOCKS) {
            const struct act_super *a[TILE_TOKENS];

            UNROLL for (int t = 0; t < n_tokens; t++) a[t] = (const struct act_super *)base[t] + b;
            block_add(kind, tile + b, a, n_tokens, lane);
        }
        lane_done(&tree, i, n_tokens, lane);
    }
    tree_store(&tree, n_rows, n_kept, y, y_stride);
}

SIMD_INLINE void dots_tile(enum kind kind, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                           size_t n_acts, float *y, size_t y_stride)
{
    size_t t = 0;

    for (; t + TILE_TOKENS / 2 < n_acts; t += TILE_TOKENS)
        dots_group(kind, tile, n_rows, n, acts + t, n_acts - t, TILE_TOKENS, y + t * y_stride, y_stride);
    if (t < n_acts)
        dots_group(kind, tile, n_rows, n, acts + t, n_acts - t, TILE_TOKENS / 2, y + t * y_stride, y_stride);
}

#define DOTS(name, kind)                                                                                          \
    static void name(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y, \
                     size_t y_stride)                                                                             \
    {                                                                                                             \
        dots_tile(kind, tile, n_rows, n, acts, n_acts, y, y_stride);                                              \
    }

DOTS(dots_bias, BIAS)
DOTS(dots_bias_halved, BIAS_HALVED)
DOTS(dots_minima, MINIMA)
DOTS(dots_minima_halved, MINIMA_HALVED)

#define UNPACK(name, type, kind, block_bytes)                                                                        \
    static void name(enum quant_type unused, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile) \
    {                                                                                                                \
        unpack_tile(type, kind, block_bytes, src, row_bytes, n_rows, n, tile);                                       \
    }

UNPACK(unpack_q2_k_tile, QUANT_Q2_K, MINIMA, 84)
UNPACK(unpack_q3_k_tile, QUANT_Q3_K, BIAS, 110)
UNPACK(unpack_q4_k_tile, QUANT_Q4_K, MINIMA_HALVED, 144)
UNPACK(unpack_q5_k_tile, QUANT_Q5_K, MINIMA_HALVED, 176)
UNPACK(unpack_q6_k_tile, QUANT_Q6_K, BIAS, 210)
UNPACK(unpack_iq4_xs_tile, QUANT_IQ4_XS, BIAS_HALVED, 136)

#define UNPACK_LATTICE(format, name) UNPACK(unpack_##name##_tile, QUANT_##format, BIAS, iq_block_bytes(QUANT_##format))
IQ_FORMATS(UNPACK_LATTICE)

static void set(struct cpu_kernels *k, enum quant_type type,
                void (*unpack)(enum quant_type, const void *, size_t, size_t, size_t, void *),
                void (*dots)(const void *, size_t, size_t, const void *const *, size_t, float *, size_t))
{
    k->unpack[type] = unpack;
    k->dots[type] = dots;
}

void avx512_tile_super_fill(struct cpu_kernels *k)
{
    set(k, QUANT_Q2_K, unpack_q2_k_tile, dots_minima);
    set(k, QUANT_Q3_K, unpack_q3_k_tile, dots_bias);
    set(k, QUANT_Q4_K, unpack_q4_k_tile, dots_minima_halved);
    set(k, QUANT_Q5_K, unpack_q5_k_tile, dots_minima_halved);
    set(k, QUANT_Q6_K, unpack_q6_k_tile, dots_bias);
    set(k, QUANT_IQ4_XS, unpack_iq4_xs_tile, dots_bias_halved);
#define SET_LATTICE(format, name) set(k, QUANT_##format, unpack_##name##_tile, dots_bias);
    IQ_FORMATS(SET_LATTICE)
}
