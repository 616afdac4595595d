/* SPDX-License-Identifier: MIT
 *
 * files.h: the model's files, and its pack if there is one, opened once more for reading experts.
 *
 * Direct (O_DIRECT) when asked for and every file allows it: the drive fills the slots, and the page cache neither
 * costs a copy nor memory. What it holds of them, after a download say, it is told to drop: huge pages for slots are
 * found several times faster then. Otherwise buffered, with the kernel's read-ahead off: experts lie anywhere, and
 * reading ahead would read what nobody asked for. Pages read stay in the page cache, which is the point of buffered
 * mode: they are clean, so the kernel takes them back before it lets anyone go short, also within a cgroup.
 *
 * The pack may lie on another drive than the model; it has the number behind the model's last file.
 *
 * Threads: any after open. Ownership: owns its descriptors; the layout and the pack are borrowed.
 */
#ifndef EXPERTD_CACHE_FILES_H
#define EXPERTD_CACHE_FILES_H

#include "base/err.h"
#include "cache/pack.h"
#include "model/layout.h"

#include <stdbool.h>

#define FILES_DRIVES 8

struct files {
    const struct expert_layout *layout;
    const struct pack *pack; /* NULL: none */
    int *fds;                /* [n_fds] */
    uint32_t n_fds;          /* layout->n_files, and the pack */
    uint32_t *drive;         /* [n_fds] the same number for files of one file system */
    uint32_t n_drives;       /* at most FILES_DRIVES: those beyond share the last number */
    uint32_t block;          /* reads begin, end and land on multiples of this */
    bool direct;             /* the model's files */
    char refused[120];       /* why not direct though asked for; empty otherwise */
};

/* `direct` is a wish. Zero-initialised storage or what files_fini left. */
int files_init(struct files *files, const struct expert_layout *layout, const struct pack *pack, bool direct,
               struct err *err);
void files_fini(struct files *files);

const char *files_path(const struct files *files, uint32_t file);

/* 0, or ERR_CHANGED naming the file whose size or time differs from when the model was opened. */
int files_check(const struct files *files, struct err *err);

/* Which drives are read, as a number that changes with them. */
uint64_t files_drives(const struct files *files);

/* Have the next read of a range come from the drive. */
void files_forget(const struct files *files, uint32_t file, uint64_t offset, uint64_t bytes);

#endif
