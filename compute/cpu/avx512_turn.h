/* SPDX-License-Identifier: MIT
 *
 * avx512_turn.h: sixteen rows of packed blocks turned so that rows lie across the lanes (avx512_tile.h). Internal to
 * the AVX-512 level and to AMX, whose tiles of weights lie the same way.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_TURN_H
#define EXPERTD_COMPUTE_CPU_AVX512_TURN_H

#include "compute/cpu/avx512_expand.h"
#include "compute/cpu/avx512_tile.h"
#include "compute/cpu/iq_avx.h"

enum { STEPS = QUANT_SUPER / 4, PAIRS = QUANT_GROUPS / 2 };

/* A super-block of each row. Formats have a scale and perhaps a minimum for each 32 weights (HALVED), or for each 16.
 */
struct super_tile {
    uint8_t q[STEPS][STEP_BYTES];
    int32_t scale[QUANT_GROUPS][16]; /* HALVED: the first half of them */
    int16_t low[PAIRS][16][2];       /* minima, or bias times scale; HALVED minima: the first half of them */
    float d[16], dmin[16];
} __attribute__((aligned(64)));

enum kind {
    BIAS,          /* a scale for each 16 weights, a bias */
    BIAS_HALVED,   /* a scale for each 32, a bias */
    MINIMA,        /* a scale and a minimum for each 16 */
    MINIMA_HALVED, /* a scale and a minimum for each 32 */
};

SIMD_INLINE bool is_halved(enum kind kind)
{
    return kind == BIAS_HALVED || kind == MINIMA_HALVED;
}

SIMD_INLINE bool has_minima(enum kind kind)
{
    return kind == MINIMA || kind == MINIMA_HALVED;
}

/* Sixteen blocks with their weights as unsigned bytes in order, before they are turned. */
struct turning {
    uint8_t q[16][QUANT_SUPER];
    int16_t scale_low[16][2 * QUANT_GROUPS]; /* scales, then what goes to `low` */
} __attribute__((aligned(64)));

/* The lattice formats: signed, so biased by 128. */
SIMD_INLINE void expand_lattice(enum quant_type type, const uint8_t *p, struct block *block)
{
    struct quant_super s;

    iq_unpack(type, p, QUANT_SUPER, &s);
    UNROLL for (int c = 0; c < 4; c++) block->q[c] =
        _mm512_xor_si512(_mm512_load_si512(s.q + 64 * c), _mm512_set1_epi8((char)128));
    block->scale = _mm256_load_si256((const __m256i *)s.scale);
    block->d = s.d;
}

SIMD_INLINE bool has_expansion(enum quant_type type)
{
    return type == QUANT_Q2_K || type == QUANT_Q3_K || type == QUANT_Q4_K || type == QUANT_Q5_K || type == QUANT_Q6_K ||
           type == QUANT_IQ4_XS;
}

SIMD_INLINE int bias_shift_super(enum quant_type type)
{
    return type == QUANT_Q6_K ? 5 : type == QUANT_Q3_K ? 2 : 7;
}

SIMD_INLINE void turning_set(enum quant_type type, enum kind kind, const uint8_t *p, int r, struct turning *turning,
                             struct super_tile *tile)
{
    struct block block;
    __m256i low;

    if (has_expansion(type))
        expand_super(type, p, &block);
    else
        expand_lattice(type, p, &block);
    UNROLL for (int c = 0; c < 4; c++) _mm512_store_si512(
        turning->q[r] + 64 * c,
        type == QUANT_IQ4_XS ? _mm512_xor_si512(block.q[c], _mm512_set1_epi8((char)128)) : block.q[c]);
    if (kind == MINIMA_HALVED)
        low = _mm256_castsi128_si256(_mm256_cvtepi32_epi16(block.min));
    else if (kind == MINIMA)
        low = block.min;
    else
        low = _mm256_slli_epi16(block.scale, bias_shift_super(type));
    _mm256_store_si256((__m256i *)turning->scale_low[r], block.scale);
    _mm256_store_si256((__m256i *)(turning->scale_low[r] + QUANT_GROUPS), low);
    tile->d[r] = block.d;
    if (has_minima(kind))
        tile->dmin[r] = block.dmin;
}

SIMD_INLINE void turn(enum kind kind, const struct turning *turning, struct super_tile *tile)
{
    __m512i v[16];

    for (int c = 0; c < 4; c++)
        steps_from_rows(turning->q[0] + 64 * c, QUANT_SUPER, tile->q[16 * c]);
    UNROLL for (int r = 0; r < 16; r++) v[r] = _mm512_load_si512(turning->scale_low[r]);
    transpose_dwords(v);
    UNROLL for (int i = 0; i < PAIRS; i++)
    {
        __m512i even = _mm512_srai_epi32(_mm512_slli_epi32(v[i], 16), 16), odd = _mm512_srai_epi32(v[i], 16);

        _mm512_store_si512(tile->scale[is_halved(kind) ? i : 2 * i], even);
        if (!is_halved(kind))
            _mm512_store_si512(tile->scale[2 * i + 1], odd);
        _mm512_store_si512(tile->low[i], v[PAIRS + i]);
    }
}

/* A block of n_rows <= 16 rows; what a tile lacks are copies of its last row. */
SIMD_INLINE void turn_rows(enum quant_type type, enum kind kind, const uint8_t *src, size_t row_bytes, size_t n_rows,
                           struct super_tile *tile)
{
    struct turning turning;

    for (size_t r = 0; r < 16; r++)
        turning_set(type, kind, src + (r < n_rows ? r : n_rows - 1) * row_bytes, (int)r, &turning, tile);
    turn(kind, &turning, tile);
}

#endif
