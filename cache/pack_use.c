/* SPDX-License-Identifier: MIT */
#include "cache/state.h"

#include <stdio.h>
#include <string.h>

void cache_pack_compare(struct cache *c)
{
    uint32_t n_keys = c->layout->n_layers * c->layout->n_experts, n_bad = 0;

    for (uint32_t key = 0; c->pack != NULL && key < n_keys; key++) {
        struct catalog_sum sum;

        c->pack_bad[key] =
            catalog_sum(c->catalog, key, &sum) && memcmp(sum.bytes, c->pack->sums[key].bytes, sizeof(sum.bytes)) != 0;
        n_bad += c->pack_bad[key];
    }
    cache_count(&c->counters.pack_bad, n_bad);
    if (n_bad > 0)
        snprintf(c->pack_note, sizeof(c->pack_note),
                 "pack '%.250s': %u of its experts are not what is recorded of the model, and are read from the "
                 "model's own file; make the pack anew with 'expert pack --force'",
                 c->pack->path, n_bad);
}

void cache_pack_forsake(struct cache *c, uint32_t slot, const char *why)
{
    uint32_t key = c->slots.slot[slot].key, n_experts = c->layout->n_experts;

    c->pack_bad[key] = true;
    c->slots.slot[slot].packed = false;
    if (c->pack_note[0] == '\0')
        snprintf(c->pack_note, sizeof(c->pack_note),
                 "pack '%.250s': expert %u of layer %u: %.200s; such experts are read from the model's own file",
                 c->pack->path, key % n_experts, c->layout->layers[key / n_experts].layer, why);
    cache_count(&c->counters.pack_bad, 1);
    cache_slot_read_again(c, slot);
}

const char *cache_pack_note(const struct cache *cache)
{
    return cache->pack_note[0] != '\0' ? cache->pack_note : NULL;
}

bool cache_pack_is_bad(const struct cache *cache, uint32_t layer_index, uint32_t expert)
{
    return cache->pack != NULL && cache->pack_bad[(size_t)layer_index * cache->layout->n_experts + expert];
}
