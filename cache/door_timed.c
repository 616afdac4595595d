/* SPDX-License-Identifier: MIT */
#include "cache/lend.h"
#include "cache/state.h"

#include "base/clock.h"

/* The door with a clock and the shadows beside it: door_ns is what the engine's thread spends in here besides
 * waiting for
 * reads. */

static uint64_t spent_waiting(const struct cache *c)
{
    return atomic_load_explicit(&c->counters.wait_ns, memory_order_relaxed);
}

struct span {
    uint64_t start_ns, waited_ns;
};

static struct span enter(const struct expert_door *door)
{
    return (struct span){ .start_ns = clock_ns(), .waited_ns = spent_waiting((const struct cache *)door) };
}

static void leave(struct expert_door *door, const struct span *span)
{
    struct cache *c = (struct cache *)door;

    cache_count(&c->counters.door_ns, clock_ns() - span->start_ns - (spent_waiting(c) - span->waited_ns));
}

/* Noted before the request, which may have read some by the time it returns. */
static void note_found(struct cache *c, uint32_t layer, const uint16_t *ids, size_t n)
{
    int index = expert_layout_find(c->layout, layer);

    for (size_t i = 0; i < n && index >= 0; i++)
        if (ids[i] < c->layout->n_experts)
            c->found[ids[i]] = cache_has(c, (uint32_t)index * c->layout->n_experts + ids[i]);
}

static bool was_found(const void *ctx, uint16_t id)
{
    const struct cache *c = ctx;

    return c->found[id];
}

static void timed_weigh(struct expert_door *door, uint32_t layer, const float *logits, uint32_t n)
{
    struct span span = enter(door);

    door_ops.weigh(door, layer, logits, n);
    leave(door, &span);
}

static int timed_request(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    struct cache *c = (struct cache *)door;
    struct span span = enter(door);
    int rc;

    note_found(c, layer, ids, n);
    rc = door_ops.request(door, layer, ids, n, err);
    /* The missing ones are being read meanwhile. */
    if (rc == 0 && c->shadow != NULL)
        shadow_request(c->shadow, c->request.layer_index, ids, n, door->burst, was_found, c);
    leave(door, &span);
    return rc;
}

static int timed_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct span span = enter(door);
    int rc = door_ops.next(door, ret_index, ret_view, err);

    leave(door, &span);
    return rc;
}

static int timed_try_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct span span = enter(door);
    int rc = door_ops.try_next(door, ret_index, ret_view, err);

    leave(door, &span);
    return rc;
}

static void timed_release(struct expert_door *door, const struct expert_view *view)
{
    door_ops.release(door, view);
}

static void timed_abandon(struct expert_door *door)
{
    door_ops.abandon(door);
}

static void timed_arrange(struct expert_door *door, uint32_t layer, uint16_t *ids, size_t n)
{
    door_ops.arrange(door, layer, ids, n);
}

static void timed_hint(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct span span = enter(door);

    door_ops.hint(door, layer, ids, n);
    leave(door, &span);
}

static void timed_poll(struct expert_door *door)
{
    struct span span = enter(door);

    door_ops.poll(door);
    leave(door, &span);
}

const struct expert_door_ops door_timed_ops = {
    .weigh = timed_weigh,
    .request = timed_request,
    .next = timed_next,
    .try_next = timed_try_next,
    .release = timed_release,
    .abandon = timed_abandon,
    .arrange = timed_arrange,
    .hint = timed_hint,
    .poll = timed_poll,
};
