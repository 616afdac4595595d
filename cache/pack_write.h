/* SPDX-License-Identifier: MIT
 *
 * pack_write.h: writes a model's pack (cache/pack.h), so that nothing can make a wrong one.
 *
 * It is written under PATH.part, locked, with all its room taken first, and gets its name only when it is whole: every
 * expert read from the model (and held against the catalog), written, brought to the drive, read back from there and
 * found the same; the model's files unchanged; then rename, and the directory brought to the drive too.
 *
 * What was interrupted goes on: a record is not written again when PATH.part names the checksum that the model's own
 * bytes have now. Nothing else in PATH.part is believed, and reading back finds what is not there. So a kill or a power
 * cut at any point costs time only, and no order between writes matters.
 *
 * Memory: slots for two requests of experts, and one record. Threads: any one, for the call.
 */
#ifndef EXPERTD_CACHE_PACK_WRITE_H
#define EXPERTD_CACHE_PACK_WRITE_H

#include "base/err.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PACK_PART_SUFFIX ".part"

enum pack_phase { PACK_WRITING, PACK_CHECKING };

/* What it asks of the kernel; tests put failures in their place. Each returns as its namesake, or -errno. */
struct pack_calls {
    ssize_t (*write)(void *ctx, int fd, const void *data, size_t bytes, uint64_t offset);
    int (*sync)(void *ctx, int fd);
    int (*allocate)(void *ctx, int fd, uint64_t bytes); /* -EOPNOTSUPP: the file system cannot */
    uint64_t (*free_bytes)(void *ctx, int fd);          /* on the file's file system, for us */
    void *ctx;
};

struct pack_write_options {
    const char *path;
    const char *catalog_dir; /* as cache_options; NULL: in memory */
    bool force;              /* replace what is there, whatever it is (but never a file of the model) */
    bool (*on_progress)(void *ctx, enum pack_phase phase, uint64_t done, uint64_t total); /* true: stop; may be NULL */
    void *ctx;
    const struct pack_calls *calls; /* NULL: the kernel's */
};

struct pack_written {
    uint64_t file_bytes;
    uint32_t n_experts, n_kept; /* kept: written by an earlier run */
    bool existed;               /* a good pack of this model was there, and nothing was done */
};

/* 0, or why not. ERR_CANCELED after on_progress said so; then, and after most errors, what was written is kept, and the
 * text says so. ERR_BUSY: another one is writing it. -EEXIST: something else is there. ERR_CHANGED: the model changed
 * meanwhile, and what was written is removed. */
int pack_write(const struct expert_layout *layout, const struct pack_write_options *options,
               struct pack_written *ret_written, struct err *err);

#endif
