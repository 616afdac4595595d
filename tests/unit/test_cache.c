/* SPDX-License-Identifier: MIT */
#include "cache/cache.h"
#include "tests/support/expert_file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct expert_file_shape small = { .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 40, .seed = 1 };

static struct cache *cache_for(const struct expert_file *file, const struct cache_options *options)
{
    struct cache *cache;
    struct err err = { 0 };

    cr_assert_eq(cache_open(&file->layout, options, &cache, &err), 0, "%s", err_text(&err));
    return cache;
}

/* Ask, take all, compare each, release. */
static void ask(struct cache *cache, const struct expert_file *file, uint32_t layer_index, const uint16_t *ids, size_t n)
{
    struct expert_door *door = cache_door(cache);
    struct expert_view view[256];
    bool seen[256] = { false };
    struct err err = { 0 };

    cr_assert_eq(door->ops->request(door, file->layers[layer_index].layer, ids, n, &err), 0, "%s", err_text(&err));
    for (size_t i = 0; i < n; i++) {
        size_t index = n;

        cr_assert_eq(door->ops->next(door, &index, &view[i], &err), 1, "%s", err_text(&err));
        cr_assert_lt(index, n);
        cr_assert_not(seen[index]);
        seen[index] = true;
        cr_assert(expert_file_matches(file, layer_index, ids[index], &view[i]), "layer %u expert %u", layer_index,
                  ids[index]);
    }
    cr_assert_eq(door->ops->next(door, &(size_t){ 0 }, &(struct expert_view){ 0 }, &err), 0);
    for (size_t i = 0; i < n; i++)
        door->ops->release(door, &view[i]);
}

static uint32_t random_u32(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void ids_random(uint16_t *ids, size_t n, uint32_t n_experts, uint32_t *state)
{
    for (size_t i = 0; i < n;) {
        size_t j = 0;

        ids[i] = (uint16_t)(random_u32(state) % n_experts);
        while (j < i && ids[j] != ids[i])
            j++;
        i += j == i;
    }
}

static void run_random(const struct expert_file *file, const struct cache_options *options, uint32_t rounds)
{
    struct cache *cache = cache_for(file, options);
    struct cache_stats stats;
    uint32_t state = 77;
    uint64_t asked = 0;

    for (uint32_t i = 0; i < rounds; i++) {
        size_t most = cache_door(cache)->max_request, n = 1 + random_u32(&state) % most;
        uint16_t ids[256];

        ids_random(ids, n, file->layout.n_experts, &state);
        ask(cache, file, i % file->layout.n_layers, ids, n);
        asked += n;
    }
    cache_stats(cache, &stats);
    cr_assert_eq(stats.hits + stats.misses, asked);
    cr_assert_gt(stats.misses, 0);
    cr_assert_leq(stats.slots_used, stats.slots);
    cr_assert_leq(stats.slot_bytes, options->slot_budget);
    cache_close(cache);
}

/* Every engine, mode, depth, piece size and order of reading brings the same bytes, into few slots and many. */
Test(cache, brings_every_expert_however_it_reads)
{
    static const uint32_t depths[] = { 1, 3, 8, 64 }, pieces[] = { 4096, 12288, 256 << 10 };
    struct expert_file file;
    struct cache_options options;

    expert_file_init(&file, &small);
    for (unsigned i = 0; i < 2 * 2 * 4 * 3 * 2; i++) {
        cache_options_default(&options);
        options.io_engine = i % 2 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        options.io_mode = i / 2 % 2 ? IO_DIRECT : IO_BUFFERED;
        options.queue_depth = depths[i / 4 % 4];
        options.piece_bytes = pieces[i / 16 % 3];
        options.read_by_part = i / 48;
        options.slot_budget = cache_min_bytes(&file.layout) * (1 + i % 3);
        run_random(&file, &options, 30);
    }
    expert_file_fini(&file);
}

Test(cache, layers_of_other_sizes_and_several_files)
{
    struct expert_file file;
    struct cache_options options;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 6, .n_experts = 8, .n_used = 2, .n_files = 3,
                                                         .grow = 60, .first_layer = 5, .seed = 3 });
    cache_options_default(&options);
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        options.io_mode = (enum io_mode)mode;
        options.slot_budget = cache_min_bytes(&file.layout);
        run_random(&file, &options, 60);
        options.slot_budget *= 3;
        run_random(&file, &options, 60);
    }
    expert_file_fini(&file);
}

Test(cache, parts_that_touch_are_one_read)
{
    struct expert_file file;
    struct cache_options options;

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 4, .n_experts = 1, .n_used = 1, .packed = true,
                                                         .seed = 4 });
    cache_options_default(&options);
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        options.io_mode = (enum io_mode)mode;
        options.slot_budget = cache_min_bytes(&file.layout);
        run_random(&file, &options, 20);
    }
    expert_file_fini(&file);
}
