/* SPDX-License-Identifier: MIT
 *
 * tier_state.h: what the files of the tier share: tier.c (open, close, figures), tier_slots.c (slots, roles, heat),
 * tier_copy.c (copies and fences), tier_door.c (requests). For these only.
 */
#ifndef EXPERTD_CACHE_TIER_STATE_H
#define EXPERTD_CACHE_TIER_STATE_H

#include "cache/lend.h"
#include "cache/slots.h"
#include "cache/tier.h"
#include "cache/tier_cost.h"

enum { TIER_CHUNKS = 8, TIER_BLOCK = 256, TIER_COPIES = 512 };

/* A slot is free, being filled (its copy is under way), ready, or given back. */
enum tier_state { TIER_FREE, TIER_FILLING, TIER_READY, TIER_GIVEN_BACK };

struct tier_slot {
    char *data; /* device */
    uint32_t key;
    uint32_t n_pins;
    uint8_t state, class, chunk;
    bool resident;
    bool owed;         /* the open request names it and has not been given it yet */
    bool guessed;      /* filled on a hint, not asked for since */
    bool queued;       /* in its class's transit queue */
    uint64_t expected; /* the request during which a hint named it: not reused before the next */
    uint64_t ticket;   /* of the copy that fills it */
    uint64_t used;     /* tier.epoch when it was last computed from; 0: never */
};

/* Transit slots of a class, oldest first: a ring of slot numbers, each at most once. */
struct tier_transit {
    uint32_t *ring; /* [n_slots] */
    uint32_t head, n;
    uint32_t n_wanted; /* how many slots of the class are to be in transit */
    uint32_t hand;     /* where the search for a cold resident goes on */
    uint32_t n_residents, n_live, n_free;
    uint32_t first, n_slots;
    uint32_t *free; /* stack */
};

struct tier_chunk {
    char *data; /* device; NULL: given back */
    size_t bytes;
};

/* A copy under way, in order of tickets. */
struct tier_copy {
    enum copy_way way;
    uint64_t ticket, bytes;
    uint32_t slot, key;
    struct expert_view host; /* to the device: where it comes from, pinned */
    uint32_t ram_slot;       /* to the host */
    uint32_t swapped;        /* the slot whose expert lost its role to this one, or SLOT_NONE, */
    uint32_t swapped_key;    /* if it still holds that expert */
};

/* The request that is open. */
struct tier_request {
    uint32_t layer_index;
    size_t n, n_given;
    uint16_t *ready; /* [n_experts] indices whose slots are ready or being filled, from ready_head */
    size_t ready_head, n_ready;
    uint32_t *slot;                            /* [n_experts] of each index */
    uint16_t *missing;                         /* [n_experts] experts to be asked of the cache, */
    size_t n_missing, asked, n_asked, n_taken; /* in waves: [asked, asked + n_asked) have been, n_taken of these came */
    bool holding;                              /* a view that waits for a slot */
    struct expert_view held;
    bool failed;
};

struct tier {
    struct expert_door door; /* first: the door is the tier */
    const struct expert_layout *layout;
    struct cache *cache;
    struct expert_door *inner; /* the cache's */
    struct device *device;
    bool inclusive;
    struct slot_plan plan;
    struct tier_chunk chunk[SLOT_CLASSES][TIER_CHUNKS];
    struct tier_slot *slot; /* [n_slots] */
    uint32_t n_slots;
    uint32_t *slot_of; /* [n_keys] or SLOT_NONE */
    uint8_t *class_of_layer;
    struct tier_transit transit[SLOT_CLASSES];
    double *heat; /* [n_keys] in units of use_heat */
    double use_heat;
    uint64_t *named; /* [n_experts] the list that named it last */
    uint16_t *index_of;
    uint16_t *wishes; /* [n_experts] of a hint, for the cache */
    uint64_t naming;  /* requests and hints */
    uint64_t request_number;
    struct tier_request request;
    struct tier_copy *copies; /* [TIER_COPIES] ring from copies_head */
    uint32_t copies_head, n_copies;
    uint64_t done, fenced;        /* tickets: known to have arrived; that the compute stream waits for */
    uint64_t epoch, mark, obeyed; /* marks: number of the next one; the last taken; that the copy stream waits for */
    uint64_t all_used;            /* the epoch when any slot may have been computed from unasked; 0: never */
    uint64_t moves;               /* experts that came into a slot, or left one */
    uint64_t seen_busy_ns, seen_bytes;
    struct tier_cost cost;
    struct iovec *pinned; /* [n_pinned] memory of the cache that is */
    uint32_t n_pinned;
    uint32_t idle_key; /* where tier_idle goes on among those on the drive */
    struct tier_stats stats;
};

/* ---- tier_slots.c ---- */

int tier_slots_open(struct tier *t, uint64_t budget, uint64_t *ret_had, struct err *err);
void tier_slots_close(struct tier *t);
/* A slot for an expert that has none, in state filling: a free one, or the oldest in transit. SLOT_NONE when these are
 * all in use; with TIER_MUST a resident gives way then. `ret_swapped`: the slot of a resident that has lost its role to
 * it, or SLOT_NONE. */
enum tier_need { TIER_GUESS, TIER_DEMAND, TIER_MUST };
uint32_t tier_slot_take(struct tier *t, uint32_t key, enum tier_need need, uint32_t *ret_swapped);
/* Forget what a slot holds. */
void tier_slot_free(struct tier *t, uint32_t slot);
void tier_heat_use(struct tier *t, uint32_t key);
void tier_heat_pass(struct tier *t); /* one pass over the layers has ended */
/* Where an expert's parts lie in its slot. */
void tier_view_fill(const struct tier *t, uint32_t slot, struct expert_view *ret_view);

/* ---- tier_copy.c ---- */

/* Start filling a slot from a pinned view, which is released when it has arrived. On failure nothing has happened. */
int tier_copy_in(struct tier *t, uint32_t slot, const struct expert_view *host, uint32_t swapped, struct err *err);
/* Take note of what has arrived. */
int tier_reap(struct tier *t, struct err *err);
int tier_wait(struct tier *t, uint64_t ticket, struct err *err); /* for a copy, and reap */
/* Have the compute stream wait for a slot's copy if that may still be under way. */
int tier_fence(struct tier *t, uint32_t slot, struct err *err);
/* End all copies. On a lost device what they were to fill is forgotten. */
int tier_settle(struct tier *t, struct err *err);
int tier_error(const struct tier *t, int r, struct err *err);

extern const struct expert_door_ops tier_door_ops;

#endif
