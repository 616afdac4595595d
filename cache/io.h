/* SPDX-License-Identifier: MIT
 *
 * io.h: an engine that reads ranges of files into memory, several at a time.
 *
 * An engine does one thing: it starts reads and says how each ended. It does not split, order, retry or complete
 * short reads; cache/reader.h does, alike for every engine. There is no cancel: a read that the drive has begun
 * writes into its destination until it ends, so the reader keeps what waits in its own queues and lets what runs
 * run out. Priorities live in those queues too.
 *
 * Engines: io_uring (io_uring.c) and a pool of threads that call pread (io_pread.c); tests add ones that fail.
 *
 * Threads: one thread at a time calls an engine; which one may change between calls. Ownership: destinations and file
 * descriptors are borrowed; a destination belongs to the engine from submit until its read is reaped.
 */
#ifndef EXPERTD_CACHE_IO_H
#define EXPERTD_CACHE_IO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define IO_MAX_DEPTH 256

struct io_read {
    void *dst; /* as the file's mode of opening asks: aligned for O_DIRECT */
    uint64_t offset;
    uint32_t bytes;
    uint32_t file; /* index into io_options.fds */
    uint32_t tag;  /* the caller's; comes back in io_done */
};

struct io_done {
    uint32_t tag;
    int32_t result; /* bytes read, possibly fewer than asked for, or -errno */
};

struct io;

struct io_ops {
    /* Start n reads. Together with those in flight they are at most `depth`. Never refuses: what cannot be started
     * now is started by reap, or ends there with an error. */
    void (*submit)(struct io *, const struct io_read *reads, size_t n);
    /* Take up to max ended reads. `wait`: sleep until there is at least one; only with reads in flight. Returns their
     * number or -errno, after which the engine may be called again. */
    int (*reap)(struct io *, struct io_done *ret_done, size_t max, bool wait);
    /* The buffers given at open are these by now, as many, some shorter, longer or empty (NULL, 0); with no reads in
     * flight. What they no longer cover is unpinned. NULL: the engine registers none. */
    void (*rebuffer)(struct io *, const struct iovec *buffers);
    /* Waits until every read in flight has ended. */
    void (*close)(struct io *);
};

struct io {
    const struct io_ops *ops;
    const char *name;   /* "io_uring", "pread"; static */
    const char *detail; /* what more there is to say, or NULL; static */
    uint32_t depth;
};

struct io_options {
    const int *fds; /* [n_fds] */
    uint32_t n_fds;
    uint32_t depth; /* most reads in flight, 1 .. IO_MAX_DEPTH */
    const struct iovec
        *buffers; /* [n_buffers] memory that destinations lie in, each at most 1 GiB; may be registered */
    uint32_t n_buffers;
};

int io_uring_open(const struct io_options *options, struct io **ret_io, struct err *err);
int io_pread_open(const struct io_options *options, struct io **ret_io, struct err *err);

#endif
