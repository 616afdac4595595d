/* SPDX-License-Identifier: MIT */
#include "model/gguf.h"

#include "base/arith.h"
#include "base/mem.h"
#include "model/gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VERSION_MIN 2
#define VERSION_MAX 3
#define SPLIT_TAIL_BYTES 20 /* "-00001-of-00003.gguf" */

/* What else is found under a model's name: told apart, because each has a remedy of its own. */
static int not_gguf(const unsigned char *head /* [8] */, struct err *err)
{
    static const struct {
        const char *magic, *what;
    } others[] = {
        { "PK\003\004", "a PyTorch checkpoint; convert it to GGUF first" },
        { "lmgg", "a model in the format that came before GGUF; convert it again, or download a GGUF" },
        { "fmgg", "a model in the format that came before GGUF; convert it again, or download a GGUF" },
        { "tjgg", "a model in the format that came before GGUF; convert it again, or download a GGUF" },
        { "version ", "a Git LFS pointer, not the model; fetch the file itself (git lfs pull)" },
        { "<!DOCTYP", "a web page, not the model; the download went to a page about the file" },
        { "<html", "a web page, not the model; the download went to a page about the file" },
    };
    uint64_t len;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!memcmp(head, others[i].magic, strlen(others[i].magic)))
            return err_set(err, ERR_FORMAT, "not a GGUF file but %s", others[i].what);
    memcpy(&len, head, sizeof(len));
    if (len > 0 && len < 100u << 20) /* the length of its JSON header: the specification's limit */
        return err_set(err, ERR_FORMAT, "not a GGUF file (perhaps safetensors, which must be converted to GGUF first)");
    return err_set(err, ERR_FORMAT, "not a GGUF file: it does not begin with \"GGUF\"");
}

static int read_magic(struct gguf_reader *r)
{
    unsigned char head[8] = { 0 };
    uint32_t version;
    int rc = gguf_reader_bytes(r, head, (size_t)u64_min(sizeof(head), r->file->bytes));

    if (rc)
        return rc;
    if (memcmp(head, "GGUF", (size_t)u64_min(4, r->file->bytes)))
        return not_gguf(head, r->err);
    if (r->file->bytes < sizeof(head))
        return err_set(r->err, ERR_FORMAT,
                       "the file ends inside its header: it is incomplete; download or copy it again");
    memcpy(&version, head + 4, sizeof(version));
    if (version >= VERSION_MIN && version <= VERSION_MAX)
        return 0;
    if (version != 0 && __builtin_bswap32(version) <= VERSION_MAX)
        return err_set(r->err, ERR_UNSUPPORTED, "a big-endian GGUF; convert it to little-endian");
    return err_set(r->err, ERR_UNSUPPORTED,
                   "GGUF version %" PRIu32 "; versions %d and %d are supported: convert it again", version, VERSION_MIN,
                   VERSION_MAX);
}

static int read_alignment(const struct gguf_keys *keys, uint32_t *ret_alignment, struct err *err)
{
    const struct gguf_value *v = gguf_keys_find(keys, "general.alignment");

    *ret_alignment = GGUF_DEFAULT_ALIGNMENT;
    if (!v)
        return 0;
    if (v->type != GGUF_U32)
        return err_set(err, ERR_FORMAT, "key 'general.alignment': must be of type u32");
    if (v->u == 0 || v->u % 8 || v->u > GGUF_MAX_ALIGNMENT)
        return err_set(err, ERR_FORMAT, "key 'general.alignment': %" PRIu64 " is not a multiple of 8 up to %u", v->u,
                       GGUF_MAX_ALIGNMENT);
    *ret_alignment = (uint32_t)v->u;
    return 0;
}

/* One file's header: its keys, and its tensors appended to the table. */
static int read_header(struct gguf *gguf, struct gguf_reader *r, uint32_t file, struct gguf_keys *keys)
{
    uint64_t n_tensors, n_keys;
    uint32_t alignment;
    int rc = read_magic(r);

    if (rc == 0)
        rc = gguf_reader_count(r, "tensors", GGUF_MAX_TENSORS, GGUF_MIN_TENSOR_BYTES, &n_tensors);
    if (rc == 0)
        rc = gguf_reader_count(r, "keys", GGUF_MAX_KEYS, GGUF_MIN_KEY_BYTES, &n_keys);
    if (rc == 0)
        rc = gguf_keys_read(r, n_keys, keys);
    if (rc == 0)
        rc = read_alignment(keys, &alignment, r->err);
    return rc ? rc : gguf_tensors_read(gguf, r, file, n_tensors, alignment);
}

static int open_file(struct gguf *gguf, uint32_t i, const char *path, XXH3_state_t *hash, struct gguf_keys *keys,
                     struct err *err)
{
    struct gguf_file *file = &gguf->files[i];
    struct gguf_reader r = { .file = file, .arena = &gguf->arena, .arrays = &gguf->arrays, .hash = hash, .err = err };
    int rc = gguf_file_open(file, path, err);

    if (rc)
        return err_wrap(err, "'%.250s'", path);
    gguf->n_files = i + 1;
    r.buf = mem_alloc(GGUF_READER_BYTES);
    rc = r.buf ? read_header(gguf, &r, i, keys) : err_sys(err, ENOMEM, "reading the header");
    mem_free(r.buf);
    if (rc)
        return err_wrap(err, "'%.250s'", path);
    XXH3_128bits_update(hash, &file->bytes, sizeof(file->bytes));
    XXH3_128bits_update(hash, &file->mtime_ns, sizeof(file->mtime_ns));
    return 0;
}

struct split {
    uint64_t no, count, n_tensors;
};

/* Absent keys mean a single file. */
static int read_split(const struct gguf_keys *keys, struct split *split, struct err *err)
{
    int rc;

    *split = (struct split){ .count = 1 };
    if (!gguf_keys_find(keys, "split.count"))
        return 0;
    rc = gguf_keys_u64(keys, "split.count", &split->count, err);
    if (rc == 0 && split->count > 1) {
        rc = gguf_keys_u64(keys, "split.no", &split->no, err);
        if (rc == 0)
            rc = gguf_keys_u64(keys, "split.tensors.count", &split->n_tensors, err);
    }
    if (rc)
        return rc == -ENOENT ? err_set(err, ERR_FORMAT, "one part of a split model without the keys that say which")
                             : rc;
    if (split->count > GGUF_MAX_FILES)
        return err_set(err, ERR_FORMAT, "key 'split.count': %" PRIu64 "; the limit is %u", split->count,
                       GGUF_MAX_FILES);
    if (split->count > 1 && split->no >= split->count)
        return err_set(err, ERR_FORMAT, "key 'split.no': part %" PRIu64 " of %" PRIu64, split->no, split->count);
    return 0;
}

/* Part `no` (from 0) of `count`, for a first file's path; false when that one is not named as such. */
static bool split_path(const char *first, uint64_t no, uint64_t count, char *ret_path, size_t size)
{
    size_t len = strlen(first);
    char tail[SPLIT_TAIL_BYTES + 32];

    snprintf(tail, sizeof(tail), "-00001-of-%05" PRIu64 ".gguf", count);
    if (len < SPLIT_TAIL_BYTES || strcmp(first + len - SPLIT_TAIL_BYTES, tail))
        return false;
    snprintf(ret_path, size, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf", (int)(len - SPLIT_TAIL_BYTES), first, no + 1,
             count);
    return true;
}

static int open_part(struct gguf *gguf, uint32_t i, const char *path, const struct split *all, XXH3_state_t *hash,
                     struct err *err)
{
    struct gguf_keys keys = { 0 };
    struct split part;
    int rc = open_file(gguf, i, path, hash, &keys, err);

    if (rc)
        return rc == -ENOENT ? err_wrap(err, "part %" PRIu32 " of %" PRIu64 " is missing", i + 1, all->count) : rc;
    rc = read_split(&keys, &part, err);
    if (rc)
        return err_wrap(err, "'%.250s'", path);
    if (part.no != i || part.count != all->count || part.n_tensors != all->n_tensors)
        return err_set(err, ERR_FORMAT,
                       "'%.250s': says it is part %" PRIu64 " of %" PRIu64 ", but is named as part %" PRIu32
                       " of %" PRIu64 "; the parts of different models are mixed up",
                       path, part.no + 1, part.count, i + 1, all->count);
    return 0;
}

static int open_parts(struct gguf *gguf, const char *first, const struct split *all, XXH3_state_t *hash,
                      struct err *err)
{
    size_t size = strlen(first) + 64;
    char *path = mem_alloc(size);
    int rc = 0;

    if (!path)
        return err_sys(err, ENOMEM, "'%.250s'", first);
    for (uint32_t i = 1; rc == 0 && i < all->count; i++) {
        split_path(first, i, all->count, path, size);
        rc = open_part(gguf, i, path, all, hash, err);
    }
    mem_free(path);
    if (rc == 0 && gguf->n_tensors != all->n_tensors)
        rc = err_set(err, ERR_FORMAT, "'%.250s': the %" PRIu64 " parts hold %zu tensors, but should hold %" PRIu64,
                     first, all->count, gguf->n_tensors, all->n_tensors);
    return rc;
}

/* The first file has been read: is it the first, and can the others be named? */
static int check_first(const char *path, const struct split *split, struct err *err)
{
    char other[32];

    if (split->count <= 1)
        return 0;
    if (split->no != 0)
        return err_set(err, ERR_FORMAT,
                       "'%.250s': part %" PRIu64 " of %" PRIu64
                       " of a split model; name its first part, ...-00001-of-%05" PRIu64 ".gguf",
                       path, split->no + 1, split->count, split->count);
    if (!split_path(path + (strlen(path) > SPLIT_TAIL_BYTES ? strlen(path) - SPLIT_TAIL_BYTES : 0), 0, split->count,
                    other, sizeof(other)))
        return err_set(err, ERR_FORMAT,
                       "'%.250s': the first of %" PRIu64 " parts; its name must end in -00001-of-%05" PRIu64
                       ".gguf, so that the others can be found beside it",
                       path, split->count, split->count);
    return 0;
}

static int open_all(struct gguf *gguf, const char *path, struct err *err)
{
    XXH3_state_t hash;
    XXH128_canonical_t identity;
    struct split split;
    int rc;

    XXH3_INITSTATE(&hash);
    XXH3_128bits_reset(&hash);
    rc = open_file(gguf, 0, path, &hash, &gguf->keys, err);
    if (rc)
        return rc;
    rc = read_split(&gguf->keys, &split, err);
    if (rc)
        return err_wrap(err, "'%.250s'", path);
    rc = check_first(path, &split, err);
    if (rc == 0 && split.count > 1)
        rc = open_parts(gguf, path, &split, &hash, err);
    if (rc)
        return rc;
    rc = gguf_tensors_index(gguf, err);
    if (rc)
        return err_wrap(err, "'%.250s'", path);
    XXH128_canonicalFromHash(&identity, XXH3_128bits_digest(&hash));
    memcpy(gguf->identity, identity.digest, sizeof(gguf->identity));
    return 0;
}

int gguf_open(const char *path, struct gguf **ret_gguf, struct err *err)
{
    struct err scratch = { 0 };
    struct gguf *gguf = mem_zalloc(sizeof(*gguf));
    int rc;

    err = err ? err : &scratch;
    if (!gguf)
        return err_sys(err, ENOMEM, "'%.250s'", path);
    gguf->files = mem_calloc(GGUF_MAX_FILES, sizeof(*gguf->files));
    rc = gguf->files ? open_all(gguf, path, err) : err_sys(err, ENOMEM, "'%.250s'", path);
    if (rc)
        gguf_close(gguf);
    else
        *ret_gguf = gguf;
    return rc;
}

void gguf_close(struct gguf *gguf)
{
    if (!gguf)
        return;
    for (size_t i = 0; i < gguf->n_files; i++)
        gguf_file_close(&gguf->files[i]);
    gguf_arena_fini(&gguf->arrays);
    gguf_arena_fini(&gguf->arena);
    mem_free(gguf->files);
    mem_free(gguf);
}

int gguf_read(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t from, void *dst, size_t bytes,
              struct err *err)
{
    const struct gguf_file *file = &gguf->files[tensor->file];
    struct err cause = { 0 };
    int rc;

    if (from > tensor->bytes || bytes > tensor->bytes - from)
        return err_set(err, -ERANGE, "tensor '%s': no bytes %" PRIu64 " to %" PRIu64 " in %" PRIu64, tensor->name, from,
                       from + bytes, tensor->bytes);
    rc = gguf_file_read(file, tensor->offset + from, dst, bytes, &cause);
    if (rc)
        return err_set(err, rc, "'%.250s': tensor '%s': %s", file->path, tensor->name, err_text(&cause));
    return 0;
}

void gguf_prefetch(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t from, size_t bytes)
{
    (void)posix_fadvise(gguf->files[tensor->file].fd, (off_t)(tensor->offset + from), (off_t)bytes,
                        POSIX_FADV_WILLNEED);
}

int gguf_check_unchanged(const struct gguf *gguf, struct err *err)
{
    for (size_t i = 0; i < gguf->n_files; i++) {
        const struct gguf_file *file = &gguf->files[i];
        struct stat st;

        if (fstat(file->fd, &st))
            return err_sys(err, errno, "'%.250s': cannot stat", file->path);
        if ((uint64_t)st.st_size != file->bytes || gguf_mtime_ns(&st) != file->mtime_ns)
            return err_set(err, ERR_CHANGED, "'%.250s': changed since it was opened; restart to use the new file",
                           file->path);
    }
    return 0;
}

size_t gguf_file_count(const struct gguf *gguf)
{
    return gguf->n_files;
}

const char *gguf_file_path(const struct gguf *gguf, size_t i)
{
    return gguf->files[i].path;
}

int gguf_file_fd(const struct gguf *gguf, size_t i)
{
    return gguf->files[i].fd;
}

uint64_t gguf_file_bytes(const struct gguf *gguf, size_t i)
{
    return gguf->files[i].bytes;
}

int64_t gguf_file_mtime_ns(const struct gguf *gguf, size_t i)
{
    return gguf->files[i].mtime_ns;
}

void gguf_identity(const struct gguf *gguf, uint8_t ret_identity[16])
{
    memcpy(ret_identity, gguf->identity, sizeof(gguf->identity));
}
