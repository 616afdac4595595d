/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cache/extent.h"
#include "cache/slots.h"
#include "tests/support/door_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- extents ---- */

static void assert_extents(const struct expert_file *file, uint32_t block)
{
    for (uint32_t layer = 0; layer < file->layout.n_layers; layer++)
        for (uint32_t e = 0; e < file->layout.n_experts; e++) {
            struct extent x;
            uint64_t bytes = 0;

            extent_find(&file->layout, layer, e, block, &x);
            cr_assert(x.n_ranges >= 1 && x.n_ranges <= EXPERT_PARTS);
            for (uint32_t i = 0; i < x.n_ranges; i++) {
                cr_assert_eq((x.range[i].offset | x.range[i].bytes | x.range[i].at) % block, 0);
                cr_assert_eq(x.range[i].at, bytes);
                cr_assert(x.range[i].wanted <= x.range[i].bytes && x.range[i].wanted + block > x.range[i].bytes);
                cr_assert_leq(x.range[i].offset + x.range[i].wanted, file->files[x.range[i].file].bytes);
                bytes += x.range[i].bytes;
            }
            cr_assert_leq(bytes, extent_slot_bytes(&file->layers[layer], block));
            for (int p = 0; p < EXPERT_PARTS; p++) {
                const struct expert_part_layout *part = &file->layers[layer].part[p];
                struct expert_place place = expert_part_place(part, e);
                bool found = false;

                for (uint32_t i = 0; i < x.n_ranges; i++)
                    found |= x.range[i].file == place.file &&
                             x.part_at[p] - x.range[i].at == place.offset - x.range[i].offset &&
                             x.part_at[p] - x.range[i].at + part->part_bytes <= x.range[i].wanted;
                cr_assert(found);
            }
        }
}

Test(extent, covers_each_part_in_whole_blocks)
{
    static const struct expert_file_shape shapes[] = {
        { .n_layers = 3, .n_experts = 9, .n_used = 2, .rows = 1, .seed = 1 },
        { .n_layers = 3, .n_experts = 9, .n_used = 2, .rows = 33, .n_files = 2, .grow = 40, .seed = 2 },
        { .n_layers = 5, .n_experts = 1, .n_used = 1, .rows = 7, .packed = true, .seed = 3 },
        { .n_layers = 3, .n_experts = 9, .n_used = 2, .rows = 11, .n_files = 2, .fused = true, .seed = 4 },
        { .n_layers = 3, .n_experts = 9, .n_used = 2, .rows = 11, .strewn = true, .seed = 5 },
        { .n_layers = 3, .n_experts = 9, .n_used = 2, .rows = 1, .n_files = 3, .strewn = true, .seed = 6 },
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct expert_file file;

        expert_file_init(&file, &shapes[i]);
        for (uint32_t block = 64; block <= 4096; block *= 8)
            assert_extents(&file, block);
        expert_file_fini(&file);
    }
}

Test(extent, parts_that_touch_are_one_range)
{
    struct expert_file file;
    struct extent x;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 1, .n_used = 1, .packed = true });
    extent_find(&file.layout, 1, 0, 512, &x);
    cr_assert_eq(x.n_ranges, 1);
    expert_file_fini(&file);
}

Test(extent, gate_and_up_of_one_tensor_are_one_range)
{
    struct expert_file file;
    struct extent x;

    expert_file_init(
        &file, &(struct expert_file_shape){ .n_layers = 1, .n_experts = 5, .n_used = 1, .rows = 33, .fused = true });
    for (uint32_t e = 0; e < 5; e++) {
        extent_find(&file.layout, 0, e, 64, &x);
        cr_assert_eq(x.n_ranges, 2);
        cr_assert_eq(x.part_at[EXPERT_UP] - x.part_at[EXPERT_GATE], 33 * 272);
    }
    expert_file_fini(&file);
}

/* ---- plans ---- */

Test(slot_plan, keeps_the_budget_and_uses_it)
{
    static const uint32_t grows[] = { 0, 5, 30, 100 };

    for (size_t g = 0; g < 4; g++) {
        struct expert_file file;
        struct slot_plan plan;
        uint64_t least;

        expert_file_init(&file,
                         &(struct expert_file_shape){
                             .n_layers = 6, .n_experts = 32, .n_used = 4, .rows = 20, .grow = grows[g], .seed = g });
        least = slot_plan_min_bytes(&file.layout, 4096);
        cr_assert_eq(slot_plan_make(&file.layout, 4096, least - 1, &plan, NULL), ERR_BUDGET);
        for (uint64_t budget = least; budget < least * 40; budget += least / 3) {
            uint64_t held = 0, all = 0;

            cr_assert_eq(slot_plan_make(&file.layout, 4096, budget, &plan, NULL), 0);
            cr_assert_leq(plan.bytes, budget);
            for (uint32_t c = 0; c < plan.n_classes; c++) {
                cr_assert_geq(plan.class[c].n_slots, file.layout.n_used);
                cr_assert_leq(plan.class[c].n_slots, plan.class[c].n_experts);
                held += plan.class[c].n_slots * plan.class[c].slot_bytes;
                all += plan.class[c].n_experts * plan.class[c].slot_bytes;
            }
            /* All but the rounding to huge pages and to whole slots, unless everything fits. */
            cr_assert(held == all || held + plan.n_classes * ((2 << 20) + plan.class[0].slot_bytes) > budget);
        }
        cr_assert(grows[g] != 0 || plan.n_classes == 1);
        cr_assert(grows[g] != 100 || plan.n_classes == SLOT_CLASSES);
        for (uint32_t i = 0; i < file.layout.n_layers; i++) {
            uint32_t c = slot_plan_class(&plan, &file.layers[i], 4096);

            cr_assert_geq(plan.class[c].slot_bytes, extent_slot_bytes(&file.layers[i], 4096));
        }
        expert_file_fini(&file);
    }
}

/* ---- slots against a model that is too simple to be wrong ---- */

#define KEYS (2 * 24)

struct twin {
    bool held[KEYS], reading[KEYS];
    uint32_t slot[KEYS], pins[KEYS];
    uint64_t used[KEYS], wanted[KEYS], clock;
};

static uint32_t twin_victim(const struct twin *t, uint64_t request)
{
    uint32_t oldest = KEYS;

    for (uint32_t k = 0; k < KEYS; k++)
        if (t->held[k] && !t->reading[k] && t->pins[k] == 0 && t->wanted[k] != request &&
            (oldest == KEYS || t->used[k] < t->used[oldest]))
            oldest = k;
    return oldest;
}

static void twin_take(struct twin *t, struct slots *s, uint32_t key, bool only_free, bool hold)
{
    bool any_free = s->n_free[0] > 0;
    uint32_t victim = any_free || only_free ? KEYS : twin_victim(t, s->request);
    uint32_t slot = slots_take(s, 0, key, only_free);

    cr_assert_eq(slot != SLOT_NONE, any_free || victim < KEYS);
    if (slot == SLOT_NONE)
        return;
    if (victim < KEYS) {
        cr_assert_eq(slot, t->slot[victim]);
        cr_assert_eq(slots_find(s, victim), SLOT_NONE);
        t->held[victim] = false;
    }
    s->slot[slot].wanted = hold ? s->request : 0;
    t->wanted[key] = hold ? s->request : 0;
    t->held[key] = t->reading[key] = true;
    t->slot[key] = slot;
    t->pins[key] = 0;
    t->used[key] = ++t->clock;
}

static void twin_step(struct twin *t, struct slots *s, uint32_t *state)
{
    uint32_t key = door_check_random(state) % KEYS, what = door_check_random(state) % 8;
    uint32_t slot = slots_find(s, key);

    cr_assert_eq(slot, t->held[key] ? t->slot[key] : SLOT_NONE);
    if (slot == SLOT_NONE) {
        twin_take(t, s, key, what == 0, what > 3);
    } else if (t->reading[key] && what < 6) {
        slots_ready(s, slot);
        t->reading[key] = false;
    } else if (t->reading[key]) {
        slots_drop(s, slot);
        slots_give(s, slot);
        t->held[key] = t->reading[key] = false;
    } else if (what < 3) {
        slots_use(s, slot);
        t->used[key] = ++t->clock;
    } else if (what < 5 && t->pins[key] < 3) {
        slots_pin(s, slot);
        t->pins[key]++;
    } else if (t->pins[key] > 0) {
        slots_unpin(s, slot);
        t->pins[key]--;
    } else {
        s->request++;
    }
}

Test(slots, behave_like_the_simple_model)
{
    struct expert_file file;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 24, .n_used = 4, .rows = 4 });
    for (uint32_t seed = 1; seed <= 20; seed++) {
        static struct twin twin;
        struct slots slots;
        uint32_t state = seed, n_used, n_pinned;

        memset(&twin, 0, sizeof(twin));
        cr_assert_eq(slots_init(&slots, &file.layout, 512, slot_plan_min_bytes(&file.layout, 512) * (1 + seed % 4),
                                POLICY_LRU, NULL),
                     0);
        for (int i = 0; i < 5000; i++)
            twin_step(&twin, &slots, &state);
        n_used = n_pinned = 0;
        for (uint32_t k = 0; k < KEYS; k++) {
            n_used += twin.held[k];
            n_pinned += twin.held[k] && twin.pins[k] > 0;
        }
        cr_assert_eq(slots.n_used, n_used);
        cr_assert_eq(slots.n_pinned[0], n_pinned);
        slots_fini(&slots);
    }
    expert_file_fini(&file);
}

/* ---- giving back ---- */

static uint64_t resident_bytes(void)
{
    unsigned long long pages[2] = { 0 };
    FILE *f = fopen("/proc/self/statm", "re");

    cr_assert(f != NULL && fscanf(f, "%llu %llu", &pages[0], &pages[1]) == 2);
    fclose(f);
    return pages[1] * 4096;
}

static void fill(struct slots *s, uint32_t c, uint32_t n)
{
    for (uint32_t key = 0; key < n; key++) {
        uint32_t slot = slots_take(s, c, key, false);

        memset(s->slot[slot].data, (int)key + 1, s->plan.class[c].slot_bytes);
        slots_ready(s, slot);
    }
}

/* Everyone who is said to be there is there, whole, within the live part; and the counts add up. */
static uint32_t assert_sound(const struct slots *s, uint32_t n_keys)
{
    const struct slot_class *class = &s->plan.class[0];
    uint32_t n_held = 0;

    for (uint32_t key = 0; key < n_keys; key++) {
        uint32_t slot = slots_find(s, key);

        if (slot == SLOT_NONE)
            continue;
        n_held++;
        cr_assert_lt(slot, class->n_live);
        cr_assert_eq(s->slot[slot].key, key);
        cr_assert_eq(s->slot[slot].data, class->arena + slot * class->slot_bytes);
        for (uint64_t i = 0; i < class->slot_bytes; i += 511)
            cr_assert_eq(s->slot[slot].data[i], (char)(key + 1));
    }
    cr_assert_eq(s->n_used, n_held);
    cr_assert_eq(s->n_free[0] + n_held, class->n_live);
    return n_held;
}

Test(slots_resize, the_coldest_go_and_the_rest_stays_whole)
{
    struct expert_file file;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 40, .n_used = 4, .rows = 40 });
    for (enum policy_kind kind = 0; kind < POLICIES; kind++) {
        uint32_t n_live[SLOT_CLASSES] = { 0 };
        struct slots s;
        uint32_t all;

        cr_assert_eq(slots_init(&s, &file.layout, 4096, 64 << 20, kind, NULL), 0);
        all = s.n_slots;
        cr_assert_eq(all, 80);
        fill(&s, 0, all);
        for (uint32_t round = 0; round < 20; round++) /* the odd ones are hot */
            for (uint32_t layer = 0; layer < 2; layer++)
                for (uint32_t e = 1; e < 40; e += 2)
                    slots_use(&s, slots_find(&s, layer * 40 + e));
        for (uint32_t n = 70; n >= 40; n -= 10) {
            n_live[0] = n;
            cr_assert_eq(slots_resize(&s, n_live), 0);
            cr_assert_eq(assert_sound(&s, 80), n);
            for (uint32_t key = 1; key < 80; key += 2)
                cr_assert_neq(slots_find(&s, key), SLOT_NONE, "%s: %u of %u", policy_name(kind), key, n);
        }
        n_live[0] = all;
        cr_assert_eq(slots_resize(&s, n_live), 0);
        cr_assert_eq(assert_sound(&s, 80), 40);
        cr_assert_eq(s.bytes, s.plan.bytes);
        for (uint32_t key = 0; key < 80; key += 2) { /* and the new ones hold what they are given */
            uint32_t slot = slots_take(&s, 0, key, true);

            cr_assert_neq(slot, SLOT_NONE);
            memset(s.slot[slot].data, (int)key + 1, s.plan.class[0].slot_bytes);
            slots_ready(&s, slot);
        }
        cr_assert_eq(assert_sound(&s, 80), 80);
        slots_fini(&s);
    }
    expert_file_fini(&file);
}

Test(slots_resize, the_memory_is_the_machines_again)
{
    uint32_t n_live[SLOT_CLASSES] = { 0 };
    struct expert_file file;
    uint64_t before, held, less;
    struct slots s;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 4, .n_experts = 64, .n_used = 4, .rows = 100 });
    before = resident_bytes();
    cr_assert_eq(slots_init(&s, &file.layout, 4096, 48 << 20, POLICY_LRU, NULL), 0);
    held = resident_bytes();
    cr_assert_geq(held, before + s.bytes - (1 << 20));
    slots_fit(&s, &file.layout, 4096, 12 << 20, n_live);
    cr_assert_eq(slots_resize(&s, n_live), 0);
    less = resident_bytes();
    cr_assert_leq(s.bytes, 12 << 20);
    cr_assert_leq(less, held - (s.plan.bytes - s.bytes) + (1 << 20));
    slots_fit(&s, &file.layout, 4096, UINT64_MAX, n_live);
    cr_assert_eq(slots_resize(&s, n_live), 0);
    cr_assert_eq(slots_live(&s), s.n_slots);
    cr_assert_geq(resident_bytes(), held - (1 << 20));
    slots_fini(&s);
    expert_file_fini(&file);
}

Test(slots_resize, a_budget_is_kept_down_to_the_least_that_works)
{
    static const uint32_t grows[] = { 0, 30, 100 };

    for (size_t g = 0; g < 3; g++) {
        struct expert_file file;
        struct slots s;
        uint64_t least;

        expert_file_init(&file,
                         &(struct expert_file_shape){
                             .n_layers = 6, .n_experts = 32, .n_used = 4, .rows = 60, .grow = grows[g], .seed = g });
        least = slot_plan_min_bytes(&file.layout, 4096);
        cr_assert_eq(slots_init(&s, &file.layout, 4096, least * 6, POLICY_NEXT_USE, NULL), 0);
        for (uint64_t budget = least * 7; budget > least / 2; budget -= least / 3) {
            uint32_t n_live[SLOT_CLASSES];

            slots_fit(&s, &file.layout, 4096, budget, n_live);
            cr_assert_eq(slots_resize(&s, n_live), 0);
            cr_assert_leq(s.bytes, budget > least + (8 << 20) ? budget : least + (8 << 20)); /* huge pages */
            for (uint32_t c = 0; c < s.plan.n_classes; c++) {
                cr_assert_geq(n_live[c], file.layout.n_used);
                cr_assert_leq(n_live[c], s.plan.class[c].n_slots);
            }
        }
        slots_fini(&s);
        expert_file_fini(&file);
    }
}

Test(slots_resize, no_memory_to_take_again_leaves_what_there_is)
{
    uint32_t few[SLOT_CLASSES] = { 0 }, many[SLOT_CLASSES] = { 0 };
    struct expert_file file;
    struct slots s;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 20, .n_used = 4, .rows = 40 });
    cr_assert_eq(slots_init(&s, &file.layout, 4096, 64 << 20, POLICY_LFU, NULL), 0);
    fill(&s, 0, 40);
    few[0] = 10;
    many[0] = 40;
    cr_assert_eq(slots_resize(&s, few), 0);
    mem_fail_after(0);
    cr_assert_eq(slots_resize(&s, many), -ENOMEM);
    mem_fail_after(-1);
    cr_assert_eq(assert_sound(&s, 40), 10);
    cr_assert_eq(slots_live(&s), 10);
    cr_assert_eq(slots_resize(&s, many), 0);
    cr_assert_eq(assert_sound(&s, 40), 10);
    slots_fini(&s);
    expert_file_fini(&file);
}

Test(slots, lie_apart_and_aligned)
{
    struct expert_file file;
    struct slots slots;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 4, .n_experts = 8, .n_used = 2, .grow = 50 });
    cr_assert_eq(slots_init(&slots, &file.layout, 4096, 4 << 20, POLICY_LRU, NULL), 0);
    for (uint32_t i = 0; i < slots.n_slots; i++) {
        uint64_t bytes = slots.plan.class[slots.class_of[i]].slot_bytes;

        cr_assert_eq((uintptr_t)slots.slot[i].data % 4096, 0);
        memset(slots.slot[i].data, (int)i, bytes);
    }
    for (uint32_t i = 0; i < slots.n_slots; i++) {
        uint64_t bytes = slots.plan.class[slots.class_of[i]].slot_bytes;

        cr_assert(slots.slot[i].data[0] == (char)i && slots.slot[i].data[bytes - 1] == (char)i);
    }
    slots_fini(&slots);
    expert_file_fini(&file);
}

Test(slots, no_memory_is_an_error_and_no_more)
{
    struct expert_file file;
    int rc = -1;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 4, .n_experts = 8, .n_used = 2, .grow = 50 });
    for (long n = 0; rc < 0; n++) {
        struct slots slots;

        cr_assert_lt(n, 100);
        mem_fail_after(n);
        rc = slots_init(&slots, &file.layout, 512, 4 << 20, POLICY_LRU, NULL);
        mem_fail_after(-1);
        if (rc == 0)
            slots_fini(&slots);
    }
    expert_file_fini(&file);
}
