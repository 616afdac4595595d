/* SPDX-License-Identifier: MIT */
#include "cache/state.h"

#include "base/arith.h"

#include <errno.h>
#include <inttypes.h>

#define REGISTER_MAX (1UL << 30) /* the most that the kernel registers as one buffer */
#define PIECE_LEAST (64UL << 20) /* what is unpinned and pinned again when the border moves within it */
#define PIECES 64

uint32_t cache_buffers(const struct slots *slots, struct iovec buffers[CACHE_BUFFERS_MAX])
{
    uint64_t piece = u64_min(u64_max(slots->plan.bytes / PIECES, PIECE_LEAST), REGISTER_MAX);
    uint32_t n = 0;

    for (uint32_t c = 0; c < slots->plan.n_classes; c++) {
        const struct slot_class *class = &slots->plan.class[c];
        uint64_t each = u64_max(piece / class->slot_bytes, 1) * class->slot_bytes;
        uint64_t total = class->n_slots * class->slot_bytes, live = class->n_live * class->slot_bytes;

        for (uint64_t at = 0; at < total && each <= REGISTER_MAX && n < CACHE_BUFFERS_MAX; at += each)
            buffers[n++] =
                at < live ? (struct iovec){ class->arena + at, u64_min(each, live - at) } : (struct iovec){ 0 };
    }
    return n;
}

size_t cache_max_request(const struct cache *cache)
{
    size_t least = cache->layout->n_experts;

    for (uint32_t i = 0; i < cache->slots.plan.n_classes; i++)
        least = u64_min(least, cache->slots.plan.class[i].n_live);
    return least;
}

static int settle(struct cache *c, struct err *err)
{
    int rc = 0;

    if (c->memory_held)
        return err_set(err, -ENOTSUP, "the slots are pinned for a device and stay as they are");
    if (c->request.n_given < c->request.n)
        return err_set(err, -EBUSY, "the request at hand has not been taken to its end");
    for (uint32_t class = 0; class < c->slots.plan.n_classes; class ++)
        if (c->slots.n_pinned[class] > 0)
            return err_set(err, -EBUSY, "%u slots are pinned: release views first", c->slots.n_pinned[class]);
        else if (c->slots.n_lent[class] > 0)
            return err_set(err, -EBUSY, "%u slots are being filled from elsewhere", c->slots.n_lent[class]);
    cache_wishes_end(c, UINT64_MAX);
    while (rc == 0 && !reader_idle(c->reader))
        rc = reader_pump(c->reader, true, err);
    return rc;
}

int cache_resize(struct cache *cache, uint64_t slot_budget, struct err *err)
{
    struct iovec buffers[CACHE_BUFFERS_MAX];
    uint32_t n_live[SLOT_CLASSES];
    int rc = settle(cache, err);

    if (rc < 0)
        return rc;
    cache->request.n = cache->request.n_given = cache->request.n_ready = cache->request.ready_head = 0;
    slots_fit(&cache->slots, cache->layout, cache->files.block, slot_budget, n_live);
    rc = slots_resize(&cache->slots, n_live);
    if (cache->shadow != NULL)
        shadow_resize(cache->shadow, n_live);
    cache_buffers(&cache->slots, buffers);
    reader_rebuffer(cache->reader, buffers);
    cache->door.max_request = cache_max_request(cache);
    cache_counters_update(cache);
    return rc == 0 ? 0 : err_sys(err, -rc, "expert slots of %" PRIu64 " bytes", slot_budget);
}
