/* SPDX-License-Identifier: MIT
 *
 * kv.h: keys and values of the sequences held at once, one region of device memory.
 *
 * Each sequence has n_ctx positions in every layer; per sequence and layer, all keys lie before all values. What has
 * been written is remembered as a length per sequence, so that a caller who skips positions is told.
 *
 * Ownership: the arenas are the caller's. Threads: the engine thread only.
 */
#ifndef EXPERTD_MODEL_KV_H
#define EXPERTD_MODEL_KV_H

#include "compute/device.h"
#include "model/forward_arena.h"

#include <stdint.h>

struct kv {
    char *base;        /* device */
    uint32_t *lengths; /* host [n_seqs]: positions written */
    enum kv_type type;
    uint32_t n_layers, n_seqs, n_ctx;
    size_t position_bytes; /* one position's keys, or values, in one layer */
};

/* Lay out in `region` (device memory) and `host`. The counts are set by the caller. */
void kv_lay(struct kv *kv, uint32_t n_kv_heads, uint32_t head_dim, struct arena *region, struct arena *host);
struct kv_view kv_layer(const struct kv *kv, uint32_t seq, uint32_t layer);

#endif
