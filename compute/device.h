/* SPDX-License-Identifier: MIT
 *
 * device.h: the one table of operations by which the forward pass computes, filled by every device.
 *
 * The CPU device (compute/cpu/) fills it with the C reference, overridden by SIMD kernels up to a level; the
 * CUDA module (gpu/) fills all of it. The model above knows only this file.
 *
 * Invariants:
 * - Determinism. Every output element is computed from its own row of inputs in an order fixed by the
 *   shapes of that row alone: neither the number of threads, nor which other rows share the call, nor how
 *   work is split over calls changes a bit. Devices and CPU levels may differ from each other within the class that
 *   tests/parity states.
 * - The hot path allocates nothing: scratch is taken in open and acts_open.
 *
 * Memory: pointers marked "device" come from ops->alloc or lie inside an arena that the device can read
 * (`host_visible`: host pointers and device pointers are the same thing, as on the CPU). Weights may lie in any
 * memory that the device can read. Activations are f32, row-major, [n_tokens, n_cols].
 *
 * A device whose memory is not the host's may still be computing when an operation returns: operations run in the order
 * in which they were given, the host's arrays have been read when the call returns, and what the host gets back (route,
 * download) is there when it returns. What fails meanwhile is reported by a later call.
 *
 * Errors: operations return 0 or a negative number and describe it in device->err (a device that cannot
 * fail after open, like the CPU, always returns 0). ERR_DEVICE: it is lost, and every later call says so.
 * Threads: one thread at a time uses a device; the device may run its own workers.
 */
#ifndef EXPERTD_COMPUTE_DEVICE_H
#define EXPERTD_COMPUTE_DEVICE_H

#include "base/err.h"
#include "compute/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A matrix in a block format, as it lies in memory: `rows` rows of `cols` weights. y = W x has x [cols], y [rows]. */
struct weight {
    const void *data; /* device; borrowed */
    enum quant_type type;
    uint32_t rows;
    uint32_t cols;
};

/* Activations prepared for multiplication: set once, multiplied many times. A device that quantises
 * activations does so at most once per set and per flavour that the weights ask for. */
struct acts;

/* y[t] = W x[t] (+ bias). */
struct linear {
    struct weight w;
    const float *bias; /* device [w.rows] f32, or NULL */
    float *y;          /* device [n_tokens, w.rows] f32 */
};

enum rope_layout {
    ROPE_NORM, /* pairs (2i, 2i+1): llama */
    ROPE_NEOX, /* pairs (i, i + n_rot/2): qwen, olmoe */
};

/* Rotary position embedding. Angles are pos * inv_freq[i]; linear and YaRN scaling and per-dimension
 * factors (llama-3) are folded into inv_freq and `magnitude` by the model when it is opened. */
struct rope {
    enum rope_layout layout;
    uint32_t n_rot;        /* dimensions rotated, even, at most head_dim */
    const float *inv_freq; /* host [n_rot / 2] f32 */
    float magnitude;       /* factor on cos and sin; 1 without YaRN */
};

/* How keys and values are kept. A Q8_0 row is made of GGUF's blocks: an f16 scale d and KV_BLOCK signed bytes q, each
 * of which stands for d * q; the last block is filled up with zeros. Of a block's greatest magnitude, d is the 127th
 * part, rounded to f16 (up where the greatest would not fit a byte otherwise, which needs a d below the normal
 * numbers), q what is divided by that d, rounded to nearest, ties to even: so a value is off by half of d at most. A
 * block with a number that is not finite, or whose scale would not be, gets NaN for a scale: what is read of it is NaN.
 */
enum kv_type { KV_F32, KV_F16, KV_Q8_0, KV_TYPES };
enum { KV_BLOCK = 32, KV_BLOCK_BYTES = 2 + KV_BLOCK };

static inline const char *kv_type_name(enum kv_type type)
{
    return type == KV_Q8_0 ? "q8_0" : type == KV_F16 ? "f16" : "f32";
}

/* The type of that name; KV_TYPES: there is none. */
static inline enum kv_type kv_type_of(const char *name)
{
    enum kv_type type = KV_F32;

    while (type < KV_TYPES && strcmp(kv_type_name(type), name) != 0)
        type = (enum kv_type)(type + 1);
    return type;
}

/* Bytes of a row: what one head keeps of one position, as keys or as values. */
static inline size_t kv_row_bytes(enum kv_type type, uint32_t head_dim)
{
    if (type == KV_Q8_0)
        return ((size_t)head_dim + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK_BYTES;
    return (size_t)head_dim * (type == KV_F16 ? sizeof(uint16_t) : sizeof(float));
}

/* Positions whose attention is computed by itself and then merged, in order, with that of those before. */
enum { ATTEND_SPAN = 256 };

/* Positions that are read in one go. */
enum { KV_STEP = 64 };

/* One layer's keys and values of one sequence: rows of kv_row_bytes each, for the positions of a block one behind the
 * other, because attention reads them head by head. There may be several blocks, apart from each other, because what a
 * long context has not come to yet need not have memory. */
struct kv_view {
    void *k;             /* device; of the first block and head; aligned as its numbers are: to 4 bytes, or to 2 */
    void *v;             /* likewise */
    size_t head_bytes;   /* from one head's keys, or values, in a block to the next one's */
    size_t block_bytes;  /* from one block's to the next one's */
    uint32_t block_rows; /* positions of a block: a multiple of KV_STEP, unless there is but one block */
};

/* Where a head's row of a position lies behind k and v. */
static inline size_t kv_at(const struct kv_view *kv, size_t row_bytes, uint32_t head, uint32_t pos)
{
    return pos / kv->block_rows * kv->block_bytes + head * kv->head_bytes + pos % kv->block_rows * row_bytes;
}

/* Causal attention of n_tokens consecutive positions of one sequence, pos0 the first. Query t sees keys
 * 0 .. pos0 + t, which must be stored already. Query head h reads KV head h / (n_heads / n_kv_heads). */
struct attention {
    const float *q; /* device [n_tokens, n_heads, head_dim] f32, rotated */
    struct kv_view kv;
    enum kv_type kv_type;
    uint32_t n_tokens, pos0;
    uint32_t n_heads, n_kv_heads, head_dim;
    float scale; /* on q.k, usually 1/sqrt(head_dim) */
    float *y;    /* device [n_tokens, n_heads, head_dim] f32 */
};

enum route_gating { ROUTE_SOFTMAX, ROUTE_SIGMOID };

struct route {
    enum route_gating gating;
    bool renormalise; /* weights of the chosen sum to 1 (times scale) */
    float scale;      /* on the final weights; 1 in most models */
    uint32_t n_experts, n_used;
};

/* One expert's share of a layer: y[dst[i]] = down(silu(gate x[src[i]]) * up x[src[i]]). */
struct expert_call {
    struct weight gate, up; /* [n_ff, n_embd] */
    struct weight down;     /* [n_embd, n_ff] */
    const uint32_t *src;    /* host [n_rows]: rows of the activations */
    const uint32_t *dst;    /* host [n_rows]: rows of y */
    uint32_t n_rows;
};

struct device;

struct device_ops {
    /* Memory. alloc zeroes and is 64-byte aligned (256 where not host_visible), -ENOMEM when there is none; upload and
     * download copy from and to the host. */
    int (*alloc)(struct device *, size_t bytes, void **ret_p);
    void (*free)(struct device *, void *p, size_t bytes);
    int (*upload)(struct device *, void *dst, const void *src, size_t bytes);
    int (*download)(struct device *, void *dst, const void *src, size_t bytes);
    int (*sync)(struct device *); /* wait for everything submitted; reports what failed meanwhile */

    /* Prepared activations for up to max_rows rows of up to max_cols columns. */
    int (*acts_open)(struct device *, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts);
    void (*acts_close)(struct device *, struct acts *);
    size_t (*acts_bytes)(struct device *, uint32_t max_rows, uint32_t max_cols); /* what acts_open takes */
    int (*acts_set)(struct device *, struct acts *,
                    const float *x /* device [n_rows, n_cols] f32, borrowed until the
next set */, uint32_t n_rows, uint32_t n_cols);

    /* y[t] = row ids[t] of the table, decoded. */
    int (*embed)(struct device *, const struct weight *table, const int32_t *ids /* host [n] */, uint32_t n,
                 float *y /* device [n, table->cols] f32 */);
    /* y = x / sqrt(mean(x^2) + eps) * w, row by row; x and y may be the same. */
    int (*rms_norm)(struct device *, const float *x, const float *w /* device [n_cols] f32 */, float eps,
                    uint32_t n_rows, uint32_t n_cols, float *y);
    /* All products of the same activations, in one parallel region. */
    int (*linear)(struct device *, struct acts *, const struct linear *lin, uint32_t n_lin);
    /* Rotate in place; x is [n_tokens, n_heads, head_dim], token t is at position pos[t] (host). */
    int (*rope)(struct device *, const struct rope *, float *x, const uint32_t *pos, uint32_t n_tokens,
                uint32_t n_heads, uint32_t head_dim);
    /* Store keys and values of n consecutive positions from pos0; k and v are [n, n_kv_heads, head_dim] f32. */
    int (*kv_store)(struct device *, const struct kv_view *, enum kv_type, uint32_t pos0, uint32_t n,
                    uint32_t n_kv_heads, uint32_t head_dim, const float *k, const float *v);
    int (*attention)(struct device *, const struct attention *);
    /* Choose n_used experts per token, best first; ties go to the lower index. Results on the host. */
    int (*route)(struct device *, const struct route *, const float *logits /* device [n, n_experts] f32 */, uint32_t n,
                 uint16_t *ret_ids /* host [n, n_used] */, float *ret_weights /* host [n, n_used] */);
    /* Run experts on the rows of `acts`, in one parallel region; y is [rows named by dst, n_embd] f32, device. */
    int (*experts)(struct device *, struct acts *, const struct expert_call *calls, uint32_t n_calls, float *y);
    /* A dense feed-forward block (leading dense layers, shared experts) is expert_call with src = dst = 0..n-1. */
    /* x[t] += sum over j = 0 .. n_used-1, in that order, of weights[t, j] * y[t * n_used + j]. */
    int (*combine)(struct device *, float *x /* device [n, n_embd] f32 */, const float *y,
                   const float *weights
                   /* host [n, n_used] */,
                   uint32_t n, uint32_t n_used, uint32_t n_embd);
    /* x[t] += s(gate[t]) * y[t], s the logistic function; gate NULL: x += y. */
    int (*add)(struct device *, float *x /* device [n, n_cols] f32 */, const float *y,
               const float *gate /* device [n] f32 or NULL */, uint32_t n, uint32_t n_cols);

    void (*close)(struct device *);
};

/* So many bytes from one memory to the other. */
struct device_copy {
    void *dst;
    const void *src;
    size_t bytes;
};

struct device_copy_ops;
struct device_stay_ops;

#define DEVICE_MEANWHILE_NS 100000

struct device {
    const struct device_ops *ops;
    const struct device_copy_ops *copy; /* compute/device_copy.h; NULL where host_visible */
    const struct device_stay_ops *stay; /* compute/device_stay.h; NULL: not offered */
    const char *name;                   /* "cpu avx512", "cuda:0 NVIDIA ..." ; lent */
    bool host_visible;
    /* What the caller wants done while the host's processors compute: called on the caller's thread within operations
     * that take long, DEVICE_MEANWHILE_NS apart at the least. It must not use the device. NULL: nothing. A device that
     * computes elsewhere returns at once and never calls it. */
    void (*meanwhile)(void *ctx);
    void *meanwhile_ctx;
    /* Times that the host waited for the device: route, download, sync, copy->wait, stay->fetch. 0 on the CPU. */
    uint64_t n_waits;
    struct err err; /* what the last failed operation said */
};

#endif
