/* SPDX-License-Identifier: MIT */
#include "cache/extent.h"

#include "base/arith.h"

static uint64_t align_up(uint64_t v, uint64_t unit)
{
    return (v + unit - 1) & ~(unit - 1);
}

/* The range that a part's blocks [start, end) belong to: one they touch, widened, or a new one. */
static uint32_t range_join(struct extent *extent, uint32_t file, uint64_t start, uint64_t end, uint64_t wanted_end)
{
    for (uint32_t i = 0; i < extent->n_ranges; i++) {
        struct extent_range *r = &extent->range[i];
        uint64_t from = u64_min(start, r->offset);

        if (r->file != file || start > r->offset + r->bytes || end < r->offset)
            continue;
        r->wanted = u64_max(wanted_end, r->offset + r->wanted) - from;
        r->bytes = u64_max(end, r->offset + r->bytes) - from;
        r->offset = from;
        return i;
    }
    extent->range[extent->n_ranges] =
        (struct extent_range){ .file = file, .offset = start, .bytes = end - start, .wanted = wanted_end - start };
    return extent->n_ranges++;
}

void extent_find(const struct expert_layout *layout, uint32_t layer_index, uint32_t expert, uint32_t block,
                 struct extent *ret_extent)
{
    const struct expert_part_layout *part = layout->layers[layer_index].part;
    struct expert_place place[EXPERT_PARTS];
    uint32_t range_of[EXPERT_PARTS];
    uint64_t at = 0;

    ret_extent->n_ranges = 0;
    for (int p = 0; p < EXPERT_PARTS; p++) {
        uint64_t from, to;

        place[p] = expert_part_place(&part[p], expert);
        from = place[p].offset;
        to = from + part[p].part_bytes;
        range_of[p] = range_join(ret_extent, place[p].file, u64_align_down(from, block), align_up(to, block), to);
    }
    for (uint32_t i = 0; i < ret_extent->n_ranges; i++) {
        ret_extent->range[i].at = at;
        at += ret_extent->range[i].bytes;
    }
    for (int p = 0; p < EXPERT_PARTS; p++) {
        const struct extent_range *r = &ret_extent->range[range_of[p]];

        ret_extent->part_at[p] = r->at + (place[p].offset - r->offset);
    }
}

uint64_t extent_slot_bytes(const struct expert_layer_layout *layer, uint32_t block)
{
    uint64_t bytes = 0;

    for (int p = 0; p < EXPERT_PARTS; p++)
        bytes += align_up(layer->part[p].part_bytes + block - 1, block);
    return align_up(bytes, EXTENT_MAX_BLOCK);
}
