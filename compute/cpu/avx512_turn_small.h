/* SPDX-License-Identifier: MIT
 *
 * avx512_turn_small.h: sixteen rows of 32-weight blocks turned so that rows lie across the lanes (avx512_tile.h).
 * Internal to the AVX-512 level and to AMX, whose tiles of weights lie the same way.
 */
#ifndef EXPERTD_COMPUTE_CPU_AVX512_TURN_SMALL_H
#define EXPERTD_COMPUTE_CPU_AVX512_TURN_SMALL_H

#include "compute/cpu/avx512_expand.h"
#include "compute/cpu/avx512_tile.h"
#include "compute/quant_small.h"

enum { SMALL_STEPS = QUANT_SMALL / 4 };

/* A block of each row. What a tile lacks are copies of its last row. */
struct small_tile {
    uint8_t q[SMALL_STEPS][STEP_BYTES];
    float d[16], m[16]; /* m: in formats with minima */
} __attribute__((aligned(64)));

SIMD_INLINE bool has_minima(enum quant_type type)
{
    return type == QUANT_Q4_1 || type == QUANT_Q5_1;
}

/* Blocks b and b + 1 of all rows, or b alone; unsigned with a bias, or as they are. */
SIMD_INLINE void unpack_pair(enum quant_type type, const bool as_signed, size_t block_bytes,
                             const uint8_t *const rows[16], size_t b, const bool alone, struct small_tile *tile)
{
    __m512i v[16];

    UNROLL for (int r = 0; r < 16; r++)
    {
        const uint8_t *p = rows[r] + b * block_bytes;

        v[r] = expand_small(type, p, alone ? p : p + block_bytes);
        if (as_signed && bias_shift(type) >= 0)
            v[r] = _mm512_sub_epi8(v[r], _mm512_set1_epi8((char)(1 << bias_shift(type))));
    }
    transpose_dwords(v);
    UNROLL for (int k = 0; k < SMALL_STEPS; k++)
    {
        _mm512_store_si512(tile->q[k], v[k]);
        if (!alone)
            _mm512_store_si512(tile[1].q[k], v[SMALL_STEPS + k]);
    }
    for (int i = 0; i < (alone ? 1 : 2); i++)
        for (int r = 0; r < 16; r++) {
            const uint8_t *p = rows[r] + (b + (size_t)i) * block_bytes;

            tile[i].d[r] = type == QUANT_MXFP4 ? mxfp4_scale(p[0]) : load_half(p);
            if (has_minima(type))
                tile[i].m[r] = load_half(p + 2);
        }
}

SIMD_INLINE void turn_small(enum quant_type type, const bool as_signed, size_t block_bytes, const void *src,
                            size_t row_bytes, size_t n_rows, size_t n, struct small_tile *tile)
{
    size_t n_blocks = n / QUANT_SMALL, b = 0;
    const uint8_t *rows[16];

    for (size_t r = 0; r < 16; r++)
        rows[r] = (const uint8_t *)src + (r < n_rows ? r : n_rows - 1) * row_bytes;
    for (; b + 2 <= n_blocks; b += 2)
        unpack_pair(type, as_signed, block_bytes, rows, b, false, tile + b);
    if (b < n_blocks)
        unpack_pair(type, as_signed, block_bytes, rows, b, true, tile + b);
}

#endif
