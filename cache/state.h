/* SPDX-License-Identifier: MIT
 *
 * state.h: what cache.c (open, close, figures), door.c (requests), feed.c (slots for what is to be read) and
 * arrival.c (what was read) share. For these only.
 *
 * Where a slot's bytes come from, the pack or the model's files, is decided when its reading begins (slot.packed), for
 * the two put the parts in different places.
 *
 * Units: bytes, nanoseconds. Threads: the engine thread only, except the atomics.
 */
#ifndef EXPERTD_CACHE_STATE_H
#define EXPERTD_CACHE_STATE_H

#include "cache/cache.h"
#include "cache/catalog.h"
#include "cache/files.h"
#include "cache/outlook.h"
#include "cache/pack.h"
#include "cache/reader.h"
#include "cache/slots.h"

#include <stdatomic.h>

/* The request that is open: n experts of one layer, of which n_given have been returned. */
struct request {
    uint32_t layer_index;
    size_t n, n_given;
    size_t ready_head, n_ready;
    size_t missing_head, n_missing;
    uint16_t *ready;    /* [n_experts] indices into ids in order of arrival, from ready_head */
    uint16_t *missing;  /* [n_experts] that have no slot yet, in the file's order, from missing_head */
    uint32_t *slot;     /* [n_experts] of each index; SLOT_NONE before it has one */
    uint64_t *asked_ns; /* [n_experts] of each index that was missing */
    int code;           /* the first failure */
    struct err err;
};

/* What a hint would have read, and the last request before the one that is to find it. */
struct wish {
    uint64_t until;
    uint32_t key;
};

struct wishes {
    struct wish *wish; /* [n_wishes_max], first come first */
    uint32_t n;
};

struct cache_counters {
    _Atomic uint64_t hits, misses, bytes_read, hint_bytes, read_ns, wait_ns, evictions, reread, slots_used;
    _Atomic uint64_t hint_reads, hint_hits, hint_late, hint_wasted, pack_bad, door_ns, busy_ns;
    _Atomic uint64_t slots, slot_bytes, huge_bytes;
};

#define MEASURE_FILES 64

/* Measuring the drive when there is nothing else to do. In measure.c. */
struct measure {
    struct cache_drive drive;      /* what is in force */
    uint32_t piece_set, depth_set; /* by the user; 0: follow the curve */
    uint32_t step;                 /* of all cells, DRIVE_ROUNDS times */
    uint64_t random, spent_ns;
    struct drive_sum sums[DRIVE_CELLS];
};

struct cache {
    struct expert_door door; /* first: the door is the cache */
    const struct expert_layout *layout;
    const struct pack *pack; /* NULL: none */
    bool verify;
    const struct parallel *threads; /* to sum with; NULL: the engine's alone */
    bool memory_held; /* the slots' memory is pinned by a device */
    struct files files;
    struct slots slots;
    struct reader *reader;
    struct catalog *catalog;
    struct request request;
    struct wishes wishes[READER_PRIORITIES - READER_HINT];
    uint32_t n_wishes_max;
    int changed;          /* what the last look at the files found */
    uint64_t naming;      /* number of the last list of ids */
    uint64_t *named;      /* [n_experts] the list that named it last */
    uint16_t *index_of;   /* [n_experts] its index there */
    uint16_t *slot_index; /* [n_slots] index in the open request of a wanted slot */
    uint64_t n_rereads;   /* experts read again after a mismatch */
    bool *slot_reread;    /* [n_slots] being read for the second time after a mismatch */
    bool *pack_bad;       /* [n_keys] not to be read from the pack */
    char pack_note[600];  /* empty while no record is bad */
    struct measure measure;
    struct outlook *outlook;
    struct shadow *shadow;
    bool *found; /* [n_experts] of the request in hand: whether it was there when asked for; for the shadow */
    struct cache_counters counters;
    char description[720];
};

extern const struct expert_door_ops door_ops;
/* The same, and counts door_ns. In door_timed.c. */
extern const struct expert_door_ops door_timed_ops;

/* reader_options.on_end; ctx is the cache. In arrival.c. */
void cache_on_end(void *ctx, uint32_t slot, int code, const struct err *err);

#define CACHE_BUFFERS_MAX 256

/* The slots in pieces to register with the engine, none cutting a slot in two; always as many, whatever has been given
 * back: such pieces are shorter, or empty. In resize.c. */
uint32_t cache_buffers(const struct slots *slots, struct iovec buffers[CACHE_BUFFERS_MAX]);
/* reader_options.on_room: a slot, and a read, for the next that the request is short of or that a hint wishes. False
 * when there is none, or no slot for it now. In feed.c, and so the others down to cache_wishes. */
bool cache_feed(void *ctx, enum reader_priority priority);
/* An expert of the request that has a slot: it is used. Returns whether it is there already. */
bool cache_request_find(struct cache *c, size_t index, uint32_t key);
/* Take back a slot that is being read for nobody. */
void cache_slot_withdraw(struct cache *c, uint32_t slot);
/* Experts that the request has no slot for yet, of a class. */
size_t cache_missing(const struct cache *c, uint32_t class);
/* Whether there are slots for them even when one more is pinned. */
bool cache_can_spare(const struct cache *c, uint32_t class);
/* To be read when there is room; false when too many wait. */
bool cache_wish(struct cache *c, enum reader_priority priority, const struct wish *wish);
/* One that has a slot stays there for as long; false when it has none. */
bool cache_wish_found(struct cache *c, enum reader_priority priority, const struct wish *wish);
/* A request begins: what was wished for before it is void. */
void cache_wishes_end(struct cache *c, uint64_t request);
uint32_t cache_wishes(const struct cache *c);

/* The most that any request may name. */
size_t cache_max_request(const struct cache *cache);

/* Where a slot's expert lies in it. In door.c. */
void cache_view_fill(struct cache *cache, uint32_t slot, struct expert_view *ret_view);

/* Take up what the catalog knows of the drive, or begin to measure it; `piece_bytes` and `depth` are in force. */
void cache_measure_init(struct cache *cache, const struct cache_options *options, uint32_t piece_bytes, uint32_t depth);
/* A bit of measuring, while drive.measuring, with an idle reader. */
void cache_measure_step(struct cache *cache);

/* Carry the exact figures over to where any thread may read them. */
void cache_counters_update(struct cache *cache);

static inline void cache_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Read a slot's expert once more, from wherever it is to be read now. In arrival.c. */
void cache_slot_read_again(struct cache *c, uint32_t slot);

/* Records of the pack that are not what the catalog remembers of the model are not used. In pack_use.c. */
void cache_pack_compare(struct cache *c);
/* The pack is a copy: what is wrong with one record of it costs the speed of that record. The slot's expert is read
 * from the model, now and from now on. */
void cache_pack_forsake(struct cache *c, uint32_t slot, const char *why);

/* Where the bytes of the slot's expert lie in its file and in the slot. */
static inline void cache_slot_extent(const struct cache *c, uint32_t slot, struct extent *ret_extent)
{
    uint32_t key = c->slots.slot[slot].key;

    if (c->slots.slot[slot].packed)
        pack_extent(c->pack, key, c->layout->n_files, ret_extent);
    else
        extent_find(c->layout, key / c->layout->n_experts, key % c->layout->n_experts, c->files.block, ret_extent);
}

/* The open request names its expert. */
static inline bool cache_slot_wanted(const struct cache *c, uint32_t slot)
{
    return c->slots.slot[slot].wanted == c->slots.request;
}

static inline void cache_request_ready(struct cache *c, size_t index)
{
    struct request *r = &c->request;

    r->ready[r->n_ready++] = (uint16_t)index;
}

#endif
