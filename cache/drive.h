/* SPDX-License-Identifier: MIT
 *
 * drive.h: what a drive gives by the size and number of the reads in flight, and the way of reading that follows.
 *
 * The curve is measured once, with direct random reads of the model's own files, cell after cell, each bounded in bytes
 * and time (some hundred megabytes and a second in all on a drive that is worth it). It is kept in the catalog
 * (cache/catalog.h) and belongs to the drives it was measured on.
 *
 * The choice: of the ways to read within a twentieth of the best rate, the one with the fewest bytes in flight, since
 * what is in flight is what the next demand waits for. On top of its depth comes what keeps the drive busy while the
 * engine is away with one expert, checking and multiplying it.
 *
 * Bytes, nanoseconds. Pure but for drive_measure. Threads: one. Ownership: nothing; all storage is the caller's.
 */
#ifndef EXPERTD_CACHE_DRIVE_H
#define EXPERTD_CACHE_DRIVE_H

#include "cache/io.h"

#include <stdbool.h>
#include <stdint.h>

#define DRIVE_SIZES 5
#define DRIVE_DEPTHS 5
#define DRIVE_CELLS (DRIVE_SIZES * DRIVE_DEPTHS)
#define DRIVE_MAX_DEPTH 16
#define DRIVE_ROUNDS 4 /* over all cells, since a drive drifts */
#define DRIVE_CELL_BYTES (6U << 20) /* of a round; or twice what is in flight, when that is more */
#define DRIVE_CELL_NS 20000000u
#define DRIVE_ALL_NS 2500000000u /* a drive that takes longer is too slow to ask */

static inline uint32_t drive_size(uint32_t cell) /* 64 KiB .. 1 MiB */
{
    return (64U << 10) << cell / DRIVE_DEPTHS;
}

static inline uint32_t drive_depth(uint32_t cell) /* 1 .. DRIVE_MAX_DEPTH */
{
    return 1U << cell % DRIVE_DEPTHS;
}

/* Fixed widths and no gaps: it is kept as it is. */
struct drive_curve {
    uint64_t measured_s; /* Unix time; 0: never */
    uint64_t drives;     /* what it was measured on (files_drives) */
    uint64_t took_ns;
    struct drive_cell {
        uint64_t rate;       /* bytes per second; 0: not measured */
        uint64_t latency_ns; /* mean */
    } cell[DRIVE_CELLS];
};

struct drive_choice {
    uint32_t piece_bytes, depth;
    uint64_t rate, latency_ns; /* of the cell that it follows from */
};

/* What is wrong with a curve, for a person; NULL: it can be believed. */
const char *drive_doubt(const struct drive_curve *curve);
/* From a curve without doubt. `expert_bytes`: of the largest expert. */
void drive_choose(const struct drive_curve *curve, uint64_t expert_bytes, struct drive_choice *ret_choice);

/* A file to read from. */
struct drive_file {
    uint32_t file; /* io_read.file */
    uint64_t bytes;
};

/* What has been read so far in a cell. */
struct drive_sum {
    uint64_t bytes, ns, n_reads, latency_ns;
};

/* Measure a round of one cell over an idle engine of at least its depth: reads fall on the files by their sizes, at
 * multiples of 4096, and all land in `scratch`, at least drive_size(cell) bytes, as direct reads ask. `random` is any
 * number but 0 and goes on. 0, or what a read failed with, when nothing is in flight any more. */
int drive_measure(struct io *io, const struct drive_file *files, uint32_t n_files, void *scratch, uint32_t cell,
                  uint64_t *random, struct drive_sum *sum);
/* Means over the rounds. */
void drive_cells(const struct drive_sum sums[DRIVE_CELLS], struct drive_curve *curve);

#endif
