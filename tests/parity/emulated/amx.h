/* SPDX-License-Identifier: MIT
 *
 * amx.h: the tile instructions of AMX-INT8 in C, so that the kernels of that level run on any machine.
 *
 * Included before everything else (-include) when those kernels are compiled for tests. It ends the test where the real
 * ones would raise an exception: without a configuration, with a bad one, or with shapes that do not fit each other.
 * Source of what the instructions do: Intel's instruction set reference.
 */
#ifndef EXPERTD_TESTS_PARITY_EMULATED_AMX_H
#define EXPERTD_TESTS_PARITY_EMULATED_AMX_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct emulated_tile {
    unsigned lines, line_bytes;
    uint8_t data[16][64];
};

static _Thread_local struct emulated_tile emulated_tiles[8];

static inline void emulated_must(bool fits)
{
    if (!fits)
        abort();
}

static inline void emulated_loadconfig(const void *config)
{
    const uint8_t *c = config;

    emulated_must(c[0] == 1 && c[1] == 0);
    for (size_t i = 2; i < 16; i++)
        emulated_must(c[i] == 0);
    memset(emulated_tiles, 0, sizeof(emulated_tiles));
    for (size_t i = 0; i < 16; i++) {
        unsigned line_bytes = (unsigned)(c[16 + 2 * i] | c[17 + 2 * i] << 8), lines = c[48 + i];

        emulated_must((lines == 0) == (line_bytes == 0) && lines <= 16 && line_bytes <= 64 && line_bytes % 4 == 0);
        emulated_must(i < 8 || lines == 0);
        if (i < 8) {
            emulated_tiles[i].lines = lines;
            emulated_tiles[i].line_bytes = line_bytes;
        }
    }
}

static inline void emulated_release(void)
{
    memset(emulated_tiles, 0, sizeof(emulated_tiles));
}

static inline void emulated_zero(int tile)
{
    emulated_must(emulated_tiles[tile].lines > 0);
    memset(emulated_tiles[tile].data, 0, sizeof(emulated_tiles[tile].data));
}

/* Loading clears what lies outside the shape. */
static inline void emulated_loadd(int tile, const void *base, ptrdiff_t stride)
{
    struct emulated_tile *t = &emulated_tiles[tile];

    emulated_zero(tile);
    for (unsigned i = 0; i < t->lines; i++)
        memcpy(t->data[i], (const char *)base + (ptrdiff_t)i * stride, t->line_bytes);
}

static inline void emulated_stored(int tile, void *base, ptrdiff_t stride)
{
    const struct emulated_tile *t = &emulated_tiles[tile];

    emulated_must(t->lines > 0);
    for (unsigned i = 0; i < t->lines; i++)
        memcpy((char *)base + (ptrdiff_t)i * stride, t->data[i], t->line_bytes);
}

static inline int emulated_byte(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

/* dst[m][n] += the products of bytes 4k .. 4k+3 of a[m] and of those of b[k] at place n, over all k. */
static inline void emulated_dp(int dst, int a, int b, bool a_signed, bool b_signed)
{
    struct emulated_tile *c = &emulated_tiles[dst];
    const struct emulated_tile *x = &emulated_tiles[a], *w = &emulated_tiles[b];

    emulated_must(dst != a && dst != b && a != b && c->lines > 0);
    emulated_must(c->lines == x->lines && c->line_bytes == w->line_bytes && x->line_bytes == 4 * w->lines);
    for (unsigned m = 0; m < c->lines; m++)
        for (unsigned n = 0; n < c->line_bytes / 4; n++) {
            uint32_t sum;

            memcpy(&sum, c->data[m] + 4 * n, sizeof(sum));
            for (unsigned k = 0; k < x->line_bytes; k++)
                sum += (uint32_t)(emulated_byte(x->data[m][k], a_signed) *
                                  emulated_byte(w->data[k / 4][4 * n + k % 4], b_signed));
            memcpy(c->data[m] + 4 * n, &sum, sizeof(sum));
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbssd(dst, a, b) emulated_dp(dst, a, b, true, true)
#define _tile_dpbsud(dst, a, b) emulated_dp(dst, a, b, true, false)
#define _tile_dpbusd(dst, a, b) emulated_dp(dst, a, b, false, true)
#define _tile_dpbuud(dst, a, b) emulated_dp(dst, a, b, false, false)

#endif
