/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cache/extent.h"
#include "prefetch/warmup.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct expert_file file;
static struct cache_options options;
static char dir[200];
static const uint16_t hot[] = { 3, 9, 12 }, cool[] = { 1, 14 };

/* An earlier run, in which layer 0's and 2's `hot` were asked for often and layer 1's `cool` once. */
static void setup_of(const struct expert_file_shape *shape)
{
    const char *top = getenv("top_builddir");
    struct cache *cache;

    expert_file_init(&file, shape);
    snprintf(dir, sizeof(dir), "%s/expertd-test-XXXXXX", top != NULL ? top : ".");
    cr_assert_not_null(mkdtemp(dir));
    cache_options_default(&options);
    options.catalog_dir = dir;
    options.slot_budget = cache_min_bytes(&file.layout) * 2;
    cache = door_check_open(&file, &options);
    for (int i = 0; i < 5; i++) {
        door_check_ask(cache, &file, 0, hot, 3, NULL);
        door_check_ask(cache, &file, 2, hot, 3, NULL);
    }
    door_check_ask(cache, &file, 1, cool, 2, NULL);
    cache_close(cache);
}

static void setup(void)
{
    setup_of(&(struct expert_file_shape){ .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 40, .seed = 6 });
}

static void teardown(void)
{
    char path[240];

    snprintf(path, sizeof(path), "%s/catalog.mdb", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.lock", dir);
    unlink(path);
    rmdir(dir);
    expert_file_fini(&file);
}

TestSuite(warmup, .init = setup, .fini = teardown);

static struct warmup *warmup_of(struct cache *cache)
{
    struct warmup *warmup;
    struct err err = { 0 };

    cr_assert_eq(warmup_open(&file.layout, cache, &warmup, &err), 0, "%s", err_text(&err));
    return warmup;
}

Test(warmup, fills_free_slots_with_the_hottest)
{
    struct cache *cache = door_check_open(&file, &options);
    struct warmup *warmup = warmup_of(cache);
    struct cache_stats stats;

    cache_stats(cache, &stats);
    cr_assert_geq(stats.slots, 8);
    cr_assert_eq(warmup_count(warmup), 8); /* both layers' hot ones, and both cool ones */
    while (warmup_step(warmup))
        ;
    warmup_close(warmup);
    cache_stats(cache, &stats);
    cr_assert(stats.slots_used == 8 && stats.evictions == 0 && stats.bytes_read == 0);
    door_check_ask(cache, &file, 0, hot, 3, NULL);
    door_check_ask(cache, &file, 2, hot, 3, NULL);
    door_check_ask(cache, &file, 1, cool, 2, NULL);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 8 && stats.misses == 0);
    cache_close(cache);
}

/* Where each expert is a tensor anywhere, too. */
Test(warmup, reads_in_file_order)
{
    struct io_sim sim = { 0 };
    struct cache *cache;
    struct warmup *warmup;
    uint64_t last = 0, n_gates = 0;

    teardown();
    setup_of(&(struct expert_file_shape){
        .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 40, .strewn = true, .seed = 6 });
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    options.io_mode = IO_BUFFERED;
    cache = door_check_open(&file, &options);
    warmup = warmup_of(cache);
    while (warmup_step(warmup))
        ;
    for (uint64_t i = 0; i < sim.n_submitted; i++)
        for (uint32_t key = 0; key < 3 * 16; key++) {
            uint64_t gate = expert_part_place(&file.layers[key / 16].part[EXPERT_GATE], key % 16).offset;

            if (sim.offsets[i] != gate / EXTENT_BUFFERED_BLOCK * EXTENT_BUFFERED_BLOCK)
                continue;
            cr_expect_gt(gate, last);
            last = gate;
            n_gates++;
        }
    cr_expect_eq(n_gates, 8);
    warmup_close(warmup);
    cache_close(cache);
}

Test(warmup, takes_the_hottest_that_fit)
{
    struct cache *cache;
    struct warmup *warmup;
    struct cache_stats stats;

    options.slot_budget = cache_min_bytes(&file.layout);
    cache = door_check_open(&file, &options);
    warmup = warmup_of(cache);
    cache_stats(cache, &stats);
    cr_assert(stats.slots >= 4 && stats.slots < 8);
    cr_assert_eq(warmup_count(warmup), stats.slots);
    while (warmup_step(warmup))
        ;
    warmup_close(warmup);
    door_check_ask(cache, &file, 0, hot, 3, NULL);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 3 && stats.misses == 0); /* of equals, the first layer's */
    cache_close(cache);
}

/* Those that were asked for once make room for new ones before those that were asked for often. */
Test(warmup, the_hottest_stay_longest)
{
    static const uint16_t fresh[] = { 0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15 };
    struct cache *cache;
    struct warmup *warmup;
    struct cache_stats stats;

    options.policy = POLICY_NEXT_USE;
    cache = door_check_open(&file, &options);
    warmup = warmup_of(cache);
    while (warmup_step(warmup))
        ;
    warmup_close(warmup);
    cache_stats(cache, &stats);
    for (uint64_t i = 0; i < stats.slots - 8 + 2; i++)
        door_check_ask(cache, &file, 2, fresh + i % 13, 1, NULL);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.evictions, 2);
    door_check_ask(cache, &file, 0, hot, 3, NULL);
    door_check_ask(cache, &file, 2, hot, 3, NULL);
    cache_stats(cache, &stats);
    cr_expect_eq(stats.hits, 6);
    cache_close(cache);
}

/* Answers come first: what they read is never evicted for the sake of warmth. */
Test(warmup, evicts_nobody)
{
    static const uint16_t now[] = { 0, 2, 4, 5 }, later[] = { 6, 7, 8, 10 };
    struct cache *cache = door_check_open(&file, &options);
    struct warmup *warmup = warmup_of(cache);
    struct cache_stats stats;
    uint64_t evictions;

    door_check_ask(cache, &file, 1, now, 4, NULL);
    warmup_step(warmup);
    door_check_ask(cache, &file, 1, later, 4, NULL);
    cache_stats(cache, &stats);
    evictions = stats.evictions;
    while (warmup_step(warmup))
        ;
    warmup_close(warmup);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.evictions, evictions);
    door_check_ask(cache, &file, 1, later, 4, NULL);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.hits, 4);
    cache_close(cache);
}

Test(warmup, nothing_known_is_nothing_to_do)
{
    struct cache *cache;
    struct warmup *warmup;

    options.catalog_dir = NULL;
    cache = door_check_open(&file, &options);
    warmup = warmup_of(cache);
    cr_assert_eq(warmup_count(warmup), 0);
    cr_assert_not(warmup_step(warmup));
    warmup_close(warmup);
    cache_close(cache);
}

/* A drive that fails meanwhile is the next asker's news, not ours. */
Test(warmup, ends_on_a_failing_drive)
{
    struct io_sim sim = { .fault = IO_SIM_ERROR, .fault_arg = 5, .n_faults = UINT64_MAX };
    struct cache *cache;
    struct warmup *warmup;
    struct cache_stats stats;

    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    warmup = warmup_of(cache);
    while (warmup_step(warmup))
        ;
    warmup_close(warmup);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.slots_used, 0);
    cache_close(cache);
}

Test(warmup, no_memory_is_an_error)
{
    struct cache *cache = door_check_open(&file, &options);
    struct warmup *warmup;
    struct err err = { 0 };

    mem_fail_after(0);
    cr_assert_eq(warmup_open(&file.layout, cache, &warmup, &err), -12);
    mem_fail_after(-1);
    cache_close(cache);
}
