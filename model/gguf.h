/* SPDX-License-Identifier: MIT
 *
 * gguf.h: reading GGUF v2 and v3, single or split, trusting nothing.
 *
 * The header (keys, values, tensor table) is read with pread into memory and checked: every count, length, offset, type
 * and product against overflow and against the file's size. Tensor data is never mapped: gguf_read reads it, so
 * a file that is cut short while open is an error, not SIGBUS. Unknown keys are kept and ignored.
 *
 * Split models (-00001-of-0000N.gguf) are opened by their first file; the tensor table is the union.
 * Limits: see gguf_internal.h (keys, tensors, files, string and array lengths, nesting, memory).
 *
 * Ownership: a gguf owns its files and everything it lends (strings, arrays, tensors) until gguf_close.
 * Immutable after open, so thread-safe to read.
 *
 * Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */
#ifndef EXPERTD_MODEL_GGUF_H
#define EXPERTD_MODEL_GGUF_H

#include "base/err.h"
#include "compute/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
    GGUF_U64, GGUF_I64, GGUF_F64,
};

struct gguf_str {
    const char *p; /* not NUL-terminated; may hold any bytes */
    size_t len;
};

#define GGUF_MAX_DIMS 4

struct gguf_tensor {
    const char *name; /* NUL-terminated; names with NUL inside are refused */
    enum quant_type type;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* dims[0] is the contiguous one; unused ones are 1 */
    uint32_t file;                /* index of the file it lies in */
    uint64_t offset;              /* from the start of that file */
    uint64_t bytes;               /* offset + bytes lies within the file */
};

int gguf_open(const char *path, struct gguf **ret_gguf, struct err *err);
void gguf_close(struct gguf *gguf);

/* Values. Integers of any width convert when they fit. Return 0, -ENOENT when the key is missing, ERR_FORMAT when its
 * type or range does not fit (err filled). */
int gguf_get_u64(const struct gguf *gguf, const char *key, uint64_t *ret_v, struct err *err);
int gguf_get_u32(const struct gguf *gguf, const char *key, uint32_t *ret_v, struct err *err);
int gguf_get_f32(const struct gguf *gguf, const char *key, float *ret_v, struct err *err);
int gguf_get_bool(const struct gguf *gguf, const char *key, bool *ret_v, struct err *err);
int gguf_get_str(const struct gguf *gguf, const char *key, struct gguf_str *ret_v, struct err *err);

/* Arrays: the count, then elements by index (i < count). */
int gguf_get_array(const struct gguf *gguf, const char *key, enum gguf_type *ret_type, size_t *ret_n, struct err *err);
int gguf_array_str(const struct gguf *gguf, const char *key, size_t i, struct gguf_str *ret_v, struct err *err);
/* Whole arrays at once, for the large ones; the result is lent. */
int gguf_get_strs(const struct gguf *gguf, const char *key, const struct gguf_str **ret_v, size_t *ret_n,
                  struct err *err);
int gguf_get_f32s(const struct gguf *gguf, const char *key, const float **ret_v, size_t *ret_n, struct err *err);
int gguf_get_i32s(const struct gguf *gguf, const char *key, const int32_t **ret_v, size_t *ret_n, struct err *err);

/* Give the arrays' memory back, a vocabulary's mostly, once those who need them have taken theirs: every array is empty
 * from then on. What was lent of them is gone. Not while another thread reads. */
void gguf_drop_arrays(struct gguf *gguf);

/* Every key, for `show`: i < gguf_key_count. */
size_t gguf_key_count(const struct gguf *gguf);
const char *gguf_key(const struct gguf *gguf, size_t i, enum gguf_type *ret_type);

size_t gguf_tensor_count(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, size_t i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *gguf, const char *name); /* NULL when absent */

/* Read bytes of a tensor's data, all or error. The range must lie within the tensor. */
int gguf_read(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t from, void *dst, size_t bytes,
              struct err *err);
/* These bytes are about to be read: have the kernel begin, several at once. Advice, so nothing can fail. */
void gguf_prefetch(const struct gguf *gguf, const struct gguf_tensor *tensor, uint64_t from, size_t bytes);

/* ERR_CHANGED when a file's size or mtime is no longer what it was at open. */
int gguf_check_unchanged(const struct gguf *gguf, struct err *err);

/* The files, in order. */
size_t gguf_file_count(const struct gguf *gguf);
const char *gguf_file_path(const struct gguf *gguf, size_t i);
int gguf_file_fd(const struct gguf *gguf, size_t i);
uint64_t gguf_file_bytes(const struct gguf *gguf, size_t i);
int64_t gguf_file_mtime_ns(const struct gguf *gguf, size_t i);
/* XXH3-128 over the header bytes, sizes and mtimes of all files. */
void gguf_identity(const struct gguf *gguf, uint8_t ret_identity[16]);

#endif
