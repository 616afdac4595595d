/* SPDX-License-Identifier: MIT
 *
 * reader.h: experts' extents become pieces in flight, in order of urgency, whatever happens to single reads.
 *
 * A job reads one extent into one slot. Its ranges wait in one of the queues, demand before hints, near ones before
 * far ones, and are cut into pieces of piece_bytes as the engine has room: `depth` pieces in flight, hints only while
 * no demand waits and less than half of depth is in flight, so that demand finds the drive half free. A queue that runs
 * dry is filled from on_room, so that whoever adds jobs can leave it until a read can start. With files on
 * several drives, the next piece is of the first range that waits for the drive with the least in flight: all of them
 * are busy. A short read is continued; EINTR and EAGAIN are tried again; any other error is tried once more and then
 * fails the job.
 *
 * on_end is called exactly once per job, from within pump or drop, when nothing of it is in flight any more: 0,
 * -ECANCELED after drop, or what failed (then `err` says file and offset).
 *
 * Threads: the engine thread only. Allocates in open only. Not here: checksums, slots' states (door.c).
 */
#ifndef EXPERTD_CACHE_READER_H
#define EXPERTD_CACHE_READER_H

#include "base/err.h"
#include "cache/extent.h"
#include "cache/files.h"
#include "cache/io.h"

#include <stdbool.h>
#include <stdint.h>

enum reader_priority {
    READER_DEMAND,
    READER_HINT, /* for the next layer */
    READER_FAR,  /* for one behind it */
    READER_PRIORITIES
};

struct reader_options {
    struct io *io;             /* taken: closed by reader_close */
    const struct files *files; /* borrowed */
    uint32_t n_slots;
    uint32_t piece_bytes; /* a multiple of 4096 */
    bool by_part;         /* every expert's gate and up before any down, instead of expert after expert */
    void (*on_end)(void *ctx, uint32_t slot, int code, const struct err *err);
    /* A read of that urgency could start and none waits: reader_add one. False when there is none to add. Called from
     * within poll, pump and drop; may call add, promote and drop. NULL: nobody is asked. */
    bool (*on_room)(void *ctx, enum reader_priority priority);
    void *ctx;
};

struct reader;

int reader_open(const struct reader_options *options, struct reader **ret_reader, struct err *err);
void reader_close(struct reader *reader); /* waits for what is in flight; calls no on_end */

/* Begin a job for a slot that has none. Nothing is submitted before pump. */
void reader_add(struct reader *reader, uint32_t slot, const struct extent *extent, void *data,
                enum reader_priority priority);
/* It is more urgent than it was thought to be; never less. */
void reader_promote(struct reader *reader, uint32_t slot, enum reader_priority priority);
/* All of it is there, and on_end is yet to be called. */
bool reader_arrived(const struct reader *reader, uint32_t slot);
/* Forget what has not begun. */
void reader_drop(struct reader *reader, uint32_t slot);
/* Submit what there is room for and see what has arrived, without calling on_end: microseconds. */
int reader_poll(struct reader *reader, struct err *err);
/* Submit what there is room for and take what has ended: what is in demand, or, where that is nothing, hints. `wait`:
 * sleep until something has ended, if anything is in flight. */
int reader_pump(struct reader *reader, bool wait, struct err *err);

/* io_ops.rebuffer, for an idle reader. */
void reader_rebuffer(struct reader *reader, const struct iovec *buffers);

/* Read in other pieces, and up to `depth` of them at a time, at most what the engine was opened with; when idle. */
void reader_tune(struct reader *reader, uint32_t piece_bytes, uint32_t depth);
/* The engine, for an idle reader's owner. */
struct io *reader_io(struct reader *reader);

/* Nothing waits and nothing is in flight. */
bool reader_idle(const struct reader *reader);

struct reader_counts {
    uint64_t bytes[READER_PRIORITIES]; /* arrived */
    uint64_t busy_ns;                  /* something was in flight; ends when pump sees it */
    uint64_t retries;                  /* pieces tried again after an error */
};
void reader_counts(const struct reader *reader, struct reader_counts *ret_counts);

#endif
