/* SPDX-License-Identifier: MIT
 *
 * catalog_seal.h: one daemon at a time, and no damaged byte reaches LMDB.
 *
 * LMDB maps its file and trusts what it finds there: a cut or garbled file ends the process. So the catalog's file is
 * used only under an exclusive flock on "catalog.lock", and that file holds the seal: size and XXH3-128 of
 * "catalog.mdb" as it was left. A file that does not match its seal is thrown away unread. A crash between a commit and
 * the sealing of it costs the catalog, not the daemon.
 *
 * Threads: one per seal. The kernel drops the lock when its holder dies.
 */
#ifndef EXPERTD_CACHE_CATALOG_SEAL_H
#define EXPERTD_CACHE_CATALOG_SEAL_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>

struct seal {
    int lock_fd;
    bool read_only;      /* the directory may be read but not written */
    char path[PATH_MAX]; /* of the sealed file */
};

/* Make the directory when it is missing, and lock; wait up to wait_ms for others. Returns 0, -EAGAIN when another holds
 * it, or why the directory cannot be used. */
int seal_lock(struct seal *seal, const char *dir, int wait_ms, struct err *err);
void seal_unlock(struct seal *seal);

/* 0: the file is as it was sealed. -ENOENT: there is none. ERR_CHECKSUM: it is not. Other: it cannot be read. */
int seal_check(const struct seal *seal, struct err *err);
/* Seal the file as it is now. */
int seal_write(const struct seal *seal, struct err *err);

#endif
