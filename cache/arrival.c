/* SPDX-License-Identifier: MIT */
#include "cache/state.h"

#include "base/clock.h"
#include "cache/sum.h"

#include <inttypes.h>
#include <string.h>

static struct catalog_sum slot_sum(const struct cache *c, uint32_t slot)
{
    const struct expert_layer_layout *layer = &c->layout->layers[c->slots.slot[slot].key / c->layout->n_experts];
    struct expert_bytes expert;
    struct catalog_sum sum;
    struct extent extent;

    cache_slot_extent(c, slot, &extent);
    for (int p = 0; p < EXPERT_PARTS; p++) {
        expert.data[p] = c->slots.slot[slot].data + extent.part_at[p];
        expert.bytes[p] = layer->part[p].part_bytes;
    }
    sum_expert(&expert, c->threads, &sum);
    return sum;
}

/* Not the recorded bytes, twice. Either the file is another one by now, or it or the drive is damaged. */
static int mismatch(const struct cache *c, uint32_t slot, struct err *err)
{
    uint32_t key = c->slots.slot[slot].key;
    const struct expert_layer_layout *layer = &c->layout->layers[key / c->layout->n_experts];
    uint32_t expert = key % c->layout->n_experts;
    struct expert_place gate = expert_part_place(&layer->part[EXPERT_GATE], expert);
    int rc = files_check(&c->files, err);

    if (rc < 0)
        return rc;
    return err_set(
        err, ERR_CHECKSUM,
        "expert %u of layer %u: checksum differs from the recorded one (file '%s', gate weights at offset %" PRIu64
        "): the file or the drive is damaged; compare the file with its source (sha256sum), or delete catalog.mdb "
        "in the state directory if it was replaced on purpose",
        expert, layer->layer, c->layout->files[gate.file].path, gate.offset);
}

void cache_slot_read_again(struct cache *c, uint32_t slot)
{
    struct extent extent;

    cache_slot_extent(c, slot, &extent);
    for (uint32_t i = 0; i < extent.n_ranges; i++)
        files_forget(&c->files, extent.range[i].file, extent.range[i].offset, extent.range[i].bytes);
    c->n_rereads++;
    reader_add(c->reader, slot, &extent, c->slots.slot[slot].data,
               c->slots.slot[slot].hinted ? READER_HINT : READER_DEMAND);
}

/* What the bytes must sum up to: the catalog knows, or the pack. */
static bool sum_find(const struct cache *c, uint32_t slot, struct catalog_sum *ret_sum)
{
    uint32_t key = c->slots.slot[slot].key;

    if (!c->slots.slot[slot].packed && catalog_sum(c->catalog, key, ret_sum))
        return true;
    if (c->pack != NULL)
        *ret_sum = c->pack->sums[key];
    return c->pack != NULL;
}

/* Of the model's own bytes, and the file must still be the one that was opened. */
static int sum_record(struct cache *c, uint32_t slot, const struct catalog_sum *sum, struct err *err)
{
    struct catalog_sum recorded;
    int rc;

    if (c->slots.slot[slot].packed || catalog_sum(c->catalog, c->slots.slot[slot].key, &recorded))
        return 0;
    rc = files_check(&c->files, err);
    if (rc == 0)
        catalog_put(c->catalog, c->slots.slot[slot].key, sum);
    return rc;
}

/* 0: as recorded, or recorded now. 1: being read again. Negative: wrong twice. */
static int slot_verify(struct cache *c, uint32_t slot, struct err *err)
{
    struct catalog_sum sum, recorded;

    if (!c->verify)
        return 0;
    sum = slot_sum(c, slot);
    if (!sum_find(c, slot, &recorded) || memcmp(sum.bytes, recorded.bytes, sizeof(sum.bytes)) == 0)
        return sum_record(c, slot, &sum, err);
    if (c->slots.slot[slot].packed) {
        cache_pack_forsake(c, slot, "its checksum differs from the recorded one");
        return 1;
    }
    if (c->slot_reread[slot])
        return mismatch(c, slot, err);
    c->slot_reread[slot] = true;
    cache_slot_read_again(c, slot);
    return 1;
}

void cache_on_end(void *ctx, uint32_t slot, int code, const struct err *read_err)
{
    struct cache *c = ctx;
    struct request *r = &c->request;
    struct err err = *read_err;

    if (c->slots.slot[slot].state == SLOT_DRAINING) {
        slots_give(&c->slots, slot);
        return;
    }
    if (code == 0) {
        code = slot_verify(c, slot, &err);
    } else if (c->slots.slot[slot].packed) {
        cache_pack_forsake(c, slot, err_text(&err));
        return;
    }
    if (code > 0)
        return;
    c->slot_reread[slot] = false;
    if (code == 0) {
        slots_ready(&c->slots, slot);
        if (cache_slot_wanted(c, slot)) {
            cache_count(&c->counters.read_ns, clock_ns() - r->asked_ns[c->slot_index[slot]]);
            cache_request_ready(c, c->slot_index[slot]);
        }
        return;
    }
    if (cache_slot_wanted(c, slot) && r->code == 0) {
        r->code = code;
        r->err = err;
    }
    if (cache_slot_wanted(c, slot))
        r->slot[c->slot_index[slot]] = SLOT_NONE;
    slots_drop(&c->slots, slot);
    slots_give(&c->slots, slot);
}
