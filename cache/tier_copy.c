/* SPDX-License-Identifier: MIT */
#include "cache/tier_state.h"

#include "base/clock.h"

#include <errno.h>

int tier_error(const struct tier *t, int r, struct err *err)
{
    return err_set(err, r, "%s: %s", t->device->name, err_text(&t->device->err));
}

static struct tier_copy *copy_at(struct tier *t, uint32_t i)
{
    return &t->copies[(t->copies_head + i) % TIER_COPIES];
}

static uint64_t expert_bytes(const struct tier *t, uint32_t key)
{
    return t->layout->layers[key / t->layout->n_experts].expert_bytes;
}

static uint32_t parts_of(const struct tier *t, const struct expert_view *dst, const struct expert_view *src,
                         struct device_copy *ret_parts)
{
    const struct weight *to[EXPERT_PARTS] = { &dst->gate, &dst->up, &dst->down };
    const struct weight *from[EXPERT_PARTS] = { &src->gate, &src->up, &src->down };
    int layer = expert_layout_find(t->layout, src->layer);

    for (int p = 0; p < EXPERT_PARTS; p++)
        ret_parts[p] = (struct device_copy){ .dst = (void *)to[p]->data, /* ours to fill */
                                             .src = from[p]->data,
                                             .bytes = t->layout->layers[layer].part[p].part_bytes };
    return EXPERT_PARTS;
}

/* The copy stream waits for what was computed from a slot before it is filled anew. */
static int obey(struct tier *t, const struct tier_slot *slot)
{
    uint64_t used = slot->used > t->all_used ? slot->used : t->all_used;
    int r = 0;

    if (used == 0 || used < t->obeyed)
        return 0;
    if (used == t->epoch) {
        r = t->device->copy->mark(t->device, &t->mark);
        if (r < 0)
            return r;
        t->epoch++;
    }
    r = t->device->copy->copy_after(t->device, t->mark);
    if (r == 0)
        t->obeyed = t->epoch;
    return r;
}

static int submit(struct tier *t, const struct tier_copy *copy, const struct device_copy *parts, uint32_t n,
                  struct err *err)
{
    struct tier_copy *place;
    uint64_t ticket;
    int r = 0;

    while (t->n_copies == TIER_COPIES && r == 0)
        r = tier_wait(t, copy_at(t, 0)->ticket, err);
    if (r < 0)
        return r;
    r = t->device->copy->submit(t->device, copy->way, parts, n, &ticket);
    if (r < 0)
        return tier_error(t, r, err);
    place = copy_at(t, t->n_copies++);
    *place = *copy;
    place->ticket = ticket;
    t->stats.copies++;
    t->stats.copy_bytes += copy->bytes;
    return 0;
}

int tier_copy_in(struct tier *t, uint32_t slot, const struct expert_view *host, uint32_t swapped, struct err *err)
{
    struct tier_copy copy = { .way = COPY_TO_DEVICE,
                              .slot = slot,
                              .key = t->slot[slot].key,
                              .bytes = expert_bytes(t, t->slot[slot].key),
                              .host = *host,
                              .swapped = swapped,
                              .swapped_key = swapped != SLOT_NONE ? t->slot[swapped].key : 0 };
    struct device_copy parts[EXPERT_PARTS];
    struct expert_view there;
    int r = obey(t, &t->slot[slot]);

    if (r < 0)
        return tier_error(t, r, err);
    tier_view_fill(t, slot, &there);
    r = submit(t, &copy, parts, parts_of(t, &there, host, parts), err);
    if (r == 0)
        t->slot[slot].ticket = copy_at(t, t->n_copies - 1)->ticket;
    return r;
}

/* A resident that has lost its role, and that RAM does not have, goes back there if there is a slot. Whatever is to
 * fill its place on the device comes behind it on the same stream. */
static void demote(struct tier *t, uint32_t slot, uint32_t key)
{
    struct tier_copy copy = { .way = COPY_TO_HOST, .slot = slot, .key = key, .bytes = expert_bytes(t, key) };
    struct device_copy parts[EXPERT_PARTS];
    struct expert_view from;

    if (t->slot_of[key] != slot || t->slot[slot].state != TIER_READY || t->n_copies == TIER_COPIES ||
        !cache_make_room(t->cache, key, &copy.ram_slot, &copy.host))
        return;
    tier_view_fill(t, slot, &from);
    if (submit(t, &copy, parts, parts_of(t, &copy.host, &from, parts), NULL) < 0)
        cache_adopt(t->cache, key, copy.ram_slot, false);
    else
        t->stats.demotions++;
}

static void arrived(struct tier *t, const struct tier_copy *copy)
{
    struct tier_slot *s = &t->slot[copy->slot];

    if (copy->way == COPY_TO_HOST) {
        cache_adopt(t->cache, copy->key, copy->ram_slot, true);
        return;
    }
    t->inner->ops->release(t->inner, &copy->host);
    s->state = TIER_READY;
    if (t->inclusive)
        return;
    if (s->resident)
        cache_forget(t->cache, copy->key);
    if (copy->swapped != SLOT_NONE)
        demote(t, copy->swapped, copy->swapped_key);
}

static void note_progress(struct tier *t, const struct copy_progress *progress)
{
    if (progress->done <= t->done)
        return;
    tier_cost_copied(&t->cost, progress->bytes - t->seen_bytes, progress->busy_ns - t->seen_busy_ns);
    t->seen_bytes = progress->bytes;
    t->seen_busy_ns = progress->busy_ns;
    t->stats.copy_ns = progress->busy_ns;
    t->done = progress->done;
}

int tier_reap(struct tier *t, struct err *err)
{
    struct copy_progress progress;
    int r;

    if (t->n_copies == 0)
        return 0;
    r = t->device->copy->poll(t->device, &progress);
    if (r < 0)
        return tier_error(t, r, err);
    note_progress(t, &progress);
    while (t->n_copies > 0 && copy_at(t, 0)->ticket <= t->done) {
        struct tier_copy copy = *copy_at(t, 0);

        t->copies_head = (t->copies_head + 1) % TIER_COPIES;
        t->n_copies--;
        arrived(t, &copy);
    }
    return 0;
}

int tier_wait(struct tier *t, uint64_t ticket, struct err *err)
{
    uint64_t start_ns = clock_ns();
    int r = t->device->copy->wait(t->device, ticket);

    t->stats.wait_ns += clock_ns() - start_ns;
    return r < 0 ? tier_error(t, r, err) : tier_reap(t, err);
}

int tier_fence(struct tier *t, uint32_t slot, struct err *err)
{
    uint64_t ticket = t->slot[slot].ticket;
    int r;

    if (t->slot[slot].state != TIER_FILLING || ticket <= t->fenced)
        return 0;
    r = t->device->copy->compute_after(t->device, ticket);
    if (r < 0)
        return tier_error(t, r, err);
    t->fenced = ticket;
    return 0;
}

/* Nothing will arrive any more: what was to be filled holds nothing. */
static void forget_copies(struct tier *t)
{
    for (; t->n_copies > 0; t->n_copies--) {
        struct tier_copy *copy = copy_at(t, 0);

        if (copy->way == COPY_TO_HOST) {
            cache_adopt(t->cache, copy->key, copy->ram_slot, false);
        } else {
            t->inner->ops->release(t->inner, &copy->host);
            t->slot[copy->slot].n_pins = 0;
            tier_slot_free(t, copy->slot);
        }
        t->copies_head = (t->copies_head + 1) % TIER_COPIES;
    }
}

int tier_settle(struct tier *t, struct err *err)
{
    int r = 0;

    while (t->n_copies > 0 && r == 0)
        r = tier_wait(t, copy_at(t, t->n_copies - 1)->ticket, err);
    if (r < 0)
        forget_copies(t);
    return r;
}
