/* SPDX-License-Identifier: MIT */
#include "cache/slots.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int tables_alloc(struct slots *s, const struct expert_layout *layout)
{
    uint32_t n_keys = layout->n_layers * layout->n_experts;

    s->slot = mem_calloc(s->n_slots, sizeof(*s->slot));
    s->class_of = mem_calloc(s->n_slots, sizeof(*s->class_of));
    s->free_slots = mem_calloc(s->n_slots, sizeof(*s->free_slots));
    s->slot_of = mem_calloc(n_keys, sizeof(*s->slot_of));
    s->class_of_layer = mem_calloc(layout->n_layers, sizeof(*s->class_of_layer));
    if (s->slot == NULL || s->class_of == NULL || s->free_slots == NULL || s->slot_of == NULL ||
        s->class_of_layer == NULL)
        return -ENOMEM;
    memset(s->slot_of, 0xff, n_keys * sizeof(*s->slot_of));
    return 0;
}

static int arenas_map(struct slots *s)
{
    for (uint32_t c = 0; c < s->plan.n_classes; c++) {
        struct slot_class *class = &s->plan.class[c];
        int rc = mem_map(class->n_slots * class->slot_bytes, MEM_HUGE | MEM_POPULATE, (void **)&class->arena, NULL);

        if (rc < 0)
            return rc;
        class->n_live = class->n_slots;
        for (uint32_t i = class->n_slots; i-- > 0;) {
            uint32_t slot = class->first_slot + i;

            s->slot[slot].data = class->arena + i * class->slot_bytes;
            s->class_of[slot] = (uint8_t)c;
            s->free_slots[class->first_slot + s->n_free[c]++] = slot;
        }
    }
    return 0;
}

/* Huge pages are a wish; what was granted stands in smaps ("AnonHugePages" of the mappings that begin in an arena). */
uint64_t slots_huge_bytes(const struct slots *slots)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    uint64_t total = 0;
    bool inside = false;
    char line[256];

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        uint64_t from, to, kib;

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
            inside = false;
            for (uint32_t c = 0; c < slots->plan.n_classes; c++) {
                uint64_t arena = (uintptr_t)slots->plan.class[c].arena;

                inside |= from <= arena && arena < to;
            }
        } else if (inside && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) {
            total += kib << 10;
        }
    }
    fclose(f);
    return total < slots->bytes ? total : slots->bytes;
}

int slots_init(struct slots *slots, const struct expert_layout *layout, uint32_t block, uint64_t budget,
               enum policy_kind policy, struct err *err)
{
    struct slots *s = slots;
    int rc;

    *s = (struct slots){ .request = 1 };
    rc = slot_plan_make(layout, block, budget, &s->plan, err);
    if (rc < 0)
        return rc;
    for (uint32_t c = 0; c < s->plan.n_classes; c++)
        s->n_slots += s->plan.class[c].n_slots;
    rc = tables_alloc(s, layout);
    if (rc == 0)
        rc = arenas_map(s);
    if (rc == 0) {
        s->policy =
            policy_open(policy, s->n_slots, s->class_of, s->plan.n_classes, layout->n_layers, layout->n_experts);
        rc = s->policy != NULL ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        slots_fini(s);
        return err_sys(err, -rc, "expert slots of %" PRIu64 " bytes", s->plan.bytes);
    }
    for (uint32_t i = 0; i < layout->n_layers; i++)
        s->class_of_layer[i] = (uint8_t)slot_plan_class(&s->plan, &layout->layers[i], block);
    s->bytes = s->plan.bytes;
    s->huge_bytes = slots_huge_bytes(s);
    return 0;
}

void slots_fini(struct slots *slots)
{
    for (uint32_t c = 0; c < slots->plan.n_classes; c++) {
        struct slot_class *class = &slots->plan.class[c];

        mem_unmap(class->arena, class->n_slots * class->slot_bytes);
        class->arena = NULL;
    }
    if (slots->policy != NULL)
        slots->policy->ops->close(slots->policy);
    mem_free(slots->class_of_layer);
    mem_free(slots->slot_of);
    mem_free(slots->free_slots);
    mem_free(slots->class_of);
    mem_free(slots->slot);
    slots->policy = NULL;
    slots->class_of_layer = slots->class_of = NULL;
    slots->slot_of = slots->free_slots = NULL;
    slots->slot = NULL;
}

uint32_t slots_find(const struct slots *slots, uint32_t key)
{
    return slots->slot_of[key];
}

static bool may_go(const void *ctx, uint32_t slot)
{
    const struct slots *slots = ctx;
    const struct slot *s = &slots->slot[slot];

    return s->state == SLOT_READY && s->n_pins == 0 && s->wanted != slots->request && s->expected < slots->request;
}

/* A free slot, now draining, for which somebody may have to go. */
static uint32_t free_slot(struct slots *slots, uint32_t slot_class, bool only_free)
{
    uint32_t first = slots->plan.class[slot_class].first_slot, slot;

    if (slots->n_free[slot_class] == 0 && !only_free) {
        slot = slots->policy->ops->victim(slots->policy, slot_class, may_go, slots);
        if (slot != SLOT_NONE) {
            slots_drop(slots, slot);
            slots_give(slots, slot);
            slots->n_evictions++;
        }
    }
    if (slots->n_free[slot_class] == 0)
        return SLOT_NONE;
    slot = slots->free_slots[first + --slots->n_free[slot_class]];
    slots->slot[slot].state = SLOT_DRAINING;
    return slot;
}

uint32_t slots_borrow(struct slots *slots, uint32_t slot_class)
{
    return free_slot(slots, slot_class, false);
}

static void slot_fill(struct slots *slots, uint32_t slot, uint32_t key)
{
    slots->slot[slot].key = key;
    slots->slot[slot].state = SLOT_READING;
    slots->slot[slot].wanted = slots->slot[slot].expected = 0;
    slots->slot[slot].hinted = slots->slot[slot].guessed = false;
    slots->slot_of[key] = slot;
    slots->n_used++;
}

uint32_t slots_take(struct slots *slots, uint32_t slot_class, uint32_t key, bool only_free)
{
    uint32_t slot = free_slot(slots, slot_class, only_free);

    if (slot == SLOT_NONE)
        return SLOT_NONE;
    slot_fill(slots, slot, key);
    slots->policy->ops->use(slots->policy, slot, key);
    return slot;
}

uint32_t slots_take_ahead(struct slots *slots, uint32_t slot_class, uint32_t key, uint64_t until)
{
    uint32_t slot = free_slot(slots, slot_class, false);

    if (slot == SLOT_NONE)
        return SLOT_NONE;
    slot_fill(slots, slot, key);
    slots->slot[slot].hinted = slots->slot[slot].guessed = true;
    slots->slot[slot].expected = until;
    slots->policy->ops->hold(slots->policy, slot, key);
    return slot;
}

bool slots_expect_none(struct slots *slots, uint32_t slot_class)
{
    const struct slot_class *class = &slots->plan.class[slot_class];
    bool any = false;

    for (uint32_t slot = class->first_slot; slot < class->first_slot + class->n_slots; slot++) {
        any |= slots->slot[slot].expected >= slots->request;
        slots->slot[slot].expected = 0;
    }
    return any;
}

void slots_request(struct slots *slots, uint32_t layer_index, bool burst)
{
    slots->request++;
    if (slots->policy->ops->begin != NULL)
        slots->policy->ops->begin(slots->policy, layer_index, burst);
}

void slots_use(struct slots *slots, uint32_t slot)
{
    slots->policy->ops->use(slots->policy, slot, slots->slot[slot].key);
}

void slots_ready(struct slots *slots, uint32_t slot)
{
    slots->slot[slot].state = SLOT_READY;
    slots->slot[slot].hinted = false;
}

void slots_drop(struct slots *slots, uint32_t slot)
{
    slots->n_guesses_lost += slots->slot[slot].guessed;
    slots->slot_of[slots->slot[slot].key] = SLOT_NONE;
    slots->slot[slot].state = SLOT_DRAINING;
    slots->n_used--;
    slots->policy->ops->drop(slots->policy, slot);
}

void slots_give(struct slots *slots, uint32_t slot)
{
    uint32_t c = slots->class_of[slot];

    slots->slot[slot].state = SLOT_FREE;
    slots->free_slots[slots->plan.class[c].first_slot + slots->n_free[c]++] = slot;
}

void slots_lend(struct slots *slots, uint32_t slot)
{
    slots_drop(slots, slot);
    slots->n_lent[slots->class_of[slot]]++;
}

void slots_return(struct slots *slots, uint32_t slot)
{
    slots->n_lent[slots->class_of[slot]]--;
    slots_give(slots, slot);
}

void slots_pin(struct slots *slots, uint32_t slot)
{
    if (slots->slot[slot].n_pins++ == 0)
        slots->n_pinned[slots->class_of[slot]]++;
}

void slots_unpin(struct slots *slots, uint32_t slot)
{
    if (--slots->slot[slot].n_pins == 0)
        slots->n_pinned[slots->class_of[slot]]--;
}
