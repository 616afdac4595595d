/* SPDX-License-Identifier: MIT */
#include "cache/cache.h"

#include "base/arith.h"

#include <errno.h>

/* Experts asked for at once: enough to keep a drive busy. */
#define BATCH 8

struct verify {
    const struct expert_layout *layout;
    struct expert_door *door;
    uint64_t n_bad;
    struct err first;
};

/* 0, or the error that ended the request; views are not looked at: arriving is what is tested. */
static int ask(struct verify *v, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    struct expert_view view;
    size_t index;
    int rc = v->door->ops->request(v->door, layer, ids, n, err);

    if (rc < 0)
        return rc;
    while ((rc = v->door->ops->next(v->door, &index, &view, err)) > 0)
        v->door->ops->release(v->door, &view);
    if (rc < 0)
        v->door->ops->abandon(v->door);
    return rc;
}

/* A batch that fails is asked for again one by one, to count the bad ones. Returns only what makes going on pointless.
 */
static int batch_check(struct verify *v, uint32_t layer, uint32_t first, size_t n, struct err *err)
{
    uint16_t ids[BATCH];
    struct err why = { 0 };
    int rc;

    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)(first + i);
    if (n > 1 && ask(v, layer, ids, n, &why) == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        rc = ask(v, layer, &ids[i], 1, &why);
        if (rc == ERR_CHANGED || rc == -ENOMEM) {
            *err = why;
            return rc;
        }
        if (rc < 0 && v->n_bad++ == 0)
            v->first = why;
    }
    return 0;
}

static int layers_check(struct verify *v, bool (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                        struct err *err)
{
    const struct expert_layout *layout = v->layout;
    uint64_t done = 0, total = 0;
    int rc = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        total += layout->layers[i].expert_bytes * layout->n_experts;
    for (uint32_t i = 0; i < layout->n_layers; i++)
        for (uint32_t e = 0; e < layout->n_experts; e += BATCH) {
            size_t most = u64_min(BATCH, v->door->max_request), n = u64_min(BATCH, layout->n_experts - e);

            for (size_t at = 0; at < n && rc == 0; at += most)
                rc = batch_check(v, layout->layers[i].layer, e + (uint32_t)at, u64_min(most, n - at), err);
            if (rc < 0)
                return rc;
            done += n * layout->layers[i].expert_bytes;
            if (on_progress != NULL && on_progress(ctx, done, total))
                return err_set(err, ERR_CANCELED, "verification canceled");
        }
    return 0;
}

static int verify_open(const struct expert_layout *layout, const struct pack *pack, const char *catalog_dir,
                       struct cache **ret_cache, struct err *err)
{
    struct cache_options options;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(layout) * 2;
    options.pack = pack;
    options.catalog_dir = catalog_dir;
    options.io_mode = IO_DIRECT;
    return cache_open(layout, &options, ret_cache, err);
}

int cache_verify(const struct expert_layout *layout, const char *catalog_dir,
                 bool (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, uint64_t *ret_bad,
                 struct err *err)
{
    struct verify v = { .layout = layout };
    struct cache *cache;
    int rc = verify_open(layout, NULL, catalog_dir, &cache, err);

    if (rc < 0)
        return rc;
    v.door = cache_door(cache);
    rc = layers_check(&v, on_progress, ctx, err);
    cache_close(cache);
    if (rc < 0)
        return rc;
    *ret_bad = v.n_bad;
    if (v.n_bad > 0 && err != NULL)
        *err = v.first;
    return v.n_bad > 0 ? v.first.code : 0;
}

/* Every expert asked for once; the records that the cache gave up are the bad ones. */
int cache_verify_pack(const struct expert_layout *layout, const struct pack *pack, const char *catalog_dir,
                      bool (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, bool *ret_is_bad,
                      uint64_t *ret_bad, struct err *err)
{
    struct verify v = { .layout = layout };
    struct cache_stats stats;
    struct cache *cache;
    int rc = verify_open(layout, pack, catalog_dir, &cache, err);

    if (rc < 0)
        return rc;
    v.door = cache_door(cache);
    rc = layers_check(&v, on_progress, ctx, err);
    cache_stats(cache, &stats);
    for (uint32_t key = 0; key < layout->n_layers * layout->n_experts && ret_is_bad != NULL; key++)
        ret_is_bad[key] = cache_pack_is_bad(cache, key / layout->n_experts, key % layout->n_experts);
    if (rc == 0 && v.n_bad > 0) {
        rc = v.first.code;
        if (err != NULL)
            *err = v.first;
    } else if (rc == 0 && stats.pack_bad > 0) {
        *ret_bad = stats.pack_bad;
        rc = err_set(err, ERR_CHECKSUM, "%s", cache_pack_note(cache));
    }
    cache_close(cache);
    return rc;
}
