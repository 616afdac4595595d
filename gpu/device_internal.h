/* SPDX-License-Identifier: MIT
 *
 * device_internal.h: what the files of the GPU device share. See gpu/device.h.
 */
#ifndef EXPERTD_GPU_DEVICE_INTERNAL_H
#define EXPERTD_GPU_DEVICE_INTERNAL_H

#include "gpu/device.h"
#include "gpu/kernels.h"

extern "C" {
#include "compute/device_stay.h"
}

enum {
    MAX_ROT = 512,            /* dimensions that rotate */
    PARTIAL_FLOATS = 2 << 20, /* of attention's spans, when they are computed beside each other */
    BLOCKS_THAT_FILL = 256,   /* as many blocks of attention need no help of spans */
    TOP_KEYS = 1 << 16,       /* of top_k, between two steps */
};

/* A part of an expert call that fits into the hidden scratch. */
struct part {
    const struct expert_call *call;
    uint32_t row0, n_rows; /* of the call */
    uint32_t hidden0;      /* its first row in the scratch, and in the index lists */
};

/* Device memory of our own, one allocation. */
struct scratch {
    struct lattices *points;
    float *gate, *up;                  /* [max_expert_rows, max_ff] */
    char *hidden_small, *hidden_super; /* [max_expert_rows] rows */
    uint32_t *src, *dst;               /* [max_expert_rows] */
    float *weights;                    /* [max_expert_rows]: of combine, or as the card itself chose */
    float *angles;                     /* [max_rows, MAX_ROT] */
    float *partial;                    /* [PARTIAL_FLOATS] */
    uint64_t *keys[2];                 /* [TOP_KEYS] */
    size_t small_stride, super_stride;
};

/* For which tokens the angles were computed. */
struct angles_of {
    uint32_t n_tokens, n_rot;
    float magnitude;
    uint32_t *pos;   /* [max_rows] */
    float *inv_freq; /* [MAX_ROT / 2] */
};

struct gpu_device {
    struct device device;
    struct gpu_options options;
    struct queue *queue;
    char name[128];
    void *arena;
    size_t arena_bytes;
    struct scratch s;
    struct angles_of angles_of;
    struct part *parts;    /* [max_expert_rows] */
    uint32_t *index_lists; /* [2, max_expert_rows]: src and dst of the parts, on the host */
};

static inline struct gpu_device *gpu_device_of(struct device *device)
{
    return (struct gpu_device *)device; /* its first member */
}

/* Prepared activations. */
struct acts {
    uint32_t max_rows, max_cols, n_rows, n_cols;
    const float *x; /* borrowed */
    bool small_ready, super_ready;
    char *small, *super; /* device, one allocation */
    size_t bytes;
};

static inline size_t small_row_bytes(uint32_t n_cols)
{
    return ((size_t)n_cols + 31) / 32 * sizeof(struct act_small);
}

static inline size_t super_row_bytes(uint32_t n_cols)
{
    return ((size_t)n_cols + 255) / 256 * sizeof(struct act_super);
}

/* The activations of a set as weights of this type want them, quantised if they are not yet. */
struct act_rows {
    const char *base;
    size_t stride;
};
int acts_ready(struct gpu_device *gpu, struct acts *acts, enum quant_type type, struct act_rows *ret_rows);

/* Can kernels read it: a type that we compute with, at an address that suits it? */
int weight_check(struct gpu_device *gpu, const struct weight *w);

/* Products of one type, launched together. */
struct product_batch {
    enum quant_type type;
    uint32_t n, max_rows, max_tokens;
    struct product_params params;
};
void batch_init(struct product_batch *batch, const struct gpu_device *gpu, enum quant_type type);
int batch_add(struct product_batch *batch, struct queue *queue, const struct product_job *job); /* may launch */
int batch_launch(struct product_batch *batch, struct queue *queue);

/* A product of w with n_tokens rows. */
struct product_job job_of(const struct weight *w, struct act_rows rows, uint32_t n_tokens, float *y);
int expert_check(struct gpu_device *gpu, const struct acts *acts, const struct expert_call *call);
/* The hidden scratch: silu(gate) * up of n rows from row0 on, as the down weights want it; and where they find it. */
int hidden_prepare(struct gpu_device *gpu, const struct weight *down, uint32_t row0, uint32_t n);
struct act_rows hidden_rows(const struct gpu_device *gpu, enum quant_type type, uint32_t row);

/* What routing looks like to the kernel; ids and weights are left to be filled in. */
int route_params_of(struct gpu_device *gpu, const struct route *route, const float *logits, uint32_t n,
                    struct route_params *ret_params);

/* The operations, by file. */
int gpu_acts_open(struct device *device, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts);
void gpu_acts_close(struct device *device, struct acts *acts);
size_t gpu_acts_bytes(struct device *device, uint32_t max_rows, uint32_t max_cols);
int gpu_acts_set(struct device *device, struct acts *acts, const float *x, uint32_t n_rows, uint32_t n_cols);
int gpu_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin);
int gpu_experts(struct device *device, struct acts *acts, const struct expert_call *calls, uint32_t n_calls, float *y);
extern const struct device_copy_ops gpu_copy_ops;
extern const struct device_stay_ops gpu_stay_ops;

#endif
