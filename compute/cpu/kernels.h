/* SPDX-License-Identifier: MIT
 *
 * kernels.h: the inner loops of the CPU device, one table per level.
 *
 * The C level fills the whole table; each higher level starts from the one below and overrides what it does
 * faster, to the same bits: tests/parity compares levels with memcmp.
 *
 * What a product of a weight row and an activation row means depends on how the weights are stored (the flavour).
 *
 * ACT_F32: weights F32, F16, BF16; activations as they are. There are sixteen f32 lanes, and lane i % 16 takes
 * product i; multiplication and addition are rounded each; the lanes are added as in vec_sum.
 *
 * ACT_SMALL: blocks of 32 weights; activations are 8-bit in blocks of 32 with an f32 scale. In block b, the integer
 * sums of the eight runs of four weights go, converted to f32 and times (d_w * d_a), to lanes 8 * (b % 2) + run. The
 * lanes are added as above; then come the minima, (m_w * d_a) * sum_a, in one sum for even blocks and one for odd.
 *
 * ACT_SUPER: blocks of 256 weights in groups of 16; activations are 8-bit in blocks of 256 with an f32 scale and the
 * sum of each 16. Lane l = 0..7 of a block is the integer sum of scale * q * a over the weights i with i / 4 % 8 = l,
 * less offset * (scale[2l] * sum[2l] + scale[2l+1] * sum[2l+1]); as f32 and times (d_w * d_a) it is added to lane l.
 * Then (dmin_w * d_a) * (min[2l] * sum[2l] + min[2l+1] * sum[2l+1]) is subtracted from the lane.
 *
 * Integer sums are exact, so the order is fixed wherever rounding happens.
 *
 * Units: columns are weights. Thread-safe; kernels allocate nothing and keep no state.
 */
#ifndef EXPERTD_COMPUTE_CPU_KERNELS_H
#define EXPERTD_COMPUTE_CPU_KERNELS_H

#include "compute/cpu_device.h"
#include "compute/device.h"
#include "compute/quant_unpack.h"

enum act_flavour { ACT_F32, ACT_SMALL, ACT_SUPER, ACT_FLAVOURS };

/* Rows of ACT_SMALL, weights and activations alike: q int8 [n], padded to 64 bytes; d f32 [n / 32], padded likewise;
 * then for weights m f32 [n / 32], for activations the sums of q, int32 [n / 32], padded likewise. */
static inline size_t small_pad(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static inline size_t small_d_offset(size_t n)
{
    return small_pad(n);
}

static inline size_t small_m_offset(size_t n)
{
    return small_pad(n) + small_pad(n / QUANT_SMALL * sizeof(float));
}

static inline size_t small_row_bytes(size_t n)
{
    return small_pad(n) + 2 * small_pad(n / QUANT_SMALL * sizeof(float));
}

/* Rows of ACT_SUPER: n / 256 of these for activations, of struct quant_super for weights. */
struct act_super {
    int8_t q[QUANT_SUPER];
    int16_t sum[QUANT_GROUPS];
    float d;
} __attribute__((aligned(64)));

/* The flavour that a computable format multiplies with. */
enum act_flavour act_flavour_of(enum quant_type type);
/* Bytes of a prepared row of n columns; n is rounded up to whole blocks. */
size_t act_row_bytes(enum act_flavour flavour, size_t n);
size_t weight_row_bytes(enum act_flavour flavour, size_t n); /* unpacked */

/* One step of online softmax attention: n_queries query rows see keys 0 .. n_keys[q]-1 of the block. */
struct attend_block {
    const void *k, *v; /* key 0 of the block */
    enum kv_type kv_type;
    size_t kv_stride; /* elements from one position to the next */
    uint32_t head_dim;
    float scale;
    uint32_t n_queries;
    const float *const *q;  /* [n_queries] rows of head_dim */
    float *const *y;        /* [n_queries] rows of head_dim: the weighted sum so far */
    const uint32_t *n_keys; /* [n_queries], at most ATTEND_KEYS */
    float *max, *sum;       /* [n_queries]: greatest score and sum of weights so far */
};

enum { ATTEND_KEYS = 64 };

enum { DOTS_ROWS = 4 }; /* weight rows that `dots` multiplies together */

struct cpu_kernels {
    enum cpu_level level;

    /* Prepare activations x [n] f32, n a multiple of the flavour's block, at column `col` (likewise) of a row of
     * n_cols. */
    void (*act_small)(const float *x, size_t n, size_t col, size_t n_cols, void *row);
    void (*act_super)(const float *x, size_t n, size_t col, void *row);

    /* Take apart a weight row of n columns for `dots` of the same format and level. */
    void (*unpack[QUANT_TYPES])(enum quant_type type, const void *src, size_t n, void *row);
    /* y[t * y_stride + r] = unpacked row r . acts[t]; at most DOTS_ROWS rows, row_bytes apart. */
    void (*dots[QUANT_TYPES])(const void *rows, size_t row_bytes, size_t n_rows, size_t n, const void *const *acts,
                              size_t n_acts, float *y, size_t y_stride);
    /* y[r] = row r of packed weights . act. NULL: unpack and dots do it. */
    void (*rows[QUANT_TYPES])(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y);

    void (*rms_norm)(const float *x, const float *w, float eps, size_t n, float *y);
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *y); /* y = silu(gate) * up; y may be either */
    void (*add_scaled)(const float *x, float scale, size_t n, float *y);      /* y += scale * x */
    void (*to_f16)(const float *x, size_t n, uint16_t *y);

    /* Queries of one KV head against the keys and values of one block of positions; see attention.c. */
    void (*attend)(const struct attend_block *block);
};

void cpu_kernels_c(struct cpu_kernels *k);
void cpu_kernels_avx2(struct cpu_kernels *k);
void cpu_kernels_avx512(struct cpu_kernels *k);

/* The table of a level, which the machine must have. */
void cpu_kernels_get(enum cpu_level level, struct cpu_kernels *ret_kernels);

#endif
