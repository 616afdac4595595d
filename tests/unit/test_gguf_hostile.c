/* SPDX-License-Identifier: MIT
 *
 * Files whose structure is broken.
 */
#include "base/mem.h"
#include "model/model.h"
#include "tests/support/hostile.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATE "blk.0.ffn_gate_exps.weight"

static void magic(struct gguf_builder *b, const struct hostile *h)
{
    memcpy(b->magic, h->s, 4);
}

static void version(struct gguf_builder *b, const struct hostile *h)
{
    b->version = (uint32_t)h->u;
}

static void more_keys(struct gguf_builder *b, const struct hostile *h)
{
    b->add_keys = h->u;
}

static void more_tensors(struct gguf_builder *b, const struct hostile *h)
{
    b->add_tensors = h->u;
}

static void key_twice(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_append(b, h->target, GGUF_U8, "x", 1);
}

static void key_long(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_key(b, h->target)->claim_len = h->u;
}

static void key_byte(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_key(b, h->target)->key[3] = (char)h->u;
}

static void key_empty(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_append(b, "", GGUF_U8, "x", 1);
}

/* A string value that says it has u bytes. */
static void string_long(struct gguf_builder *b, const struct hostile *h)
{
    memcpy(gguf_builder_key(b, h->target)->value, &h->u, sizeof(h->u));
}

/* An array of that many bytes, of which three are there. */
static void array_long(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_array(b, "x.array", GGUF_U8, h->u, "abc", 3);
}

static void array_strings_long(struct gguf_builder *b, const struct hostile *h)
{
    uint64_t len = h->u;

    gguf_builder_array(b, "x.array", GGUF_STRING, 1, &len, sizeof(len));
}

static void array_type(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_array(b, "x.array", (uint32_t)h->u, 1, "x", 1);
}

static void array_bool(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_array(b, "x.array", GGUF_BOOL, 3, "\0\1\2", 3);
}

static void scalar_bool(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_raw(b, "x.bool", GGUF_BOOL, "\2", 1);
}

/* u arrays, each in the one before; the innermost is empty. */
static void nested(struct gguf_builder *b, const struct hostile *h)
{
    unsigned char v[12 * 64] = { 0 };
    uint32_t type = GGUF_ARRAY;
    uint64_t n = 1;

    for (uint64_t i = 0; i < h->u; i++) {
        memcpy(v + 12 * i, &type, 4);
        memcpy(v + 12 * i + 4, &n, 8);
    }
    memset(v + 12 * (h->u - 1), 0, 12); /* no bytes */
    gguf_builder_raw(b, "x.nested", GGUF_ARRAY, v, 12 * h->u);
}

static void many_nested(struct gguf_builder *b, const struct hostile *h)
{
    struct {
        uint32_t type;
        uint64_t n;
    } __attribute__((packed)) v = { GGUF_ARRAY, h->u };

    gguf_builder_raw(b, "x.nested", GGUF_ARRAY, &v, sizeof(v));
}

static void alignment_u64(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_u64(b, "general.alignment", h->u);
}

static void name_long(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->claim_len = h->u;
}

static void name_byte(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_tensor(b, h->target)->name[3] = (char)h->u;
}

static void dims_overflow(struct gguf_builder *b, const struct hostile *h)
{
    struct builder_tensor *t = gguf_builder_tensor(b, h->target);

    t->dims[0] = t->dims[1] = t->dims[2] = h->u;
}

static void onto_previous(struct gguf_builder *b, const struct hostile *h)
{
    struct builder_tensor *t = gguf_builder_tensor(b, h->target);

    t->offset = t[-1].offset;
}

#define B63 ((uint64_t)1 << 63)

static const struct hostile rows[] = {
    ROW("magic", magic, ERR_FORMAT, "does not begin with \"GGUF\"", .s = "GGUX"),
    ROW("magic of ggml", magic, ERR_FORMAT, "before GGUF", .s = "lmgg"),
    ROW("zip", magic, ERR_FORMAT, "PyTorch", .s = "PK\003\004"),
    ROW("version 0", version, ERR_UNSUPPORTED, "version 0", .u = 0),
    ROW("version 1", version, ERR_UNSUPPORTED, "version 1; versions 2 and 3", .u = 1),
    ROW("version 4", version, ERR_UNSUPPORTED, "version 4", .u = 4),
    ROW("big-endian", version, ERR_UNSUPPORTED, "big-endian", .u = 0x03000000),
    ROW("2^63 keys", more_keys, ERR_FORMAT, "keys; the limit is", .u = B63),
    ROW("2^64 - 1 keys", more_keys, ERR_FORMAT, "keys; the limit is", .u = UINT64_MAX - 30),
    ROW("60000 keys", more_keys, ERR_FORMAT, "keys cannot fit", .u = 60000),
    ROW("one key too many", more_keys, ERR_FORMAT, "tensor name at byte", .u = 1),
    ROW("one key too few", more_keys, ERR_FORMAT, "tensor 'tokenizer.chat_template': 8 dimensions", .u = UINT64_MAX),
    ROW("2^63 tensors", more_tensors, ERR_FORMAT, "tensors; the limit is", .u = B63),
    ROW("2^32 tensors", more_tensors, ERR_FORMAT, "tensors; the limit is", .u = (uint64_t)1 << 32),
    ROW("200000 tensors", more_tensors, ERR_FORMAT, "tensors cannot fit", .u = 200000),
    ROW("one tensor too many", more_tensors, ERR_FORMAT, "tensor name", .u = 1),
    ROW("one tensor too few", more_tensors, ERR_FORMAT, "'blk.1.ffn_down_exps.weight' is missing", .u = UINT64_MAX),
    ROW("a key twice", key_twice, ERR_FORMAT, "key 'general.name': appears twice", "general.name"),
    ROW("an empty key", key_empty, ERR_FORMAT, "an empty key"),
    ROW("NUL in a key", key_byte, ERR_FORMAT, "holds byte 0x00", "general.name", 0),
    ROW("newline in a key", key_byte, ERR_FORMAT, "holds byte 0x0a", "general.name", '\n'),
    ROW("high byte in a key", key_byte, ERR_FORMAT, "holds byte 0xff", "general.name", 0xff),
    ROW("key of 2^63 bytes", key_long, ERR_FORMAT, "a string of", "general.name", B63),
    ROW("key of 2^64 - 1 bytes", key_long, ERR_FORMAT, "the limit is 65535", "general.name", UINT64_MAX - 12),
    ROW("key of 64 KiB", key_long, ERR_FORMAT, "the limit is 65535", "general.name", 65536),
    ROW("value type 13", hostile_key_type, ERR_FORMAT, "unknown value type 13", "general.name", 13),
    ROW("value type 2^32 - 1", hostile_key_type, ERR_FORMAT, "unknown value type", "general.name", UINT32_MAX),
    ROW("string of 2^63 bytes", string_long, ERR_FORMAT, "key 'general.name': a string of", "general.name", B63),
    ROW("string of 2^64 - 1 bytes", string_long, ERR_FORMAT, "the limit is", "general.name", UINT64_MAX),
    ROW("string beyond the end", string_long, ERR_FORMAT, "beyond the end of the file", "general.name", 16 << 20),
    ROW("array of 2^63", array_long, ERR_FORMAT, "key 'x.array'", .u = B63),
    ROW("array of 2^64 - 1", array_long, ERR_FORMAT, "array elements; the limit is", .u = UINT64_MAX),
    ROW("array beyond the end", array_long, ERR_FORMAT, "array elements cannot fit", .u = 16 << 20),
    ROW("array of a string of 2^62", array_strings_long, ERR_FORMAT, "key 'x.array': element 0", .u = B63 / 2),
    ROW("array of type 13", array_type, ERR_FORMAT, "unknown value type 13", .u = 13),
    ROW("array of type 2^31", array_type, ERR_FORMAT, "unknown value type", .u = 1u << 31),
    ROW("array of bools that are none", array_bool, ERR_FORMAT, "element 2: a bool of value 2"),
    ROW("bool of 2", scalar_bool, ERR_FORMAT, "key 'x.bool': a bool of value 2"),
    ROW("arrays nested 5 deep", nested, ERR_FORMAT, "nested deeper than 4", .u = 5),
    ROW("arrays nested 60 deep", nested, ERR_FORMAT, "nested deeper than 4", .u = 60),
    ROW("2^60 nested arrays", many_nested, ERR_FORMAT, "array elements; the limit is", .u = (uint64_t)1 << 60),
    ROW("alignment 0", hostile_u32, ERR_FORMAT, "'general.alignment': 0 is not", "general.alignment", 0),
    ROW("alignment 3", hostile_u32, ERR_FORMAT, "'general.alignment': 3 is not", "general.alignment", 3),
    ROW("alignment 4", hostile_u32, ERR_FORMAT, "'general.alignment': 4 is not", "general.alignment", 4),
    ROW("alignment 2^31", hostile_u32, ERR_FORMAT, "'general.alignment': 2147483648", "general.alignment", 1u << 31),
    ROW("alignment 2^32 - 1", hostile_u32, ERR_FORMAT, "'general.alignment'", "general.alignment", UINT32_MAX),
    ROW("alignment of another type", alignment_u64, ERR_FORMAT, "must be of type u32", .u = 32),
    ROW("alignment other than used", hostile_u32, ERR_FORMAT, "is not a multiple of the alignment, 4096",
        "general.alignment", 4096),
    ROW("an empty tensor name", hostile_rename, ERR_FORMAT, "an empty tensor name", GATE, .s = ""),
    ROW("tensor name of 65 bytes", hostile_rename, ERR_FORMAT, "a string of 65 bytes; the limit is 64", GATE,
        .s = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ROW("NUL in a tensor name", name_byte, ERR_FORMAT, "a tensor name before byte", GATE, 0),
    ROW("escape in a tensor name", name_byte, ERR_FORMAT, "holds byte 0x1b", GATE, 0x1b),
    ROW("tensor name of 2^63 bytes", name_long, ERR_FORMAT, "a string of", GATE, B63),
    ROW("a tensor twice", hostile_rename, ERR_FORMAT, "'token_embd.weight': appears twice", GATE,
        .s = "token_embd.weight"),
    ROW("no dimensions", hostile_n_dims, ERR_FORMAT, "'" GATE "': 0 dimensions", GATE, 0),
    ROW("5 dimensions", hostile_n_dims, ERR_FORMAT, "'" GATE "': 5 dimensions", GATE, 5),
    ROW("2^32 - 1 dimensions", hostile_n_dims, ERR_FORMAT, "4294967295 dimensions", GATE, UINT32_MAX),
    ROW("first dimension 0", hostile_dim0, ERR_FORMAT, "dimension 0 is zero", GATE, 0),
    ROW("last dimension 0", hostile_dim2, ERR_FORMAT, "dimension 2 is zero", GATE, 0),
    ROW("a dimension of 2^63", hostile_dim1, ERR_FORMAT, "more than 64 bits", GATE, B63),
    ROW("a dimension of 2^64 - 1", hostile_dim0, ERR_FORMAT, "more than 64 bits", GATE, UINT64_MAX),
    ROW("dimensions whose product overflows", dims_overflow, ERR_FORMAT, "more than 64 bits", GATE, 1u << 22),
    ROW("dimensions whose product wraps to 0", dims_overflow, ERR_FORMAT, "more than 64 bits", GATE, (uint64_t)1 << 32),
    ROW("dimensions beyond the end", hostile_dim2, ERR_FORMAT, "it is incomplete", GATE, (uint64_t)1 << 40),
    ROW("weight format 40", hostile_type, ERR_UNSUPPORTED, "unknown weight format 40", GATE, 40),
    ROW("weight format 4", hostile_type, ERR_UNSUPPORTED, "unknown weight format 4", GATE, 4),
    ROW("weight format 2^32 - 1", hostile_type, ERR_UNSUPPORTED, "unknown weight format", GATE, UINT32_MAX),
    ROW("rows of part of a block", hostile_type, ERR_FORMAT, "not whole blocks of Q4_K (256", GATE, QUANT_Q4_K),
    ROW("offset beyond the end", hostile_offset, ERR_FORMAT, "the file has", GATE, 1 << 30),
    ROW("offset near 2^63", hostile_offset, ERR_FORMAT, "the file has", GATE, B63 - 65536),
    ROW("offset near 2^64", hostile_offset, ERR_FORMAT, "more than 64 bits", GATE, -(uint64_t)32 * 4096),
    ROW("offset not aligned", hostile_offset, ERR_FORMAT, "is not a multiple of the alignment, 32", GATE, 8),
    ROW("tensors in one place", onto_previous, ERR_FORMAT, "overlaps tensor '", GATE),
    ROW("tensors that overlap", hostile_offset, ERR_FORMAT, "': overlaps tensor '" GATE "'", GATE, 32),
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

ParameterizedTestParameters(gguf_hostile, structure)
{
    static size_t indices[N_ROWS];

    for (size_t i = 0; i < N_ROWS; i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, N_ROWS);
}

ParameterizedTest(size_t *i, gguf_hostile, structure)
{
    char dir[64];

    builder_mkdir(dir);
    hostile_check(&rows[*i], "qwen3moe", dir);
    builder_rmdir(dir);
}

static char *write_good(const char *dir, size_t *ret_len, size_t *ret_header)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct gguf_builder b;
    static char path[128];

    gguf_builder_model(&b, &shape);
    snprintf(path, sizeof(path), "%s/model.gguf", dir);
    gguf_builder_write(&b, path);
    free(gguf_builder_bytes(&b, ret_len, ret_header));
    gguf_builder_fini(&b);
    return path;
}

/* Cut at every byte of the header, and at many of the data: always an error, never a crash. */
Test(gguf_hostile, cut_anywhere)
{
    struct model *model;
    size_t len, header;
    char dir[64], *path;

    builder_mkdir(dir);
    path = write_good(dir, &len, &header);
    cr_assert_eq(model_open(path, &model, NULL), 0);
    model_close(model);
    for (size_t cut = len - 1;; cut -= cut > header + 1009 ? 1009 : 1) {
        struct err err = { 0 };
        int rc;

        cr_assert_eq(truncate(path, (off_t)cut), 0);
        rc = model_open(path, &model, &err);
        cr_assert_eq(rc, ERR_FORMAT, "cut at %zu of %zu: %d %s", cut, len, rc, err.text);
        cr_assert(strstr(err.text, "incomplete") || strstr(err.text, "empty"), "cut at %zu: %s", cut, err.text);
        if (cut == 0)
            break;
    }
    builder_rmdir(dir);
}

/* Any byte of the header made any other: an error with a text, or a model that is one all the same. */
Test(gguf_hostile, any_byte_changed)
{
    uint64_t random = 1;
    size_t len, header;
    char dir[64], *path;
    int fd;

    builder_mkdir(dir);
    path = write_good(dir, &len, &header);
    fd = open(path, O_RDWR);
    cr_assert(fd >= 0);
    for (int i = 0; i < 4000; i++) {
        struct err err = { 0 };
        struct model *model;
        unsigned char was, is;
        off_t at;
        int rc;

        random = random * 6364136223846793005u + 1442695040888963407u;
        at = (off_t)((random >> 33) % header);
        cr_assert_eq(pread(fd, &was, 1, at), 1);
        is = was ^ (unsigned char)(1 + (random >> 20) % 255);
        cr_assert_eq(pwrite(fd, &is, 1, at), 1);
        rc = model_open(path, &model, &err);
        cr_assert(rc == 0 || (err.code == rc && strlen(err.text) > 20), "byte %ld: %d '%s'", (long)at, rc, err.text);
        if (rc == 0)
            model_close(model);
        cr_assert_eq(pwrite(fd, &was, 1, at), 1);
    }
    close(fd);
    builder_rmdir(dir);
}

/* Each allocation in turn is refused. */
Test(gguf_hostile, no_memory)
{
    size_t len, header;
    char dir[64], *path;
    int rc = -ENOMEM;
    long n;

    builder_mkdir(dir);
    path = write_good(dir, &len, &header);
    for (n = 0; rc && n < 1000; n++) {
        struct err err = { 0 };
        struct model *model;

        mem_fail_after(n);
        rc = model_open(path, &model, &err);
        mem_fail_after(-1);
        if (rc == 0)
            model_close(model);
        else
            cr_assert(rc == -ENOMEM && strstr(err.text, "model.gguf"), "allocation %ld: %d %s", n, rc, err.text);
    }
    cr_assert_eq(rc, 0);
    cr_assert_gt(n, 5);
    builder_rmdir(dir);
}
