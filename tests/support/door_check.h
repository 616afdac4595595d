/* SPDX-License-Identifier: MIT
 *
 * door_check.h: asking a cache for experts and holding what comes against what is in the file.
 */
#ifndef EXPERTD_TESTS_SUPPORT_DOOR_CHECK_H
#define EXPERTD_TESTS_SUPPORT_DOOR_CHECK_H

#include "cache/cache.h"
#include "tests/support/expert_file.h"

/* Asserts that it opens. */
struct cache *door_check_open(const struct expert_file *file, const struct cache_options *options);

/* One request taken to its end, each view compared and released. Returns 0, or the error after abandoning; a wrong byte
 * or a protocol breach fails the test. */
int door_check_ask(struct cache *cache, const struct expert_file *file, uint32_t layer_index, const uint16_t *ids,
                   size_t n, struct err *err);

/* Requests of random experts and sizes, layer after layer, all of which must succeed; counts must be exact. */
void door_check_run(struct cache *cache, const struct expert_file *file, uint32_t n_requests, uint32_t seed);
/* The same with a cache of its own. */
void door_check_run_with(const struct expert_file *file, const struct cache_options *options, uint32_t n_requests);

/* n different ids below n_experts. */
void door_check_ids(uint16_t *ids, size_t n, uint32_t n_experts, uint32_t *state);
uint32_t door_check_random(uint32_t *state);

#endif
