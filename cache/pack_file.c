/* SPDX-License-Identifier: MIT */
#include "cache/pack_file.h"

#include "cache/files.h"
#include "cache/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WRITE_MAX (16UL << 20) /* so that an interruption is heard */

/* ---- the kernel's calls ---- */

static ssize_t kernel_write(void *ctx, int fd, const void *data, size_t bytes, uint64_t offset)
{
    ssize_t n = pwrite(fd, data, bytes, (off_t)offset);

    (void)ctx;
    return n < 0 ? -errno : n;
}

static int kernel_sync(void *ctx, int fd)
{
    (void)ctx;
    return fsync(fd) == 0 ? 0 : -errno;
}

static int kernel_allocate(void *ctx, int fd, uint64_t bytes)
{
    int rc;

    (void)ctx;
    do
        rc = fallocate(fd, 0, 0, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : -errno;
}

static uint64_t kernel_free_bytes(void *ctx, int fd)
{
    struct statvfs vfs;

    (void)ctx;
    return fstatvfs(fd, &vfs) == 0 ? (uint64_t)vfs.f_bavail * vfs.f_frsize : UINT64_MAX;
}

static const struct pack_calls kernel_calls = {
    .write = kernel_write, .sync = kernel_sync, .allocate = kernel_allocate, .free_bytes = kernel_free_bytes
};

/* ---- opening ---- */

static bool is_of_model(const struct expert_layout *layout, const struct stat *st)
{
    for (uint32_t i = 0; i < layout->n_files; i++) {
        struct stat model;

        if (fstat(layout->files[i].fd, &model) == 0 && model.st_dev == st->st_dev && model.st_ino == st->st_ino)
            return true;
    }
    return false;
}

/* What has the name now: nothing, a good pack, or something that only --force replaces. */
static int present_check(const char *path, const struct expert_layout *layout, bool force, bool *ret_existed,
                         struct err *err)
{
    struct err why = { 0 };
    struct pack *pack;
    struct stat st;
    int rc;

    *ret_existed = false;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "'%.250s'", path);
    if (is_of_model(layout, &st))
        return err_set(err, -EEXIST, "'%.250s' is the model itself; name another file for the pack", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EEXIST, "'%.250s' is not a regular file; name another file for the pack", path);
    if (force)
        return 0;
    rc = pack_open(path, layout, &pack, &why);
    if (rc < 0)
        return err_set(err, -EEXIST, "%s", err_text(&why));
    pack_close(pack);
    *ret_existed = true;
    return 0;
}

static int names_make(struct pack_file *file, const char *path, struct err *err)
{
    char *slash;

    if (snprintf(file->path, sizeof(file->path), "%s", path) >= (int)sizeof(file->path) ||
        snprintf(file->part, sizeof(file->part), "%s" PACK_PART_SUFFIX, path) >= (int)sizeof(file->part))
        return err_sys(err, ENAMETOOLONG, "'%.250s'", path);
    slash = strrchr(file->path, '/');
    if (slash == NULL) {
        file->dir_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        char first = slash[1];

        slash[1] = '\0';
        file->dir_fd = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        slash[1] = first;
    }
    return file->dir_fd >= 0 ? 0 : err_sys(err, errno, "the directory of '%.250s'", path);
}

/* Whether the locked file still has its name: the one who had the lock before may have finished. */
static bool still_named(const struct pack_file *file)
{
    struct stat locked, named;

    return fstat(file->fd, &locked) == 0 && lstat(file->part, &named) == 0 && locked.st_dev == named.st_dev &&
           locked.st_ino == named.st_ino;
}

static int part_lock(struct pack_file *file, struct err *err)
{
    struct stat st;

    file->fd = open(file->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (file->fd < 0)
        return err_sys(err, errno,
                       "'%.250s' cannot be made (name a place that can be written: 'expert pack --output FILE', and "
                       "then 'expertd --pack FILE')",
                       file->part);
    if (fstat(file->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, -EEXIST, "'%.250s' is not a regular file; remove it", file->part);
    file->locked = flock(file->fd, LOCK_EX | LOCK_NB) == 0;
    if (file->locked)
        return 0;
    return errno == EWOULDBLOCK ? err_set(err, ERR_BUSY, "'%.250s' is being written by another process", file->part)
                                : err_sys(err, errno, "'%.250s' cannot be locked", file->part);
}

int pack_file_open(struct pack_file *file, const struct expert_layout *layout, const struct pack_write_options *options,
                   bool *ret_existed, struct err *err)
{
    int rc;

    *file =
        (struct pack_file){ .calls = options->calls != NULL ? options->calls : &kernel_calls, .fd = -1, .dir_fd = -1 };
    rc = names_make(file, options->path, err);
    if (rc == 0)
        rc = part_lock(file, err);
    while (rc == 0 && !still_named(file)) {
        close(file->fd);
        rc = part_lock(file, err);
    }
    /* Under the lock, so that of two who begin at once the second finds what the first made. */
    if (rc == 0)
        rc = present_check(file->path, layout, options->force, ret_existed, err);
    if (rc == 0 && !*ret_existed)
        return 0;
    pack_file_close(file);
    return rc;
}

/* Under the lock, what is empty is nobody's. */
void pack_file_close(struct pack_file *file)
{
    struct stat st;

    if (file->locked && fstat(file->fd, &st) == 0 && st.st_size == 0)
        pack_file_remove(file);
    if (file->fd >= 0)
        close(file->fd);
    if (file->dir_fd >= 0)
        close(file->dir_fd);
    file->fd = file->dir_fd = -1;
    file->locked = false;
}

/* ---- room ---- */

bool pack_file_read(const struct pack_file *file, void *data, uint64_t bytes, uint64_t offset)
{
    return pread(file->fd, data, bytes, (off_t)offset) == (ssize_t)bytes;
}

int pack_file_empty(struct pack_file *file, struct err *err)
{
    return ftruncate(file->fd, 0) == 0 ? 0 : err_sys(err, errno, "'%.250s'", file->part);
}

static double gb(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

static int no_room(const struct pack_file *file, uint64_t need, uint64_t has, struct err *err)
{
    return err_set(err, -ENOSPC,
                   "'%.250s' needs %.2f GB more, and there are %.2f GB free: make room, or name another place with "
                   "'expert pack --output FILE'",
                   file->part, gb(need), gb(has));
}

int pack_file_allocate(struct pack_file *file, uint64_t bytes, struct err *err)
{
    const struct pack_calls *calls = file->calls;
    uint64_t has, taken;
    struct stat st;
    int rc;

    if (fstat(file->fd, &st) != 0)
        return err_sys(err, errno, "'%.250s'", file->part);
    taken = (uint64_t)st.st_blocks * 512;
    has = calls->free_bytes(calls->ctx, file->fd);
    if (taken < bytes && has < bytes - taken)
        return no_room(file, bytes - taken, has, err);
    rc = calls->allocate(calls->ctx, file->fd, bytes);
    if (rc == -ENOSPC || rc == -EDQUOT)
        return no_room(file, taken < bytes ? bytes - taken : 0, has, err);
    if (rc < 0 && rc != -EOPNOTSUPP && rc != -ENOSYS)
        return err_sys(err, -rc, "'%.250s' cannot be made %.2f GB large", file->part, gb(bytes));
    return ftruncate(file->fd, (off_t)bytes) == 0 ? 0 : err_sys(err, errno, "'%.250s'", file->part);
}

/* ---- writes ---- */

int pack_file_write(struct pack_file *file, const void *data, uint64_t bytes, uint64_t offset, struct err *err)
{
    const struct pack_calls *calls = file->calls;

    for (uint64_t at = 0; at < bytes;) {
        uint64_t left = bytes - at;
        ssize_t n = calls->write(calls->ctx, file->fd, (const char *)data + at, left < WRITE_MAX ? left : WRITE_MAX,
                                 offset + at);

        if (n == -EINTR)
            continue;
        if (n <= 0)
            return err_sys(err, n < 0 ? (int)-n : ENOSPC, "writing '%.250s' at offset %" PRIu64, file->part,
                           offset + at);
        at += (uint64_t)n;
    }
    /* Let the drive begin; sync waits. A wish. */
    sync_file_range(file->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int pack_file_sync(struct pack_file *file, struct err *err)
{
    int rc = file->calls->sync(file->calls->ctx, file->fd);

    if (rc < 0)
        return err_sys(err, -rc, "bringing '%.250s' to the drive", file->part);
    posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

/* ---- the end ---- */

int pack_file_publish(struct pack_file *file, struct err *err)
{
    int rc;

    if (rename(file->part, file->path) != 0)
        return err_sys(err, errno, "'%.250s' cannot be given its name", file->part);
    file->published = true;
    rc = file->calls->sync(file->calls->ctx, file->dir_fd);
    if (rc < 0 && rc != -EINVAL)
        return err_sys(err, -rc, "bringing the name of '%.250s' to the drive", file->path);
    return 0;
}

void pack_file_remove(struct pack_file *file)
{
    if (!file->published)
        unlink(file->part);
}

int pack_model_unchanged(const struct expert_layout *layout, struct err *err)
{
    for (uint32_t i = 0; i < layout->n_files; i++) {
        const struct layout_file *file = &layout->files[i];
        struct stat st;

        if (fstat(file->fd, &st) != 0)
            return err_sys(err, errno, "model file '%.250s'", file->path);
        if ((uint64_t)st.st_size != file->bytes ||
            st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != file->mtime_ns)
            return err_set(err, ERR_CHANGED, "model file '%.250s' changed while its pack was written; start again",
                           file->path);
    }
    return 0;
}
