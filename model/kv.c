/* SPDX-License-Identifier: MIT */
#include "model/kv.h"

void kv_lay(struct kv *kv, uint32_t n_kv_heads, uint32_t head_dim, struct arena *region, struct arena *host)
{
    kv->position_bytes = n_kv_heads * kv_row_bytes(kv->type, head_dim);
    kv->lengths = arena_take(host, kv->n_seqs, sizeof(*kv->lengths));
    kv->base = arena_take(region, (size_t)kv->n_seqs * kv->n_ctx, 2 * kv->position_bytes * kv->n_layers);
}

struct kv_view kv_layer(const struct kv *kv, uint32_t seq, uint32_t layer)
{
    size_t one = kv->n_ctx * kv->position_bytes;
    char *k = kv->base + 2 * one * ((size_t)seq * kv->n_layers + layer);

    return (struct kv_view){ .k = k, .v = k + one, .n_ctx = kv->n_ctx };
}
