/* SPDX-License-Identifier: MIT
 *
 * kv.h: keys and values of the sequences held at once, one region of device memory.
 *
 * A sequence's n_ctx positions are one block or, where memory is taken `on_demand`, several of the same length, the
 * last of which may have more room than is used. A block holds its positions of every layer, so that memory for a
 * context comes and goes block by block: kv_hold. In it lie, layer by layer, the keys of all heads and behind them the
 * values; where there are several blocks, the keys of each head and behind them its values, so that what a processor
 * fetches beyond the end of a block's keys has a use (docs/experiments.md). What has been written is remembered as a
 * length per sequence, so that a caller who skips positions is told.
 *
 * Ownership: the arenas are the caller's. Threads: the engine thread only.
 */
#ifndef EXPERTD_MODEL_KV_H
#define EXPERTD_MODEL_KV_H

#include "compute/device.h"
#include "model/forward_arena.h"

#include <stdbool.h>
#include <stdint.h>

struct kv {
    char *base;        /* device */
    uint32_t *lengths; /* host [n_seqs]: positions written */
    uint32_t *n_held;  /* host [n_seqs]: blocks that have memory; all have it unless on_demand */
    enum kv_type type;
    bool on_demand;
    uint32_t n_layers, n_seqs, n_ctx;
    uint32_t n_blocks, block_rows; /* of a sequence; positions of a block */
    uint32_t n_kv_heads;
    size_t row_bytes;   /* of one position's key, or value, of one head */
    size_t block_bytes; /* one block's, of all layers */
    size_t seq_bytes;   /* from one sequence to the next; whole pages where on_demand */
};

/* Lay out in `region` (device memory) and `host`. type, on_demand and the counts in its line are set by the caller. */
void kv_lay(struct kv *kv, uint32_t n_kv_heads, uint32_t head_dim, struct arena *region, struct arena *host);
struct kv_view kv_layer(const struct kv *kv, uint32_t seq, uint32_t layer);

/* What must be asked of arena_open for the region. */
unsigned kv_arena_flags(const struct kv *kv);
/* Memory taken by a sequence that holds so many positions, bytes. */
uint64_t kv_bytes(const struct kv *kv, uint32_t n_positions);
/* Have memory for a sequence's first n positions and for no others, whose keys and values are forgotten. 0, or -ENOMEM
 * with what was held before. Does nothing where memory is not on demand. */
int kv_hold(struct kv *kv, uint32_t seq, uint32_t n_positions);
/* Positions that have memory. */
uint32_t kv_room(const struct kv *kv, uint32_t seq);

#endif
