/* SPDX-License-Identifier: MIT */
#include "base/arith.h"
#include "base/mem.h"
#include "model/gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is read as it lies in the file, which is little-endian"
#endif

#define CHUNK_BYTES ((size_t)256 << 10)
#define ARENA_ALIGN 16u

struct gguf_chunk {
    _Alignas(ARENA_ALIGN) struct gguf_chunk *next;
    size_t used, cap;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

static struct gguf_chunk *arena_grow(struct gguf_arena *arena, size_t bytes)
{
    size_t cap = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
    struct gguf_chunk *c = mem_alloc(sizeof(*c) + cap);

    if (!c)
        return NULL;
    *c = (struct gguf_chunk){ .cap = cap };
    /* A chunk made for one large block is full at once: keep the one that still has room in front. */
    if (arena->chunks && cap != CHUNK_BYTES) {
        c->next = arena->chunks->next;
        arena->chunks->next = c;
    } else {
        c->next = arena->chunks;
        arena->chunks = c;
    }
    return c;
}

void *gguf_arena_alloc(struct gguf_arena *arena, size_t n, size_t size, struct err *err)
{
    struct gguf_chunk *c = arena->chunks;
    uint64_t bytes;
    void *p;

    if (!u64_mul(n, size, &bytes) || !u64_align_up(bytes, ARENA_ALIGN, &bytes) || bytes > GGUF_MAX_HEADER_MEMORY ||
        arena->bytes > GGUF_MAX_HEADER_MEMORY - bytes) {
        err_set(err, ERR_FORMAT, "the header needs more than %zu MiB of memory", GGUF_MAX_HEADER_MEMORY >> 20);
        return NULL;
    }
    if (!c || c->cap - c->used < bytes)
        c = arena_grow(arena, bytes);
    if (!c) {
        err_sys(err, ENOMEM, "reading the header");
        return NULL;
    }
    p = c->data + c->used;
    c->used += bytes;
    arena->bytes += bytes;
    return p;
}

void gguf_arena_fini(struct gguf_arena *arena)
{
    for (struct gguf_chunk *c = arena->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    *arena = (struct gguf_arena){ 0 };
}

static int check_kind(const struct stat *st, struct err *err)
{
    if (S_ISREG(st->st_mode))
        return st->st_size > 0 ? 0 : err_set(err, ERR_FORMAT, "the file is empty; download or copy it again");
    if (S_ISDIR(st->st_mode))
        return err_set(err, -EISDIR, "this is a directory; name the .gguf file in it");
    return err_set(err, -EINVAL, "not a regular file (a pipe, socket or device cannot be read at random)");
}

/* Unsigned inside: a file may carry any date, and one that overflows is still only compared. */
int64_t gguf_mtime_ns(const struct stat *st)
{
    return (int64_t)((uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec);
}

int gguf_file_open(struct gguf_file *file, const char *path, struct err *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. It means nothing to a regular file. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    int rc;

    if (fd < 0)
        return err_sys(err, errno, "cannot open");
    rc = fstat(fd, &st) == 0 ? check_kind(&st, err) : err_sys(err, errno, "cannot stat");
    if (rc == 0) {
        *file = (struct gguf_file){
            .path = mem_strdup(path),
            .fd = fd,
            .bytes = (uint64_t)st.st_size,
            .mtime_ns = gguf_mtime_ns(&st),
        };
        if (!file->path)
            rc = err_sys(err, ENOMEM, "cannot open");
    }
    if (rc)
        close(fd);
    return rc;
}

void gguf_file_close(struct gguf_file *file)
{
    if (file->path)
        close(file->fd);
    mem_free(file->path);
}

int gguf_file_read(const struct gguf_file *file, uint64_t offset, void *dst, size_t bytes, struct err *err)
{
    unsigned char *p = dst;

    while (bytes > 0) {
        ssize_t n = pread(file->fd, p, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "reading at byte %" PRIu64, offset);
        if (n == 0)
            return err_set(err, ERR_CHANGED,
                           "the file now ends at byte %" PRIu64 ", but had %" PRIu64 " bytes when it was opened",
                           offset, file->bytes);
        p += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

uint64_t gguf_reader_left(const struct gguf_reader *r)
{
    return r->file->bytes - r->pos;
}

static int reader_fill(struct gguf_reader *r)
{
    size_t n = (size_t)u64_min(gguf_reader_left(r), GGUF_READER_BYTES);
    int rc = gguf_file_read(r->file, r->pos, r->buf, n, r->err);

    if (rc)
        return rc;
    r->at = 0;
    r->n = n;
    return 0;
}

int gguf_reader_bytes(struct gguf_reader *r, void *dst, size_t n)
{
    unsigned char *p = dst;

    if (n > gguf_reader_left(r))
        return err_set(r->err, ERR_FORMAT,
                       "the header ends beyond the end of the file (%" PRIu64
                       " bytes): the file is incomplete or damaged; "
                       "download or copy it again",
                       r->file->bytes);
    while (n > 0) {
        size_t step;
        int rc = r->at == r->n ? reader_fill(r) : 0;

        if (rc)
            return rc;
        step = (size_t)u64_min(n, r->n - r->at);
        memcpy(p, r->buf + r->at, step);
        XXH3_128bits_update(r->hash, r->buf + r->at, step);
        r->at += step;
        r->pos += step;
        p += step;
        n -= step;
    }
    return 0;
}

int gguf_reader_u32(struct gguf_reader *r, uint32_t *ret_v)
{
    return gguf_reader_bytes(r, ret_v, sizeof(*ret_v));
}

int gguf_reader_u64(struct gguf_reader *r, uint64_t *ret_v)
{
    return gguf_reader_bytes(r, ret_v, sizeof(*ret_v));
}

int gguf_reader_str(struct gguf_reader *r, uint32_t max_bytes, struct gguf_str *ret_s)
{
    uint64_t len;
    char *p;
    int rc = gguf_reader_u64(r, &len);

    if (rc)
        return rc;
    if (len > max_bytes)
        return err_set(r->err, ERR_FORMAT, "a string of %" PRIu64 " bytes; the limit is %" PRIu32, len, max_bytes);
    if (len > gguf_reader_left(r))
        return err_set(
            r->err, ERR_FORMAT,
            "a string of %" PRIu64 " bytes reaches beyond the end of the file: the file is incomplete or damaged", len);
    p = gguf_arena_alloc(r->arena, len + 1, 1, r->err);
    if (!p)
        return r->err ? r->err->code : -ENOMEM;
    rc = gguf_reader_bytes(r, p, len);
    if (rc)
        return rc;
    p[len] = '\0';
    *ret_s = (struct gguf_str){ p, len };
    return 0;
}

int gguf_reader_name(struct gguf_reader *r, const char *what, uint32_t max_bytes, const char **ret_name)
{
    struct gguf_str s;
    int rc = gguf_reader_str(r, max_bytes, &s);

    if (rc)
        return err_wrap(r->err, "%s at byte %" PRIu64, what, r->pos);
    if (s.len == 0)
        return err_set(r->err, ERR_FORMAT, "an empty %s before byte %" PRIu64, what, r->pos);
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return err_set(r->err, ERR_FORMAT,
                           "a %s before byte %" PRIu64 " holds byte 0x%02x; names are printable ASCII", what, r->pos,
                           (unsigned char)s.p[i]);
    *ret_name = s.p;
    return 0;
}

int gguf_reader_count(struct gguf_reader *r, const char *what, uint32_t max, size_t min_bytes, uint64_t *ret_n)
{
    uint64_t n;
    int rc = gguf_reader_u64(r, &n);

    if (rc)
        return rc;
    if (n > max)
        return err_set(r->err, ERR_FORMAT, "%" PRIu64 " %s; the limit is %" PRIu32, n, what, max);
    if (n > gguf_reader_left(r) / min_bytes)
        return err_set(r->err, ERR_FORMAT,
                       "%" PRIu64 " %s cannot fit in the rest of the file (%" PRIu64
                       " bytes): it is incomplete or damaged",
                       n, what, gguf_reader_left(r));
    *ret_n = n;
    return 0;
}
