/* SPDX-License-Identifier: MIT
 *
 * slots.h: memory for experts, and which expert lies where.
 *
 * Slots come in size classes, since layers may have experts of different sizes (mixed quantisations); layers
 * within an eighth of each other share a class. Each class is one arena in huge pages where they can be had,
 * pre-faulted. A class gets slots in proportion to its experts, and at least one layer's top-k. Each arena is as
 * large as it can ever be; the slots at its end may be given back to the kernel and taken again (slots_resize), with
 * the border between whole huge pages.
 *
 * A slot is free, being read, ready, draining (its expert is forgotten, but reads that had begun still write into it,
 * or somebody else does to whom it is lent), or given back. Victims are ready slots that nobody has pinned and the open
 * request does not name ("wanted"). At any time an expert has at most one slot; a draining one is nobody's.
 *
 * Units: bytes; key = index of the layer in the layout * n_experts + expert. Threads: the engine thread only.
 * Allocates in open only; slots_resize may fail for want of memory when it grows.
 */
#ifndef EXPERTD_CACHE_SLOTS_H
#define EXPERTD_CACHE_SLOTS_H

#include "base/err.h"
#include "cache/policy.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stdint.h>

#define SLOT_CLASSES 4

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_READY, SLOT_DRAINING, SLOT_GIVEN_BACK };

struct slot_class {
    uint64_t slot_bytes; /* of one slot, a multiple of 4096 */
    uint64_t n_experts;  /* that need this class, over all its layers */
    uint32_t n_slots, first_slot;
    uint32_t n_live; /* the first so many of them have memory */
    char *arena;
};

/* How a budget divides; classes from the largest slots to the smallest. */
struct slot_plan {
    struct slot_class class[SLOT_CLASSES];
    uint32_t n_classes;
    uint64_t bytes; /* of all arenas, as mem_map will round them */
};

/* ERR_BUDGET, with the least number that works, when the budget is below it. */
int slot_plan_make(const struct expert_layout *layout, uint32_t block, uint64_t budget, struct slot_plan *ret_plan,
                   struct err *err);
uint64_t slot_plan_min_bytes(const struct expert_layout *layout, uint32_t block);
/* The class of a layer's experts. */
uint32_t slot_plan_class(const struct slot_plan *plan, const struct expert_layer_layout *layer, uint32_t block);

struct slot {
    char *data;
    uint32_t key; /* of a slot that is being read or ready */
    uint32_t n_pins;
    uint64_t wanted; /* the number of the last request that named its expert */
    uint8_t state;
    bool packed;       /* its expert lies in it as in the pack; the cache's own */
    bool hinted;       /* being read on a hint, nobody waits for it */
    bool guessed;      /* brought by a hint, not asked for since */
    uint64_t expected; /* the last request before the one for which a hint named it: no victim until then */
};

struct slots {
    struct slot_plan plan;
    struct slot *slot;    /* [n_slots] */
    uint8_t *class_of;    /* [n_slots] */
    uint32_t *slot_of;    /* [n_keys] or SLOT_NONE */
    uint32_t *free_slots; /* stack per class, at its first_slot */
    uint32_t n_free[SLOT_CLASSES];
    uint32_t n_pinned[SLOT_CLASSES]; /* slots with pins */
    uint32_t n_lent[SLOT_CLASSES];   /* draining slots that somebody else fills: slots_lend */
    uint8_t *class_of_layer;         /* [n_layers] */
    uint32_t n_slots, n_used;        /* used: being read or ready */
    uint64_t request;                /* number of the open request */
    struct policy *policy;
    uint64_t bytes;      /* of the arenas that are not given back */
    uint64_t huge_bytes; /* of which in huge pages, as found after the last change */
    uint64_t n_evictions, n_guesses_lost;
};

int slots_init(struct slots *slots, const struct expert_layout *layout, uint32_t block, uint64_t budget,
               enum policy_kind policy, struct err *err);
void slots_fini(struct slots *slots);

/* The slot of an expert being read or ready, or SLOT_NONE. */
uint32_t slots_find(const struct slots *slots, uint32_t key);
/* A slot for an expert that has none, in state reading: a free one, or a victim's; SLOT_NONE when neither is to be had.
 * `only_free`: evict nobody. */
uint32_t slots_take(struct slots *slots, uint32_t slot_class, uint32_t key, bool only_free);
/* The same on a guess, which is no use of it: it is no victim before the request after `until`. */
uint32_t slots_take_ahead(struct slots *slots, uint32_t slot_class, uint32_t key, uint64_t until);
/* What is not asked for yet may go, after all. False when nothing was held for later. */
bool slots_expect_none(struct slots *slots, uint32_t slot_class);
/* A request for experts of a layer begins, and with it the wants of the one before end. `burst`: cache/policy.h. */
void slots_request(struct slots *slots, uint32_t layer_index, bool burst);
void slots_use(struct slots *slots, uint32_t slot); /* asked for, once more */
void slots_ready(struct slots *slots, uint32_t slot);
/* Forget the expert; the slot drains until slots_give. Not pinned. */
void slots_drop(struct slots *slots, uint32_t slot);
void slots_give(struct slots *slots, uint32_t slot); /* draining -> free */
/* The memory of a slot, for a moment: draining, nobody's, until slots_give. SLOT_NONE when none can be had. */
uint32_t slots_borrow(struct slots *slots, uint32_t slot_class);
/* The slot of an expert being read is somebody else's to fill: draining, and counted as lent until it is returned,
 * free. However long one waits for reads, such a slot does not come back by itself. */
void slots_lend(struct slots *slots, uint32_t slot);
void slots_return(struct slots *slots, uint32_t slot);

/* How many slots each class may hold within a budget, at least a layer's top-k and at most what was opened: what
 * slots_resize takes. */
void slots_fit(const struct slots *slots, const struct expert_layout *layout, uint32_t block, uint64_t budget,
               uint32_t ret_n_live[SLOT_CLASSES]);
/* Give slots back, or take them again, until each class has n_live. Nothing may be pinned, read or draining. What goes
 * is what the policy would evict first; what stays may move. -ENOMEM when not all could be taken again. */
int slots_resize(struct slots *slots, const uint32_t n_live[SLOT_CLASSES]);
uint32_t slots_live(const struct slots *slots);
uint64_t slots_huge_bytes(const struct slots *slots); /* looks; some milliseconds */

void slots_pin(struct slots *slots, uint32_t slot);
void slots_unpin(struct slots *slots, uint32_t slot);

#endif
