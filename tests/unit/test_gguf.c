/* SPDX-License-Identifier: MIT */
#include "model/gguf.h"
#include "tests/support/gguf_builder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    builder_mkdir(dir);
}

static void remove_dir(void)
{
    builder_rmdir(dir);
}

TestSuite(gguf, .init = make_dir, .fini = remove_dir);

static const char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static struct gguf *open_built(struct gguf_builder *b)
{
    struct gguf *gguf = NULL;
    struct err err = { 0 };

    gguf_builder_write(b, path_of("x.gguf"));
    gguf_builder_fini(b);
    cr_assert_eq(gguf_open(path_of("x.gguf"), &gguf, &err), 0, "%s", err.text);
    return gguf;
}

static void write_text(const char *name, const char *text, size_t len)
{
    FILE *f = fopen(path_of(name), "wb");

    cr_assert(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

static void refuse(const char *name, int code, const char *text)
{
    struct gguf *gguf = NULL;
    struct err err = { 0 };

    cr_expect_eq(gguf_open(path_of(name), &gguf, &err), code, "%s: %d %s", name, err.code, err.text);
    cr_expect(strstr(err.text, text) && strstr(err.text, name), "'%s' and the name are not in '%s'", text, err.text);
    cr_expect_null(gguf);
}

Test(gguf, integers_of_any_width)
{
    struct gguf_builder b;
    struct gguf *gguf;
    struct err err = { 0 };
    uint64_t u64 = 7;
    uint32_t u32 = 7;
    int8_t i8 = -3;

    gguf_builder_init(&b);
    gguf_builder_u8(&b, "u8", 255);
    gguf_builder_u16(&b, "u16", 65535);
    gguf_builder_i32(&b, "i32", INT32_MAX);
    gguf_builder_i64(&b, "i64", INT64_MAX);
    gguf_builder_u64(&b, "u64", UINT64_MAX);
    gguf_builder_raw(&b, "i8", GGUF_I8, &i8, 1);
    gguf = open_built(&b);
    cr_expect(gguf_get_u64(gguf, "u8", &u64, &err) == 0 && u64 == 255);
    cr_expect(gguf_get_u32(gguf, "u16", &u32, &err) == 0 && u32 == 65535);
    cr_expect(gguf_get_u32(gguf, "i32", &u32, &err) == 0 && u32 == INT32_MAX);
    cr_expect(gguf_get_u64(gguf, "i64", &u64, &err) == 0 && u64 == INT64_MAX);
    cr_expect(gguf_get_u64(gguf, "u64", &u64, &err) == 0 && u64 == UINT64_MAX);
    cr_expect_eq(gguf_get_u32(gguf, "i64", &u32, &err), ERR_FORMAT);
    cr_expect(strstr(err.text, "key 'i64': 9223372036854775807 is too large"), "%s", err.text);
    cr_expect_eq(gguf_get_u64(gguf, "i8", &u64, &err), ERR_FORMAT);
    cr_expect(strstr(err.text, "key 'i8': -3 is negative"), "%s", err.text);
    cr_expect_eq(u64, UINT64_MAX, "written on failure");
    cr_expect_eq(gguf_get_u32(gguf, "none", &u32, &err), -ENOENT);
    cr_expect(strstr(err.text, "'none'"));
    gguf_close(gguf);
}

Test(gguf, other_scalars)
{
    struct gguf_builder b;
    struct gguf *gguf;
    struct gguf_str s;
    struct err err = { 0 };
    float f = 0;
    bool yes = false;
    uint64_t u64;

    gguf_builder_init(&b);
    gguf_builder_f32(&b, "f32", 0.5f);
    gguf_builder_f64(&b, "f64", 0.25);
    gguf_builder_f64(&b, "big", 1e300);
    gguf_builder_bool(&b, "bool", true);
    gguf_builder_str(&b, "str", "text");
    gguf_builder_str(&b, "empty", "");
    gguf_builder_raw(&b, "nul", GGUF_STRING, "\3\0\0\0\0\0\0\0a\0b", 11);
    gguf = open_built(&b);
    cr_expect(gguf_get_f32(gguf, "f32", &f, &err) == 0 && f == 0.5f);
    cr_expect(gguf_get_f32(gguf, "f64", &f, &err) == 0 && f == 0.25f);
    cr_expect_eq(gguf_get_f32(gguf, "big", &f, &err), ERR_FORMAT);
    cr_expect(gguf_get_bool(gguf, "bool", &yes, &err) == 0 && yes);
    cr_expect(gguf_get_str(gguf, "str", &s, &err) == 0 && s.len == 4 && !memcmp(s.p, "text", 4));
    cr_expect(gguf_get_str(gguf, "empty", &s, &err) == 0 && s.len == 0);
    cr_expect(gguf_get_str(gguf, "nul", &s, &err) == 0 && s.len == 3 && !memcmp(s.p, "a\0b", 3), "values may hold NUL");
    cr_expect_eq(gguf_get_u64(gguf, "bool", &u64, &err), ERR_FORMAT);
    cr_expect_eq(gguf_get_f32(gguf, "str", &f, &err), ERR_FORMAT);
    cr_expect_eq(gguf_get_str(gguf, "f32", &s, &err), ERR_FORMAT);
    cr_expect_eq(gguf_get_bool(gguf, "f32", &yes, &err), ERR_FORMAT);
    cr_expect(strstr(err.text, "key 'f32': of type f32 where a bool is expected"), "%s", err.text);
    gguf_close(gguf);
}

Test(gguf, arrays)
{
    static const char *const words[] = { "a", "", "ccc" };
    static const float floats[] = { 1, -2 };
    static const int32_t ints[] = { -1, 5 };
    static const uint32_t uints[] = { 1, 0x80000000 };
    struct gguf_builder b;
    struct gguf *gguf;
    struct gguf_str s;
    const struct gguf_str *strs;
    const float *f;
    const int32_t *i;
    struct err err = { 0 };
    enum gguf_type type;
    size_t n;

    gguf_builder_init(&b);
    gguf_builder_strs(&b, "words", words, 3);
    gguf_builder_array(&b, "floats", GGUF_F32, 2, floats, sizeof(floats));
    gguf_builder_array(&b, "ints", GGUF_I32, 2, ints, sizeof(ints));
    gguf_builder_array(&b, "small", GGUF_U32, 1, uints, 4);
    gguf_builder_array(&b, "large", GGUF_U32, 2, uints, 8);
    gguf_builder_array(&b, "none", GGUF_STRING, 0, "", 0);
    gguf = open_built(&b);
    cr_expect(gguf_get_array(gguf, "words", &type, &n, &err) == 0 && type == GGUF_STRING && n == 3);
    cr_expect(gguf_get_strs(gguf, "words", &strs, &n, &err) == 0 && n == 3 && strs[2].len == 3 && strs[1].len == 0);
    cr_expect(gguf_array_str(gguf, "words", 2, &s, &err) == 0 && !memcmp(s.p, "ccc", 3));
    cr_expect_eq(gguf_array_str(gguf, "words", 3, &s, &err), -ERANGE);
    cr_expect(gguf_get_strs(gguf, "none", &strs, &n, &err) == 0 && n == 0);
    cr_expect(gguf_get_f32s(gguf, "floats", &f, &n, &err) == 0 && n == 2 && f[1] == -2);
    cr_expect(gguf_get_i32s(gguf, "ints", &i, &n, &err) == 0 && n == 2 && i[0] == -1);
    cr_expect(gguf_get_i32s(gguf, "small", &i, &n, &err) == 0 && n == 1 && i[0] == 1);
    cr_expect_eq(gguf_get_i32s(gguf, "large", &i, &n, &err), ERR_FORMAT);
    cr_expect_eq(gguf_get_f32s(gguf, "ints", &f, &n, &err), ERR_FORMAT);
    cr_expect_eq(gguf_get_strs(gguf, "ints", &strs, &n, &err), ERR_FORMAT);
    cr_expect(strstr(err.text, "an array of i32 where an array of strings"), "%s", err.text);
    cr_expect_eq(gguf_get_f32s(gguf, "absent", &f, &n, &err), -ENOENT);
    gguf_close(gguf);
}

Test(gguf, arrays_can_be_dropped_and_the_rest_stays)
{
    static const char *const words[] = { "a", "", "ccc" };
    struct gguf_builder b;
    struct gguf *gguf;
    struct gguf_str s;
    const struct gguf_str *strs;
    struct err err = { 0 };
    uint64_t u;
    size_t n;

    gguf_builder_init(&b);
    gguf_builder_u32(&b, "before", 7);
    gguf_builder_strs(&b, "words", words, 3);
    gguf_builder_str(&b, "after", "text");
    gguf = open_built(&b);
    gguf_drop_arrays(gguf);
    cr_expect(gguf_get_strs(gguf, "words", &strs, &n, &err) == 0 && n == 0);
    cr_expect_eq(gguf_array_str(gguf, "words", 0, &s, &err), -ERANGE);
    cr_expect(gguf_get_u64(gguf, "before", &u, &err) == 0 && u == 7);
    cr_expect(gguf_get_str(gguf, "after", &s, &err) == 0 && s.len == 4 && !memcmp(s.p, "text", 4));
    gguf_drop_arrays(gguf);
    gguf_close(gguf);
}

Test(gguf, unknown_keys_are_kept_in_order)
{
    static const uint32_t nested[] = { GGUF_ARRAY, 1,       0, GGUF_ARRAY, 1,       0, GGUF_ARRAY, 2,
                                       0,          GGUF_U8, 0, 0,          GGUF_U8, 0, 0 };
    struct gguf_builder b;
    struct gguf *gguf;
    enum gguf_type type;

    gguf_builder_init(&b);
    gguf_builder_u32(&b, "z.last", 1);
    gguf_builder_raw(&b, "nested.four", GGUF_ARRAY, nested, sizeof(nested));
    gguf_builder_str(&b, "a.first", "x");
    gguf = open_built(&b);
    cr_assert_eq(gguf_key_count(gguf), 3);
    cr_expect_str_eq(gguf_key(gguf, 0, &type), "z.last");
    cr_expect_eq(type, GGUF_U32);
    cr_expect_str_eq(gguf_key(gguf, 1, &type), "nested.four");
    cr_expect_eq(type, GGUF_ARRAY);
    cr_expect_str_eq(gguf_key(gguf, 2, NULL), "a.first");
    gguf_close(gguf);
}

Test(gguf, versions_and_alignments)
{
    static const uint32_t alignments[] = { 8, 24, 32, 64, 4096 };
    static const uint64_t n = 5;
    static const float v[5] = { 1, 2, 3, 4, 5 };

    for (uint32_t version = 2; version <= 3; version++)
        for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
            struct gguf_builder b;
            struct gguf *gguf;
            float back[5];

            gguf_builder_init(&b);
            b.version = version;
            b.alignment = alignments[i];
            gguf_builder_u32(&b, "general.alignment", alignments[i]);
            gguf_builder_add(&b, "first", QUANT_F32, 1, &n, v, sizeof(v));
            gguf_builder_add(&b, "second", QUANT_F32, 1, &n, v, sizeof(v));
            gguf = open_built(&b);
            cr_expect_eq(gguf_read(gguf, gguf_tensor_find(gguf, "second"), 0, back, sizeof(back), NULL), 0);
            cr_expect_arr_eq(back, v, sizeof(v));
            gguf_close(gguf);
        }
}

Test(gguf, tensors)
{
    static const uint64_t dims[3] = { 32, 3, 2 };
    unsigned char data[6 * 34], part[10];
    struct gguf_builder b;
    struct gguf *gguf;
    struct err err = { 0 };
    const struct gguf_tensor *t;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    gguf_builder_init(&b);
    gguf_builder_add(&b, "q", QUANT_Q8_0, 3, dims, data, sizeof(data));
    gguf = open_built(&b);
    cr_assert_eq(gguf_tensor_count(gguf), 1);
    t = gguf_tensor_find(gguf, "q");
    cr_assert_eq(t, gguf_tensor_at(gguf, 0));
    cr_expect(t->type == QUANT_Q8_0 && t->n_dims == 3 && t->dims[0] == 32 && t->dims[2] == 2 && t->dims[3] == 1);
    cr_expect_eq(t->bytes, sizeof(data));
    cr_expect_eq(gguf_read(gguf, t, 194, part, 10, &err), 0);
    cr_expect_arr_eq(part, data + 194, 10);
    cr_expect_eq(gguf_read(gguf, t, 195, part, 10, &err), -ERANGE);
    cr_expect_eq(gguf_read(gguf, t, UINT64_MAX, part, 2, &err), -ERANGE);
    cr_expect_null(gguf_tensor_find(gguf, "p"));
    gguf_close(gguf);
}

Test(gguf, what_is_no_file)
{
    cr_assert_eq(mkdir(path_of("folder"), 0700), 0);
    refuse("folder", -EISDIR, "this is a directory");
    cr_assert_eq(mkfifo(path_of("fifo"), 0600), 0);
    refuse("fifo", -EINVAL, "not a regular file");
    refuse("missing.gguf", -ENOENT, "No such file");
    write_text("empty.gguf", "", 0);
    refuse("empty.gguf", ERR_FORMAT, "the file is empty");
    write_text("secret.gguf", "GGUF", 4);
    cr_assert_eq(chmod(path_of("secret.gguf"), 0), 0);
    if (geteuid() != 0)
        refuse("secret.gguf", -EACCES, "Permission denied");
}

Test(gguf, what_is_another_kind_of_file)
{
    static const char safetensors[] = "\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}";

    write_text("a.safetensors", safetensors, sizeof(safetensors));
    refuse("a.safetensors", ERR_FORMAT, "safetensors");
    write_text("a.html", "<!DOCTYPE html><html>", 21);
    refuse("a.html", ERR_FORMAT, "a web page");
    write_text("a.lfs", "version https://git-lfs.github.com/spec/v1\n", 43);
    refuse("a.lfs", ERR_FORMAT, "Git LFS pointer");
    write_text("a.pth", "PK\003\004aaaaaaaaaaaa", 16);
    refuse("a.pth", ERR_FORMAT, "PyTorch");
    write_text("a.txt", "hello, this is a text", 21);
    refuse("a.txt", ERR_FORMAT, "does not begin with \"GGUF\"");
    write_text("a.short", "GG", 2);
    refuse("a.short", ERR_FORMAT, "incomplete");
    write_text("b.short", "x", 1);
    refuse("b.short", ERR_FORMAT, "not a GGUF file");
}

static void build_small(struct gguf_builder *b)
{
    static const uint64_t n = 4096;
    static const float v[4096];

    gguf_builder_init(b);
    gguf_builder_add(b, "t", QUANT_F32, 1, &n, v, sizeof(v));
}

Test(gguf, a_file_cut_short_after_open_is_an_error)
{
    struct gguf_builder b;
    struct gguf *gguf;
    struct err err = { 0 };
    float v[4096];

    build_small(&b);
    gguf = open_built(&b);
    cr_assert_eq(gguf_check_unchanged(gguf, &err), 0);
    cr_assert_eq(truncate(path_of("x.gguf"), 5000), 0);
    cr_expect_eq(gguf_read(gguf, gguf_tensor_at(gguf, 0), 0, v, sizeof(v), &err), ERR_CHANGED);
    cr_expect(strstr(err.text, "x.gguf") && strstr(err.text, "tensor 't'") && strstr(err.text, "now ends at byte 5000"),
              "%s", err.text);
    cr_expect_eq(gguf_check_unchanged(gguf, &err), ERR_CHANGED);
    gguf_close(gguf);
}

Test(gguf, identity_follows_header_size_and_date)
{
    const struct timespec times[2] = { { 5, 0 }, { 1000, 1 } }, later[2] = { { 5, 0 }, { 1000, 2 } };
    uint8_t first[16], again[16], changed[16];
    struct gguf_builder b;
    struct gguf *gguf;
    struct err err = { 0 };

    build_small(&b);
    gguf_builder_write(&b, path_of("x.gguf"));
    utimensat(AT_FDCWD, path_of("x.gguf"), times, 0);
    cr_assert_eq(gguf_open(path_of("x.gguf"), &gguf, NULL), 0);
    gguf_identity(gguf, first);
    cr_expect_eq(gguf_file_mtime_ns(gguf, 0), 1000000000001);
    cr_expect_eq(gguf_check_unchanged(gguf, &err), 0);
    utimensat(AT_FDCWD, path_of("x.gguf"), later, 0);
    cr_expect_eq(gguf_check_unchanged(gguf, &err), ERR_CHANGED);
    cr_expect(strstr(err.text, "changed since it was opened"));
    gguf_close(gguf);
    cr_assert_eq(gguf_open(path_of("x.gguf"), &gguf, NULL), 0);
    gguf_identity(gguf, changed);
    gguf_close(gguf);
    cr_expect(memcmp(first, changed, 16), "another date, the same identity");

    utimensat(AT_FDCWD, path_of("x.gguf"), times, 0);
    cr_assert_eq(gguf_open(path_of("x.gguf"), &gguf, NULL), 0);
    gguf_identity(gguf, again);
    gguf_close(gguf);
    cr_expect_arr_eq(first, again, 16);

    gguf_builder_tensor(&b, "t")->name[0] = 'u';
    gguf_builder_write(&b, path_of("x.gguf"));
    gguf_builder_fini(&b);
    utimensat(AT_FDCWD, path_of("x.gguf"), times, 0);
    cr_assert_eq(gguf_open(path_of("x.gguf"), &gguf, NULL), 0);
    gguf_identity(gguf, changed);
    gguf_close(gguf);
    cr_expect(memcmp(first, changed, 16), "another header, the same identity");
}

#define N_PARTS 3

/* Part i of a split model: one tensor, filled with i + 1. */
static void build_part(struct gguf_builder *b, uint16_t i)
{
    static const uint64_t n = 16;
    unsigned char v[64];
    char name[16];

    memset(v, i + 1, sizeof(v));
    snprintf(name, sizeof(name), "t%u", i);
    gguf_builder_init(b);
    if (i == 0)
        gguf_builder_str(b, "general.name", "parts");
    gguf_builder_u16(b, "split.no", i);
    gguf_builder_u16(b, "split.count", N_PARTS);
    gguf_builder_i32(b, "split.tensors.count", N_PARTS);
    gguf_builder_add(b, name, QUANT_F32, 1, &n, v, sizeof(v));
}

static const char *part_name(unsigned i)
{
    static char name[64];

    snprintf(name, sizeof(name), "m-%05u-of-%05u.gguf", i + 1, N_PARTS);
    return name;
}

static void write_part(struct gguf_builder *b, unsigned as)
{
    gguf_builder_write(b, path_of(part_name(as)));
    gguf_builder_fini(b);
}

static void write_parts(void)
{
    for (uint16_t i = 0; i < N_PARTS; i++) {
        struct gguf_builder b;

        build_part(&b, i);
        write_part(&b, i);
    }
}

Test(gguf, split)
{
    struct gguf *gguf;
    struct err err = { 0 };

    write_parts();
    cr_assert_eq(gguf_open(path_of(part_name(0)), &gguf, &err), 0, "%s", err.text);
    cr_expect_eq(gguf_file_count(gguf), N_PARTS);
    cr_expect_eq(gguf_tensor_count(gguf), N_PARTS);
    for (uint32_t i = 0; i < N_PARTS; i++) {
        unsigned char v[64];
        char name[16];

        snprintf(name, sizeof(name), "t%u", i);
        cr_expect_str_eq(gguf_file_path(gguf, i), path_of(part_name(i)));
        cr_expect_eq(gguf_tensor_find(gguf, name)->file, i);
        cr_assert_eq(gguf_read(gguf, gguf_tensor_find(gguf, name), 0, v, 64, &err), 0);
        cr_expect_eq(v[63], i + 1);
    }
    gguf_close(gguf);
}

Test(gguf, split_must_begin_with_its_first_part)
{
    write_parts();
    refuse(part_name(2), ERR_FORMAT, "part 3 of 3 of a split model; name its first part, ...-00001-of-00003.gguf");
}

Test(gguf, split_under_another_name)
{
    struct gguf_builder b;

    write_parts();
    build_part(&b, 0);
    gguf_builder_write(&b, path_of("renamed.gguf"));
    gguf_builder_fini(&b);
    refuse("renamed.gguf", ERR_FORMAT, "its name must end in -00001-of-00003.gguf");
}

static void refuse_missing(void)
{
    struct gguf *gguf = NULL;
    struct err err = { 0 };

    cr_expect_eq(gguf_open(path_of(part_name(0)), &gguf, &err), -ENOENT);
    cr_expect(strstr(err.text, "part 2 of 3 is missing") && strstr(err.text, "00002-of-00003"), "%s", err.text);
    cr_expect_null(gguf);
}

Test(gguf, split_with_a_part_missing)
{
    write_parts();
    cr_assert_eq(unlink(path_of(part_name(1))), 0);
    refuse_missing();
}

static void refuse_split(const char *named, const char *text)
{
    struct gguf *gguf = NULL;
    struct err err = { 0 };

    cr_expect_eq(gguf_open(path_of(part_name(0)), &gguf, &err), ERR_FORMAT, "%s", err.text);
    cr_expect(strstr(err.text, text) && strstr(err.text, named), "'%s' and '%s' are not in '%s'", text, named,
              err.text);
    cr_expect_null(gguf);
}

Test(gguf, split_with_parts_mixed_up)
{
    struct gguf_builder b;

    write_parts();
    build_part(&b, 2);
    write_part(&b, 1);
    refuse_split("00002-of", "says it is part 3 of 3, but is named as part 2 of 3");
    build_part(&b, 1);
    gguf_builder_u16(&b, "split.count", 4);
    write_part(&b, 1);
    refuse_split("00002-of", "says it is part 2 of 4");
    build_part(&b, 1);
    gguf_builder_drop_key(&b, "split.no");
    write_part(&b, 1);
    refuse_split("00002-of", "without the keys that say which");
    build_part(&b, 1);
    gguf_builder_u16(&b, "split.no", 3);
    write_part(&b, 1);
    refuse_split("00002-of", "'split.no': part 3 of 3");
    build_part(&b, 1);
    gguf_builder_str(&b, "split.count", "3");
    write_part(&b, 1);
    refuse_split("00002-of", "of type string where an integer");
}

Test(gguf, split_with_other_tensors)
{
    struct gguf_builder b;

    write_parts();
    build_part(&b, 1);
    gguf_builder_tensor(&b, "t1")->name[1] = '0';
    write_part(&b, 1);
    refuse_split("00001-of", "tensor 't0': appears twice");
    build_part(&b, 1);
    gguf_builder_drop_tensor(&b, "t1");
    write_part(&b, 1);
    refuse_split("00001-of", "hold 2 tensors, but should hold 3");
}

Test(gguf, split_with_a_broken_part)
{
    write_parts();
    cr_assert_eq(truncate(path_of(part_name(2)), 200), 0);
    refuse_split("00003-of", "incomplete");
}

Test(gguf, split_into_too_many)
{
    struct gguf_builder b;

    build_part(&b, 0);
    gguf_builder_u32(&b, "split.count", 100000);
    write_part(&b, 0);
    refuse_split("00001-of", "'split.count': 100000; the limit is");
}

Test(gguf, real_vocabularies)
{
    static const char *const names[] = {
        "deepseek-coder", "deepseek-llm", "falcon", "gpt-2",  "gpt-neox", "llama-bpe",
        "llama-spm",      "phi-3",        "qwen2",  "qwen35", "refact",   "starcoder"
    };
    const char *shared = getenv("EXPERTD_SHARED");
    char path[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct gguf_str *tokens;
        struct err err = { 0 };
        struct gguf *gguf;
        size_t n;

        snprintf(path, sizeof(path), "%s/vocab/ggml-vocab-%s.gguf", shared ? shared : ".", names[i]);
        if (access(path, R_OK))
            cr_skip_test("skipped: no ../shared");
        cr_assert_eq(gguf_open(path, &gguf, &err), 0, "%s", err.text);
        cr_expect_eq(gguf_get_strs(gguf, "tokenizer.ggml.tokens", &tokens, &n, &err), 0, "%s", err.text);
        cr_expect_gt(n, 30000);
        gguf_close(gguf);
    }
}
