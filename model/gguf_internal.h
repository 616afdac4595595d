/* SPDX-License-Identifier: MIT
 *
 * gguf_internal.h: what the files of the GGUF reader share (gguf.c, gguf_reader.c, gguf_keys.c, gguf_tensors.c). Nobody
 * else includes it.
 *
 * Memory: everything read from a header lies in one arena that is freed as a whole, bounded by GGUF_MAX_HEADER_MEMORY.
 * A count is never trusted for an allocation before it is known that the rest of the file could hold that many.
 */
#ifndef EXPERTD_MODEL_GGUF_INTERNAL_H
#define EXPERTD_MODEL_GGUF_INTERNAL_H

#include "model/gguf.h"

#define XXH_STATIC_LINKING_ONLY
#include <sys/stat.h>
#include <xxhash.h>

/* Limits. Real models stay far below each. */
#define GGUF_MAX_KEYS 65536u
#define GGUF_MAX_TENSORS 262144u
#define GGUF_MAX_FILES 256u
#define GGUF_MAX_KEY_BYTES 65535u          /* the specification's */
#define GGUF_MAX_TENSOR_NAME_BYTES 64u     /* the specification's */
#define GGUF_MAX_STRING_BYTES (16u << 20)
#define GGUF_MAX_ARRAY_LEN (16u << 20)
#define GGUF_MAX_NESTING 4                 /* arrays in arrays */
#define GGUF_MAX_ALIGNMENT (1u << 20)
#define GGUF_MAX_HEADER_MEMORY ((size_t)512 << 20)
#define GGUF_DEFAULT_ALIGNMENT 32u

/* The least that one of each takes in a file. */
#define GGUF_MIN_KEY_BYTES (8 + 1 + 4 + 1)            /* length, one letter, type, a value of one byte */
#define GGUF_MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* length, one letter, n_dims, one dimension, type, offset */

/* Bump allocation; see gguf_reader.c. */
struct gguf_chunk;

struct gguf_arena {
    struct gguf_chunk *chunks;
    size_t bytes; /* taken so far */
};

void *gguf_arena_alloc(struct gguf_arena *arena, size_t n, size_t size, struct err *err); /* 16-byte aligned */
void gguf_arena_fini(struct gguf_arena *arena);

struct gguf_file {
    char *path;
    int fd;
    uint64_t bytes;
    int64_t mtime_ns;
};

/* Open a regular file for reading; never blocks, not on a FIFO either. */
int gguf_file_open(struct gguf_file *file, const char *path, struct err *err);
void gguf_file_close(struct gguf_file *file);
int64_t gguf_mtime_ns(const struct stat *st);
/* All `bytes` at `offset`, or an error: a file that ends before has been cut short since it was opened. */
int gguf_file_read(const struct gguf_file *file, uint64_t offset, void *dst, size_t bytes, struct err *err);

/* Reads a header from front to back, and hashes what it reads. */
struct gguf_reader {
    const struct gguf_file *file;
    struct gguf_arena *arena;
    struct gguf_arena *arrays; /* for the elements of arrays */
    XXH3_state_t *hash;
    struct err *err;
    uint64_t pos;         /* next byte to hand out, from the start of the file */
    unsigned char *buf;   /* GGUF_READER_BYTES */
    size_t at, n;         /* handed out of buf, filled */
};

#define GGUF_READER_BYTES ((size_t)256 << 10)

/* Each returns 0 or fills reader->err. */
int gguf_reader_bytes(struct gguf_reader *r, void *dst, size_t n);
int gguf_reader_u32(struct gguf_reader *r, uint32_t *ret_v);
int gguf_reader_u64(struct gguf_reader *r, uint64_t *ret_v);
/* A length and that many bytes, into the arena with a NUL behind. */
int gguf_reader_str(struct gguf_reader *r, uint32_t max_bytes, struct gguf_str *ret_s);
/* A string that names something: not empty, printable ASCII. `what`: "key" or "tensor name". */
int gguf_reader_name(struct gguf_reader *r, const char *what, uint32_t max_bytes, const char **ret_name);
/* A count of things that take at least `min_bytes` each in the rest of the file. */
int gguf_reader_count(struct gguf_reader *r, const char *what, uint32_t max, size_t min_bytes, uint64_t *ret_n);
uint64_t gguf_reader_left(const struct gguf_reader *r);

struct gguf_array {
    enum gguf_type type;
    size_t n;
    const void *v; /* [n] of the type's C type; strings are struct gguf_str; NULL for arrays of arrays */
};

struct gguf_value {
    const char *key;
    enum gguf_type type;
    union {
        uint64_t u; /* unsigned types and BOOL */
        int64_t i;  /* signed types */
        double f;
        struct gguf_str str;
        struct gguf_array array;
    };
};

struct gguf_keys {
    struct gguf_value *v;             /* [n], as in the file */
    const struct gguf_value **sorted; /* [n], by key */
    size_t n;
};

int gguf_keys_read(struct gguf_reader *r, size_t n, struct gguf_keys *keys);
const struct gguf_value *gguf_keys_find(const struct gguf_keys *keys, const char *key);
/* As gguf_get_u64. */
int gguf_keys_u64(const struct gguf_keys *keys, const char *key, uint64_t *ret_v, struct err *err);

struct gguf {
    struct gguf_arena arena;
    struct gguf_arena arrays; /* what arrays hold, apart so that it can go first */
    struct gguf_file *files;
    size_t n_files;
    struct gguf_keys keys; /* of the first file */
    struct gguf_tensor *tensors; /* [n_tensors], file by file, as in the file */
    const struct gguf_tensor **sorted; /* [n_tensors], by name */
    size_t n_tensors;
    uint8_t identity[16];
};

/* Append a file's tensor table to gguf->tensors. On entry the reader stands before the table, on success behind it. */
int gguf_tensors_read(struct gguf *gguf, struct gguf_reader *r, uint32_t file, size_t n, uint32_t alignment);
/* Once all are read: duplicates, overlaps, and the index by name. */
int gguf_tensors_index(struct gguf *gguf, struct err *err);

#endif
