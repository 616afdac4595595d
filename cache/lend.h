/* SPDX-License-Identifier: MIT
 *
 * lend.h: what the tier above (cache/tier.h) needs of RAM slots beside the expert door: experts copied out of them,
 * slots that are set free when an expert lives elsewhere, and slots filled from elsewhere than the drive.
 *
 * key = index of the layer in the layout * n_experts + expert. Threads: the engine thread only. Views are returned by
 * the cache's door (release), and all at once by its abandon.
 */
#ifndef EXPERTD_CACHE_LEND_H
#define EXPERTD_CACHE_LEND_H

#include "cache/cache.h"

#include <sys/uio.h>

/* Whether the expert lies in RAM, read and checked. */
bool cache_has(const struct cache *cache, uint32_t key);
/* Pin an expert that lies in RAM; false when it does not, or when the open request would be left without a slot. */
bool cache_lend(struct cache *cache, uint32_t key, struct expert_view *ret_view);
/* Its slot is worth more than it: free again, unless somebody has pinned it. */
void cache_forget(struct cache *cache, uint32_t key);
/* An expert was used that did not come through this door: its heat counts all the same. */
void cache_heat_add(struct cache *cache, uint32_t key);

/* A free slot to be filled by somebody else with an expert's weights, laid out as after a read: `ret_view` says where
 * the parts go. Nobody is evicted; false when there is none that the open request leaves. It is nobody's until
 * cache_adopt, which makes it the expert's when `good`, and free otherwise, or when the expert has come by another way
 * meanwhile.
 * Until then the door refuses (-EBUSY) a request that would need that slot too. */
bool cache_make_room(struct cache *cache, uint32_t key, uint32_t *ret_slot, struct expert_view *ret_view);
void cache_adopt(struct cache *cache, uint32_t key, uint32_t slot, bool good);

/* The memory of all slots, piece by piece, [at most 256]; some may be empty. Returns their number. */
uint32_t cache_slot_memory(const struct cache *cache, struct iovec *ret_pieces);
/* While held, it stays where it is: cache_resize refuses, since what a device has pinned must not be exchanged under
 * it. */
void cache_hold_memory(struct cache *cache, bool hold);

#endif
