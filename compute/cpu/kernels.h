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
 * ACT_SMALL and ACT_SUPER: the weights and activations of a block give a whole number, exactly; it becomes f32, is
 * multiplied by the product of the two scales, and added to lane b % 8 of eight, b being the block's number in its row.
 * The lanes are added as in vec_sum: 0 to 4, 1 to 5 and so on, then 0 to 2 and 1 to 3, then 0 to 1.
 *
 * ACT_SMALL: blocks of 32 weights; activations are 8-bit in blocks of 32 with an f32 scale. The whole number is the sum
 * of q * a. In formats with minima (m_w * d_a) * sum_a is added to the same lane next.
 *
 * ACT_SUPER: blocks of 256 weights in groups of 16; activations are 8-bit in blocks of 256 with an f32 scale and the
 * sum of each 16. The whole number is the sum over groups of scale * (sum of q * a, less offset * sum of a). In formats
 * with minima (dmin_w * d_a) * (the sum over groups of min * sum of a) is subtracted from the same lane next.
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

/* Rows of ACT_SMALL: q int8 [n], padded to 64 bytes; d f32 [n / 32], padded likewise; then the sums of q, int32
 * [n / 32], padded likewise. Levels that keep unpacked weights row by row use the same, with m f32 for the sums. */
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

/* Rows of ACT_SUPER: n / 256 of these. */
struct act_super {
    int8_t q[QUANT_SUPER];
    int16_t sum[QUANT_GROUPS];
    int16_t pair_sum[QUANT_GROUPS / 2]; /* of two groups: some formats have a scale for each 32 */
    float d;
} __attribute__((aligned(64)));

/* The flavour that a computable format multiplies with. */
enum act_flavour act_flavour_of(enum quant_type type);
/* Bytes of a prepared row of n columns; n is rounded up to whole blocks. */
size_t act_row_bytes(enum act_flavour flavour, size_t n);
/* Bytes of DOTS_ROWS unpacked weight rows of n columns, of whatever format of the flavour, at any level. */
size_t tile_bytes(enum act_flavour flavour, size_t n);

/* One step of online softmax attention: n_queries query rows see keys 0 .. n_keys[q]-1 of the block. */
struct attend_block {
    const void *k, *v; /* key 0 of the block */
    enum kv_type kv_type;
    size_t row_bytes; /* from one position to the next */
    uint32_t head_dim;
    float scale;
    uint32_t n_queries;
    const float *const *q;  /* [n_queries] rows of head_dim */
    float *const *y;        /* [n_queries] rows of head_dim: the weighted sum so far */
    const uint32_t *n_keys; /* [n_queries], at most ATTEND_KEYS */
    float *max, *sum;       /* [n_queries]: greatest score and sum of weights so far */
};

enum { ATTEND_KEYS = KV_STEP };

/* Packed weight rows that are read one after the other, times some activation rows. */
struct row_run {
    const void *w;
    size_t n_rows;
    const void *next; /* where reading goes on after them: fetched before it comes to that */
    float *y;         /* row r times act t to y[y_at[t] + r] */
};

enum { FEW_ACTS = 8 };

/* Two runs, of which a row each is multiplied in turn: a core that reads two streams keeps more of memory busy than one
 * that reads one. The second may be empty, or shorter. */
struct row_runs {
    struct row_run run[2];
    size_t row_bytes, n; /* columns */
    const void *acts[FEW_ACTS];
    size_t y_at[FEW_ACTS];
    size_t n_acts;
};

enum {
    DOTS_ROWS = 16, /* weight rows that `dots` multiplies together: a tile */
    DOTS_MANY = 12, /* activations from which on `dots_many` is the faster */
};

/* y[t * y_stride + r] = row r of the tile . acts[t]. */
typedef void (*dots_kernel)(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                            size_t y_stride);
/* Memory that will be wanted next. It is moved on as it is fetched. */
struct ahead {
    const char *at, *end;
};
/* The same where rows of activations lie `stride` bytes apart. What is ahead is fetched in small bites meanwhile. */
typedef void (*dots_many_kernel)(const void *tile, size_t n_rows, size_t n, const void *acts, size_t stride,
                                 size_t n_acts, float *y, size_t y_stride, struct ahead *ahead);

struct cpu_kernels {
    enum cpu_level level;
    uint32_t few_acts; /* at most FEW_ACTS: with more it pays to take rows apart first */

    /* Prepare activations x [n] f32, n a multiple of the flavour's block, at column `col` (likewise) of a row of
     * n_cols. */
    void (*act_small)(const float *x, size_t n, size_t col, size_t n_cols, void *row);
    void (*act_super)(const float *x, size_t n, size_t col, void *row);

    /* Take n_rows <= DOTS_ROWS weight rows of n columns, row_bytes apart, apart for `dots` of the same format and
     * level. How a tile looks inside (64-byte aligned) is between the two. */
    void (*unpack[QUANT_TYPES])(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n,
                                void *tile);
    dots_kernel dots[QUANT_TYPES];
    dots_many_kernel dots_many[QUANT_TYPES]; /* any number, at its best for many; NULL: `dots` does it */
    /* y[r] = row r of packed weights . act. NULL: unpack and dots do it. */
    void (*rows[QUANT_TYPES])(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y);

    /* The same for two runs of rows and some acts. NULL: `rows` does it. */
    void (*runs[QUANT_TYPES])(const struct row_runs *runs);

    void (*rms_norm)(const float *x, const float *w, float eps, size_t n, float *y);
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *y); /* y = silu(gate) * up; y may be either */
    void (*add_scaled)(const float *x, float scale, size_t n, float *y);      /* y += scale * x */
    void (*to_f16)(const float *x, size_t n, uint16_t *y);
    void (*to_q8_0)(const float *x, size_t n, void *row); /* any n: a row of KV_Q8_0, see compute/device.h */

    /* Queries of one KV head against the keys and values of one block of positions; see attention.c. */
    void (*attend)(const struct attend_block *block);
};

void cpu_kernels_c(struct cpu_kernels *k);
void cpu_kernels_avx2(struct cpu_kernels *k);
void cpu_kernels_avxvnni(struct cpu_kernels *k);
void cpu_kernels_avx512(struct cpu_kernels *k);
void cpu_kernels_amx(struct cpu_kernels *k);
void cpu_kernels_neon(struct cpu_kernels *k);
void cpu_kernels_dotprod(struct cpu_kernels *k);
void cpu_kernels_i8mm(struct cpu_kernels *k);

/* The table of a level, which the machine must have. */
void cpu_kernels_get(enum cpu_level level, struct cpu_kernels *ret_kernels);

#endif
