/* SPDX-License-Identifier: MIT
 *
 * forward_dense.h: the weights that every token needs, resident: embeddings, norms, attention, routers, shared experts,
 * leading dense blocks. Everything of a model but its experts.
 *
 * They lie in one region of the device's memory in their GGUF formats, each tensor once (tied embeddings too).
 * Immutable after dense_load. Ownership: the arenas are the caller's; a dense lends what lies in them.
 */
#ifndef EXPERTD_MODEL_FORWARD_DENSE_H
#define EXPERTD_MODEL_FORWARD_DENSE_H

#include "compute/device.h"
#include "model/forward_arena.h"
#include "model/model.h"

#include <stdint.h>

/* As struct layer_tensors (model/arch.h), where shapes are stated. A weight with no data and a NULL vector: not there.
 */
struct dense_layer {
    const float *attn_norm, *ffn_norm, *q_norm, *k_norm; /* device */
    const float *q_bias, *k_bias, *v_bias, *o_bias;      /* device */
    struct weight q, k, v, o;
    struct weight router, shared_router;
    struct weight shared_gate, shared_up, shared_down;
    struct weight gate, up, down; /* of a dense layer */
};

struct dense {
    struct weight token_embd, output;
    const float *output_norm;   /* device */
    struct dense_layer *layers; /* host [n_layers] */
};

/* Lay the weights out in `weights` (device memory) and the table of layers in `host`. With `embd_rows`, there is room
 * for so many rows of the embeddings instead of the whole table. */
void dense_lay(struct dense *dense, const struct model *model, uint32_t embd_rows, struct arena *weights,
               struct arena *host);

/* Of the host's memory that dense_load takes for the time, on a device with memory of its own. */
size_t dense_bounce_bytes(void);

/* Read the weights to where they were laid out, without the embeddings if there is room for some rows only.
 * `on_progress` (may be NULL) hears bytes done of total. */
int dense_load(const struct dense *dense, const struct model *model, bool without_embd, struct device *device,
               void (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *err);

#endif
