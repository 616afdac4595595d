/* SPDX-License-Identifier: MIT */
#include "cache/slots.h"

#include "base/arith.h"
#include "base/mem.h"
#include "cache/extent.h"

#include <inttypes.h>

static uint64_t arena_bytes(const struct slot_class *class, uint64_t n_slots)
{
    return mem_map_bytes(n_slots * class->slot_bytes);
}

uint32_t slot_plan_class(const struct slot_plan *plan, const struct expert_layer_layout *layer, uint32_t block)
{
    uint64_t need = extent_slot_bytes(layer, block);
    uint32_t c = plan->n_classes - 1;

    while (c > 0 && plan->class[c].slot_bytes < need)
        c--;
    return c;
}

/* Classes from the top: each takes the layers within an eighth of its largest, the last one all that are left. */
static void classes_find(const struct expert_layout *layout, uint32_t block, struct slot_plan *plan)
{
    uint64_t below = UINT64_MAX;

    plan->n_classes = 0;
    while (plan->n_classes < SLOT_CLASSES) {
        uint64_t largest = 0;

        for (uint32_t i = 0; i < layout->n_layers; i++) {
            uint64_t need = extent_slot_bytes(&layout->layers[i], block);

            if (need < below)
                largest = u64_max(largest, need);
        }
        if (largest == 0)
            break;
        plan->class[plan->n_classes++] = (struct slot_class){ .slot_bytes = largest };
        below = largest - largest / 8;
    }
    for (uint32_t i = 0; i < layout->n_layers; i++)
        plan->class[slot_plan_class(plan, &layout->layers[i], block)].n_experts += layout->n_experts;
}

/* Give each class a share of its experts in 2^-20ths, but at least a layer's top-k; returns what that takes. */
static uint64_t slots_share(const struct expert_layout *layout, uint32_t share, struct slot_plan *plan)
{
    uint64_t bytes = 0;

    for (uint32_t c = 0; c < plan->n_classes; c++) {
        struct slot_class *class = &plan->class[c];

        class->n_slots = (uint32_t)u64_max(class->n_experts * share >> 20, layout->n_used);
        bytes += arena_bytes(class, class->n_slots);
    }
    return bytes;
}

/* The rounding of shares and arenas may leave room for a few more. */
static void slots_fill(uint64_t budget, struct slot_plan *plan)
{
    bool grown = true;

    while (grown) {
        grown = false;
        for (uint32_t c = 0; c < plan->n_classes; c++) {
            struct slot_class *class = &plan->class[c];
            uint64_t more = arena_bytes(class, class->n_slots + 1ULL) - arena_bytes(class, class->n_slots);

            if (class->n_slots >= class->n_experts || plan->bytes + more > budget)
                continue;
            class->n_slots++;
            plan->bytes += more;
            grown = true;
        }
    }
}

uint64_t slot_plan_min_bytes(const struct expert_layout *layout, uint32_t block)
{
    struct slot_plan plan;

    classes_find(layout, block, &plan);
    return slots_share(layout, 0, &plan);
}

int slot_plan_make(const struct expert_layout *layout, uint32_t block, uint64_t budget, struct slot_plan *ret_plan,
                   struct err *err)
{
    uint32_t lo = 0, hi = 1 << 20, first = 0;
    struct slot_plan plan;

    classes_find(layout, block, &plan);
    plan.bytes = slots_share(layout, 0, &plan);
    if (plan.bytes > budget)
        return err_set(err, ERR_BUDGET,
                       "%" PRIu64 " bytes for expert slots are too few: one layer's %u experts need %" PRIu64, budget,
                       layout->n_used, plan.bytes);
    while (lo < hi) {
        uint32_t mid = hi - (hi - lo) / 2;

        if (slots_share(layout, mid, &plan) <= budget)
            lo = mid;
        else
            hi = mid - 1;
    }
    plan.bytes = slots_share(layout, lo, &plan);
    slots_fill(budget, &plan);
    for (uint32_t c = 0; c < plan.n_classes; c++) {
        plan.class[c].first_slot = first;
        first += plan.class[c].n_slots;
    }
    *ret_plan = plan;
    return 0;
}
