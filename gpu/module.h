/* SPDX-License-Identifier: MIT
 *
 * module.h: what expertd-cuda.so exports, and all that expertd knows of a GPU.
 *
 * The module is a shared object of its own, loaded with dlopen, so that one expertd runs with and without CUDA, a
 * driver or a card. It exports one symbol, GPU_MODULE_SYMBOL, a `struct gpu_module`. A loader checks `api` before it
 * reads anything else. The simulated device of the tests fills the same structure.
 *
 * A `struct gpu` is one opened card: a `struct device` (compute/device.h) that computes, and beside it the operations
 * by which experts move between RAM and VRAM. Its two queues work at the same time: the compute queue, into which
 * every operation of `device` goes in order, and the copy queue, into which `copy` goes in order. Marks order one
 * behind the other without the host waiting; nothing here synchronises the whole card.
 *
 * Invariants:
 * - No more than `vram_limit` bytes of VRAM are ever held: the module's own scratch, `device->ops->alloc` and the
 *   driver's context together. What does not fit is refused with ERR_BUDGET and the number that would.
 * - Every failure of the CUDA runtime comes back as a negative number with a sentence. A failure that outlives the
 *   call (device lost, ECC, a kernel that trapped) is ERR_DEVICE, from this call and every later one until the card
 *   is closed; `reset` says whether opening it again may help. Memory that is merely short is -ENOMEM, and the card
 *   goes on working.
 * - `device` computes the same bits as the CPU device (see tests/parity).
 *
 * Device operations and queues: an operation of `device` may return before it has been carried out; pointers to host
 * memory that it was given are free for reuse when it returns. Results on the host (download, route) are there when
 * the operation returns. Memory written by `copy` may be read by compute only behind a mark (mark_copied, then
 * compute_after), and overwritten by `copy` only behind one of compute's (mark_computed, then copy_after).
 *
 * Threads: one at a time uses a `struct gpu`, except `mark_passed` and `mark_wait`, which any thread may call.
 * `struct gpu_module` functions may be called from any thread.
 * Units: bytes. Ownership: as each line says.
 */
#ifndef EXPERTD_GPU_MODULE_H
#define EXPERTD_GPU_MODULE_H

#include "base/err.h"
#include "compute/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GPU_MODULE_SYMBOL "expertd_gpu_module"
enum { GPU_MODULE_API = 1 };

/* A card, as far as one can know without opening it. */
struct gpu_info {
    char name[96];         /* "NVIDIA H100 80GB HBM3" */
    char bus[32];          /* PCI address, "0000:17:00.0" */
    uint32_t major, minor; /* compute capability */
    uint32_t n_multiprocessors;
    uint64_t total_bytes;  /* of VRAM */
    uint64_t free_bytes;   /* now */
    bool usable;           /* the module holds code for it */
    char why_not[160];     /* where it is not usable */
};

struct gpu_options {
    uint64_t vram_limit;      /* 0: what is free */
    uint32_t max_rows;        /* most activation rows of one call */
    uint32_t max_cols;        /* widest activation row */
    uint32_t max_ff;          /* widest hidden row of an expert or dense block */
    uint32_t max_expert_rows; /* most (token, expert) pairs computed at once: sizes the scratch; more are done in parts */
    uint32_t max_context;     /* longest context that attention will see, in tokens */
    uint32_t max_heads, max_head_dim; /* of attention: both size its scratch */
    bool graphs;              /* hand runs of operations to the card as graphs */
};

struct gpu;
struct gpu_mark; /* a place in a queue */

/* What has been done since open. */
struct gpu_counts {
    uint64_t kernels;      /* launched, those inside graphs too */
    uint64_t graphs;       /* launched */
    uint64_t graphs_built; /* captured or changed in shape */
    uint64_t handoffs;     /* times the host waited for the compute queue */
    uint64_t copies, copied_bytes;
};

struct gpu_ops {
    /* VRAM now held by us against the limit, and what the card says is free. */
    int (*memory)(struct gpu *, uint64_t *ret_held, uint64_t *ret_limit, uint64_t *ret_card_free);
    /* Lower (or raise) the limit. Below what is held: ERR_BUDGET, and nothing changes. */
    int (*set_limit)(struct gpu *, uint64_t vram_limit);

    /* Pinned host memory, which both the host and the card reach: allocated and zeroed, or made so where it lies
     * (page-aligned). A refusal to pin is an error of its own and leaves the memory usable as it was. */
    int (*host_alloc)(struct gpu *, size_t bytes, void **ret_p);
    void (*host_free)(struct gpu *, void *p, size_t bytes);
    int (*host_pin)(struct gpu *, void *p, size_t bytes);
    void (*host_unpin)(struct gpu *, void *p, size_t bytes);

    /* Host (pinned) to VRAM, on the copy queue, behind everything put there before. `src` must stay as it is until a
     * mark behind it has passed. */
    int (*copy)(struct gpu *, void *dst, const void *src, size_t bytes);

    int (*mark_open)(struct gpu *, struct gpu_mark **ret_mark); /* owned by the caller; not in a queue yet: passed */
    void (*mark_close)(struct gpu *, struct gpu_mark *);
    /* Put the mark behind everything submitted to a queue so far; a mark may be put anew as often as one likes. */
    int (*mark_copied)(struct gpu *, struct gpu_mark *);
    int (*mark_computed)(struct gpu *, struct gpu_mark *);
    /* What is submitted to a queue from now on waits for the mark. The host does not. */
    int (*compute_after)(struct gpu *, struct gpu_mark *);
    int (*copy_after)(struct gpu *, struct gpu_mark *);
    /* 1 when everything before the mark is done, 0 when not yet, negative when the card failed. */
    int (*mark_passed)(struct gpu *, struct gpu_mark *, struct err *err);
    /* Block until it is; 0 or negative. */
    int (*mark_wait)(struct gpu *, struct gpu_mark *, struct err *err);
    /* Bus time of the work between two marks that have passed and lie in the same queue. */
    int (*mark_elapsed)(struct gpu *, struct gpu_mark *from, struct gpu_mark *to, uint64_t *ret_ns);

    /* The k greatest of each row, best first, ties to the lower index: sampling without carrying every logit to the
     * host. k is at most GPU_TOP_MAX. NULL where the device has none. */
    int (*top)(struct gpu *, const float *logits /* device [n_rows, n_cols] f32 */, uint32_t n_rows, uint32_t n_cols,
               uint32_t k, uint32_t *ret_index /* host [n_rows, k] */, float *ret_logit /* host [n_rows, k] */);

    void (*counts)(struct gpu *, struct gpu_counts *ret_counts);
    /* Hand what has been submitted to the card without waiting for it. */
    int (*flush)(struct gpu *);
};

enum { GPU_TOP_MAX = 64 };

/* Operations that return int describe a failure in device->err, as the device's own do. */
struct gpu {
    const struct gpu_ops *ops;
    struct device *device; /* owned; closed with the gpu, never by itself. host_visible is false */
    struct gpu_info info;
};

struct gpu_module {
    uint32_t api;         /* GPU_MODULE_API */
    const char *build;    /* "CUDA 13.0, sm_75 sm_80 ... compute_120" */
    /* Cards that the driver shows: 0 or more, in *ret_n. Without a driver, or with one that is too old: negative, and
     * a sentence that says which. */
    int (*count)(uint32_t *ret_n, struct err *err);
    int (*info)(uint32_t index, struct gpu_info *ret_info, struct err *err);
    /* VRAM that open takes for itself under these options, the driver's context not counted. */
    uint64_t (*scratch_bytes)(const struct gpu_options *options);
    int (*open)(uint32_t index, const struct gpu_options *options, struct gpu **ret_gpu, struct err *err);
    /* Waits for nothing that hangs: also after ERR_DEVICE. Frees whatever was still allocated. */
    void (*close)(struct gpu *);
    /* After ERR_DEVICE and close: 0 if the card can be opened again in this process, else negative with the reason. */
    int (*reset)(uint32_t index, struct err *err);
};

#endif
