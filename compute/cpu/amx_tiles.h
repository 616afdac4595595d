/* SPDX-License-Identifier: MIT
 *
 * amx_tiles.h: tile registers, and how tokens are dealt out to them. Internal to the AMX level.
 *
 * A thread holds tile registers for the time of one call: configured at its start, released at its end, so that an idle
 * thread has none to be saved. That costs some 200 cycles of the ten thousands that a call takes.
 *
 * Tokens are cut into groups of the same size, so that one configuration does for all: where they do not divide, a
 * token is computed twice, to the same bits. No register has lines for tokens that are not there.
 */
#ifndef EXPERTD_COMPUTE_CPU_AMX_TILES_H
#define EXPERTD_COMPUTE_CPU_AMX_TILES_H

#include "compute/cpu/amx.h"

#include <immintrin.h>
#include <string.h>

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} __attribute__((aligned(64)));

/* GCC 12's tile instructions do not say that they read memory: what was stored before must be there. */
static inline void tiles_barrier(void)
{
    __asm__ volatile("" ::: "memory");
}

/* 0 .. 3: products; 4, 5: activations of n_tokens, `step` bytes of each; 6, 7: as many weights of sixteen rows. */
static inline void tiles_take(size_t n_tokens, size_t step)
{
    struct tile_config config = { .palette = 1 };

    for (int i = 0; i < 8; i++) {
        config.lines[i] = (uint8_t)(i < 6 ? n_tokens : step / 4);
        config.line_bytes[i] = (uint16_t)(i == 4 || i == 5 ? step : AMX_LINE);
    }
    tiles_barrier();
    _tile_loadconfig(&config);
}

/* n things in groups of at most `most`, all of one size; the last may begin among those of the one before. */
struct dealt {
    size_t n, n_groups, size;
};

static inline struct dealt deal(size_t n, size_t most)
{
    size_t n_groups = (n + most - 1) / most;

    return (struct dealt){ n, n_groups, (n + n_groups - 1) / n_groups };
}

static inline size_t dealt_start(const struct dealt *dealt, size_t group)
{
    size_t start = group * dealt->size;

    return start + dealt->size <= dealt->n ? start : dealt->n - dealt->size;
}

#endif
