/* SPDX-License-Identifier: MIT
 *
 * What a prompt's passes read at the door: whole layers are asked for, and the next layer hinted, but a slot is taken
 * only when its read can start, so a pass reads what the slots could not hold and little more.
 */
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>

#define LAYERS 6
#define EXPERTS 16
#define DEPTH 4 /* pieces, each as large as an expert's part */

static struct io_sim sim;
static struct expert_file file;
static struct cache_options options;

static void setup(void)
{
    expert_file_init(&file, &(struct expert_file_shape){
                                .n_layers = LAYERS, .n_experts = EXPERTS, .n_used = 4, .rows = 64, .seed = 8 });
    sim = (struct io_sim){ .order = IO_SIM_FIFO, .hold = true }; /* a drive that is waited for */
    cache_options_default(&options);
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    options.queue_depth = DEPTH;
    options.slot_budget = cache_min_bytes(&file.layout);
}

static void teardown(void)
{
    expert_file_fini(&file);
}

TestSuite(door_burst, .init = setup, .fini = teardown);

/* With slots for some layers, but not for all. */
static struct cache *open_for_some(uint64_t *ret_slots)
{
    struct cache *cache = NULL;
    struct cache_stats stats = { 0 };

    for (; stats.slots < 3 * EXPERTS; options.slot_budget += 65536) {
        if (cache != NULL)
            cache_close(cache);
        cache = door_check_open(&file, &options);
        cache_stats(cache, &stats);
    }
    cr_assert_lt(stats.slots, (LAYERS - 1) * EXPERTS);
    *ret_slots = stats.slots;
    return cache;
}

static uint64_t reads_begun(const struct cache *cache)
{
    struct cache_stats stats;

    cache_stats(cache, &stats);
    return stats.misses - stats.hint_late + stats.hint_reads;
}

/* Every expert of every layer, each released once it has been seen, as it is once computed. Returns the reads. */
static uint64_t pass(struct cache *cache, size_t n_hinted)
{
    struct expert_door *door = cache_door(cache);
    uint64_t before = reads_begun(cache);
    uint16_t all[EXPERTS];

    for (uint16_t e = 0; e < EXPERTS; e++)
        all[e] = e;
    door->burst = true;
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        cr_assert_eq(door->ops->request(door, layer, all, EXPERTS, NULL), 0);
        if (layer + 1 < LAYERS && n_hinted > 0)
            door->ops->hint(door, layer + 1, all, n_hinted);
        for (size_t i = 0, index; i < EXPERTS; i++) {
            struct expert_view view;

            cr_assert_eq(door->ops->next(door, &index, &view, NULL), 1);
            cr_assert(expert_file_matches(&file, layer, all[index], &view));
            door->ops->release(door, &view);
        }
    }
    door->burst = false;
    return reads_begun(cache) - before;
}

/* Once the slots are full, somebody who is still to come makes room for what is in flight and for what lies there on a
 * hint, and for no more than that, however many a request names. */
static void check_passes(enum policy_kind kind, size_t n_hinted)
{
    uint64_t n_slots, n_reads;
    struct cache *cache;

    options.policy = kind;
    cache = open_for_some(&n_slots);
    cr_assert_eq(pass(cache, n_hinted), LAYERS * EXPERTS);
    for (int i = 0; i < 6; i++) {
        n_reads = pass(cache, n_hinted);
        cr_expect_geq(n_reads, LAYERS * EXPERTS - n_slots);
        cr_expect_leq(n_reads, LAYERS * EXPERTS - n_slots + DEPTH + n_hinted,
                      "%s, %zu hinted, pass %d: %lu reads into %lu slots", policy_name(kind), n_hinted, i,
                      (unsigned long)n_reads, (unsigned long)n_slots);
    }
    cache_close(cache);
}

Test(door_burst, a_pass_reads_what_the_slots_cannot_hold)
{
    for (int kind = POLICY_LFU; kind < POLICIES; kind++)
        for (size_t n_hinted = 0; n_hinted <= EXPERTS / 2; n_hinted += EXPERTS / 4)
            check_passes((enum policy_kind)kind, n_hinted);
}

/* Hints of a whole layer, of which the drive has begun on the first: nobody has gone yet for the others. */
Test(door_burst, a_hint_takes_its_slot_when_its_read_begins)
{
    uint16_t all[EXPERTS];
    uint64_t n_slots;
    struct cache *cache = open_for_some(&n_slots);
    struct expert_door *door = cache_door(cache);
    struct cache_stats before, after;

    for (uint16_t e = 0; e < EXPERTS; e++)
        all[e] = e;
    for (uint32_t layer = 0; layer + 1 < LAYERS; layer++)
        cr_assert_eq(door_check_ask(cache, &file, layer, all, EXPERTS, NULL), 0);
    cache_stats(cache, &before);
    door->ops->hint(door, LAYERS - 1, all, EXPERTS);
    cache_stats(cache, &after);
    cr_assert(sim.n_in_flight > 0 && cache_hinting(cache));
    cr_expect_leq(after.evictions - before.evictions, DEPTH / 2);
    cr_expect_eq(after.hint_reads - before.hint_reads, after.evictions - before.evictions);
    cr_assert_eq(door_check_ask(cache, &file, 0, all, 1, NULL), 0); /* what was wished for before it is void */
    while (cache_idle(cache))
        ;
    cache_stats(cache, &after);
    cr_expect_leq(after.hint_reads - before.hint_reads, DEPTH / 2);
    cache_close(cache);
}
