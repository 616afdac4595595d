/* SPDX-License-Identifier: MIT
 *
 * types.h: what host and kernels hand to each other: prepared activations, and one structure of arguments per kernel.
 *
 * Every pointer in these structures is one that the card can follow. Arguments travel by value, so small lists (the
 * tokens of a decode step, its routing weights) ride along and need no copy of their own.
 */
#ifndef EXPERTD_GPU_TYPES_H
#define EXPERTD_GPU_TYPES_H

#include "compute/device.h"
#include "compute/quant.h"

#include <stddef.h>
#include <stdint.h>

/* The points of the IQ formats, as compute/quant_grids.c has them. */
struct lattices {
    uint16_t iq2_xxs[256], iq2_xs[512], iq2_s[1024], iq3_xxs[256], iq3_s[512], iq1[2048];
};

/* Activations for SUPER formats, 256 to a block: words 8l .. 8l + 7 are the runs of column l (gpu/formats.cuh) in
 * order; sums[l] is the sums of groups 2l (low half) and 2l + 1 (high half). */
struct act_super {
    uint32_t q[64];
    uint32_t sums[8];
    float d;
    uint32_t unused[3];
};

/* For SMALL formats, 32 to a block. */
struct act_small {
    uint32_t q[8];
    float d;
    int32_t sum;
};

/* Prepare rows: x, or silu(gate) * up where gate is given (up in x). Outputs that are NULL are not made. */
struct quantise_params {
    const float *x, *gate; /* [n_rows, n_cols], stride apart */
    float *plain;          /* likewise; may be x */
    char *small, *super;   /* rows, small_stride and super_stride bytes apart */
    size_t stride, small_stride, super_stride;
    uint32_t n_rows, n_cols;
};

/* y[dst(i)][r] = row r of w . activation row src(i) (+ bias[r]), i = 0 .. n_tokens - 1. */
struct product_job {
    const uint8_t *w; /* or, where `chosen` is given, an array of addresses, of which that one is the matrix */
    const uint16_t *chosen;
    const char *acts;          /* rows of the flavour that w's family wants */
    float *y;                  /* rows of y_stride */
    const float *bias;         /* or NULL */
    const uint32_t *src, *dst; /* [n_tokens]; NULL: src0 + i, dst0 + i */
    uint32_t src0, dst0;
    uint32_t n_tokens, rows, cols, y_stride, acts_stride; /* acts_stride in bytes */
};

enum { PRODUCT_JOBS = 44 };

struct product_params {
    const struct lattices *points;
    struct product_job jobs[PRODUCT_JOBS];
};

struct rms_norm_params {
    const float *x, *w;
    float *y;
    uint32_t n_rows, n_cols;
    float eps;
};

struct rope_params {
    float *x;            /* [n_tokens, n_heads, head_dim] */
    const float *angles; /* [n_tokens, n_rot]: cosine and sine of each pair, magnitude included */
    uint32_t n_tokens, n_heads, head_dim, n_rot;
    bool neox;
};

struct kv_store_params {
    const float *k, *v; /* [n, n_kv_heads, head_dim] */
    struct kv_view kv;
    uint32_t pos0, n, n_kv_heads, head_dim;
    enum kv_type kv_type;
};

struct attention_params {
    const float *q;
    struct kv_view kv;
    float *y;
    float *partial; /* [n_tokens * n_heads, n_spans, head_dim + 2], or NULL: a block goes through all spans itself */
    uint32_t n_tokens, pos0, n_heads, n_kv_heads, head_dim, n_spans;
    enum kv_type kv_type;
    float scale;
};

struct route_params {
    const float *logits;
    uint16_t *ids;  /* [n, n_used] */
    float *weights; /* [n, n_used] */
    uint32_t n, n_experts, n_used;
    float scale;
    bool sigmoid, renormalise;
};

/* One step towards the k greatest of a row: the k best of each chunk, out of numbers or out of what an earlier step
 * left of them: keys, that sort as their numbers do and end with the complement of the number's index. */
struct top_k_params {
    const float *x;     /* [n_rows, n_cols] */
    const uint64_t *in; /* [n_rows, n_in], or NULL: x, n_in being n_cols */
    uint64_t *out;      /* [n_rows, chunks of n_in, k]; not written in the last step, where there is one chunk */
    int32_t *ids;       /* [n_rows, k]: written in the last step */
    float *values;      /* likewise */
    uint32_t n_in, n_cols, k;
};

enum { FEW = 64 };

struct combine_params {
    float *x;
    const float *y;
    const float *weights; /* [n, n_used], or NULL: few */
    uint32_t n, n_used, n_embd;
    float few[FEW];
};

struct add_params {
    float *x;
    const float *y, *gate;
    uint32_t n, n_cols;
};

struct embed_params {
    const uint8_t *table;
    const int32_t *ids; /* [n], or NULL: few */
    float *y;
    const struct lattices *points;
    uint32_t n, n_cols, type;
    int32_t few[FEW];
};

#endif
