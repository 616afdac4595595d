/* SPDX-License-Identifier: MIT */
#include "cache/catalog_seal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* the state, to have it on the stack */
#include <xxhash.h>

#define MAGIC "expertd1"
#define CHUNK_BYTES (256UL << 10)
#define POLL_MS 5

/* What catalog.lock holds; little-endian like everything we run on. */
struct seal_record {
    char magic[8];
    uint64_t bytes;
    uint8_t sum[16];
};

static int lock_wait(int fd, int wait_ms)
{
    for (;; wait_ms -= POLL_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EINTR && (errno != EWOULDBLOCK || wait_ms <= 0))
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
}

int seal_lock(struct seal *seal, const char *dir, int wait_ms, struct err *err)
{
    int errnum, rc;

    seal->read_only = false;
    if (snprintf(seal->path, sizeof(seal->path), "%s/catalog.lock", dir) >= (int)sizeof(seal->path))
        return err_sys(err, ENAMETOOLONG, "state directory '%s'", dir);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
        return err_sys(err, errno, "state directory '%s'", dir);
    seal->lock_fd = open(seal->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    errnum = errno;
    if (seal->lock_fd < 0 && (errnum == EACCES || errnum == EROFS || errnum == EPERM)) {
        seal->lock_fd = open(seal->path, O_RDONLY | O_CLOEXEC);
        seal->read_only = true;
    }
    if (seal->lock_fd < 0)
        return err_sys(err, errnum, "'%s'", seal->path);
    rc = lock_wait(seal->lock_fd, wait_ms);
    if (rc < 0) {
        close(seal->lock_fd);
        return rc == -EAGAIN ? err_set(err, rc, "'%s' is held by another daemon", seal->path)
                             : err_sys(err, -rc, "'%s'", seal->path);
    }
    snprintf(seal->path, sizeof(seal->path), "%s/catalog.mdb", dir);
    return 0;
}

void seal_unlock(struct seal *seal)
{
    close(seal->lock_fd);
    seal->lock_fd = -1;
}

static int hash_fd(int fd, char *chunk, struct seal_record *ret_record)
{
    struct seal_record record = { .magic = MAGIC };
    XXH128_canonical_t canonical;
    XXH3_state_t state;
    ssize_t n;

    XXH3_128bits_reset(&state);
    while ((n = pread(fd, chunk, CHUNK_BYTES, (off_t)record.bytes)) != 0) {
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0)
            continue;
        XXH3_128bits_update(&state, chunk, (size_t)n);
        record.bytes += (uint64_t)n;
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
    memcpy(record.sum, canonical.digest, sizeof(record.sum));
    *ret_record = record;
    return 0;
}

static int hash_file(const struct seal *seal, struct seal_record *ret_record, struct err *err)
{
    int fd = open(seal->path, O_RDONLY | O_CLOEXEC), rc;
    char *chunk;

    if (fd < 0)
        return err_sys(err, errno, "'%s'", seal->path);
    chunk = mem_alloc(CHUNK_BYTES);
    rc = chunk != NULL ? hash_fd(fd, chunk, ret_record) : -ENOMEM;
    mem_free(chunk);
    close(fd);
    return rc < 0 ? err_sys(err, -rc, "'%s'", seal->path) : 0;
}

int seal_check(const struct seal *seal, struct err *err)
{
    struct seal_record record, sealed;
    int rc = hash_file(seal, &record, err);

    if (rc < 0)
        return rc;
    if (pread(seal->lock_fd, &sealed, sizeof(sealed), 0) != sizeof(sealed) ||
        memcmp(&sealed, &record, sizeof(record)) != 0)
        return err_set(err, ERR_CHECKSUM, "'%s' is damaged or not a catalog of expertd", seal->path);
    return 0;
}

int seal_write(const struct seal *seal, struct err *err)
{
    struct seal_record record;
    int rc = hash_file(seal, &record, err);

    if (rc < 0)
        return rc;
    if (pwrite(seal->lock_fd, &record, sizeof(record), 0) != sizeof(record) || fdatasync(seal->lock_fd) != 0)
        return err_sys(err, errno, "sealing '%s'", seal->path);
    return 0;
}
