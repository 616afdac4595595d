/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_map.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define NONE UINT32_MAX

static uint64_t random_seed(void)
{
    uint64_t seed;

    return getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed) ? seed : clock_ns();
}

/* A power of two that n fills to two thirds at most. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;

    while (slots / 3 * 2 < n)
        slots *= 2;
    return slots;
}

int pair_map_init(struct pair_map *map, size_t n_max)
{
    size_t slots = slots_for(n_max);

    map->mask = slots - 1;
    map->seed = random_seed();
    map->keys = mem_calloc(slots, sizeof(*map->keys));
    map->values = mem_calloc(slots, sizeof(*map->values));
    if (map->keys == NULL || map->values == NULL)
        return -ENOMEM;
    memset(map->values, 0xff, slots * sizeof(*map->values));
    return 0;
}

void pair_map_fini(struct pair_map *map)
{
    mem_free(map->keys);
    mem_free(map->values);
    map->keys = NULL;
    map->values = NULL;
}

static size_t pair_slot(const struct pair_map *map, uint64_t key)
{
    size_t i = XXH3_64bits_withSeed(&key, sizeof(key), map->seed) & map->mask;

    while (map->values[i] != NONE && map->keys[i] != key)
        i = (i + 1) & map->mask;
    return i;
}

bool pair_map_add(struct pair_map *map, uint64_t key, uint32_t value)
{
    size_t i = pair_slot(map, key);

    if (map->values[i] != NONE)
        return false;
    map->keys[i] = key;
    map->values[i] = value;
    return true;
}

uint32_t pair_map_find(const struct pair_map *map, uint64_t key)
{
    return map->values[pair_slot(map, key)];
}

int text_map_init(struct text_map *map, size_t n_max, const char *bytes, const uint32_t *at)
{
    size_t slots = slots_for(n_max);

    map->mask = slots - 1;
    map->seed = random_seed();
    map->bytes = bytes;
    map->at = at;
    map->ids = mem_calloc(slots, sizeof(*map->ids));
    if (map->ids == NULL)
        return -ENOMEM;
    memset(map->ids, 0xff, slots * sizeof(*map->ids));
    return 0;
}

void text_map_fini(struct text_map *map)
{
    mem_free(map->ids);
    map->ids = NULL;
}

static size_t text_slot(const struct text_map *map, const char *text, size_t len)
{
    size_t i = XXH3_64bits_withSeed(text, len, map->seed) & map->mask;

    for (; map->ids[i] != NONE; i = (i + 1) & map->mask) {
        uint32_t id = map->ids[i];

        if (map->at[id + 1] - map->at[id] == len && memcmp(map->bytes + map->at[id], text, len) == 0)
            break;
    }
    return i;
}

int32_t text_map_add(struct text_map *map, uint32_t id)
{
    size_t i = text_slot(map, map->bytes + map->at[id], map->at[id + 1] - map->at[id]);

    if (map->ids[i] != NONE)
        return (int32_t)map->ids[i];
    map->ids[i] = id;
    return -1;
}

int32_t text_map_find(const struct text_map *map, const char *text, size_t len)
{
    uint32_t id = map->ids[text_slot(map, text, len)];

    return id == NONE ? -1 : (int32_t)id;
}
