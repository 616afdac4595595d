/* SPDX-License-Identifier: MIT */
#include "cache/policy.h"

#include "base/mem.h"

/* One ring of slots per class through a sentinel; sentinel.next is the least recently used. Slots not held by an
 * expert are linked to themselves. */
struct link {
    uint32_t prev, next;
};

struct lru {
    struct policy policy;
    const uint8_t *class_of;
    uint32_t n_slots; /* the sentinel of class c is link n_slots + c */
    struct link link[];
};

static struct lru *of(struct policy *policy)
{
    return (struct lru *)policy;
}

static void unlink_slot(struct lru *lru, uint32_t slot)
{
    struct link *l = &lru->link[slot];

    lru->link[l->prev].next = l->next;
    lru->link[l->next].prev = l->prev;
    l->prev = l->next = slot;
}

static void lru_use(struct policy *policy, uint32_t slot, uint32_t key)
{
    struct lru *lru = of(policy);
    uint32_t sentinel = lru->n_slots + lru->class_of[slot], last;

    unlink_slot(lru, slot);
    last = lru->link[sentinel].prev;
    lru->link[slot] = (struct link){ .prev = last, .next = sentinel };
    lru->link[last].next = slot;
    lru->link[sentinel].prev = slot;
}

static void lru_drop(struct policy *policy, uint32_t slot)
{
    unlink_slot(of(policy), slot);
}

static void lru_move(struct policy *policy, uint32_t from, uint32_t to)
{
    struct lru *lru = of(policy);

    lru->link[to] = lru->link[from];
    lru->link[lru->link[to].prev].next = to;
    lru->link[lru->link[to].next].prev = to;
    lru->link[from] = (struct link){ .prev = from, .next = from };
}

static uint32_t lru_victim(struct policy *policy, uint32_t slot_class, bool (*may_go)(const void *ctx, uint32_t slot),
                           const void *ctx)
{
    struct lru *lru = of(policy);
    uint32_t sentinel = lru->n_slots + slot_class;

    for (uint32_t slot = lru->link[sentinel].next; slot != sentinel; slot = lru->link[slot].next)
        if (may_go(ctx, slot))
            return slot;
    return SLOT_NONE;
}

static void lru_close(struct policy *policy)
{
    mem_free(policy);
}

static const struct policy_ops lru_ops = {
    .use = lru_use, .hold = lru_use, .drop = lru_drop, .move = lru_move, .victim = lru_victim, .close = lru_close
};

struct policy *policy_lru_open(uint32_t n_slots, const uint8_t *class_of, uint32_t n_classes)
{
    struct lru *lru = mem_alloc(sizeof(*lru) + ((uint64_t)n_slots + n_classes) * sizeof(lru->link[0]));

    if (lru == NULL)
        return NULL;
    lru->policy = (struct policy){ .ops = &lru_ops, .name = "lru" };
    lru->class_of = class_of;
    lru->n_slots = n_slots;
    for (uint32_t i = 0; i < n_slots + n_classes; i++)
        lru->link[i] = (struct link){ .prev = i, .next = i };
    return &lru->policy;
}
