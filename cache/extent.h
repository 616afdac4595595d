/* SPDX-License-Identifier: MIT
 *
 * extent.h: which blocks of which files hold an expert, and where they go in its slot.
 *
 * A direct read covers whole blocks, and an expert's slices begin anywhere. So each slice is read with the
 * blocks that it touches, block-aligned in the slot, and the weights begin inside the slot at the slice's displacement:
 * no copy. Slices whose blocks touch (a pack, gate and up in one tensor) are read as one range.
 *
 * Units: bytes. Pure functions of an immutable layout: thread-safe.
 */
#ifndef EXPERTD_CACHE_EXTENT_H
#define EXPERTD_CACHE_EXTENT_H

#include "model/layout.h"

/* Alignment of reads and of what they fill in buffered mode: nothing asks for it, but kernels like it. */
#define EXTENT_BUFFERED_BLOCK 64
#define EXTENT_MAX_BLOCK 4096

struct extent_range {
    uint64_t offset; /* in the file, a multiple of the block */
    uint64_t bytes;  /* a multiple of the block; the file may end within the last one */
    uint64_t wanted; /* <= bytes: what must arrive */
    uint64_t at;     /* in the slot, a multiple of the block */
    uint32_t file;
};

struct extent {
    struct extent_range range[EXPERT_PARTS]; /* in order of need: gate and up first */
    uint32_t n_ranges;
    uint64_t part_at[EXPERT_PARTS]; /* where each matrix begins in the slot */
};

void extent_find(const struct expert_layout *layout, uint32_t layer_index, uint32_t expert, uint32_t block,
                 struct extent *ret_extent);

/* The most that any expert of this layer takes in a slot; a multiple of 4096. */
uint64_t extent_slot_bytes(const struct expert_layer_layout *layer, uint32_t block);

#endif
