/* SPDX-License-Identifier: MIT */
#include "base/arith.h"
#include "model/gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int check_type(uint32_t type, struct gguf_tensor *t, struct err *err)
{
    const struct quant_info *info = quant_info(type);

    if (!info)
        return err_set(err, ERR_UNSUPPORTED,
                       "unknown weight format %" PRIu32 "; the file may be newer than this program", type);
    if (t->dims[0] % info->block_len)
        return err_set(err, ERR_FORMAT, "rows of %" PRIu64 " weights are not whole blocks of %s (%" PRIu32 " weights)",
                       t->dims[0], info->name, info->block_len);
    t->type = (enum quant_type)type;
    t->bytes = t->dims[0] / info->block_len;
    if (!u64_mul(t->bytes, info->block_bytes, &t->bytes) || !u64_mul(t->bytes, t->dims[1], &t->bytes) ||
        !u64_mul(t->bytes, t->dims[2], &t->bytes) || !u64_mul(t->bytes, t->dims[3], &t->bytes))
        return err_set(err, ERR_FORMAT, "its dimensions multiply to more than 64 bits hold");
    return 0;
}

static int read_dims(struct gguf_reader *r, struct gguf_tensor *t)
{
    int rc = gguf_reader_u32(r, &t->n_dims);

    if (rc)
        return rc;
    if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS)
        return err_set(r->err, ERR_FORMAT, "%" PRIu32 " dimensions; 1 to %d are possible", t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        t->dims[i] = 1;
        rc = i < t->n_dims ? gguf_reader_u64(r, &t->dims[i]) : 0;
        if (rc)
            return rc;
        if (t->dims[i] == 0)
            return err_set(r->err, ERR_FORMAT, "dimension %" PRIu32 " is zero", i);
    }
    return 0;
}

/* `t->offset` stays relative to the data section, whose start is not known yet. */
static int read_tensor(struct gguf_reader *r, uint32_t alignment, struct gguf_tensor *t)
{
    uint32_t type;
    int rc = read_dims(r, t);

    if (rc == 0)
        rc = gguf_reader_u32(r, &type);
    if (rc == 0)
        rc = check_type(type, t, r->err);
    if (rc == 0)
        rc = gguf_reader_u64(r, &t->offset);
    if (rc)
        return rc;
    if (t->offset % alignment)
        return err_set(r->err, ERR_FORMAT, "offset %" PRIu64 " is not a multiple of the alignment, %" PRIu32, t->offset,
                       alignment);
    return 0;
}

/* From the start of the data section to the start of the file, and within the file. */
static int place_tensor(struct gguf_tensor *t, uint64_t data_start, const struct gguf_file *file, struct err *err)
{
    uint64_t start, end;

    if (!u64_add(t->offset, data_start, &start) || !u64_add(start, t->bytes, &end))
        return err_set(err, ERR_FORMAT, "offset %" PRIu64 " and size %" PRIu64 " add up to more than 64 bits hold",
                       t->offset, t->bytes);
    if (end > file->bytes)
        return err_set(err, ERR_FORMAT,
                       "its data ends at byte %" PRIu64 ", but the file has %" PRIu64
                       ": it is incomplete; download or copy it again",
                       end, file->bytes);
    t->offset = start;
    return 0;
}

/* Room for n more: the table of a split model grows file by file. */
static struct gguf_tensor *tensors_grow(struct gguf *gguf, size_t n, struct err *err)
{
    struct gguf_tensor *v;

    if (n > GGUF_MAX_TENSORS - gguf->n_tensors) {
        err_set(err, ERR_FORMAT, "more than %u tensors in all files together", GGUF_MAX_TENSORS);
        return NULL;
    }
    v = gguf_arena_alloc(&gguf->arena, gguf->n_tensors + n, sizeof(*v), err);
    if (v && gguf->n_tensors)
        memcpy(v, gguf->tensors, gguf->n_tensors * sizeof(*v));
    return v;
}

int gguf_tensors_read(struct gguf *gguf, struct gguf_reader *r, uint32_t file, size_t n, uint32_t alignment)
{
    struct gguf_tensor *v = tensors_grow(gguf, n, r->err), *t;
    uint64_t data_start;
    int rc;

    if (!v)
        return r->err->code;
    t = v + gguf->n_tensors;
    for (size_t i = 0; i < n; i++) {
        rc = gguf_reader_name(r, "tensor name", GGUF_MAX_TENSOR_NAME_BYTES, &t[i].name);
        if (rc)
            return rc;
        t[i].file = file;
        rc = read_tensor(r, alignment, &t[i]);
        if (rc)
            return err_wrap(r->err, "tensor '%s'", t[i].name);
    }
    /* The specification asks for a multiple of 8, not for a power of two. */
    data_start = (r->pos + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < n; i++) {
        rc = place_tensor(&t[i], data_start, r->file, r->err);
        if (rc)
            return err_wrap(r->err, "tensor '%s'", t[i].name);
    }
    gguf->tensors = v;
    gguf->n_tensors += n;
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct gguf_tensor *const *ta = a, *const *tb = b;

    if ((*ta)->file != (*tb)->file)
        return (*ta)->file < (*tb)->file ? -1 : 1;
    return (*ta)->offset < (*tb)->offset ? -1 : (*ta)->offset > (*tb)->offset;
}

static int compare_names(const void *a, const void *b)
{
    const struct gguf_tensor *const *ta = a, *const *tb = b;

    return strcmp((*ta)->name, (*tb)->name);
}

int gguf_tensors_index(struct gguf *gguf, struct err *err)
{
    const struct gguf_tensor **v =
        gguf_arena_alloc(&gguf->arena, gguf->n_tensors, sizeof(const struct gguf_tensor *), err);

    if (!v)
        return err->code;
    for (size_t i = 0; i < gguf->n_tensors; i++)
        v[i] = &gguf->tensors[i];
    qsort(v, gguf->n_tensors, sizeof(const struct gguf_tensor *), compare_names);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (!strcmp(v[i - 1]->name, v[i]->name))
            return err_set(err, ERR_FORMAT, "tensor '%s': appears twice", v[i]->name);
    qsort(v, gguf->n_tensors, sizeof(const struct gguf_tensor *), compare_places);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (v[i - 1]->file == v[i]->file && v[i - 1]->offset + v[i - 1]->bytes > v[i]->offset)
            return err_set(err, ERR_FORMAT, "tensor '%s': overlaps tensor '%s'", v[i]->name, v[i - 1]->name);
    qsort(v, gguf->n_tensors, sizeof(const struct gguf_tensor *), compare_names);
    gguf->sorted = v;
    return 0;
}

static int compare_name_to(const void *name, const void *element)
{
    const struct gguf_tensor *const *t = element;

    return strcmp(name, (*t)->name);
}

size_t gguf_tensor_count(const struct gguf *gguf)
{
    return gguf->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, size_t i)
{
    return &gguf->tensors[i];
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *gguf, const char *name)
{
    const struct gguf_tensor **t = gguf->n_tensors ? bsearch(name, gguf->sorted, gguf->n_tensors,
                                                             sizeof(const struct gguf_tensor *), compare_name_to)
                                                   : NULL;

    return t ? *t : NULL;
}
