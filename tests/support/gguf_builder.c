/* SPDX-License-Identifier: MIT */
#include "tests/support/gguf_builder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "gguf_builder: %s\n", what);
    abort();
}

static void *grow(void *p, size_t n, size_t size)
{
    p = realloc(p, n * size);
    need(p, "no memory");
    return p;
}

static void *copy(const void *p, size_t n)
{
    void *q = malloc(n + 1);

    need(q, "no memory");
    if (n)
        memcpy(q, p, n);
    ((char *)q)[n] = '\0';
    return q;
}

void gguf_builder_init(struct gguf_builder *b)
{
    *b = (struct gguf_builder){ .magic = "GGUF", .version = 3, .alignment = 32 };
}

void gguf_builder_fini(struct gguf_builder *b)
{
    for (size_t i = 0; i < b->n_keys; i++) {
        free(b->keys[i].key);
        free(b->keys[i].value);
    }
    for (size_t i = 0; i < b->n_tensors; i++)
        free(b->tensors[i].data);
    free(b->keys);
    free(b->tensors);
    *b = (struct gguf_builder){ 0 };
}

static struct builder_key *find_key(struct gguf_builder *b, const char *key)
{
    for (size_t i = 0; i < b->n_keys; i++)
        if (!strcmp(b->keys[i].key, key))
            return &b->keys[i];
    return NULL;
}

struct builder_key *gguf_builder_key(struct gguf_builder *b, const char *key)
{
    struct builder_key *k = find_key(b, key);

    need(k, key);
    return k;
}

void gguf_builder_drop_key(struct gguf_builder *b, const char *key)
{
    struct builder_key *k = gguf_builder_key(b, key);
    size_t i = (size_t)(k - b->keys);

    free(k->key);
    free(k->value);
    memmove(k, k + 1, (b->n_keys - i - 1) * sizeof(*k));
    b->n_keys--;
}

struct builder_key *gguf_builder_append(struct gguf_builder *b, const char *key, uint32_t type, const void *value,
                                        size_t len)
{
    b->keys = grow(b->keys, b->n_keys + 1, sizeof(*b->keys));
    b->keys[b->n_keys] = (struct builder_key){ copy(key, strlen(key)), strlen(key), 0, type, copy(value, len), len };
    return &b->keys[b->n_keys++];
}

void gguf_builder_raw(struct gguf_builder *b, const char *key, uint32_t type, const void *value, size_t len)
{
    struct builder_key *k = find_key(b, key);

    if (!k) {
        gguf_builder_append(b, key, type, value, len);
        return;
    }
    free(k->value);
    k->type = type;
    k->value = copy(value, len);
    k->value_len = len;
}

void gguf_builder_u8(struct gguf_builder *b, const char *key, uint8_t v)
{
    gguf_builder_raw(b, key, GGUF_U8, &v, sizeof(v));
}

void gguf_builder_u16(struct gguf_builder *b, const char *key, uint16_t v)
{
    gguf_builder_raw(b, key, GGUF_U16, &v, sizeof(v));
}

void gguf_builder_u32(struct gguf_builder *b, const char *key, uint32_t v)
{
    gguf_builder_raw(b, key, GGUF_U32, &v, sizeof(v));
}

void gguf_builder_i32(struct gguf_builder *b, const char *key, int32_t v)
{
    gguf_builder_raw(b, key, GGUF_I32, &v, sizeof(v));
}

void gguf_builder_u64(struct gguf_builder *b, const char *key, uint64_t v)
{
    gguf_builder_raw(b, key, GGUF_U64, &v, sizeof(v));
}

void gguf_builder_i64(struct gguf_builder *b, const char *key, int64_t v)
{
    gguf_builder_raw(b, key, GGUF_I64, &v, sizeof(v));
}

void gguf_builder_f32(struct gguf_builder *b, const char *key, float v)
{
    gguf_builder_raw(b, key, GGUF_F32, &v, sizeof(v));
}

void gguf_builder_f64(struct gguf_builder *b, const char *key, double v)
{
    gguf_builder_raw(b, key, GGUF_F64, &v, sizeof(v));
}

void gguf_builder_bool(struct gguf_builder *b, const char *key, bool v)
{
    uint8_t byte = v;

    gguf_builder_raw(b, key, GGUF_BOOL, &byte, sizeof(byte));
}

struct bytes {
    unsigned char *p;
    size_t n, cap;
};

static void put(struct bytes *out, const void *p, size_t n)
{
    if (out->n + n > out->cap) {
        out->cap = (out->n + n) * 2;
        out->p = grow(out->p, out->cap, 1);
    }
    if (n)
        memcpy(out->p + out->n, p, n);
    out->n += n;
}

static void put_u32(struct bytes *out, uint32_t v)
{
    put(out, &v, sizeof(v));
}

static void put_u64(struct bytes *out, uint64_t v)
{
    put(out, &v, sizeof(v));
}

static void put_zeros(struct bytes *out, size_t n)
{
    static const unsigned char zero;

    while (n--)
        put(out, &zero, 1);
}

void gguf_builder_str(struct gguf_builder *b, const char *key, const char *v)
{
    struct bytes out = { 0 };

    put_u64(&out, strlen(v));
    put(&out, v, strlen(v));
    gguf_builder_raw(b, key, GGUF_STRING, out.p, out.n);
    free(out.p);
}

void gguf_builder_array(struct gguf_builder *b, const char *key, uint32_t type, uint64_t n, const void *v, size_t len)
{
    struct bytes out = { 0 };

    put_u32(&out, type);
    put_u64(&out, n);
    put(&out, v, len);
    gguf_builder_raw(b, key, GGUF_ARRAY, out.p, out.n);
    free(out.p);
}

void gguf_builder_strs(struct gguf_builder *b, const char *key, const char *const *v, size_t n)
{
    struct bytes out = { 0 };

    for (size_t i = 0; i < n; i++) {
        put_u64(&out, strlen(v[i]));
        put(&out, v[i], strlen(v[i]));
    }
    gguf_builder_array(b, key, GGUF_STRING, n, out.p, out.n);
    free(out.p);
}

struct builder_tensor *gguf_builder_tensor(struct gguf_builder *b, const char *name)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!strcmp(b->tensors[i].name, name))
            return &b->tensors[i];
    need(false, name);
    return NULL;
}

void gguf_builder_drop_tensor(struct gguf_builder *b, const char *name)
{
    struct builder_tensor *t = gguf_builder_tensor(b, name);
    size_t i = (size_t)(t - b->tensors);

    free(t->data);
    memmove(t, t + 1, (b->n_tensors - i - 1) * sizeof(*t));
    b->n_tensors--;
}

static size_t align_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

struct builder_tensor *gguf_builder_add(struct gguf_builder *b, const char *name, uint32_t type, uint32_t n_dims,
                                        const uint64_t *dims, const void *data, size_t len)
{
    struct builder_tensor *t;

    b->tensors = grow(b->tensors, b->n_tensors + 1, sizeof(*b->tensors));
    t = &b->tensors[b->n_tensors++];
    *t = (struct builder_tensor){ .name_len = strlen(name), .n_dims = n_dims, .type = type };
    need(strlen(name) < sizeof(t->name) && n_dims <= BUILDER_MAX_DIMS, "tensor out of bounds");
    strcpy(t->name, name);
    memcpy(t->dims, dims, n_dims * sizeof(*dims));
    t->data = copy(data, len);
    t->data_len = len;
    t->offset = t->place = align_up(b->data_len, b->alignment);
    b->data_len = t->place + len;
    return t;
}

unsigned char *gguf_builder_bytes(const struct gguf_builder *b, size_t *ret_len, size_t *ret_header)
{
    struct bytes out = { 0 };
    size_t start;

    put(&out, b->magic, sizeof(b->magic));
    put_u32(&out, b->version);
    put_u64(&out, b->n_tensors + b->add_tensors);
    put_u64(&out, b->n_keys + b->add_keys);
    for (size_t i = 0; i < b->n_keys; i++) {
        put_u64(&out, b->keys[i].key_len + b->keys[i].claim_len);
        put(&out, b->keys[i].key, b->keys[i].key_len);
        put_u32(&out, b->keys[i].type);
        put(&out, b->keys[i].value, b->keys[i].value_len);
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct builder_tensor *t = &b->tensors[i];

        put_u64(&out, t->name_len + t->claim_len);
        put(&out, t->name, t->name_len);
        put_u32(&out, t->n_dims);
        put(&out, t->dims, (t->n_dims < BUILDER_MAX_DIMS ? t->n_dims : BUILDER_MAX_DIMS) * sizeof(*t->dims));
        put_u32(&out, t->type);
        put_u64(&out, t->offset);
    }
    if (ret_header)
        *ret_header = out.n;
    put_zeros(&out, align_up(out.n, b->alignment) - out.n);
    start = out.n;
    for (size_t i = 0; i < b->n_tensors; i++) {
        put_zeros(&out, start + b->tensors[i].place - out.n);
        put(&out, b->tensors[i].data, b->tensors[i].data_len);
    }
    *ret_len = out.n;
    return out.p;
}

void gguf_builder_write(const struct gguf_builder *b, const char *path)
{
    size_t len;
    unsigned char *p = gguf_builder_bytes(b, &len, NULL);
    FILE *f = fopen(path, "wb");

    need(f && fwrite(p, 1, len, f) == len && fclose(f) == 0, path);
    free(p);
}

void builder_mkdir(char *ret_dir)
{
    strcpy(ret_dir, "/tmp/expertd-test-XXXXXX");
    need(mkdtemp(ret_dir), "mkdtemp");
}

void builder_rmdir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];

    while (d && (e = readdir(d))) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(path))
            rmdir(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}
