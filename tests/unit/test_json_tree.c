/* SPDX-License-Identifier: MIT
 *
 * What a JSON text is said to take is never less than what jansson takes, and not much more.
 */
#include "daemon/json_tree.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 30000u

static size_t used, peak;

static void *counted_alloc(size_t bytes)
{
    void *p = malloc(bytes);

    used += malloc_usable_size(p) + sizeof(size_t);
    peak = used > peak ? used : peak;
    return p;
}

static void counted_free(void *p)
{
    if (p)
        used -= malloc_usable_size(p) + sizeof(size_t);
    free(p);
}

static size_t taken(const char *text, size_t len)
{
    json_t *json;

    json_set_alloc_funcs(counted_alloc, counted_free);
    used = peak = 0;
    json = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
    cr_assert_not_null(json, "%.60s", text);
    json_decref(json);
    cr_assert_eq(used, 0);
    return peak;
}

static void check(const char *text, size_t len)
{
    uint64_t said = json_tree_bytes(text, len), took = taken(text, len);

    cr_expect_geq(said, took, "%.60s: %zu bytes take %zu, said were %zu", text, len, (size_t)took, (size_t)said);
    cr_expect_leq(said, 4 * took + 2000, "%.60s: %zu bytes take %zu, said were %zu", text, len, (size_t)took,
                  (size_t)said);
}

static size_t add(char *text, size_t len, const char *item, unsigned number)
{
    for (; *item; item++)
        len += (size_t)(*item == '#' ? sprintf(text + len, "%u", number) : sprintf(text + len, "%c", *item));
    return len;
}

/* `item` over and over, between `open` and `close`; a # in it becomes a number of its own. */
static void check_many(const char *open, const char *item, const char *close)
{
    static char text[TEXT_BYTES + 200];
    size_t len = add(text, 0, open, 0);

    for (unsigned i = 0; len < TEXT_BYTES; i++) {
        len = add(text, len, i > 0 ? "," : "", 0);
        len = add(text, len, item, i);
    }
    check(text, add(text, len, close, 0));
}

Test(json_tree, many_small_things)
{
    check_many("[", "{}", "]");
    check_many("[", "[]", "]");
    check_many("[", "1", "]");
    check_many("[", "\"\"", "]");
    check_many("[", "\"\\\"\"", "]");
    check_many("[", "null", "]");
    check_many("[", "-1.5e3", "]");
    check_many("[", "{\"a\":{}}", "]");
    check_many("[", "{\"a\":[]}", "]");
    check_many("[", "[[[{\"b\":\"\"}]]]", "]");
    check_many("{", "\"#\":1", "}");
    check_many("{", "\"#\":\"x\"", "}");
    check_many("{", "\"#\":{}", "}");
    check_many("{\"messages\":[", "{\"role\":\"user\",\"content\":\"Hello, #\"}", "]}");
}

/* However many there are: a table that has just doubled is no surprise. */
Test(json_tree, any_number_of_them)
{
    char text[600] = "[";

    for (size_t n = 1; n < 200; n++) {
        size_t len = (size_t)sprintf(text, "[1");

        for (size_t i = 1; i < n; i++)
            len += (size_t)sprintf(text + len, ",1");
        len += (size_t)sprintf(text + len, "]");
        cr_expect_geq(json_tree_bytes(text, len), taken(text, len), "%zu numbers", n);
    }
}

Test(json_tree, long_texts)
{
    static char text[TEXT_BYTES];

    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"prompt\":\"", 11);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    check(text, sizeof(text));
    for (size_t i = 11; i + 3 < sizeof(text); i += 2)
        memcpy(text + i, "\\\"", 2);
    text[sizeof(text) - 3] = 'x';
    check(text, sizeof(text));
    for (size_t i = 11; i + 2 < sizeof(text); i++)
        text[i] = "{}[],:"[i % 6];
    check(text, sizeof(text));
}

Test(json_tree, what_is_no_JSON_ends_as_well)
{
    cr_assert_gt(json_tree_bytes("", 0), 0);
    cr_assert_gt(json_tree_bytes("\"\\", 2), 0);
    cr_assert_gt(json_tree_bytes("\\\"{", 3), 0);
}
