/* SPDX-License-Identifier: MIT
 *
 * cache.h: experts in RAM slots, read from disk when asked for. Implements the expert door (model/experts.h).
 *
 * Slots are taken at open, in size classes (layers may have experts of different sizes), huge pages where they can
 * be had, pre-faulted, registered with the ring; cache_resize gives some back and takes them again. A policy
 * (cache/policy.h) chooses victims; experts being read, pinned or named by the open request never are. Every record is
 * checked against its XXH3-128 in the catalog after each read (recorded at the first); a mismatch is read once more and
 * then fails the request with expert, layer, file and offset named. With a pack (cache/pack.h) records are read from
 * there; one that is damaged or cannot be read is from then on read from the model's own files, and no request fails
 * for it.
 *
 * Threads: the engine thread only, except cache_stats (any thread). The layout is borrowed for the cache's life.
 */
#ifndef EXPERTD_CACHE_CACHE_H
#define EXPERTD_CACHE_CACHE_H

#include "base/err.h"
#include "base/parallel.h"
#include "cache/drive.h"
#include "cache/policy.h"
#include "cache/shadow.h"
#include "model/experts.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stdint.h>

enum io_mode { IO_AUTO, IO_DIRECT, IO_BUFFERED };
enum io_engine { IO_ENGINE_AUTO, IO_ENGINE_URING, IO_ENGINE_PREAD };

/* Whether the drive's curve is measured (direct reads only): never; when it is not known and the model is large enough
 * for it to matter, in cache_idle; or anew, whatever is known. */
enum cache_measuring { MEASURE_NEVER, MEASURE_ONCE, MEASURE_NOW };

struct io;
struct io_options;
struct pack;

struct cache_options {
    uint64_t slot_budget; /* bytes for slots */
    enum io_mode io_mode;
    enum io_engine io_engine;
    uint32_t queue_depth;    /* reads in flight; 0: by the drive's curve, or default */
    uint32_t piece_bytes;    /* a read is split into pieces of this size; 0: likewise; a multiple of 4096 */
    enum cache_measuring measure;
    enum policy_kind policy; /* which expert gives up its slot; default: the least recently used */
    bool read_by_part;       /* gate and up of every missing expert before any down; default: expert after expert */
    bool no_shadow;          /* do not count what other policies would have hit: memory is short */
    uint64_t ram_free_bytes; /* free beside the daemon's budget, which the page cache may use; decides io auto */
    const struct pack *pack; /* read experts from there; borrowed; NULL: from the model's files */
    const char *catalog_dir; /* state directory for the LMDB catalog; NULL: keep checksums in memory only */
    bool verify;             /* check checksums; on by default, off only in tests and benchmarks */
    /* Tests put an engine of their own in place of io_engine's; NULL otherwise. */
    int (*on_io_open)(void *ctx, const struct io_options *options, struct io **ret_io, struct err *err);
    void *io_ctx;
};

/* Everything at its default, verify on; slot_budget remains to be set. */
void cache_options_default(struct cache_options *ret_options);

struct cache_stats {
    uint64_t hits, misses; /* experts asked for */
    uint64_t bytes_read;   /* from files, on demand */
    uint64_t hint_bytes;   /* from files, on hints */
    uint64_t hint_reads;   /* experts whose reading a hint began; each ends up as one of the next three, or waits */
    uint64_t hint_hits;    /* asked for when already there (counted among the hits) */
    uint64_t hint_late;    /* asked for while being read (counted among the misses) */
    uint64_t hint_wasted;  /* evicted or withdrawn before anybody asked for it */
    uint64_t read_ns;      /* summed over experts: asked for until arrived */
    uint64_t wait_ns;      /* the engine stood still, or summed what had come */
    uint64_t door_ns;      /* the engine was busy with the cache itself: finding, submitting */
    uint64_t busy_ns;      /* reads were in flight, as far as the engine had looked */
    uint64_t evictions;
    uint64_t reread;            /* experts read again after a mismatch, pieces after an error */
    uint64_t pack_bad;          /* records of the pack that are not used: damaged, unreadable or not the catalog's */
    uint64_t slots, slots_used; /* less those given back */
    uint64_t slot_bytes;        /* memory held by slots */
    uint64_t huge_bytes;        /* of which in huge pages */
    struct shadow_counts shadow; /* what each policy would have hit */
};

struct cache;

/* The least slot_budget that can work: a layer's top-k (n_used) experts of each size class, whatever the alignment. */
uint64_t cache_min_bytes(const struct expert_layout *layout);
/* Bytes taken besides slots (tables, ring or threads, what a flush of the catalog touches); slot_budget 0: not known
 * yet. */
uint64_t cache_overhead_bytes(const struct expert_layout *layout, const struct cache_options *options);

int cache_open(const struct expert_layout *layout, const struct cache_options *options, struct cache **ret_cache,
               struct err *err);
void cache_close(struct cache *cache);
struct expert_door *cache_door(struct cache *cache);
/* Sum checksums with these, until they are taken back with NULL. They must be free whenever the door or cache_idle is
 * called. Borrowed. */
void cache_use_threads(struct cache *cache, const struct parallel *threads);
void cache_stats(const struct cache *cache, struct cache_stats *ret_stats);
/* What is in use, for the start-up lines: "io_uring, direct" or "pread (io_uring not permitted: ...), buffered". Lent.
 */
const char *cache_describe(const struct cache *cache);

/* What the user should be told of the catalog (rebuilt, memory only, ...), or NULL. Lent until the next cache_idle. */
const char *cache_note(const struct cache *cache);

/* What the user should be told of the pack once stats say pack_bad: the first bad record, or NULL. Lent. */
const char *cache_pack_note(const struct cache *cache);
/* Whether an expert's record in the pack is not used (any more). */
bool cache_pack_is_bad(const struct cache *cache, uint32_t layer_index, uint32_t expert);

/* Keep what was learnt now; cache_close does so too, but cannot say why it failed. */
int cache_keep(struct cache *cache, struct err *err);

/* For the engine thread when it has nothing to do: reads on what hints asked for, and when there is nothing to read,
 * measures a bit of the drive or writes the catalog if that is due. Waits for at most one read, or for some tens of
 * milliseconds of measuring. Returns whether there is more to do at once. */
bool cache_idle(struct cache *cache);

/* How experts are read, and why so. */
struct cache_drive {
    uint32_t piece_bytes, depth; /* in force */
    bool measuring;
    const char *doubt;         /* why they do not follow from the curve; NULL: they do. Static */
    uint64_t rate, latency_ns; /* of the way of reading that they follow from; 0 with a doubt */
    struct drive_curve curve;  /* measured_s 0: none */
};
void cache_drive(const struct cache *cache, struct cache_drive *ret_drive);

/* How often each expert of a layer was asked for lately, kept over restarts: [n_experts], lent. layer_index is the
 * index into the layout's layers. */
const uint32_t *cache_heat(const struct cache *cache, uint32_t layer_index);
/* Slots of a layer's class that hold nothing, less what hints still wish; the class is a number below 4. */
uint32_t cache_free_slots(const struct cache *cache, uint32_t layer_index, uint32_t *ret_class);
/* Whether reads for hints wait or are in flight. */
bool cache_hinting(const struct cache *cache);

/* Hold slots of at most so many bytes from now on, and as many of them as were opened when that is more: under memory
 * pressure slots go back to the kernel, the coldest experts' first, and are taken again later. Not below
 * cache_min_bytes, rounded up to huge pages. Between requests and with all views released, or -EBUSY; -ENOTSUP while a
 * device has pinned the slots (cache/lend.h). Waits for reads that hints began. On an error (-ENOMEM: not all could be
 * taken again) the cache works on with what it has; cache_stats says how much. */
int cache_resize(struct cache *cache, uint64_t slot_budget, struct err *err);

/* Read every expert and fill or check the catalog. on_progress may be NULL, true cancels (ERR_CANCELED). Returns 0 when
 * all are good; otherwise the first bad one's error, with ret_bad, which is set whenever every expert was looked at.
 * Takes slots and threads of its own for the time (cache_min_bytes, twice). */
int cache_verify(const struct expert_layout *layout, const char *catalog_dir,
                 bool (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, uint64_t *ret_bad,
                 struct err *err);
/* The same for a pack of the model. ret_is_bad: [n_layers * n_experts] or NULL. ERR_CHECKSUM with ret_bad when records
 * are bad; ret_bad is set then only. */
int cache_verify_pack(const struct expert_layout *layout, const struct pack *pack, const char *catalog_dir,
                      bool (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, bool *ret_is_bad,
                      uint64_t *ret_bad, struct err *err);

#endif
