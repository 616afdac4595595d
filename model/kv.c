/* SPDX-License-Identifier: MIT */
#include "model/kv.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>

#define BLOCKS_MOST 8u /* attention loses time where a block ends: docs/experiments.md */
#define BLOCK_LEAST 512u

/* What memory comes and goes in. */
static size_t page_bytes(const struct kv *kv)
{
    return kv->block_bytes >= MEM_HUGE_BYTES ? MEM_HUGE_BYTES : MEM_PAGE_BYTES;
}

static size_t pages_round(const struct kv *kv, size_t bytes)
{
    return (bytes + page_bytes(kv) - 1) / page_bytes(kv) * page_bytes(kv);
}

static uint32_t blocks_of(const struct kv *kv, uint32_t n_positions)
{
    return n_positions / kv->block_rows + (n_positions % kv->block_rows > 0);
}

static uint32_t rows_of_block(const struct kv *kv)
{
    uint32_t n_blocks = u64_min(kv->n_ctx / BLOCK_LEAST, BLOCKS_MOST);
    uint64_t rows;

    if (!kv->on_demand || n_blocks < 2)
        return kv->n_ctx;
    rows = ((uint64_t)kv->n_ctx + n_blocks - 1) / n_blocks;
    return (uint32_t)((rows + KV_STEP - 1) / KV_STEP * KV_STEP);
}

void kv_lay(struct kv *kv, uint32_t n_kv_heads, uint32_t head_dim, struct arena *region, struct arena *host)
{
    kv->n_kv_heads = n_kv_heads;
    kv->row_bytes = kv_row_bytes(kv->type, head_dim);
    kv->block_rows = rows_of_block(kv);
    kv->n_blocks = kv->block_rows > 0 ? blocks_of(kv, kv->n_ctx) : 0;
    kv->block_bytes = 2 * kv->row_bytes * n_kv_heads * kv->block_rows * kv->n_layers;
    kv->seq_bytes = kv->n_blocks * kv->block_bytes;
    if (kv->on_demand)
        kv->seq_bytes = pages_round(kv, kv->seq_bytes);
    kv->lengths = arena_take(host, kv->n_seqs, sizeof(*kv->lengths));
    kv->n_held = arena_take(host, kv->n_seqs, sizeof(*kv->n_held));
    kv->base = arena_take(region, kv->n_seqs, kv->seq_bytes);
}

struct kv_view kv_layer(const struct kv *kv, uint32_t seq, uint32_t layer)
{
    size_t head = kv->block_rows * kv->row_bytes, one = kv->n_kv_heads * head;
    char *k = kv->base + seq * kv->seq_bytes + 2 * one * layer;
    bool beside = kv->n_blocks > 1;

    return (struct kv_view){
        .k = k,
        .v = k + (beside ? head : one),
        .head_bytes = beside ? 2 * head : head,
        .block_bytes = kv->block_bytes,
        .block_rows = kv->block_rows,
    };
}

unsigned kv_arena_flags(const struct kv *kv)
{
    if (!kv->on_demand)
        return ARENA_PLAIN;
    return page_bytes(kv) == MEM_HUGE_BYTES ? ARENA_HUGE : ARENA_SMALL;
}

static size_t held_bytes(const struct kv *kv, uint32_t n_blocks)
{
    return u64_min(pages_round(kv, n_blocks * kv->block_bytes), kv->seq_bytes);
}

uint64_t kv_bytes(const struct kv *kv, uint32_t n_positions)
{
    return held_bytes(kv, blocks_of(kv, n_positions));
}

int kv_hold(struct kv *kv, uint32_t seq, uint32_t n_positions)
{
    uint32_t n = blocks_of(kv, n_positions);
    size_t before = held_bytes(kv, kv->n_held[seq]), after = held_bytes(kv, n);
    char *base = kv->base + seq * kv->seq_bytes;

    if (!kv->on_demand || n == kv->n_held[seq])
        return 0;
    if (after < before)
        mem_map_let_go(base + after, before - after);
    if (after > before && mem_map_take(base + before, after - before) < 0) {
        mem_map_let_go(base + before, after - before);
        return -ENOMEM;
    }
    kv->n_held[seq] = n;
    kv->lengths[seq] = (uint32_t)u64_min(kv->lengths[seq], (uint64_t)n * kv->block_rows);
    return 0;
}

uint32_t kv_room(const struct kv *kv, uint32_t seq)
{
    return kv->on_demand ? (uint32_t)u64_min((uint64_t)kv->n_held[seq] * kv->block_rows, kv->n_ctx) : kv->n_ctx;
}
