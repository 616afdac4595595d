/* SPDX-License-Identifier: MIT */
#include "cache/slots.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

/* What a class's first n slots keep of its arena: whole huge pages where it may lie in them, since part of one is not
 * set free. */
static uint64_t live_bytes(const struct slot_class *class, uint32_t n)
{
    uint64_t all = mem_map_bytes(class->n_slots * class->slot_bytes);
    uint64_t unit = all >= MEM_HUGE_BYTES ? MEM_HUGE_BYTES : MEM_PAGE_BYTES;

    return u64_min(all, (n * class->slot_bytes + unit - 1) / unit * unit);
}

static uint64_t plan_live_bytes(const struct slots *s, const struct slot_plan *plan)
{
    uint64_t bytes = 0;

    for (uint32_t c = 0; c < s->plan.n_classes; c++)
        bytes += live_bytes(&s->plan.class[c], plan -> class[c].n_slots);
    return bytes;
}

void slots_fit(const struct slots *slots, const struct expert_layout *layout, uint32_t block, uint64_t budget,
               uint32_t ret_n_live[SLOT_CLASSES])
{
    uint64_t least = slot_plan_min_bytes(layout, block), most = u64_max(u64_min(budget, slots->plan.bytes), least);
    struct slot_plan plan = { 0 };

    /* Arenas as small as the plan's would round less than ours do. */
    for (uint64_t tried = most;;) {
        uint64_t bytes;

        slot_plan_make(layout, block, tried, &plan, NULL);
        bytes = plan_live_bytes(slots, &plan);
        if (bytes <= most || tried == least)
            break;
        tried = tried - least > bytes - most ? tried - (bytes - most) : least;
    }
    for (uint32_t c = 0; c < SLOT_CLASSES; c++)
        ret_n_live[c] = c < plan.n_classes ? plan.class[c].n_slots : 0;
}

static bool may_go(const void *ctx, uint32_t slot)
{
    return ((const struct slots *)ctx)->slot[slot].state == SLOT_READY;
}

/* No more experts than will have slots. */
static void evict(struct slots *s, uint32_t c, uint32_t n_live)
{
    while (s->plan.class[c].n_live - s->n_free[c] > n_live) {
        uint32_t slot = s->policy->ops->victim(s->policy, c, may_go, s);

        slots_drop(s, slot);
        slots_give(s, slot);
        s->n_evictions++;
    }
}

static void move(struct slots *s, uint32_t from, uint32_t to)
{
    struct slot *a = &s->slot[from], *b = &s->slot[to];
    char *data = b->data;

    memcpy(data, a->data, s->plan.class[s->class_of[from]].slot_bytes);
    *b = *a;
    b->data = data;
    s->slot_of[b->key] = to;
    s->policy->ops->move(s->policy, from, to);
    a->state = SLOT_FREE;
}

/* Out of the slots that go, into free ones before them, which evict has made sure that there are. */
static void compact(struct slots *s, const struct slot_class *class, uint32_t n_live)
{
    uint32_t to = class->first_slot;

    for (uint32_t slot = class->first_slot + n_live; slot < class->first_slot + class->n_live; slot++) {
        if (s->slot[slot].state != SLOT_READY)
            continue;
        while (s->slot[to].state != SLOT_FREE)
            to++;
        move(s, slot, to);
    }
}

/* The free slots anew, the first of them on top. */
static void stack_fill(struct slots *s, uint32_t c)
{
    const struct slot_class *class = &s->plan.class[c];

    s->n_free[c] = 0;
    for (uint32_t i = class->n_live; i-- > 0;)
        if (s->slot[class->first_slot + i].state == SLOT_FREE)
            s->free_slots[class->first_slot + s->n_free[c]++] = class->first_slot + i;
}

static void shrink(struct slots *s, uint32_t c, uint32_t n_live)
{
    struct slot_class *class = &s->plan.class[c];
    uint64_t before = live_bytes(class, class->n_live), after = live_bytes(class, n_live);

    evict(s, c, n_live);
    compact(s, class, n_live);
    for (uint32_t i = n_live; i < class->n_live; i++)
        s->slot[class->first_slot + i].state = SLOT_GIVEN_BACK;
    class->n_live = n_live;
    stack_fill(s, c);
    mem_map_let_go(class->arena + after, before - after);
    s->bytes -= before - after;
}

static int grow(struct slots *s, uint32_t c, uint32_t n_live)
{
    struct slot_class *class = &s->plan.class[c];
    uint64_t before = live_bytes(class, class->n_live), after = live_bytes(class, n_live);
    int rc = mem_map_take(class->arena + before, after - before);

    if (rc < 0) {
        mem_map_let_go(class->arena + before, after - before);
        return rc;
    }
    for (uint32_t i = class->n_live; i < n_live; i++)
        s->slot[class->first_slot + i].state = SLOT_FREE;
    class->n_live = n_live;
    stack_fill(s, c);
    s->bytes += after - before;
    return 0;
}

int slots_resize(struct slots *slots, const uint32_t n_live[SLOT_CLASSES])
{
    int rc = 0;

    for (uint32_t c = 0; c < slots->plan.n_classes; c++)
        if (n_live[c] < slots->plan.class[c].n_live)
            shrink(slots, c, n_live[c]);
    for (uint32_t c = 0; c < slots->plan.n_classes && rc == 0; c++)
        if (n_live[c] > slots->plan.class[c].n_live)
            rc = grow(slots, c, n_live[c]);
    slots->huge_bytes = slots_huge_bytes(slots);
    return rc;
}

uint32_t slots_live(const struct slots *slots)
{
    uint32_t n = 0;

    for (uint32_t c = 0; c < slots->plan.n_classes; c++)
        n += slots->plan.class[c].n_live;
    return n;
}
