/* SPDX-License-Identifier: MIT
 *
 * catalog.h: what is known about a model from earlier runs: its experts' checksums and heat, its drive's curve.
 *
 * Held in memory while in use; kept in an LMDB file in the state directory, which several daemons may share. The file
 * is opened, read and closed at open, and again for each flush: nothing stays mapped or locked in between. Whatever
 * is wrong with the file or the directory costs what was kept there, never the daemon: it is rebuilt, or the catalog
 * stays in memory, and catalog_note says which and why.
 *
 * key = index of the layer in the layout * n_experts + expert. Threads: the engine thread only. Ownership: the layout
 * is borrowed. The hot path (sum, put, heat) allocates nothing and touches no file.
 */
#ifndef EXPERTD_CACHE_CATALOG_H
#define EXPERTD_CACHE_CATALOG_H

#include "base/err.h"
#include "cache/drive.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct catalog;

/* Of an expert's bytes: cache/sum.h. */
struct catalog_sum {
    uint8_t bytes[16];
};

struct catalog_options {
    const char *dir;  /* NULL: memory only */
    size_t map_bytes; /* most that the file may grow to; 0: default */
};

/* Fails for lack of memory alone. */
int catalog_open(const struct expert_layout *layout, const struct catalog_options *options,
                 struct catalog **ret_catalog, struct err *err);
/* Flushes first, waiting a little for another daemon's flush. NULL is allowed. */
void catalog_close(struct catalog *catalog);

/* What the user should be told (rebuilt, memory only, ...) or NULL. Lent until the next flush. */
const char *catalog_note(const struct catalog *catalog);

bool catalog_sum(const struct catalog *catalog, uint32_t key, struct catalog_sum *ret_sum);
void catalog_put(struct catalog *catalog, uint32_t key, const struct catalog_sum *sum);

/* How often each expert was asked for, lately: [n_keys], lent. All are halved now and then. */
const uint32_t *catalog_heat(const struct catalog *catalog);
void catalog_heat_add(struct catalog *catalog, uint32_t key);

/* The curve of the drives that the model lies on; measured_s is 0 when there is none. Lent. */
const struct drive_curve *catalog_curve(const struct catalog *catalog);
void catalog_curve_put(struct catalog *catalog, const struct drive_curve *curve);

/* Write what is new, if anything. Returns 0, -EAGAIN when another daemon is writing (try later), or why it could not be
 * kept; nothing is lost from memory either way. Some 10 ms with an fsync: when there is nothing else to do. */
int catalog_flush(struct catalog *catalog, struct err *err);
/* Whether a flush is worth its fsync by now: new checksums after seconds, heat after a minute. */
bool catalog_flush_due(const struct catalog *catalog, uint64_t now_ns);

#endif
