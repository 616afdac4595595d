/* SPDX-License-Identifier: MIT
 *
 * pack.h: an optional sidecar of a model, with each expert in one piece.
 *
 * In a GGUF an expert is three slices of three tensors, which begin anywhere. A pack has each expert's gate, up and
 * down as one record that begins and ends on a block: one sequential direct read brings it, and nothing beside it. The
 * model is complete without it. A pack belongs to one state of one model (its identity: sizes, times and headers of the
 * model's files), and is refused for any other.
 *
 * The file, all numbers little-endian, all places multiples of 4096 unless said otherwise:
 *
 *     0    8  magic "expertpk"
 *     8    4  version, 2
 *     12   4  1 when whole; 0 while it is being written (PATH.part), when the header's checksum means nothing
 *     16  16  identity of the model, as in the catalog
 *     32   4  layers with experts
 *     36   4  experts in each
 *     40   8  bytes of the header: where the first record begins
 *     48   8  bytes of the file
 *     56   8  zero
 *     64  64  for each layer: its number in the model (4), the formats of gate, up and down (3 x 4, quant.h), where
 *             its expert 0 begins (8), bytes of each record (8), bytes of an expert's gate, up and down (3 x 8), zero
 * (8) 16  for each expert, layer by layer: its checksum (cache/sum.h), the same as in the catalog; zero: not written
 *             yet
 *             zeros
 *         16  in the last bytes of the header: XXH3-128 of all of it before, canonical
 *     records, layer by layer and expert by expert: gate, up, down, each beginning on a multiple of 64 in the record,
 *     zeros between and behind
 *
 * The order is that in which a prompt's experts are read and a warm-up reads them back. All but the checksums follows
 * from the model's layout, so a header is believed only where it says what the layout says: no offset or size of the
 * file is ever used.
 *
 * Units: bytes; key = index of the layer in the layout * n_experts + expert. Threads: any after open; immutable.
 * Ownership: owns its descriptor and tables; the layout is borrowed for its life. Not here: writing (pack_write.h), and
 * what becomes of a damaged record (arrival.c).
 */
#ifndef EXPERTD_CACHE_PACK_H
#define EXPERTD_CACHE_PACK_H

#include "base/err.h"
#include "cache/catalog.h"
#include "cache/extent.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stdint.h>

#define PACK_SUFFIX ".pack"

struct pack_layer {
    uint64_t at;                    /* expert 0's record in the file */
    uint64_t record_bytes;          /* a multiple of 4096, never more than the expert takes in a slot otherwise */
    uint64_t part_at[EXPERT_PARTS]; /* in the record */
};

struct pack {
    const struct expert_layout *layout;
    char *path;
    int fd; /* buffered; the cache opens its own for O_DIRECT */
    uint64_t header_bytes, file_bytes, sums_at;
    struct pack_layer *layers; /* [n_layers] */
    struct catalog_sum *sums;  /* [n_keys] */
};

/* Open and check the header. -ENOENT: there is none. ERR_CHANGED: it belongs to another model, or to this one before it
 * changed. ERR_FORMAT: it is no pack, or cut short, or damaged, or not finished. ERR_UNSUPPORTED: of a later version.
 * The texts name the path and the remedy. */
int pack_open(const char *path, const struct expert_layout *layout, struct pack **ret_pack, struct err *err);
/* What a pack of this model is like, without a file (fd -1) and with all checksums zero: for the writer. */
int pack_plan(const char *path, const struct expert_layout *layout, struct pack **ret_pack, struct err *err);
void pack_close(struct pack *pack); /* NULL is allowed */

/* The record of an expert, as a single range of file number `file`. */
void pack_extent(const struct pack *pack, uint32_t key, uint32_t file, struct extent *ret_extent);

/* The header as it must stand in the file: [header_bytes]. */
void pack_header(const struct pack *pack, bool whole, uint8_t *ret_header);
/* Take over the checksums of a header read from a file that is being written; false, and none, when it is not of this
 * model. */
bool pack_resume(struct pack *pack, const uint8_t *header);

#endif
