/* SPDX-License-Identifier: MIT
 *
 * gguf_builder.h: GGUF files made in a test: small whole models with random weights, and broken ones.
 *
 * A builder holds keys and tensors as they will be written; a test may replace, drop or distort any of them before
 * writing. gguf_builder_model fills one with a complete F32 model of a supported architecture and a byte-level BPE
 * vocabulary that encodes any text. Everything follows from the seed. A failed allocation or write ends the test
 * program.
 *
 *     struct random_model shape = RANDOM_MODEL("qwen3moe");
 *     struct gguf_builder b;
 *
 *     gguf_builder_model(&b, &shape);
 *     gguf_builder_write(&b, path);
 *     gguf_builder_fini(&b);
 *
 * Memory is malloc's own, so that mem_fail_after in a test does not touch it.
 */
#ifndef EXPERTD_TESTS_SUPPORT_GGUF_BUILDER_H
#define EXPERTD_TESTS_SUPPORT_GGUF_BUILDER_H

#include "model/gguf.h"

#define BUILDER_MAX_DIMS 8

struct builder_key {
    char *key;
    size_t key_len;       /* bytes of key that are written */
    uint64_t claim_len;   /* added to the length that is written (wraps) */
    uint32_t type;        /* as written */
    unsigned char *value; /* as written, behind the type */
    size_t value_len;
};

struct builder_tensor {
    char name[128];
    size_t name_len;    /* bytes of name that are written */
    uint64_t claim_len; /* added to the length that is written (wraps) */
    uint32_t n_dims, type;
    uint64_t dims[BUILDER_MAX_DIMS];
    uint64_t offset; /* in the data section: set when added, may be distorted */
    size_t place;    /* where the data are written all the same */
    unsigned char *data;
    size_t data_len;
};

struct gguf_builder {
    char magic[4];
    uint32_t version, alignment;
    struct builder_key *keys;
    size_t n_keys;
    struct builder_tensor *tensors;
    size_t n_tensors;
    uint64_t add_keys, add_tensors; /* to the counts written (wraps) */
    size_t data_len;                /* of the data section so far */
};

struct random_model {
    const char *arch; /* "llama", "qwen2moe", "qwen3moe", "olmoe" */
    uint32_t n_layers, n_dense_layers;
    uint32_t n_embd, n_heads, n_kv_heads, head_dim;
    uint32_t n_ff, n_ff_expert, n_ff_shared; /* llama and olmoe: n_ff_expert is all; n_ff_shared: qwen2moe */
    uint32_t n_experts, n_used;
    uint32_t n_ctx;
    bool tied; /* no output.weight */
    uint64_t seed;
};

#define RANDOM_MODEL(name) \
    (struct random_model) { name, 2, 0, 32, 4, 2, 16, 48, 32, 16, 8, 2, 256, false, 1 }

void gguf_builder_init(struct gguf_builder *b); /* empty, version 3, alignment 32 */
void gguf_builder_model(struct gguf_builder *b, const struct random_model *shape); /* init and fill */
void gguf_builder_fini(struct gguf_builder *b);

/* Set a key, replacing one of that name. */
void gguf_builder_raw(struct gguf_builder *b, const char *key, uint32_t type, const void *value, size_t len);
void gguf_builder_u8(struct gguf_builder *b, const char *key, uint8_t v);
void gguf_builder_u16(struct gguf_builder *b, const char *key, uint16_t v);
void gguf_builder_u32(struct gguf_builder *b, const char *key, uint32_t v);
void gguf_builder_i32(struct gguf_builder *b, const char *key, int32_t v);
void gguf_builder_u64(struct gguf_builder *b, const char *key, uint64_t v);
void gguf_builder_i64(struct gguf_builder *b, const char *key, int64_t v);
void gguf_builder_f32(struct gguf_builder *b, const char *key, float v);
void gguf_builder_f64(struct gguf_builder *b, const char *key, double v);
void gguf_builder_bool(struct gguf_builder *b, const char *key, bool v);
void gguf_builder_str(struct gguf_builder *b, const char *key, const char *v);
void gguf_builder_strs(struct gguf_builder *b, const char *key, const char *const *v, size_t n);
void gguf_builder_array(struct gguf_builder *b, const char *key, uint32_t type, uint64_t n, const void *v, size_t len);

/* Append a key even if there is one of that name; for distorted ones. */
struct builder_key *gguf_builder_append(struct gguf_builder *b, const char *key, uint32_t type, const void *value,
                                        size_t len);
struct builder_key *gguf_builder_key(struct gguf_builder *b, const char *key); /* ends the test when absent */
void gguf_builder_drop_key(struct gguf_builder *b, const char *key);

/* Append a tensor; `data` is copied. */
struct builder_tensor *gguf_builder_add(struct gguf_builder *b, const char *name, uint32_t type, uint32_t n_dims,
                                        const uint64_t *dims, const void *data, size_t len);
struct builder_tensor *gguf_builder_tensor(struct gguf_builder *b, const char *name); /* ends the test when absent */
void gguf_builder_drop_tensor(struct gguf_builder *b, const char *name);

/* The whole file (free it); `ret_header` (may be NULL): where the header ends. */
unsigned char *gguf_builder_bytes(const struct gguf_builder *b, size_t *ret_len, size_t *ret_header);
void gguf_builder_write(const struct gguf_builder *b, const char *path);

/* A new directory that builder_rmdir removes with what is in it. */
void builder_mkdir(char *ret_dir /* [64] */);
void builder_rmdir(const char *dir);

#endif
