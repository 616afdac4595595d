/* SPDX-License-Identifier: MIT */
#include "cache/state.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

static struct cache *of(struct expert_door *door)
{
    return (struct cache *)door;
}

void cache_counters_update(struct cache *c)
{
    struct reader_counts counts;

    reader_counts(c->reader, &counts);
    atomic_store_explicit(&c->counters.bytes_read, counts.bytes[READER_DEMAND], memory_order_relaxed);
    atomic_store_explicit(&c->counters.hint_bytes, counts.bytes[READER_HINT] + counts.bytes[READER_FAR],
                          memory_order_relaxed);
    atomic_store_explicit(&c->counters.busy_ns, counts.busy_ns, memory_order_relaxed);
    atomic_store_explicit(&c->counters.hint_wasted, c->slots.n_guesses_lost, memory_order_relaxed);
    atomic_store_explicit(&c->counters.reread, c->n_rereads + counts.retries, memory_order_relaxed);
    atomic_store_explicit(&c->counters.evictions, c->slots.n_evictions, memory_order_relaxed);
    atomic_store_explicit(&c->counters.slots_used, c->slots.n_used, memory_order_relaxed);
    atomic_store_explicit(&c->counters.slots, slots_live(&c->slots), memory_order_relaxed);
    atomic_store_explicit(&c->counters.slot_bytes, c->slots.bytes, memory_order_relaxed);
    atomic_store_explicit(&c->counters.huge_bytes, c->slots.huge_bytes, memory_order_relaxed);
}

static uint32_t key_of(const struct cache *c, uint32_t layer_index, uint32_t expert)
{
    return layer_index * c->layout->n_experts + expert;
}

/* ---- asking ---- */

/* Each id valid and named once; notes who is named, and with which index. */
static int ids_check(struct cache *c, const uint16_t *ids, size_t n, struct err *err)
{
    c->naming++;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= c->layout->n_experts)
            return err_set(err, -EINVAL, "expert %u asked for, but a layer has %u", ids[i], c->layout->n_experts);
        if (c->named[ids[i]] == c->naming)
            return err_set(err, -EINVAL, "expert %u is named twice in one request", ids[i]);
        c->named[ids[i]] = c->naming;
        c->index_of[ids[i]] = (uint16_t)i;
    }
    return 0;
}

/* Pins of earlier requests, and slots that are being filled from elsewhere, may leave too few. */
static int room_check(const struct cache *c, uint32_t layer_index, const uint16_t *ids, size_t n, struct err *err)
{
    uint32_t class = c->slots.class_of_layer[layer_index], n_live = c->slots.plan.class[class].n_live;
    uint32_t pinned = c->slots.n_pinned[class], lent = c->slots.n_lent[class];

    for (size_t i = 0; i < n; i++) {
        uint32_t slot = slots_find(&c->slots, key_of(c, layer_index, ids[i]));

        pinned -= slot != SLOT_NONE && c->slots.slot[slot].n_pins > 0;
    }
    if (n + pinned + lent <= n_live)
        return 0;
    return err_set(err, -EBUSY,
                   "%zu experts asked for, but of %u slots %u are pinned and %u being filled from elsewhere: release "
                   "views first",
                   n, n_live, pinned, lent);
}

/* Requests between looks at the files' sizes and times: about once a second of decoding. */
#define FILES_CHECK_EVERY 1024

static int request_check(struct cache *c, uint32_t layer, const uint16_t *ids, size_t n, uint32_t *ret_index,
                         struct err *err)
{
    int index = expert_layout_find(c->layout, layer), rc;

    if (index < 0)
        return err_set(err, -EINVAL, "layer %u has no experts", layer);
    if (n == 0 || n > c->door.max_request)
        return err_set(err, -EINVAL, "%zu experts asked for at once, but 1 to %zu can be", n, c->door.max_request);
    if (c->request.n_given < c->request.n)
        return err_set(err, -EBUSY, "the previous request has not been taken to its end");
    rc = ids_check(c, ids, n, err);
    if (rc == 0)
        rc = room_check(c, (uint32_t)index, ids, n, err);
    if (rc == 0 && (c->changed < 0 || c->naming % FILES_CHECK_EVERY == 0))
        rc = c->changed = files_check(&c->files, err);
    if (rc == 0)
        *ret_index = (uint32_t)index;
    return rc;
}

/* The truth is known: what was guessed for this layer, is still being read and is not named need not arrive. */
static void guesses_withdraw(struct cache *c)
{
    for (uint32_t e = 0; e < c->layout->n_experts; e++) {
        uint32_t slot = slots_find(&c->slots, key_of(c, c->request.layer_index, e));

        if (slot != SLOT_NONE && c->slots.slot[slot].hinted && c->named[e] != c->naming &&
            !reader_arrived(c->reader, slot))
            cache_slot_withdraw(c, slot);
    }
}

/* Resident experts first, so that none of them falls victim to a missing one. */
static void request_hits(struct cache *c, const uint16_t *ids, size_t n)
{
    struct request *r = &c->request;
    uint64_t now_ns = clock_ns();
    size_t n_hits = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(c, r->layer_index, ids[i]);

        catalog_heat_add(c->catalog, key);
        r->slot[i] = SLOT_NONE;
        r->asked_ns[i] = now_ns;
        n_hits += cache_request_find(c, i, key);
    }
    cache_count(&c->counters.hits, n_hits);
    cache_count(&c->counters.misses, n - n_hits);
}

/* In order of ids, in which converters write experts to files. They get slots as their reads can start. */
static void request_misses(struct cache *c)
{
    struct request *r = &c->request;

    for (uint32_t e = 0; e < c->layout->n_experts; e++)
        if (c->named[e] == c->naming && r->slot[c->index_of[e]] == SLOT_NONE)
            r->missing[r->n_missing++] = (uint16_t)e;
}

static void request_drop(struct cache *c);

/* What fails here leaves others' pins alone: the views of earlier requests, and of copies under way, still return. */
static int door_request(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    struct cache *c = of(door);
    uint32_t layer_index = 0;
    int rc = request_check(c, layer, ids, n, &layer_index, err);

    if (rc < 0)
        return rc;
    slots_request(&c->slots, layer_index, door->burst);
    c->request.layer_index = layer_index;
    c->request.n = n;
    c->request.n_given = c->request.n_ready = c->request.ready_head = 0;
    c->request.n_missing = c->request.missing_head = 0;
    c->request.code = 0;
    cache_wishes_end(c, c->slots.request);
    request_hits(c, ids, n);
    guesses_withdraw(c);
    request_misses(c);
    rc = reader_poll(c->reader, err);
    if (rc < 0)
        request_drop(c);
    cache_counters_update(c);
    return rc;
}

/* ---- taking ---- */

void cache_view_fill(struct cache *c, uint32_t slot, struct expert_view *ret_view)
{
    uint32_t key = c->slots.slot[slot].key, expert = key % c->layout->n_experts;
    const struct expert_layer_layout *layer = &c->layout->layers[key / c->layout->n_experts];
    struct weight *weight[EXPERT_PARTS] = { &ret_view->gate, &ret_view->up, &ret_view->down };
    struct extent extent;

    cache_slot_extent(c, slot, &extent);
    for (int p = 0; p < EXPERT_PARTS; p++)
        *weight[p] = (struct weight){ .data = c->slots.slot[slot].data + extent.part_at[p],
                                      .type = layer->part[p].type,
                                      .rows = layer->part[p].rows,
                                      .cols = layer->part[p].cols };
    ret_view->layer = layer->layer;
    ret_view->on_host = false;
    ret_view->expert = (uint16_t)expert;
    ret_view->pin = &c->slots.slot[slot];
}

static int give_ready(struct cache *c, size_t *ret_index, struct expert_view *ret_view)
{
    struct request *r = &c->request;
    size_t index = r->ready[r->ready_head++];

    r->n_given++;
    slots_pin(&c->slots, r->slot[index]);
    cache_view_fill(c, r->slot[index], ret_view);
    *ret_index = index;
    return 1;
}

/* There is a slot for everyone that room_check lets in: one who has none while nothing is being read is our own
 * mistake, and no wait would mend it. */
static int missing_check(const struct cache *c, struct err *err)
{
    const struct request *r = &c->request;
    uint32_t class = c->slots.class_of_layer[r->layer_index];

    if (r->missing_head == r->n_missing || r->ready_head < r->n_ready || !reader_idle(c->reader))
        return 0;
    return err_set(err, -ENOBUFS,
                   "no slot for an expert: of %u, %u are pinned, %u being filled from elsewhere, none read",
                   c->slots.plan.class[class].n_live, c->slots.n_pinned[class], c->slots.n_lent[class]);
}

/* Even when an expert is ready, see first to what has arrived: the drive must not run dry while we compute. What has
 * arrived is checked when there is nothing else to do, that is when the caller would wait. */
static int take(struct cache *c, bool may_wait, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct request *r = &c->request;
    int rc = reader_poll(c->reader, err);

    while (rc == 0 && r->code == 0 && r->ready_head == r->n_ready && r->n_given < r->n && may_wait) {
        uint64_t start_ns = clock_ns();

        rc = reader_pump(c->reader, true, err);
        if (rc == 0)
            rc = missing_check(c, err);
        cache_count(&c->counters.wait_ns, clock_ns() - start_ns);
    }
    cache_counters_update(c);
    if (rc < 0)
        return rc;
    if (r->code != 0) {
        if (err != NULL)
            *err = r->err;
        return r->code;
    }
    if (r->ready_head < r->n_ready)
        return give_ready(c, ret_index, ret_view);
    return r->n_given == r->n ? 0 : -EAGAIN;
}

static int door_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    return take(of(door), true, ret_index, ret_view, err);
}

static int door_try_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    return take(of(door), false, ret_index, ret_view, err);
}

/* A burst that is done with an expert does not come back to it. */
static void door_release(struct expert_door *door, const struct expert_view *view)
{
    struct cache *c = of(door);
    struct slot *s = view->pin;

    slots_unpin(&c->slots, (uint32_t)(s - c->slots.slot));
    if (door->burst && s->n_pins == 0)
        s->wanted = 0;
}

/* What it has in flight need not arrive. */
static void request_drop(struct cache *c)
{
    struct request *r = &c->request;

    for (size_t i = 0; i < r->n; i++) {
        uint32_t slot = r->slot[i];

        if (slot != SLOT_NONE && c->slots.slot[slot].state == SLOT_READING)
            cache_slot_withdraw(c, slot);
    }
    r->n = r->n_given = r->n_ready = r->ready_head = r->n_missing = r->missing_head = 0;
    r->code = 0;
    c->slots.request++;
}

static void door_abandon(struct expert_door *door)
{
    struct cache *c = of(door);

    for (uint32_t slot = 0; slot < c->slots.n_slots; slot++)
        while (c->slots.slot[slot].n_pins > 0)
            slots_unpin(&c->slots, slot);
    request_drop(c);
    cache_counters_update(c);
}

#define HINT_FARTHEST 2

/* How many requests from now a layer's is expected: the layers come in order. A part of the layer at hand is next, and
 * so is whatever is read while there are no requests. */
static uint64_t requests_until(const struct cache *c, uint32_t layer_index)
{
    uint32_t here = c->request.layer_index;

    return layer_index > here && layer_index - here <= HINT_FARTHEST ? layer_index - here : 1;
}

/* Resident ones stay until then; for the others reading begins as there is room, and as long as slots are to be had. */
static void door_hint(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct cache *c = of(door);
    int found = expert_layout_find(c->layout, layer);
    uint64_t n_requests = found < 0 ? 0 : requests_until(c, (uint32_t)found);
    enum reader_priority priority = n_requests > 1 ? READER_FAR : READER_HINT;

    for (size_t i = 0; i < n && found >= 0; i++) {
        struct wish wish = { .until = c->slots.request + n_requests - 1 };

        if (ids[i] >= c->layout->n_experts)
            continue;
        wish.key = key_of(c, (uint32_t)found, ids[i]);
        if (!cache_wish_found(c, priority, &wish))
            cache_wish(c, priority, &wish);
    }
    reader_poll(c->reader, NULL);
    cache_counters_update(c);
}

/* Errors are the next request's or taking's to tell. */
static void door_poll(struct expert_door *door)
{
    struct cache *c = of(door);

    reader_poll(c->reader, NULL);
}

/* A burst's rows are a text's tokens; of several texts that are written side by side each has one. */
static void door_weigh(struct expert_door *door, uint32_t layer, const float *logits, uint32_t n)
{
    struct cache *c = of(door);
    int index = expert_layout_find(c->layout, layer);

    if (index < 0)
        return;
    outlook_note(c->outlook, (uint32_t)index, logits, n, door->burst);
    if (c->shadow != NULL)
        shadow_note(c->shadow, (uint32_t)index, outlook_chances(c->outlook) + (size_t)index * c->layout->n_experts);
}

static bool is_ready(const struct cache *c, uint32_t layer_index, uint16_t e)
{
    uint32_t slot = e < c->layout->n_experts ? slots_find(&c->slots, key_of(c, layer_index, e)) : SLOT_NONE;

    return slot != SLOT_NONE && c->slots.slot[slot].state == SLOT_READY;
}

/* A stable partition in place: ids move up past the missing ones before them, which are few or all. */
static void door_arrange(struct expert_door *door, uint32_t layer, uint16_t *ids, size_t n)
{
    struct cache *c = of(door);
    int index = expert_layout_find(c->layout, layer);
    size_t n_ready = 0;

    for (size_t i = 0; i < n && index >= 0; i++) {
        uint16_t e = ids[i];

        if (!is_ready(c, (uint32_t)index, e))
            continue;
        memmove(ids + n_ready + 1, ids + n_ready, (i - n_ready) * sizeof(*ids));
        ids[n_ready++] = e;
    }
}

const struct expert_door_ops door_ops = {
    .weigh = door_weigh,
    .request = door_request,
    .next = door_next,
    .try_next = door_try_next,
    .release = door_release,
    .abandon = door_abandon,
    .arrange = door_arrange,
    .hint = door_hint,
    .poll = door_poll,
};
