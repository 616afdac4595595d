/* SPDX-License-Identifier: MIT
 *
 * pack_file.h: the file that a pack is written into, until it gets its name: the lock, the room, the writes, the
 * rename.
 *
 * Knows nothing of experts. Errors' texts name the path, and the remedy where there is one. Used by pack_write.c alone.
 */
#ifndef EXPERTD_CACHE_PACK_FILE_H
#define EXPERTD_CACHE_PACK_FILE_H

#include "cache/pack_write.h"

#include <limits.h>

struct pack_file {
    const struct pack_calls *calls;
    int fd;     /* PATH.part, locked */
    int dir_fd; /* the directory it lies in */
    bool locked;
    bool published; /* PATH.part is PATH by now */
    char path[PATH_MAX];
    char part[PATH_MAX];
};

/* Look at what is there, and take PATH.part and its lock. ret_existed: a good pack of this model is there and is not
 * to be replaced; nothing was opened. */
int pack_file_open(struct pack_file *file, const struct expert_layout *layout, const struct pack_write_options *options,
                   bool *ret_existed, struct err *err);
void pack_file_close(struct pack_file *file); /* removes PATH.part when it is empty */

/* Whether so much could be read. */
bool pack_file_read(const struct pack_file *file, void *data, uint64_t bytes, uint64_t offset);
int pack_file_empty(struct pack_file *file, struct err *err);
/* Make sure of the room for so many bytes, and give the file this size. */
int pack_file_allocate(struct pack_file *file, uint64_t bytes, struct err *err);
int pack_file_write(struct pack_file *file, const void *data, uint64_t bytes, uint64_t offset, struct err *err);
/* To the drive, and out of the page cache: the next read is of what the drive holds. */
int pack_file_sync(struct pack_file *file, struct err *err);
/* PATH.part becomes PATH. */
int pack_file_publish(struct pack_file *file, struct err *err);
void pack_file_remove(struct pack_file *file);

/* 0, or ERR_CHANGED naming the file of the model that is not as it was opened. */
int pack_model_unchanged(const struct expert_layout *layout, struct err *err);

#endif
