/* SPDX-License-Identifier: MIT
 *
 * tile_rows.h: tiles (kernels.h) that are unpacked rows one after the other, as most kernels keep them.
 *
 * A row of ACT_F32 is f32; of ACT_SMALL as kernels.h says; of ACT_SUPER n / 256 of struct quant_super. Rows are a
 * multiple of 64 bytes apart. Internal to the levels.
 */
#ifndef EXPERTD_COMPUTE_CPU_TILE_ROWS_H
#define EXPERTD_COMPUTE_CPU_TILE_ROWS_H

#include "compute/cpu/kernels.h"

static inline size_t tile_row_bytes(enum act_flavour flavour, size_t n)
{
    switch (flavour) {
    case ACT_SMALL:
        return small_row_bytes((n + QUANT_SMALL - 1) / QUANT_SMALL * QUANT_SMALL);
    case ACT_SUPER:
        return (n + QUANT_SUPER - 1) / QUANT_SUPER * sizeof(struct quant_super);
    default:
        return small_pad(n * sizeof(float));
    }
}

static inline const void *tile_row(const void *tile, enum act_flavour flavour, size_t n, size_t row)
{
    return (const char *)tile + row * tile_row_bytes(flavour, n);
}

/* Unpacked weights of ACT_SMALL, or prepared activations. */
struct small_row {
    const int8_t *q;
    const float *d, *m; /* m: of weights */
    const int32_t *sum; /* of activations, at the place of m */
};

static inline struct small_row small_row_at(const void *row, size_t n)
{
    const char *p = row;

    return (struct small_row){
        .q = row,
        .d = (const float *)(p + small_d_offset(n)),
        .m = (const float *)(p + small_m_offset(n)),
        .sum = (const int32_t *)(p + small_m_offset(n)),
    };
}

#endif
