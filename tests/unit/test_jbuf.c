/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "base/mem.h"
#include "daemon/api_error.h"
#include "daemon/jbuf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <string.h>

static void is(struct jbuf *b, const char *want)
{
    cr_assert_not(b->failed);
    cr_assert_eq(b->n, strlen(want), "'%.*s' is not '%s'", (int)b->n, b->p, want);
    cr_assert_eq(memcmp(b->p, want, b->n), 0, "'%.*s' is not '%s'", (int)b->n, b->p, want);
    jbuf_clear(b);
}

Test(jbuf, strings_are_escaped)
{
    struct jbuf b = { 0 };

    jbuf_string(&b, "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 17);
    is(&b, "\"plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    jbuf_string(&b, "a\"b\\c\n\r\t\b\f\x01\x00z\x7f", 14);
    is(&b, "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u0000z\\u007f\"");
    jbuf_string(&b, "", 0);
    is(&b, "\"\"");
    jbuf_fini(&b);
}

Test(jbuf, what_is_no_utf8_is_replaced)
{
    static const char *const bad[] = { "\x80",
                                       "\xc3",
                                       "\xc0\x80",
                                       "\xe0\x80\x80",
                                       "\xed\xa0\x80",
                                       "\xf0\x80\x80\x80",
                                       "\xf4\x90\x80\x80",
                                       "\xf8\x88\x80\x80\x80",
                                       "\xff",
                                       "\xe2\x82" };
    struct jbuf b = { 0 };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(utf8_length(bad[i], strlen(bad[i])), 0, "%zu", i);
        jbuf_raw(&b, "", 0);
        jbuf_string(&b, bad[i], strlen(bad[i]));
        for (size_t j = 0; j < b.n;) {
            size_t len = utf8_length(b.p + j, b.n - j);

            cr_assert_gt(len, 0, "what comes out is UTF-8");
            j += len;
        }
        jbuf_clear(&b);
    }
    jbuf_string(&b, "a\xffz", 3);
    is(&b, "\"a\xef\xbf\xbdz\"");
    jbuf_fini(&b);
}

Test(jbuf, numbers)
{
    struct jbuf b = { 0 };

    jbuf_number(&b, -0.5);
    is(&b, "-0.5");
    jbuf_number(&b, -INFINITY);
    is(&b, "null");
    jbuf_number(&b, NAN);
    is(&b, "null");
    jbuf_fini(&b);
}

Test(jbuf, a_limit_and_lack_of_memory_are_remembered)
{
    struct jbuf b = { .max = 10 };
    struct jbuf c = { 0 };

    jbuf_put(&b, "1234567890");
    cr_assert_not(b.failed);
    jbuf_put(&b, "x");
    cr_assert(b.failed);
    jbuf_put(&b, "");
    cr_assert(b.failed, "and stays so");
    jbuf_clear(&b);
    jbuf_put(&b, "12345");
    is(&b, "12345");
    mem_fail_after(0);
    jbuf_put(&c, "x");
    mem_fail_after(-1);
    cr_assert(c.failed);
    jbuf_fini(&b);
    jbuf_fini(&c);
}

Test(jbuf, a_pool_bounds_what_buffers_hold_together)
{
    struct jbuf_pool pool = { .max = 1000 };
    struct jbuf a = { .pool = &pool }, b = { .pool = &pool };
    char text[400];

    memset(text, 'x', sizeof(text));
    jbuf_raw(&a, text, sizeof(text));
    cr_assert_not(a.failed);
    cr_assert_eq(pool.used, a.cap);
    jbuf_raw(&b, text, sizeof(text));
    jbuf_raw(&b, text, sizeof(text));
    cr_assert(b.failed);
    cr_assert_leq(pool.used, pool.max);
    jbuf_fini(&a);
    jbuf_fini(&b);
    cr_assert_eq(pool.used, 0);
}

Test(api_error, has_the_shape_that_clients_know)
{
    struct api_error e = { 0 };
    struct jbuf b = { 0 };

    cr_assert_eq(api_error_param(&e, "top_p", "'%s' is \"wrong\"", "top_p"), -EINVAL);
    api_error_write(&e, &b);
    is(&b,
       "{\"error\":{\"message\":\"'top_p' is \\\"wrong\\\"\",\"type\":\"invalid_request_error\",\"param\":\"top_p\","
       "\"code\":null}}");
    jbuf_fini(&b);
}

Test(api_error, codes_have_their_status)
{
    static const struct {
        int code, status;
        const char *name;
    } want[] = { { ERR_TOO_LONG, 400, "context_length_exceeded" },
                 { ERR_BUSY, 503, "server_busy" },
                 { ERR_CANCELED, 503, "shutting_down" },
                 { ERR_CHECKSUM, 500, "checksum_mismatch" },
                 { -EIO, 500, "io_error" },
                 { -ENOSPC, 500, "internal_error" } };
    struct api_error e;

    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        api_error_from(&e, want[i].code, "why");
        cr_assert_eq(e.status, want[i].status);
        cr_assert_str_eq(e.code, want[i].name);
        cr_assert_str_eq(e.message, "why");
    }
}
