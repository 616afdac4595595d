/* SPDX-License-Identifier: MIT
 *
 * Slots for what has been asked for and for what hints wish, a few at a time: the reader says when a read can start,
 * and only then somebody has to go for it.
 */
#include "cache/state.h"

#include "base/arith.h"

#include <string.h>

/* Take back a slot that is being read for nobody. */
void cache_slot_withdraw(struct cache *c, uint32_t slot)
{
    slots_drop(&c->slots, slot);
    c->slot_reread[slot] = false;
    reader_drop(c->reader, slot);
}

static bool hint_withdraw(struct cache *c, uint32_t class)
{
    const struct slot_class *sc = &c->slots.plan.class[class];

    for (uint32_t slot = sc->first_slot; slot < sc->first_slot + sc->n_slots; slot++)
        if (c->slots.slot[slot].state == SLOT_READING && !cache_slot_wanted(c, slot)) {
            cache_slot_withdraw(c, slot);
            return true;
        }
    return false;
}

static void slot_read(struct cache *c, uint32_t slot, enum reader_priority priority)
{
    struct extent extent;

    c->slots.slot[slot].packed = c->pack != NULL && !c->pack_bad[c->slots.slot[slot].key];
    cache_slot_extent(c, slot, &extent);
    reader_add(c->reader, slot, &extent, c->slots.slot[slot].data, priority);
}

/* ---- what the open request is short of ---- */

/* Its bytes are in memory; they may have to be checked yet. */
static bool is_there(const struct cache *c, uint32_t slot)
{
    return c->slots.slot[slot].state == SLOT_READY || reader_arrived(c->reader, slot);
}

static void slot_want(struct cache *c, uint32_t slot, size_t index)
{
    struct slot *s = &c->slots.slot[slot];

    if (s->guessed)
        cache_count(is_there(c, slot) ? &c->counters.hint_hits : &c->counters.hint_late, 1);
    s->wanted = c->slots.request;
    s->hinted = s->guessed = false;
    c->slot_index[slot] = (uint16_t)index;
    c->request.slot[index] = slot;
}

bool cache_request_find(struct cache *c, size_t index, uint32_t key)
{
    uint32_t slot = slots_find(&c->slots, key);
    bool there = slot != SLOT_NONE && is_there(c, slot);

    if (slot == SLOT_NONE)
        return false;
    slot_want(c, slot, index);
    slots_use(&c->slots, slot);
    if (c->slots.slot[slot].state == SLOT_READY)
        cache_request_ready(c, index);
    else
        reader_promote(c->reader, slot, READER_DEMAND);
    return there;
}

/* The door has made sure that there is one, once hints are withdrawn and what they have in flight has ended. */
static uint32_t slot_take(struct cache *c, uint32_t class, uint32_t key)
{
    uint32_t slot = slots_take(&c->slots, class, key, false);

    while (slot == SLOT_NONE && (hint_withdraw(c, class) || slots_expect_none(&c->slots, class)))
        slot = slots_take(&c->slots, class, key, false);
    return slot;
}

/* The next in the file's order; it may have come by another way meanwhile (cache/lend.h). */
static bool feed_request(struct cache *c)
{
    struct request *r = &c->request;
    uint32_t class = c->slots.class_of_layer[r->layer_index], key, slot;
    uint16_t expert;

    if (r->missing_head == r->n_missing)
        return false;
    expert = r->missing[r->missing_head];
    key = r->layer_index * c->layout->n_experts + expert;
    slot = slots_find(&c->slots, key);
    if (slot == SLOT_NONE) {
        slot = slot_take(c, class, key);
        if (slot == SLOT_NONE)
            return false;
        slot_want(c, slot, c->index_of[expert]);
        slot_read(c, slot, READER_DEMAND);
    } else {
        cache_request_find(c, c->index_of[expert], key);
    }
    r->missing_head++;
    return true;
}

size_t cache_missing(const struct cache *c, uint32_t class)
{
    const struct request *r = &c->request;

    return c->slots.class_of_layer[r->layer_index] == class ? r->n_missing - r->missing_head : 0;
}

bool cache_can_spare(const struct cache *c, uint32_t class)
{
    const struct slot_class *sc = &c->slots.plan.class[class];
    size_t n_missing = cache_missing(c, class), n = 0;

    for (uint32_t i = sc->first_slot; n_missing > 0 && i < sc->first_slot + sc->n_live; i++)
        n += c->slots.slot[i].n_pins == 0 && !cache_slot_wanted(c, i);
    return n_missing == 0 || n > n_missing + c->slots.n_lent[class];
}

/* ---- what hints wish ---- */

static struct wishes *wishes_of(struct cache *c, enum reader_priority priority)
{
    return &c->wishes[priority - READER_HINT];
}

bool cache_wish(struct cache *c, enum reader_priority priority, const struct wish *wish)
{
    struct wishes *w = wishes_of(c, priority);

    if (w->n == c->n_wishes_max)
        return false;
    w->wish[w->n++] = *wish;
    return true;
}

static void wishes_keep(struct wishes *w, uint64_t request)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->n; i++)
        if (w->wish[i].until >= request)
            w->wish[n++] = w->wish[i];
    w->n = n;
}

void cache_wishes_end(struct cache *c, uint64_t request)
{
    wishes_keep(wishes_of(c, READER_HINT), request);
    wishes_keep(wishes_of(c, READER_FAR), request);
}

uint32_t cache_wishes(const struct cache *c)
{
    return c->wishes[0].n + c->wishes[1].n;
}

bool cache_wish_found(struct cache *c, enum reader_priority priority, const struct wish *wish)
{
    uint32_t slot = slots_find(&c->slots, wish->key);
    struct slot *s;

    if (slot == SLOT_NONE)
        return false;
    s = &c->slots.slot[slot];
    s->expected = u64_max(s->expected, wish->until);
    if (s->state == SLOT_READING)
        reader_promote(c->reader, slot, priority);
    return true;
}

static bool wish_read(struct cache *c, enum reader_priority priority, const struct wish *wish)
{
    uint32_t class = c->slots.class_of_layer[wish->key / c->layout->n_experts];
    uint32_t slot = slots_take_ahead(&c->slots, class, wish->key, wish->until);

    if (slot == SLOT_NONE)
        return false;
    slot_read(c, slot, priority);
    cache_count(&c->counters.hint_reads, 1);
    return true;
}

/* Without a slot for one there is none for the others, nor will there be before the next request. */
static bool feed_wish(struct cache *c, enum reader_priority priority)
{
    struct wishes *w = wishes_of(c, priority);
    struct wish wish;

    if (w->n == 0 || c->request.missing_head < c->request.n_missing)
        return false;
    wish = w->wish[0];
    memmove(w->wish, w->wish + 1, --w->n * sizeof(*w->wish));
    if (!cache_wish_found(c, priority, &wish) && !wish_read(c, priority, &wish))
        w->n = 0;
    return true;
}

bool cache_feed(void *ctx, enum reader_priority priority)
{
    struct cache *c = ctx;

    return priority == READER_DEMAND ? feed_request(c) : feed_wish(c, priority);
}
