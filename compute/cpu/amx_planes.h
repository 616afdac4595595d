/* SPDX-License-Identifier: MIT
 *
 * amx_planes.h: weights times their scales, as bytes for AMX-INT8 (amx.h). Internal to that level.
 *
 * scale * (weight - bias) is a number of up to 16 bits. It goes into two planes of bytes, so that the products of a
 * whole super-block add up without a scale between them: low + 256 * high, the low one unsigned; where scales have six
 * bits and weights no sign, low + 8 * high, of the scale's halves; where a byte holds it, the low plane alone.
 */
#ifndef EXPERTD_COMPUTE_CPU_AMX_PLANES_H
#define EXPERTD_COMPUTE_CPU_AMX_PLANES_H

#include "compute/cpu/amx.h"
#include "compute/cpu/avx512_turn.h"

/* A block of sixteen rows, multiplied by their scales: 64 weights of each in sixteen lines. */
struct planes {
    uint8_t low[STEPS][AMX_LINE], high[STEPS][AMX_LINE];
};

/* A scale of each row as 16-bit lanes, both of its dword. */
SIMD_INLINE __m512i scale_twice(const struct super_tile *t, int g)
{
    __m512i scale = _mm512_load_si512(t->scale[g]);

    return _mm512_mask_blend_epi16(0xaaaaaaaa, scale, _mm512_slli_epi32(scale, 16));
}

/* Both halves of a scale of six bits times unsigned weights of at most five: bytes that do not spill. */
SIMD_INLINE void planes_halves(__m512i q, __m512i scale, void *low, void *high)
{
    _mm512_store_si512(low, _mm512_mullo_epi16(q, _mm512_and_si512(scale, _mm512_set1_epi16(7))));
    _mm512_store_si512(high, _mm512_mullo_epi16(q, _mm512_srli_epi16(scale, 3)));
}

/* Scale times signed weight, a number of 16 bits, in its two bytes. */
SIMD_INLINE void planes_bytes(__m512i q, __m512i scale, void *low, void *high)
{
    const __m512i first = _mm512_set1_epi16(255);
    __m512i even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(q, 8), 8), scale);
    __m512i odd = _mm512_mullo_epi16(_mm512_srai_epi16(q, 8), scale);

    _mm512_store_si512(low, _mm512_ternarylogic_epi32(first, even, _mm512_slli_epi16(odd, 8), 0xca));
    _mm512_store_si512(high, _mm512_ternarylogic_epi32(first, _mm512_srli_epi16(even, 8), odd, 0xca));
}

SIMD_INLINE int planes_groups(enum kind kind)
{
    return is_halved(kind) ? QUANT_GROUPS / 2 : QUANT_GROUPS;
}

/* A group's weights times its scale. `bias_shift`: of their bias, a power of two. */
SIMD_INLINE void planes_put(enum kind kind, int bias_shift, const struct super_tile *t, int g, struct planes *planes)
{
    const int n_steps = STEPS / planes_groups(kind);
    __m512i scale = scale_twice(t, g);

    UNROLL for (int i = 0; i < n_steps; i++)
    {
        int k = g * n_steps + i;
        __m512i q = _mm512_load_si512(t->q[k]);

        if (kind == MINIMA_HALVED)
            planes_halves(q, scale, planes->low[k], planes->high[k]);
        else if (kind == MINIMA)
            _mm512_store_si512(planes->low[k], _mm512_mullo_epi16(q, scale));
        else
            planes_bytes(_mm512_sub_epi8(q, _mm512_set1_epi8((char)(1 << bias_shift))), scale, planes->low[k],
                         planes->high[k]);
    }
}

SIMD_INLINE bool has_high(enum kind kind)
{
    return kind != MINIMA; /* Q2_K: a scale of four bits times a weight of two */
}

#endif
