/* SPDX-License-Identifier: MIT */
#include "model/kv.h"

size_t kv_type_bytes(enum kv_type type)
{
    return type == KV_F32 ? 4 : 2;
}

void kv_lay(struct kv *kv, uint32_t kv_dim, struct arena *region, struct arena *host)
{
    kv->row_bytes = kv_dim * kv_type_bytes(kv->type);
    kv->lengths = arena_take(host, kv->n_seqs, sizeof(*kv->lengths));
    kv->base = arena_take(region, (size_t)kv->n_seqs * kv->n_ctx, 2 * kv->row_bytes * kv->n_layers);
}

struct kv_view kv_layer(const struct kv *kv, uint32_t seq, uint32_t layer)
{
    size_t one = kv->n_ctx * kv->row_bytes;
    char *k = kv->base + 2 * one * ((size_t)seq * kv->n_layers + layer);

    return (struct kv_view){ .k = k, .v = k + one, .n_ctx = kv->n_ctx };
}
