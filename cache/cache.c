/* SPDX-License-Identifier: MIT */
#include "cache/cache.h"

#include "base/arith.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cache/state.h"

#include <errno.h>
#include <stdio.h>

#define DEPTH_DEFAULT 16
#define PIECE_DEFAULT (256U << 10)

void cache_options_default(struct cache_options *ret_options)
{
    *ret_options = (struct cache_options){
        .io_mode = IO_AUTO, .io_engine = IO_ENGINE_AUTO, .measure = MEASURE_ONCE, .verify = true
    };
}

static uint64_t experts_bytes(const struct expert_layout *layout)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        bytes += layout->n_experts * layout->layers[i].expert_bytes;
    return bytes;
}

/* The page cache helps when it can hold nearly all that the slots cannot. When the slots hold everything it would be a
 * second copy of what is read once. */
static bool want_direct(const struct expert_layout *layout, const struct cache_options *options)
{
    uint64_t all = experts_bytes(layout);

    if (options->io_mode != IO_AUTO)
        return options->io_mode == IO_DIRECT;
    return options->slot_budget >= all || options->ram_free_bytes < all - all / 8;
}

/* With smaller blocks slots are smaller, but layers may fall into more classes, of which each has its top-k. */
uint64_t cache_min_bytes(const struct expert_layout *layout)
{
    uint64_t least = 0;

    for (uint32_t block = EXTENT_BUFFERED_BLOCK; block <= EXTENT_MAX_BLOCK; block *= 2)
        least = u64_max(least, slot_plan_min_bytes(layout, block));
    return least;
}

static uint32_t depth_of(const struct cache_options *options)
{
    uint32_t depth = options->queue_depth > 0 ? options->queue_depth : DEPTH_DEFAULT;

    return depth < IO_MAX_DEPTH ? depth : IO_MAX_DEPTH;
}

static uint32_t piece_of(const struct cache_options *options)
{
    uint32_t piece = options->piece_bytes > 0 ? options->piece_bytes : PIECE_DEFAULT;

    return (uint32_t)u64_max(u64_align_down(piece, EXTENT_MAX_BLOCK), EXTENT_MAX_BLOCK);
}

/* An upper bound: tables per expert and per slot, the engine's threads or ring, and what a flush of the catalog
 * touches. */
uint64_t cache_overhead_bytes(const struct expert_layout *layout, const struct cache_options *options)
{
    uint64_t n_keys = (uint64_t)layout->n_layers * layout->n_experts, n_slots = 0;
    struct slot_plan plan;

    if (slot_plan_make(layout, EXTENT_MAX_BLOCK, options->slot_budget, &plan, NULL) == 0)
        for (uint32_t c = 0; c < plan.n_classes; c++)
            n_slots += plan.class[c].n_slots;
    else /* not known yet */
        n_slots = n_keys;
    return (64 << 10) + outlook_bytes(layout->n_layers, layout->n_experts) +
           (options->no_shadow ? 0 : shadow_bytes(layout->n_layers, layout->n_experts)) + n_keys * 512 +
           n_slots * 512 + (uint64_t)layout->n_experts * 160 + depth_of(options) * (12ULL << 10);
}

static void describe(struct cache *c, const char *engine, const char *why)
{
    snprintf(c->description, sizeof(c->description), "%s%s%s%s, %s%s%s%s", engine, why[0] != '\0' ? " (" : "", why,
             why[0] != '\0' ? ")" : "", c->files.direct ? "direct" : "buffered",
             c->files.refused[0] != '\0' ? " (" : "", c->files.refused, c->files.refused[0] != '\0' ? ")" : "");
}

static int engine_open(struct cache *c, const struct cache_options *options, const struct io_options *io_options,
                       struct io **ret_io, struct err *err)
{
    struct err why = { 0 };
    int rc = -1;

    if (options->on_io_open != NULL)
        rc = options->on_io_open(options->io_ctx, io_options, ret_io, err);
    else if (options->io_engine != IO_ENGINE_PREAD)
        rc = io_uring_open(io_options, ret_io, &why);
    if (rc < 0 && options->io_engine == IO_ENGINE_URING)
        return err_set(err, why.code, "%s; use the pread engine instead", err_text(&why));
    if (rc < 0 && options->on_io_open == NULL)
        rc = io_pread_open(io_options, ret_io, err);
    if (rc == 0)
        describe(c, (*ret_io)->name, why.text[0] == '\0' && (*ret_io)->detail != NULL ? (*ret_io)->detail : why.text);
    return rc;
}

static int reading_open(struct cache *c, const struct cache_options *options, struct err *err)
{
    struct iovec buffers[CACHE_BUFFERS_MAX];
    struct io_options io_options = { .fds = c->files.fds,
                                     .n_fds = c->files.n_fds,
                                     .depth = depth_of(options),
                                     .buffers = buffers,
                                     .n_buffers = cache_buffers(&c->slots, buffers) };
    struct reader_options reader_options = { .files = &c->files,
                                             .n_slots = c->slots.n_slots,
                                             .piece_bytes = piece_of(options),
                                             .by_part = options->read_by_part,
                                             .on_end = cache_on_end,
                                             .on_room = cache_feed,
                                             .ctx = c };
    int rc = engine_open(c, options, &io_options, &reader_options.io, err);

    return rc == 0 ? reader_open(&reader_options, &c->reader, err) : rc;
}

static int tables_alloc(struct cache *c, struct err *err)
{
    uint32_t n_experts = c->layout->n_experts;

    c->request.ready = mem_calloc(n_experts, sizeof(*c->request.ready));
    c->request.missing = mem_calloc(n_experts, sizeof(*c->request.missing));
    c->request.slot = mem_calloc(n_experts, sizeof(*c->request.slot));
    c->request.asked_ns = mem_calloc(n_experts, sizeof(*c->request.asked_ns));
    c->named = mem_calloc(n_experts, sizeof(*c->named));
    c->index_of = mem_calloc(n_experts, sizeof(*c->index_of));
    c->found = mem_calloc(n_experts, sizeof(*c->found));
    c->slot_index = mem_calloc(c->slots.n_slots, sizeof(*c->slot_index));
    c->slot_reread = mem_calloc(c->slots.n_slots, sizeof(*c->slot_reread));
    c->pack_bad = mem_calloc(c->pack != NULL ? (size_t)c->layout->n_layers * n_experts : 1, sizeof(*c->pack_bad));
    if (c->request.ready == NULL || c->request.missing == NULL || c->request.slot == NULL ||
        c->request.asked_ns == NULL || c->named == NULL || c->index_of == NULL || c->slot_index == NULL ||
        c->found == NULL || c->slot_reread == NULL || c->pack_bad == NULL)
        return err_sys(err, ENOMEM, "expert cache");
    return 0;
}

static int wishes_alloc(struct cache *c, struct err *err)
{
    c->n_wishes_max = 2 * c->layout->n_experts;
    for (int i = 0; i < READER_PRIORITIES - READER_HINT; i++) {
        c->wishes[i].wish = mem_calloc(c->n_wishes_max, sizeof(*c->wishes[i].wish));
        if (c->wishes[i].wish == NULL)
            return err_sys(err, ENOMEM, "expert cache");
    }
    return 0;
}

static int shadow_init(struct cache *c, struct err *err)
{
    struct shadow_shape shape = { .n_layers = c->layout->n_layers,
                                  .n_experts = c->layout->n_experts,
                                  .n_classes = c->slots.plan.n_classes,
                                  .class_of_layer = c->slots.class_of_layer,
                                  .max_keys = SHADOW_KEYS,
                                  .window = SHADOW_WINDOW };

    for (uint32_t i = 0; i < shape.n_classes; i++)
        shape.n_slots[i] = c->slots.plan.class[i].n_slots;
    return shadow_open(&shape, &c->shadow) < 0 ? err_sys(err, ENOMEM, "expert cache") : 0;
}

static int outlook_init(struct cache *c, struct err *err)
{
    const struct expert_layout *layout = c->layout;

    if (outlook_open(layout->n_layers, layout->n_experts, layout->n_used, &c->outlook) < 0)
        return err_sys(err, ENOMEM, "expert cache");
    c->slots.policy->chance = outlook_chances(c->outlook);
    return 0;
}

/* Of earlier runs. */
static void heat_recall(struct cache *c)
{
    const struct expert_layout *layout = c->layout;

    policy_recall(c->slots.policy, catalog_heat(c->catalog), layout->n_layers, layout->n_experts, layout->n_used);
    for (uint32_t i = 0; i < layout->n_layers; i++)
        outlook_recall(c->outlook, i, cache_heat(c, i));
}

int cache_open(const struct expert_layout *layout, const struct cache_options *options, struct cache **ret_cache,
               struct err *err)
{
    struct cache *c = mem_zalloc(sizeof(*c));
    int rc;

    if (c == NULL)
        return err_sys(err, ENOMEM, "expert cache");
    c->layout = layout;
    c->pack = options->pack;
    c->verify = options->verify;
    rc = files_init(&c->files, layout, options->pack, want_direct(layout, options), err);
    if (rc == 0)
        rc = slots_init(&c->slots, layout, c->files.block, options->slot_budget, options->policy, err);
    if (rc == 0)
        rc = tables_alloc(c, err);
    if (rc == 0)
        rc = wishes_alloc(c, err);
    if (rc == 0)
        rc = outlook_init(c, err);
    if (rc == 0 && !options->no_shadow)
        rc = shadow_init(c, err);
    if (rc == 0)
        rc = catalog_open(layout, &(struct catalog_options){ .dir = options->catalog_dir }, &c->catalog, err);
    if (rc == 0)
        rc = reading_open(c, options, err);
    if (rc < 0) {
        cache_close(c);
        return rc;
    }
    heat_recall(c);
    cache_pack_compare(c);
    cache_measure_init(c, options, piece_of(options), depth_of(options));
    c->door = (struct expert_door){ .ops = &door_timed_ops, .max_request = cache_max_request(c) };
    cache_counters_update(c);
    *ret_cache = c;
    return 0;
}

void cache_close(struct cache *cache)
{
    if (cache == NULL)
        return;
    reader_close(cache->reader);
    catalog_close(cache->catalog);
    mem_free(cache->found);
    shadow_close(cache->shadow);
    outlook_close(cache->outlook);
    mem_free(cache->pack_bad);
    mem_free(cache->slot_reread);
    mem_free(cache->slot_index);
    mem_free(cache->index_of);
    mem_free(cache->named);
    mem_free(cache->request.asked_ns);
    mem_free(cache->request.slot);
    mem_free(cache->request.missing);
    mem_free(cache->request.ready);
    mem_free(cache->wishes[1].wish);
    mem_free(cache->wishes[0].wish);
    slots_fini(&cache->slots);
    files_fini(&cache->files);
    mem_free(cache);
}

void cache_use_threads(struct cache *cache, const struct parallel *threads)
{
    cache->threads = threads;
}

struct expert_door *cache_door(struct cache *cache)
{
    return &cache->door;
}

void cache_stats(const struct cache *cache, struct cache_stats *ret_stats)
{
    const struct cache_counters *n = &cache->counters;

    *ret_stats = (struct cache_stats){
        .hits = atomic_load_explicit(&n->hits, memory_order_relaxed),
        .misses = atomic_load_explicit(&n->misses, memory_order_relaxed),
        .bytes_read = atomic_load_explicit(&n->bytes_read, memory_order_relaxed),
        .hint_bytes = atomic_load_explicit(&n->hint_bytes, memory_order_relaxed),
        .hint_reads = atomic_load_explicit(&n->hint_reads, memory_order_relaxed),
        .hint_hits = atomic_load_explicit(&n->hint_hits, memory_order_relaxed),
        .hint_late = atomic_load_explicit(&n->hint_late, memory_order_relaxed),
        .hint_wasted = atomic_load_explicit(&n->hint_wasted, memory_order_relaxed),
        .read_ns = atomic_load_explicit(&n->read_ns, memory_order_relaxed),
        .door_ns = atomic_load_explicit(&n->door_ns, memory_order_relaxed),
        .busy_ns = atomic_load_explicit(&n->busy_ns, memory_order_relaxed),
        .wait_ns = atomic_load_explicit(&n->wait_ns, memory_order_relaxed),
        .evictions = atomic_load_explicit(&n->evictions, memory_order_relaxed),
        .reread = atomic_load_explicit(&n->reread, memory_order_relaxed),
        .pack_bad = atomic_load_explicit(&n->pack_bad, memory_order_relaxed),
        .slots = atomic_load_explicit(&n->slots, memory_order_relaxed),
        .slots_used = atomic_load_explicit(&n->slots_used, memory_order_relaxed),
        .slot_bytes = atomic_load_explicit(&n->slot_bytes, memory_order_relaxed),
        .huge_bytes = atomic_load_explicit(&n->huge_bytes, memory_order_relaxed),
    };
    if (cache->shadow != NULL)
        shadow_counts(cache->shadow, &ret_stats->shadow);
}

const char *cache_note(const struct cache *cache)
{
    return catalog_note(cache->catalog);
}

int cache_keep(struct cache *cache, struct err *err)
{
    return catalog_flush(cache->catalog, err);
}

bool cache_idle(struct cache *cache)
{
    if (cache_hinting(cache)) {
        int rc = reader_pump(cache->reader, true, NULL);

        cache_counters_update(cache);
        return rc == 0 && cache_hinting(cache);
    }
    if (cache->measure.drive.measuring) {
        cache_measure_step(cache);
        return true;
    }
    if (catalog_flush_due(cache->catalog, clock_ns()))
        catalog_flush(cache->catalog, NULL);
    return false;
}

const uint32_t *cache_heat(const struct cache *cache, uint32_t layer_index)
{
    return catalog_heat(cache->catalog) + (size_t)layer_index * cache->layout->n_experts;
}

uint32_t cache_free_slots(const struct cache *cache, uint32_t layer_index, uint32_t *ret_class)
{
    uint32_t n_wishes = cache_wishes(cache), n_free;

    *ret_class = cache->slots.class_of_layer[layer_index];
    n_free = cache->slots.n_free[*ret_class];
    return n_free > n_wishes ? n_free - n_wishes : 0;
}

bool cache_hinting(const struct cache *cache)
{
    return cache_wishes(cache) > 0 || !reader_idle(cache->reader);
}

const char *cache_describe(const struct cache *cache)
{
    return cache->description;
}
