/* SPDX-License-Identifier: MIT
 *
 * unpack_kernels.h: weight rows taken apart row by row (tile_rows.h), one function per format, compiled once per level.
 *
 * Included by each level's file, which puts them into its table with unpack_kernels_fill. Everything is static.
 */
#ifndef EXPERTD_COMPUTE_CPU_UNPACK_KERNELS_H
#define EXPERTD_COMPUTE_CPU_UNPACK_KERNELS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/tile_rows.h"
#include "compute/quant_small.h"
#include "compute/quant_super.h"

/* A function of its own for each format, so that the choice is not made again in every block. */
#define UNPACK_SMALL(name, format)                                                                                 \
    static void name(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile) \
    {                                                                                                              \
        for (size_t r = 0; r < n_rows; r++) {                                                                      \
            char *row = (char *)tile + r * tile_row_bytes(ACT_SMALL, n);                                           \
                                                                                                                   \
            small_unpack(format, (const char *)src + r * row_bytes, n / QUANT_SMALL, (int8_t *)row,                \
                         (float *)(row + small_d_offset(n)), (float *)(row + small_m_offset(n)));                  \
        }                                                                                                          \
    }

#define UNPACK_SUPER(name, format)                                                                                 \
    static void name(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile) \
    {                                                                                                              \
        for (size_t r = 0; r < n_rows; r++)                                                                        \
            super_unpack(format, (const char *)src + r * row_bytes, n / QUANT_SUPER,                               \
                         (struct quant_super *)((char *)tile + r * tile_row_bytes(ACT_SUPER, n)));                 \
    }

UNPACK_SMALL(unpack_row_q4_0, QUANT_Q4_0)
UNPACK_SMALL(unpack_row_q4_1, QUANT_Q4_1)
UNPACK_SMALL(unpack_row_q5_0, QUANT_Q5_0)
UNPACK_SMALL(unpack_row_q5_1, QUANT_Q5_1)
UNPACK_SMALL(unpack_row_q8_0, QUANT_Q8_0)
UNPACK_SMALL(unpack_row_iq4_nl, QUANT_IQ4_NL)
UNPACK_SMALL(unpack_row_mxfp4, QUANT_MXFP4)
UNPACK_SUPER(unpack_row_q2_k, QUANT_Q2_K)
UNPACK_SUPER(unpack_row_q3_k, QUANT_Q3_K)
UNPACK_SUPER(unpack_row_q4_k, QUANT_Q4_K)
UNPACK_SUPER(unpack_row_q5_k, QUANT_Q5_K)
UNPACK_SUPER(unpack_row_q6_k, QUANT_Q6_K)
UNPACK_SUPER(unpack_row_iq4_xs, QUANT_IQ4_XS)
UNPACK_SUPER(unpack_row_iq2_xxs, QUANT_IQ2_XXS)
UNPACK_SUPER(unpack_row_iq2_xs, QUANT_IQ2_XS)
UNPACK_SUPER(unpack_row_iq2_s, QUANT_IQ2_S)
UNPACK_SUPER(unpack_row_iq3_xxs, QUANT_IQ3_XXS)
UNPACK_SUPER(unpack_row_iq3_s, QUANT_IQ3_S)
UNPACK_SUPER(unpack_row_iq1_s, QUANT_IQ1_S)
UNPACK_SUPER(unpack_row_iq1_m, QUANT_IQ1_M)

static inline void unpack_kernels_fill(struct cpu_kernels *k)
{
    k->unpack[QUANT_Q4_0] = unpack_row_q4_0;
    k->unpack[QUANT_Q4_1] = unpack_row_q4_1;
    k->unpack[QUANT_Q5_0] = unpack_row_q5_0;
    k->unpack[QUANT_Q5_1] = unpack_row_q5_1;
    k->unpack[QUANT_Q8_0] = unpack_row_q8_0;
    k->unpack[QUANT_IQ4_NL] = unpack_row_iq4_nl;
    k->unpack[QUANT_MXFP4] = unpack_row_mxfp4;
    k->unpack[QUANT_Q2_K] = unpack_row_q2_k;
    k->unpack[QUANT_Q3_K] = unpack_row_q3_k;
    k->unpack[QUANT_Q4_K] = unpack_row_q4_k;
    k->unpack[QUANT_Q5_K] = unpack_row_q5_k;
    k->unpack[QUANT_Q6_K] = unpack_row_q6_k;
    k->unpack[QUANT_IQ4_XS] = unpack_row_iq4_xs;
    k->unpack[QUANT_IQ2_XXS] = unpack_row_iq2_xxs;
    k->unpack[QUANT_IQ2_XS] = unpack_row_iq2_xs;
    k->unpack[QUANT_IQ2_S] = unpack_row_iq2_s;
    k->unpack[QUANT_IQ3_XXS] = unpack_row_iq3_xxs;
    k->unpack[QUANT_IQ3_S] = unpack_row_iq3_s;
    k->unpack[QUANT_IQ1_S] = unpack_row_iq1_s;
    k->unpack[QUANT_IQ1_M] = unpack_row_iq1_m;
}

#endif
