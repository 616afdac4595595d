/* SPDX-License-Identifier: MIT
 *
 * policy.h: which expert leaves when another needs its slot.
 *
 * A policy sees every use of an expert and, when asked, names the slot of one class that it would give up first. It
 * knows nothing of pins and reads: the caller says which slots may go. Slots and keys are small integers:
 * key = index of the layer in the layout * n_experts + expert.
 *
 * A burst is a forward pass over many tokens of a prompt. It names many experts of each layer, most of them once for a
 * long time, and so it is the layers still to come that will be asked for next: while it lasts, who belongs to a layer
 * that it has passed goes before who belongs to one ahead. A burst then streams through the slots of what it alone has
 * named, and finds at its later layers what lay there before.
 *
 * Threads: the engine thread only. Allocates in open only.
 */
#ifndef EXPERTD_CACHE_POLICY_H
#define EXPERTD_CACHE_POLICY_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SLOT_NONE UINT32_MAX

struct policy;

struct policy_ops {
    /* A request is about to name experts of a layer, as a part of a burst or not: told before their uses. NULL: bursts
     * make no difference. */
    void (*begin)(struct policy *, uint32_t layer_index, bool burst);
    /* Before any use: an earlier run has used the expert in so many passes, and in that share of all of them. NULL: the
     * policy begins knowing nothing. */
    void (*recall)(struct policy *, uint32_t key, float uses, float chance);
    /* The slot's expert was used (asked for, or has just been given this slot for that). */
    void (*use)(struct policy *, uint32_t slot, uint32_t key);
    /* The slot holds an expert that nobody has asked for, of a layer ahead perhaps: a guess is no use. */
    void (*hold)(struct policy *, uint32_t slot, uint32_t key);
    /* The slot no longer holds an expert. */
    void (*drop)(struct policy *, uint32_t slot);
    /* The expert has moved from one slot to another of its class, which held none; that is no use of it. */
    void (*move)(struct policy *, uint32_t from, uint32_t to);
    /* The slot of a class to give up first among those that may go; SLOT_NONE when none may. */
    uint32_t (*victim)(struct policy *, uint32_t slot_class, bool (*may_go)(const void *ctx, uint32_t slot),
                       const void *ctx);
    void (*close)(struct policy *);
};

struct policy {
    const struct policy_ops *ops;
    const char *name;
    const float *chance; /* [n_layers, n_experts] as cache/outlook.h has them, lent by who has opened it; may be NULL */
};

/* Least recently used. `class_of` [n_slots] is borrowed. NULL when there is no memory. */
struct policy *policy_lru_open(uint32_t n_slots, const uint8_t *class_of, uint32_t n_classes);

enum policy_kind {
    POLICY_LRU,      /* least recently used: nothing to tune, no hits below one token's working set */
    POLICY_LFU,      /* least frequently used ever */
    POLICY_AGED,     /* least frequently used, forgetting a tenth per token */
    POLICY_LFRU,     /* fewest uses per time since the last */
    POLICY_NEXT_USE, /* longest expected wait until the next use (policy_nextuse.c) */
    POLICIES,
};

const char *policy_name(enum policy_kind kind);
/* -EINVAL, with the list of names, for one that is not known. */
int policy_parse(const char *name, enum policy_kind *ret_kind, struct err *err);
/* What is known of earlier runs: `heat` [n_layers * n_experts] tells how often each expert was used lately, of which
 * each pass uses n_used in a layer. To a policy that has just been opened. */
void policy_recall(struct policy *policy, const uint32_t *heat, uint32_t n_layers, uint32_t n_experts, uint32_t n_used);
/* `class_of` [n_slots] is borrowed; layers and experts as in keys. NULL when there is no memory. */
struct policy *policy_open(enum policy_kind kind, uint32_t n_slots, const uint8_t *class_of, uint32_t n_classes,
                           uint32_t n_layers, uint32_t n_experts);

#endif
