/* SPDX-License-Identifier: MIT
 *
 * shadow.h: what every policy, and foresight (cache/oracle.h), would have hit, told while serving.
 *
 * Each policy runs beside the real one, on the same requests, without experts: it holds keys. So that this costs
 * next to
 * nothing, only some experts of each layer are followed, always the same ones, SHADOW_KEYS altogether (at least one
 * of each
 * layer), with the same share of each size class's slots: what a part of the experts hits in its part of the slots is
 * near what all hit in all (within some percent). As in the real cache, an expert that a request names is not
 * evicted for another that it
 * names. Guesses are not followed: what was really found (`found`) has hits that look-ahead brought, the others have
 * none.
 *
 * Threads: the engine thread only, except shadow_counts. Allocates in open only.
 */
#ifndef EXPERTD_CACHE_SHADOW_H
#define EXPERTD_CACHE_SHADOW_H

#include "cache/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHADOW_KEYS 512
#define SHADOW_WINDOW 8192 /* uses in which the oracle knows the future, per class */
#define SHADOW_CLASSES 4

struct shadow_shape {
    uint32_t n_layers, n_experts;
    uint32_t n_classes;               /* at most SHADOW_CLASSES */
    const uint8_t *class_of_layer;    /* [n_layers] */
    uint32_t n_slots[SHADOW_CLASSES]; /* of each class */
    uint32_t max_keys, window;
};

struct shadow_counts {
    uint64_t asked, found; /* uses of experts that are followed; really found */
    uint64_t hits[POLICIES];
    uint64_t oracle;
    uint32_t n_followed;
};

struct shadow;

int shadow_open(const struct shadow_shape *shape, struct shadow **ret_shadow); /* -ENOMEM */
void shadow_close(struct shadow *shadow);
/* A request has named n different experts of a layer; burst: cache/policy.h. was_found: whether this one was there. */
void shadow_request(struct shadow *shadow, uint32_t layer_index, const uint16_t *ids, size_t n, bool burst,
                    bool (*was_found)(const void *ctx, uint16_t id), const void *ctx);
/* What is known of a layer's experts by its router, `chance` [n_experts] (cache/outlook.h): before a request for it. */
void shadow_note(struct shadow *shadow, uint32_t layer_index, const float *chance);
/* The classes hold so many slots from now on, at most what they had at open. */
void shadow_resize(struct shadow *shadow, const uint32_t *n_slots);
/* Any thread. */
void shadow_counts(const struct shadow *shadow, struct shadow_counts *ret_counts);
/* At most what shadow_open takes. */
uint64_t shadow_bytes(uint32_t n_layers, uint32_t n_experts);

#endif
