/* SPDX-License-Identifier: MIT */
#include "daemon/http_check.h"

#include <criterion/criterion.h>
#include <string.h>

/* Check a head given as its lines: "POST /x HTTP/1.1", then "Name: value"... NULL. */
static struct head_check check(const char *method, const char *target, const char *version, const char *const *fields)
{
    struct head_check c = { 0 };

    head_check_line(&c, method, target, version);
    for (; *fields; fields++) {
        const char *colon = strchr(*fields, ':'), *value = colon + 1;

        while (*value == ' ')
            value++;
        head_check_field(&c, *fields, (size_t)(colon - *fields), value, strlen(value));
    }
    head_check_end(&c, version);
    return c;
}

#define CHECK(method, target, version, ...) check(method, target, version, (const char *const[]){ __VA_ARGS__, NULL })

static void refused(struct head_check c, int status, const char *words)
{
    cr_assert_not_null(c.complaint, "nothing was wrong; expected: %s", words);
    cr_assert_not_null(strstr(c.complaint, words), "'%s' does not say '%s'", c.complaint, words);
    cr_assert_eq(c.status, status);
}

Test(http_check, good_heads_pass)
{
    struct head_check c = CHECK("POST", "/v1/completions?x=%00", "HTTP/1.1", "Host: a", "content-length: 12");

    cr_assert_null(c.complaint);
    cr_assert_eq(c.length, 12);
    c = CHECK("POST", "/", "HTTP/1.1", "Host: a", "transfer-encoding: Chunked", "X!#$: \t obs \x80");
    cr_assert_null(c.complaint);
    cr_assert(c.chunked);
    cr_assert_null(CHECK("GET", "/", "HTTP/1.0", "Accept: */*").complaint, "HTTP/1.0 needs no Host");
}

Test(http_check, what_two_readers_could_take_for_two_things)
{
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"), 400,
            "together");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 1"), 400,
            "more than one Content-Length");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "Host: b"), 400, "more than one Host");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400,
            "more than one Transfer-Encoding");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"), 400, "other than chunked");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"), 400, "other than chunked");
    refused(CHECK("POST", "/", "HTTP/1.0", "Transfer-Encoding: chunked"), 400, "HTTP/1.0");
    refused(CHECK("GET", "/", "HTTP/1.1", "Accept: x"), 400, "no Host");
}

Test(http_check, content_length_is_digits_that_fit)
{
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: -1"), 400, "not a number");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: +1"), 400, "not a number");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: 1,1"), 400, "not a number");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: 0x10"), 400, "not a number");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length: 99999999999999999999"), 400, "not a number");
    refused(CHECK("POST", "/", "HTTP/1.1", "Host: a", "Content-Length:"), 400, "empty");
}

Test(http_check, request_lines)
{
    refused(CHECK("BREW", "/", "HTTP/1.1", "Host: a"), 501, "unknown method");
    refused(CHECK("get", "/", "HTTP/1.1", "Host: a"), 501, "unknown method");
    refused(CHECK("GET", "/", "HTTP/2.0", "Host: a"), 505, "HTTP/1.1");
    refused(CHECK("GET", "http://x/", "HTTP/1.1", "Host: a"), 400, "starts with '/'");
    refused(CHECK("GET", "*", "HTTP/1.1", "Host: a"), 400, "starts with '/'");
    refused(CHECK("GET", "", "HTTP/1.1", "Host: a"), 400, "starts with '/'");
    refused(CHECK("GET", "/a b", "HTTP/1.1", "Host: a"), 400, "blank");
    refused(CHECK("GET", "/a\tb", "HTTP/1.1", "Host: a"), 400, "blank");
    refused(CHECK("GET", "/a\x7f", "HTTP/1.1", "Host: a"), 400, "blank");
}

Test(http_check, field_names_are_tokens_and_values_have_no_controls)
{
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "X y: 1"), 400, "no token");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "X\t: 1"), 400, "no token");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "X(: 1"), 400, "no token");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "\xc3\xa4: 1"), 400, "no token");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", ": 1"), 400, "no token");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "X: a\rb"), 400, "control character");
    refused(CHECK("GET", "/", "HTTP/1.1", "Host: a", "X: a\x01"), 400, "control character");
}
