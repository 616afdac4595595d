/* SPDX-License-Identifier: MIT
 *
 * kv_room.h: keys and values of one layer as the model lays them, in blocks that lie apart, for tests of devices.
 */
#ifndef EXPERTD_TESTS_KV_ROOM_H
#define EXPERTD_TESTS_KV_ROOM_H

#include "compute/device.h"

enum {
    KV_ROOM_GAP = 68, /* between heads and blocks, where a model has the other kind and other layers */
    KV_ROOM_ROWS = 3 * KV_STEP,
};

/* A view of n_ctx positions without memory, and the bytes that its keys need, and its values. */
static inline struct kv_view kv_room(uint32_t n_ctx, enum kv_type type, uint32_t n_kv_heads, uint32_t head_dim,
                                     size_t *ret_bytes)
{
    uint32_t kv_rows = n_ctx < KV_ROOM_ROWS ? n_ctx : KV_ROOM_ROWS;
    size_t row_bytes = kv_row_bytes(type, head_dim);
    struct kv_view kv = { .head_bytes = kv_rows * row_bytes + KV_ROOM_GAP, .block_rows = kv_rows };

    kv.block_bytes = n_kv_heads * kv.head_bytes + 3 * KV_ROOM_GAP;
    *ret_bytes = kv_at(&kv, row_bytes, n_kv_heads - 1, n_ctx - 1) + row_bytes;
    return kv;
}

#endif
