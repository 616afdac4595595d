/* SPDX-License-Identifier: MIT */
#include "base/arith.h"
#include "model/gguf_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a value of each type in the file and in an array in memory; 0: of variable length. */
static const struct {
    const char *name;
    uint8_t bytes;
    char kind; /* u, i, f, b, s or a: which member of the union holds it */
} types[] = {
    [GGUF_U8] = { "u8", 1, 'u' },       [GGUF_I8] = { "i8", 1, 'i' },     [GGUF_U16] = { "u16", 2, 'u' },
    [GGUF_I16] = { "i16", 2, 'i' },     [GGUF_U32] = { "u32", 4, 'u' },   [GGUF_I32] = { "i32", 4, 'i' },
    [GGUF_F32] = { "f32", 4, 'f' },     [GGUF_BOOL] = { "bool", 1, 'b' }, [GGUF_STRING] = { "string", 0, 's' },
    [GGUF_ARRAY] = { "array", 0, 'a' }, [GGUF_U64] = { "u64", 8, 'u' },   [GGUF_I64] = { "i64", 8, 'i' },
    [GGUF_F64] = { "f64", 8, 'f' },
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))
#define MIN_STRING_BYTES 8
#define MIN_ARRAY_BYTES (4 + 8)

static int read_type(struct gguf_reader *r, enum gguf_type *ret_type)
{
    uint32_t type;
    int rc = gguf_reader_u32(r, &type);

    if (rc)
        return rc;
    if (type >= N_TYPES)
        return err_set(r->err, ERR_FORMAT, "unknown value type %" PRIu32, type);
    *ret_type = (enum gguf_type)type;
    return 0;
}

static int read_scalar(struct gguf_reader *r, struct gguf_value *v)
{
    union {
        uint64_t u;
        int64_t i64;
        int32_t i32;
        int16_t i16;
        int8_t i8;
        float f32;
        double f64;
    } raw = { 0 };
    int rc = gguf_reader_bytes(r, &raw, types[v->type].bytes);

    if (rc)
        return rc;
    switch (v->type) {
    case GGUF_I8:
        v->i = raw.i8;
        break;
    case GGUF_I16:
        v->i = raw.i16;
        break;
    case GGUF_I32:
        v->i = raw.i32;
        break;
    case GGUF_F32:
        v->f = (double)raw.f32;
        break;
    case GGUF_BOOL:
        if (raw.u > 1)
            return err_set(r->err, ERR_FORMAT, "a bool of value %" PRIu64, raw.u);
        v->u = raw.u;
        break;
    default: /* 8 bytes, or unsigned: the low bytes of u */
        v->u = raw.u;
    }
    return 0;
}

static int read_strings(struct gguf_reader *r, struct gguf_array *a)
{
    struct gguf_str *v = gguf_arena_alloc(r->arena, a->n, sizeof(*v), r->err);

    if (!v)
        return r->err->code;
    for (size_t i = 0; i < a->n; i++) {
        int rc = gguf_reader_str(r, GGUF_MAX_STRING_BYTES, &v[i]);

        if (rc)
            return err_wrap(r->err, "element %zu", i);
    }
    a->v = v;
    return 0;
}

static int read_numbers(struct gguf_reader *r, struct gguf_array *a)
{
    size_t size = types[a->type].bytes;
    unsigned char *v = gguf_arena_alloc(r->arena, a->n, size, r->err);
    int rc;

    if (!v)
        return r->err->code;
    rc = gguf_reader_bytes(r, v, a->n * size);
    for (size_t i = 0; rc == 0 && a->type == GGUF_BOOL && i < a->n; i++)
        if (v[i] > 1)
            rc = err_set(r->err, ERR_FORMAT, "element %zu: a bool of value %d", i, v[i]);
    a->v = v;
    return rc;
}

static int read_array(struct gguf_reader *r, int depth, struct gguf_array *a)
{
    size_t min_bytes;
    uint64_t n;
    int rc = read_type(r, &a->type);

    if (rc)
        return rc;
    if (depth > GGUF_MAX_NESTING)
        return err_set(r->err, ERR_FORMAT, "arrays nested deeper than %d", GGUF_MAX_NESTING);
    min_bytes = a->type == GGUF_STRING  ? MIN_STRING_BYTES
                : a->type == GGUF_ARRAY ? MIN_ARRAY_BYTES
                                        : types[a->type].bytes;
    rc = gguf_reader_count(r, "array elements", GGUF_MAX_ARRAY_LEN, min_bytes, &n);
    if (rc)
        return rc;
    a->n = n;
    if (a->type == GGUF_STRING)
        return read_strings(r, a);
    if (a->type != GGUF_ARRAY)
        return read_numbers(r, a);
    /* Arrays of arrays are nothing that a supported model has: checked, and passed over. */
    a->v = NULL;
    for (size_t i = 0; i < a->n; i++) {
        struct gguf_array inner;

        rc = read_array(r, depth + 1, &inner);
        if (rc)
            return rc;
    }
    return 0;
}

/* Elements go where the reader keeps those of arrays, strings too. */
static int read_array_apart(struct gguf_reader *r, struct gguf_array *a)
{
    struct gguf_arena *arena = r->arena;
    int rc;

    r->arena = r->arrays;
    rc = read_array(r, 1, a);
    r->arena = arena;
    return rc;
}

static int read_value(struct gguf_reader *r, struct gguf_value *v)
{
    int rc = read_type(r, &v->type);

    if (rc)
        return rc;
    if (v->type == GGUF_STRING)
        return gguf_reader_str(r, GGUF_MAX_STRING_BYTES, &v->str);
    if (v->type == GGUF_ARRAY)
        return read_array_apart(r, &v->array);
    return read_scalar(r, v);
}

static int compare_keys(const void *a, const void *b)
{
    const struct gguf_value *const *va = a, *const *vb = b;

    return strcmp((*va)->key, (*vb)->key);
}

static int index_keys(struct gguf_keys *keys, struct gguf_reader *r)
{
    keys->sorted = gguf_arena_alloc(r->arena, keys->n, sizeof(const struct gguf_value *), r->err);
    if (!keys->sorted)
        return r->err->code;
    for (size_t i = 0; i < keys->n; i++)
        keys->sorted[i] = &keys->v[i];
    qsort(keys->sorted, keys->n, sizeof(const struct gguf_value *), compare_keys);
    for (size_t i = 1; i < keys->n; i++)
        if (!strcmp(keys->sorted[i - 1]->key, keys->sorted[i]->key))
            return err_set(r->err, ERR_FORMAT, "key '%.100s': appears twice", keys->sorted[i]->key);
    return 0;
}

int gguf_keys_read(struct gguf_reader *r, size_t n, struct gguf_keys *keys)
{
    struct gguf_value *v = gguf_arena_alloc(r->arena, n, sizeof(*v), r->err);

    if (!v)
        return r->err->code;
    for (size_t i = 0; i < n; i++) {
        int rc = gguf_reader_name(r, "key", GGUF_MAX_KEY_BYTES, &v[i].key);

        if (rc)
            return rc;
        rc = read_value(r, &v[i]);
        if (rc)
            return err_wrap(r->err, "key '%.100s'", v[i].key);
    }
    keys->v = v;
    keys->n = n;
    return index_keys(keys, r);
}

void gguf_drop_arrays(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->keys.n; i++)
        if (gguf->keys.v[i].type == GGUF_ARRAY) {
            gguf->keys.v[i].array.n = 0;
            gguf->keys.v[i].array.v = NULL;
        }
    gguf_arena_fini(&gguf->arrays);
}

static int compare_key_to(const void *key, const void *element)
{
    const struct gguf_value *const *v = element;

    return strcmp(key, (*v)->key);
}

const struct gguf_value *gguf_keys_find(const struct gguf_keys *keys, const char *key)
{
    const struct gguf_value **v =
        keys->n ? bsearch(key, keys->sorted, keys->n, sizeof(const struct gguf_value *), compare_key_to) : NULL;

    return v ? *v : NULL;
}

static int wrong_type(const struct gguf_value *v, const char *wanted, struct err *err)
{
    if (v->type == GGUF_ARRAY)
        return err_set(err, ERR_FORMAT, "key '%.100s': an array of %s where %s is expected", v->key,
                       types[v->array.type].name, wanted);
    return err_set(err, ERR_FORMAT, "key '%.100s': of type %s where %s is expected", v->key, types[v->type].name,
                   wanted);
}

static const struct gguf_value *find(const struct gguf_keys *keys, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_keys_find(keys, key);

    if (!v)
        err_set(err, -ENOENT, "key '%.100s' is missing", key);
    return v;
}

int gguf_keys_u64(const struct gguf_keys *keys, const char *key, uint64_t *ret_v, struct err *err)
{
    const struct gguf_value *v = find(keys, key, err);

    if (!v)
        return -ENOENT;
    if (types[v->type].kind == 'i' && v->i < 0)
        return err_set(err, ERR_FORMAT, "key '%.100s': %" PRId64 " is negative", key, v->i);
    if (types[v->type].kind != 'u' && types[v->type].kind != 'i')
        return wrong_type(v, "an integer", err);
    *ret_v = v->u;
    return 0;
}

int gguf_get_u64(const struct gguf *gguf, const char *key, uint64_t *ret_v, struct err *err)
{
    return gguf_keys_u64(&gguf->keys, key, ret_v, err);
}

int gguf_get_u32(const struct gguf *gguf, const char *key, uint32_t *ret_v, struct err *err)
{
    uint64_t v;
    int rc = gguf_get_u64(gguf, key, &v, err);

    if (rc)
        return rc;
    if (v > UINT32_MAX)
        return err_set(err, ERR_FORMAT, "key '%.100s': %" PRIu64 " is too large", key, v);
    *ret_v = (uint32_t)v;
    return 0;
}

int gguf_get_f32(const struct gguf *gguf, const char *key, float *ret_v, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (types[v->type].kind != 'f')
        return wrong_type(v, "a floating-point number", err);
    if (isfinite(v->f) && fabs(v->f) > (double)__FLT_MAX__)
        return err_set(err, ERR_FORMAT, "key '%.100s': %g is too large", key, v->f);
    *ret_v = (float)v->f;
    return 0;
}

int gguf_get_bool(const struct gguf *gguf, const char *key, bool *ret_v, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_BOOL)
        return wrong_type(v, "a bool", err);
    *ret_v = v->u != 0;
    return 0;
}

int gguf_get_str(const struct gguf *gguf, const char *key, struct gguf_str *ret_v, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_STRING)
        return wrong_type(v, "a string", err);
    *ret_v = v->str;
    return 0;
}

int gguf_get_array(const struct gguf *gguf, const char *key, enum gguf_type *ret_type, size_t *ret_n, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_ARRAY)
        return wrong_type(v, "an array", err);
    *ret_type = v->array.type;
    *ret_n = v->array.n;
    return 0;
}

int gguf_get_strs(const struct gguf *gguf, const char *key, const struct gguf_str **ret_v, size_t *ret_n,
                  struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_ARRAY || v->array.type != GGUF_STRING)
        return wrong_type(v, "an array of strings", err);
    *ret_v = v->array.v;
    *ret_n = v->array.n;
    return 0;
}

int gguf_array_str(const struct gguf *gguf, const char *key, size_t i, struct gguf_str *ret_v, struct err *err)
{
    const struct gguf_str *v;
    size_t n;
    int rc = gguf_get_strs(gguf, key, &v, &n, err);

    if (rc)
        return rc;
    if (i >= n)
        return err_set(err, -ERANGE, "key '%.100s': no element %zu in an array of %zu", key, i, n);
    *ret_v = v[i];
    return 0;
}

int gguf_get_f32s(const struct gguf *gguf, const char *key, const float **ret_v, size_t *ret_n, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_ARRAY || v->array.type != GGUF_F32)
        return wrong_type(v, "an array of f32", err);
    *ret_v = v->array.v;
    *ret_n = v->array.n;
    return 0;
}

int gguf_get_i32s(const struct gguf *gguf, const char *key, const int32_t **ret_v, size_t *ret_n, struct err *err)
{
    const struct gguf_value *v = find(&gguf->keys, key, err);
    const int32_t *p;

    if (!v)
        return -ENOENT;
    if (v->type != GGUF_ARRAY || (v->array.type != GGUF_I32 && v->array.type != GGUF_U32))
        return wrong_type(v, "an array of i32", err);
    p = v->array.v;
    for (size_t i = 0; v->array.type == GGUF_U32 && i < v->array.n; i++)
        if (p[i] < 0)
            return err_set(err, ERR_FORMAT, "key '%.100s': element %zu is too large", key, i);
    *ret_v = p;
    *ret_n = v->array.n;
    return 0;
}

size_t gguf_key_count(const struct gguf *gguf)
{
    return gguf->keys.n;
}

const char *gguf_key(const struct gguf *gguf, size_t i, enum gguf_type *ret_type)
{
    if (ret_type)
        *ret_type = gguf->keys.v[i].type;
    return gguf->keys.v[i].key;
}
