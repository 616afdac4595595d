/* SPDX-License-Identifier: MIT */
#include "cache/tier.h"

#include "base/mem.h"
#include "cache/tier_state.h"

#include <errno.h>

enum { PIECES_MAX = 256, PROBES = 4 };

uint64_t tier_min_bytes(const struct expert_layout *layout)
{
    return slot_plan_min_bytes(layout, TIER_BLOCK);
}

uint64_t tier_overhead_bytes(const struct expert_layout *layout, uint64_t slot_budget)
{
    uint64_t n_keys = (uint64_t)layout->n_layers * layout->n_experts, n_slots = n_keys;
    struct slot_plan plan;

    if (slot_plan_make(layout, TIER_BLOCK, slot_budget, &plan, NULL) == 0) {
        n_slots = 0;
        for (uint32_t c = 0; c < plan.n_classes; c++)
            n_slots += plan.class[c].n_slots;
    }
    return (64 << 10) + n_keys * 16 + n_slots * (sizeof(struct tier_slot) + 8) + (uint64_t)layout->n_experts * 24 +
           TIER_COPIES * sizeof(struct tier_copy);
}

static int tables_alloc(struct tier *t, struct err *err)
{
    uint32_t n_experts = t->layout->n_experts;

    t->request.ready = mem_calloc(n_experts, sizeof(*t->request.ready));
    t->request.slot = mem_calloc(n_experts, sizeof(*t->request.slot));
    t->request.missing = mem_calloc(n_experts, sizeof(*t->request.missing));
    t->named = mem_calloc(n_experts, sizeof(*t->named));
    t->index_of = mem_calloc(n_experts, sizeof(*t->index_of));
    t->wishes = mem_calloc(n_experts, sizeof(*t->wishes));
    t->copies = mem_calloc(TIER_COPIES, sizeof(*t->copies));
    t->pinned = mem_calloc(PIECES_MAX, sizeof(*t->pinned));
    if (t->request.ready == NULL || t->request.slot == NULL || t->request.missing == NULL || t->named == NULL ||
        t->index_of == NULL || t->wishes == NULL || t->copies == NULL || t->pinned == NULL)
        return err_set(err, -ENOMEM, "no memory for the tier of experts on the device");
    return 0;
}

/* What cannot be pinned is copied all the same. */
static void pin_all(struct tier *t)
{
    struct iovec pieces[PIECES_MAX];
    uint32_t n = cache_slot_memory(t->cache, pieces);

    for (uint32_t i = 0; i < n; i++)
        if (pieces[i].iov_len > 0 && t->device->copy->pin(t->device, pieces[i].iov_base, pieces[i].iov_len) == 0)
            t->pinned[t->n_pinned++] = pieces[i];
    cache_hold_memory(t->cache, t->n_pinned > 0);
}

static void unpin_all(struct tier *t)
{
    while (t->n_pinned > 0) {
        t->n_pinned--;
        t->device->copy->unpin(t->device, t->pinned[t->n_pinned].iov_base, t->pinned[t->n_pinned].iov_len);
    }
    cache_hold_memory(t->cache, false);
}

/* A few copies of whatever lies in RAM slots, to know the bus. */
static int probe(struct tier *t, struct err *err)
{
    const struct slot_class *class = &t->plan.class[0];
    struct iovec pieces[PIECES_MAX];
    struct copy_progress progress;
    uint32_t n = cache_slot_memory(t->cache, pieces);
    uint64_t ticket;
    int r = 0;

    if (n == 0 || pieces[0].iov_len < class->slot_bytes)
        return 0;
    for (int i = 0; i < PROBES && r == 0; i++) {
        struct device_copy part = { t->slot[class->first_slot].data, pieces[0].iov_base, class->slot_bytes };

        r = t->device->copy->submit(t->device, COPY_TO_DEVICE, &part, 1, &ticket);
        if (r == 0)
            r = t->device->copy->wait(t->device, ticket);
    }
    if (r == 0)
        r = t->device->copy->poll(t->device, &progress);
    if (r < 0)
        return tier_error(t, r, err);
    tier_cost_copied(&t->cost, progress.bytes, progress.busy_ns);
    t->seen_bytes = progress.bytes;
    t->seen_busy_ns = progress.busy_ns;
    t->done = progress.done;
    return 0;
}

int tier_open(const struct expert_layout *layout, struct cache *cache, struct device *device,
              const struct tier_options *options, struct tier **ret_tier, uint64_t *ret_had, struct err *err)
{
    struct tier *t;
    int r;

    if (device->copy == NULL)
        return err_set(err, -EINVAL, "%s: experts need no tier where the device's memory is the host's", device->name);
    t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return err_set(err, -ENOMEM, "no memory for the tier of experts on the device");
    t->layout = layout;
    t->cache = cache;
    t->inner = cache_door(cache);
    t->device = device;
    t->inclusive = options->inclusive;
    t->epoch = 1;
    r = tables_alloc(t, err);
    if (r == 0)
        r = tier_slots_open(t, options->slot_budget, ret_had, err);
    if (r == 0)
        pin_all(t);
    if (r == 0)
        r = probe(t, err);
    if (r < 0) {
        tier_close(t);
        return r;
    }
    t->door = (struct expert_door){ .ops = &tier_door_ops, .max_request = layout->n_experts };
    *ret_tier = t;
    return 0;
}

void tier_close(struct tier *t)
{
    if (t == NULL)
        return;
    if (t->copies != NULL)
        tier_settle(t, NULL);
    if (t->pinned != NULL)
        unpin_all(t);
    tier_slots_close(t);
    mem_free(t->pinned);
    mem_free(t->copies);
    mem_free(t->wishes);
    mem_free(t->index_of);
    mem_free(t->named);
    mem_free(t->request.missing);
    mem_free(t->request.slot);
    mem_free(t->request.ready);
    mem_free(t);
}

struct expert_door *tier_door(struct tier *tier)
{
    return &tier->door;
}

static double rate(double ns_per_byte)
{
    return ns_per_byte > 0 ? 1e9 / ns_per_byte : 0;
}

void tier_stats(const struct tier *tier, struct tier_stats *ret_stats)
{
    *ret_stats = tier->stats;
    ret_stats->device_waits = tier->device->n_waits;
    ret_stats->copy_rate = rate(tier->cost.copy_ns_per_byte);
    ret_stats->cpu_rate = rate(tier->cost.cpu_ns_per_byte);
    ret_stats->experts = (uint64_t)tier->layout->n_layers * tier->layout->n_experts;
    ret_stats->residents = 0;
    for (uint32_t c = 0; c < tier->plan.n_classes; c++)
        ret_stats->residents += tier->transit[c].n_residents;
}

int tier_hold(struct tier *tier, struct err *err)
{
    int r = tier_settle(tier, err);

    unpin_all(tier);
    return r;
}

void tier_go_on(struct tier *tier)
{
    pin_all(tier);
}

static bool has_room(const struct tier *t, uint32_t key)
{
    const struct tier_transit *q = &t->transit[t->class_of_layer[key / t->layout->n_experts]];

    return q->n_residents + q->n_wanted < q->n_live && t->slot_of[key] == SLOT_NONE;
}

/* Where every expert has its slot, those that nobody has asked for come from the drive one by one, each once: with all
 * of them there, a token stays on the device. */
static bool idle_read(struct tier *t)
{
    uint32_t n_experts = t->layout->n_experts, n_keys = t->layout->n_layers * n_experts;

    if (cache_hinting(t->cache)) {
        cache_idle(t->cache);
        return true;
    }
    for (; t->idle_key < n_keys; t->idle_key++) {
        uint32_t key = t->idle_key;
        uint16_t id = (uint16_t)(key % n_experts);

        if (!has_room(t, key) || t->transit[t->class_of_layer[key / n_experts]].n_wanted > 0)
            continue;
        t->idle_key++;
        t->inner->ops->hint(t->inner, t->layout->layers[key / n_experts].layer, &id, 1);
        return true;
    }
    t->idle_key = 0;
    return false;
}

/* The hottest in RAM of the layers that still have free slots, one at a time. */
bool tier_idle(struct tier *t)
{
    uint32_t n_experts = t->layout->n_experts, best = SLOT_NONE, slot, swapped;
    struct expert_view host;

    if (tier_reap(t, NULL) < 0)
        return false;
    for (uint32_t key = 0; key < t->layout->n_layers * n_experts; key++)
        if (has_room(t, key) && cache_has(t->cache, key) && (best == SLOT_NONE || t->heat[key] > t->heat[best]))
            best = key;
    if (best == SLOT_NONE)
        return idle_read(t);
    if (!cache_lend(t->cache, best, &host))
        return false;
    slot = tier_slot_take(t, best, TIER_GUESS, &swapped);
    if (slot != SLOT_NONE)
        t->slot[slot].guessed = false;
    if (slot != SLOT_NONE && tier_copy_in(t, slot, &host, swapped, NULL) == 0)
        return tier_wait(t, t->slot[slot].ticket, NULL) == 0;
    if (slot != SLOT_NONE)
        tier_slot_free(t, slot);
    t->inner->ops->release(t->inner, &host);
    return false;
}
