/* SPDX-License-Identifier: MIT */
#include "tests/support/door_check.h"

#include <criterion/criterion.h>

#define MAX_IDS 256

struct cache *door_check_open(const struct expert_file *file, const struct cache_options *options)
{
    struct cache *cache = NULL;
    struct err err = { 0 };

    cr_assert_eq(cache_open(&file->layout, options, &cache, &err), 0, "%s", err_text(&err));
    return cache;
}

int door_check_ask(struct cache *cache, const struct expert_file *file, uint32_t layer_index, const uint16_t *ids,
                   size_t n, struct err *err)
{
    struct expert_door *door = cache_door(cache);
    struct expert_view view[MAX_IDS];
    bool seen[MAX_IDS] = { false };
    size_t index = n;
    int rc = door->ops->request(door, file->layers[layer_index].layer, ids, n, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        rc = door->ops->next(door, &index, &view[i], err);
        if (rc < 0) {
            door->ops->abandon(door);
            return rc;
        }
        cr_assert_eq(rc, 1);
        cr_assert(index < n && !seen[index]);
        seen[index] = true;
        cr_assert(expert_file_matches(file, layer_index, ids[index], &view[i]), "layer %u expert %u differs",
                  layer_index, ids[index]);
    }
    cr_assert_eq(door->ops->next(door, &index, &view[0], err), 0);
    for (size_t i = 0; i < n; i++)
        door->ops->release(door, &view[i]);
    return 0;
}

uint32_t door_check_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

void door_check_ids(uint16_t *ids, size_t n, uint32_t n_experts, uint32_t *state)
{
    for (size_t i = 0; i < n;) {
        size_t j = 0;

        ids[i] = (uint16_t)(door_check_random(state) % n_experts);
        while (j < i && ids[j] != ids[i])
            j++;
        i += j == i;
    }
}

void door_check_run(struct cache *cache, const struct expert_file *file, uint32_t n_requests, uint32_t seed)
{
    struct cache_stats before, after;
    uint64_t asked = 0;

    cache_stats(cache, &before);
    for (uint32_t i = 0; i < n_requests; i++) {
        size_t n = 1 + door_check_random(&seed) % cache_door(cache)->max_request;
        uint16_t ids[MAX_IDS];
        struct err err = { 0 };

        door_check_ids(ids, n, file->layout.n_experts, &seed);
        cr_assert_eq(door_check_ask(cache, file, i % file->layout.n_layers, ids, n, &err), 0, "%s", err_text(&err));
        asked += n;
    }
    cache_stats(cache, &after);
    cr_assert_eq(after.hits + after.misses, before.hits + before.misses + asked);
    cr_assert_leq(after.slots_used, after.slots);
}

void door_check_run_with(const struct expert_file *file, const struct cache_options *options, uint32_t n_requests)
{
    struct cache *cache = door_check_open(file, options);
    struct cache_stats stats;

    door_check_run(cache, file, n_requests, 77);
    cache_stats(cache, &stats);
    cr_assert_gt(stats.misses, 0);
    cr_assert_leq(stats.slot_bytes, options->slot_budget);
    cache_close(cache);
}
