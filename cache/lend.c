/* SPDX-License-Identifier: MIT */
#include "cache/lend.h"

#include "cache/state.h"

bool cache_has(const struct cache *c, uint32_t key)
{
    uint32_t slot = slots_find(&c->slots, key);

    return slot != SLOT_NONE && c->slots.slot[slot].state == SLOT_READY;
}

bool cache_lend(struct cache *c, uint32_t key, struct expert_view *ret_view)
{
    if (!cache_has(c, key) || !cache_can_spare(c, c->slots.class_of_layer[key / c->layout->n_experts]))
        return false;
    slots_pin(&c->slots, slots_find(&c->slots, key));
    cache_view_fill(c, slots_find(&c->slots, key), ret_view);
    return true;
}

void cache_forget(struct cache *c, uint32_t key)
{
    uint32_t slot = slots_find(&c->slots, key);

    if (slot == SLOT_NONE || c->slots.slot[slot].state != SLOT_READY || c->slots.slot[slot].n_pins > 0)
        return;
    slots_drop(&c->slots, slot);
    slots_give(&c->slots, slot);
}

void cache_heat_add(struct cache *c, uint32_t key)
{
    catalog_heat_add(c->catalog, key);
}

bool cache_make_room(struct cache *c, uint32_t key, uint32_t *ret_slot, struct expert_view *ret_view)
{
    uint32_t class = c->slots.class_of_layer[key / c->layout->n_experts], slot;

    if (slots_find(&c->slots, key) != SLOT_NONE || c->slots.n_free[class] <= cache_missing(c, class))
        return false;
    slot = slots_take(&c->slots, class, key, true);
    if (slot == SLOT_NONE)
        return false;
    cache_view_fill(c, slot, ret_view);
    slots_lend(&c->slots, slot);
    *ret_slot = slot;
    return true;
}

void cache_adopt(struct cache *c, uint32_t key, uint32_t slot, bool good)
{
    uint32_t class = c->slots.class_of_layer[key / c->layout->n_experts];

    /* Given back and taken at once: what was freed last is taken first. */
    slots_return(&c->slots, slot);
    if (!good || slots_find(&c->slots, key) != SLOT_NONE)
        return;
    slots_take(&c->slots, class, key, true);
    slots_ready(&c->slots, slots_find(&c->slots, key));
}

void cache_hold_memory(struct cache *c, bool hold)
{
    c->memory_held = hold;
}

uint32_t cache_slot_memory(const struct cache *c, struct iovec *ret_pieces)
{
    return cache_buffers(&c->slots, ret_pieces);
}
