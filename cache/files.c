/* SPDX-License-Identifier: MIT */
#include "cache/files.h"

#include "base/mem.h"
#include "cache/extent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The same file, not whatever has its name by now. */
static int file_reopen(int file_fd, const char *file_path, int flags)
{
    struct stat was, is;
    char path[40];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", file_fd);
    fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd >= 0 || errno == EINVAL)
        return fd;
    fd = open(file_path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return -1;
    if (fstat(file_fd, &was) == 0 && fstat(fd, &is) == 0 && was.st_dev == is.st_dev && was.st_ino == is.st_ino)
        return fd;
    close(fd);
    errno = ESTALE;
    return -1;
}

/* What a direct read must be aligned to: the kernel says (since Linux 6.1), or a read tells. 0: it cannot be had. */
static uint32_t block_find(int fd)
{
    static const uint32_t blocks[] = { 512, EXTENT_MAX_BLOCK };
    uint32_t block = 0;
    void *probe;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN)) {
        block = stx.stx_dio_mem_align > stx.stx_dio_offset_align ? stx.stx_dio_mem_align : stx.stx_dio_offset_align;
        if (stx.stx_dio_offset_align == 0 || block > EXTENT_MAX_BLOCK || (block & (block - 1)) != 0)
            return 0;
        return block;
    }
#endif
    if (mem_map(2 * EXTENT_MAX_BLOCK, 0, &probe, NULL) < 0)
        return 0;
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]) && block == 0; i++)
        if (pread(fd, (char *)probe + blocks[i], blocks[i], blocks[i]) >= 0)
            block = blocks[i];
    mem_unmap(probe, 2 * EXTENT_MAX_BLOCK);
    return block;
}

static int open_one_direct(struct files *files, uint32_t i, int fd, const char *path)
{
    uint32_t block;

    files->fds[i] = file_reopen(fd, path, O_DIRECT);
    block = files->fds[i] >= 0 ? block_find(files->fds[i]) : 0;
    if (block == 0) {
        snprintf(files->refused, sizeof(files->refused), "direct reads %srefused: %s",
                 i < files->layout->n_files ? "" : "of the pack ",
                 files->fds[i] < 0 ? strerror(errno) : "no alignment that works");
        return -1;
    }
    if (block > files->block)
        files->block = block;
    /* Of no use to us, and in the way: slots would have to be wrung from it page by page. */
    posix_fadvise(files->fds[i], 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

static int open_direct(struct files *files)
{
    files->block = EXTENT_BUFFERED_BLOCK;
    for (uint32_t i = 0; i < files->layout->n_files; i++)
        if (open_one_direct(files, i, files->layout->files[i].fd, files->layout->files[i].path) < 0)
            return -1;
    files->direct = true;
    return 0;
}

static void close_all(struct files *files)
{
    for (uint32_t i = 0; i < files->n_fds; i++) {
        if (files->fds[i] >= 0)
            close(files->fds[i]);
        files->fds[i] = -1;
    }
}

static int open_one_buffered(struct files *files, uint32_t i, int fd, const char *path, struct err *err)
{
    files->fds[i] = file_reopen(fd, path, 0);
    if (files->fds[i] < 0) /* opened before privileges were dropped, say */
        files->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (files->fds[i] < 0)
        return err_sys(err, errno, "'%s'", path);
    posix_fadvise(files->fds[i], 0, 0, POSIX_FADV_RANDOM);
    return 0;
}

static int open_buffered(struct files *files, struct err *err)
{
    int rc = 0;

    close_all(files);
    files->block = EXTENT_BUFFERED_BLOCK;
    files->direct = false;
    for (uint32_t i = 0; i < files->layout->n_files && rc == 0; i++)
        rc = open_one_buffered(files, i, files->layout->files[i].fd, files->layout->files[i].path, err);
    return rc;
}

/* As the model's files, if its drive lets us. */
static int open_pack(struct files *files, struct err *err)
{
    const struct pack *pack = files->pack;
    uint32_t i = files->layout->n_files;

    if (files->direct && open_one_direct(files, i, pack->fd, pack->path) == 0)
        return 0;
    if (files->fds[i] >= 0)
        close(files->fds[i]);
    return open_one_buffered(files, i, pack->fd, pack->path, err);
}

/* Which files are read through the same queue of the kernel, as far as their device numbers tell. */
static void drives_find(struct files *files)
{
    dev_t seen[FILES_DRIVES];

    for (uint32_t i = 0; i < files->n_fds; i++) {
        struct stat st = { 0 };
        uint32_t d = 0;

        fstat(files->fds[i], &st);
        while (d < files->n_drives && seen[d] != st.st_dev)
            d++;
        if (d == files->n_drives && d < FILES_DRIVES)
            seen[files->n_drives++] = st.st_dev;
        files->drive[i] = d < FILES_DRIVES ? d : FILES_DRIVES - 1;
    }
}

int files_init(struct files *files, const struct expert_layout *layout, const struct pack *pack, bool direct,
               struct err *err)
{
    int rc = 0;

    *files = (struct files){ .layout = layout, .pack = pack, .n_fds = layout->n_files + (pack != NULL) };
    files->fds = mem_calloc(files->n_fds, sizeof(*files->fds));
    files->drive = mem_calloc(files->n_fds, sizeof(*files->drive));
    if (files->fds == NULL || files->drive == NULL) {
        mem_free(files->fds);
        mem_free(files->drive);
        files->fds = NULL;
        return err_sys(err, ENOMEM, "model files");
    }
    for (uint32_t i = 0; i < files->n_fds; i++)
        files->fds[i] = -1;
    if (!direct || open_direct(files) < 0)
        rc = open_buffered(files, err);
    if (rc == 0 && pack != NULL)
        rc = open_pack(files, err);
    if (rc < 0)
        files_fini(files);
    else
        drives_find(files);
    return rc;
}

const char *files_path(const struct files *files, uint32_t file)
{
    return file < files->layout->n_files ? files->layout->files[file].path : files->pack->path;
}

void files_fini(struct files *files)
{
    if (files->fds == NULL)
        return;
    close_all(files);
    mem_free(files->drive);
    mem_free(files->fds);
    files->fds = NULL;
}

int files_check(const struct files *files, struct err *err)
{
    for (uint32_t i = 0; i < files->layout->n_files; i++) {
        const struct layout_file *file = &files->layout->files[i];
        struct stat st;

        if (fstat(files->fds[i], &st) != 0)
            return err_sys(err, errno, "model file '%s'", file->path);
        if ((uint64_t)st.st_size != file->bytes)
            return err_set(
                err, ERR_CHANGED,
                "model file '%s' changed while in use: it had %llu bytes and has %llu; restart with the file as "
                "it is meant to be",
                file->path, (unsigned long long)file->bytes, (unsigned long long)st.st_size);
        if (st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != file->mtime_ns)
            return err_set(err, ERR_CHANGED, "model file '%s' was written to while in use; restart to read it anew",
                           file->path);
    }
    return 0;
}

void files_forget(const struct files *files, uint32_t file, uint64_t offset, uint64_t bytes)
{
    if (!files->direct || file >= files->layout->n_files)
        posix_fadvise(files->fds[file], (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}

uint64_t files_drives(const struct files *files)
{
    uint64_t sum = files->n_fds;

    for (uint32_t i = 0; i < files->n_fds; i++) {
        struct stat st;

        sum = sum * 1099511628211u + (fstat(files->fds[i], &st) == 0 ? (uint64_t)st.st_dev : 0);
    }
    return sum;
}
