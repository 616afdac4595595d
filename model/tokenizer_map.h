/* SPDX-License-Identifier: MIT
 *
 * tokenizer_map.h: the two hash tables of a tokenizer, both made once and then only read.
 *
 * Open addressing with linear probing, at most two thirds full. Hashes are seeded at random, so that no vocabulary can
 * be made to fall into one place; what is found does not depend on the seed.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_MAP_H
#define EXPERTD_MODEL_TOKENIZER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 64-bit keys to 32-bit values; the value UINT32_MAX is reserved. */
struct pair_map {
    uint64_t *keys;
    uint32_t *values;
    size_t mask;
    uint64_t seed;
};

int pair_map_init(struct pair_map *map, size_t n_max); /* 0 or -ENOMEM */
void pair_map_fini(struct pair_map *map);
/* Keep the first value of a key: false when it had one. At most n_max different keys. */
bool pair_map_add(struct pair_map *map, uint64_t key, uint32_t value);
uint32_t pair_map_find(const struct pair_map *map, uint64_t key); /* UINT32_MAX: none */

/* Strings to ids. The strings stay where they are: text of id i is bytes + at[i] up to bytes + at[i + 1]. */
struct text_map {
    uint32_t *ids;
    size_t mask;
    uint64_t seed;
    const char *bytes;
    const uint32_t *at;
};

int text_map_init(struct text_map *map, size_t n_max, const char *bytes, const uint32_t *at); /* 0 or -ENOMEM */
void text_map_fini(struct text_map *map);
/* Returns the id that has the same text already, or -1 after adding. */
int32_t text_map_add(struct text_map *map, uint32_t id);
int32_t text_map_find(const struct text_map *map, const char *text, size_t len); /* -1: none */

#endif
