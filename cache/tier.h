/* SPDX-License-Identifier: MIT
 *
 * tier.h: experts in a device's memory, above those in RAM (cache/cache.h), above those on the drive.
 *
 * A tier implements the expert door (model/experts.h) for a forward pass on a device with memory of its own. Experts in
 * its slots are ready at once; the others come through the cache's door into RAM slots, which are pinned for the
 * device and serve as staging, and from there on the copy stream into a slot, while the device computes what it has.
 * Where the asker allows it (host_views), an expert in RAM may be handed out where it is, for the CPU to compute: for
 * each one what is expected to end sooner, from the measured rates of bus and CPU and what is queued before each.
 *
 * Slots are residents or in transit. A miss goes through a transit slot, the oldest one first; it becomes a resident
 * when its heat (uses, fading over some fifty passes) beats that of a cold resident by a margin: then the two change
 * roles, and nothing is copied for it. So a prompt that wants every expert streams through the transit slots and leaves
 * the residents where they are.
 *
 * Exclusive (the default): a resident's RAM slot is set free for others, and a resident that lost its role is copied
 * back into RAM if there is a slot. Inclusive: RAM keeps what it has.
 *
 * Fences (compute/device_copy.h) order copies against computing: a slot is filled only after what was computed from it
 * has ended, and computed from only after it was filled. The host waits for the device nowhere here but in abandon,
 * give_back and hold, and when every transit slot is under way.
 *
 * Where every expert lies in a slot, a device may look them up by itself (`settled` and what follows it in the door):
 * then nothing is asked for, and what was used is told afterwards.
 *
 * Threads: the engine thread only. Ownership: the layout, the cache and the device are borrowed until tier_close; the
 * cache must not be resized between requests but between tier_hold and tier_go_on. Allocates in open only.
 */
#ifndef EXPERTD_CACHE_TIER_H
#define EXPERTD_CACHE_TIER_H

#include "base/err.h"
#include "cache/cache.h"
#include "compute/device_copy.h"
#include "model/experts.h"
#include "model/layout.h"

struct tier_options {
    uint64_t slot_budget; /* bytes of the device's memory for slots */
    bool inclusive;
};

struct tier_stats {
    uint64_t hits;                                   /* experts asked for that were in a slot, or on the way to one */
    uint64_t copied;                                 /* experts asked for that were copied, */
    uint64_t helped;                                 /* or computed by the CPU */
    uint64_t copies, copy_bytes, copy_ns;            /* of all kinds; ns of the copy stream at work */
    uint64_t promotions;                             /* became residents in somebody's place */
    uint64_t demotions;                              /* copied back to RAM */
    uint64_t guess_copies, guess_hits, guess_wasted; /* copied on a hint: so many; asked for; overwritten before */
    uint64_t wait_ns;                                /* the host stood still for a copy */
    uint64_t cpu_ns;                                 /* the CPU computed experts in its place */
    uint64_t device_waits; /* hand-offs: times that the host waited for the device, whoever asked */
    uint64_t passes;       /* over all layers */
    uint64_t given_back;   /* bytes */
    uint64_t slots, slots_used, residents;
    uint64_t experts; /* of the model: once as many slots are used, a token stays on the device */
    uint64_t slot_bytes;
    double copy_rate, cpu_rate; /* bytes per second, as measured; 0: not yet */
};

struct tier;

/* The least slot_budget that can work, and bytes of the host's memory that a tier takes. */
uint64_t tier_min_bytes(const struct expert_layout *layout);
uint64_t tier_overhead_bytes(const struct expert_layout *layout, uint64_t slot_budget);

/* When the device has less than slot_budget, fails with -ENOMEM, and `ret_had` (may be NULL) says how much there was.
 */
int tier_open(const struct expert_layout *layout, struct cache *cache, struct device *device,
              const struct tier_options *options, struct tier **ret_tier, uint64_t *ret_had, struct err *err);
void tier_close(struct tier *tier); /* also of a lost device */
struct expert_door *tier_door(struct tier *tier);
void tier_stats(const struct tier *tier, struct tier_stats *ret_stats);

/* Between requests: give about so many bytes of slots back to the device (it ran short of memory). False when there is
 * nothing left to give. */
bool tier_give_back(struct tier *tier, uint64_t bytes);

/* When there is nothing to do: copy what is hot in RAM into free slots, and where there is one for every expert, have
 * those read that are not in RAM either. Waits for one read at most. Whether there is more. */
bool tier_idle(struct tier *tier);

/* Before and after cache_resize: end all copies and let go of RAM slots; take hold of them again. */
int tier_hold(struct tier *tier, struct err *err);
void tier_go_on(struct tier *tier);

#endif
