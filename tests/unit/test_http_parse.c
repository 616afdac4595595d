/* SPDX-License-Identifier: MIT */
#include "daemon/http_parse.h"

#include <criterion/criterion.h>
#include <string.h>

static long find(const char *text)
{
    size_t scanned = 0;

    return head_find(text, strlen(text), &scanned);
}

Test(http_parse, a_head_ends_with_an_empty_line)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    size_t n = sizeof(head) - 1 - 4, scanned = 0;

    cr_assert_eq(find(head), (long)n);
    for (size_t have = 0; have < n; have++)
        cr_assert_eq(head_find(head, have, &scanned), 0, "not at %zu", have);
    cr_assert_eq(head_find(head, n, &scanned), (long)n, "byte by byte the same");
}

Test(http_parse, lines_end_with_cr_lf_and_nothing_else)
{
    cr_assert_eq(find("GET / HTTP/1.1\nHost: a\n\n"), -1);
    cr_assert_eq(find("GET / HTTP/1.1\r\nHost: a\n"), -1);
    cr_assert_eq(find("\n"), -1);
    cr_assert_eq(find("GET / HTTP/1.1\r\r\n\r\n"), 19, "a bare CR is the parser's to refuse");
}

static struct http_head parse(char *text)
{
    struct http_head head;
    size_t n = strlen(text), scanned = 0;

    cr_assert_eq(head_find(text, n, &scanned), (long)n, "%s", text);
    head_parse(text, n, &head);
    return head;
}

Test(http_parse, a_head_is_taken_apart)
{
    char text[] = "POST /v1/x%00?a=b?c HTTP/1.1\r\nHost:a\r\ncontent-length:\t 12 \r\nExpect: 100-Continue\r\n"
                  "connection: keep-alive, Close\r\n\r\n";
    struct http_head head = parse(text);

    cr_assert_null(head.check.complaint);
    cr_assert_str_eq(head.method, "POST");
    cr_assert_str_eq(head.path, "/v1/x%00", "raw, without the query");
    cr_assert_eq(head.check.length, 12);
    cr_assert(head.expect_continue && head.close && !head.old && !head.check.chunked);
}

Test(http_parse, http_1_0_closes_and_is_not_told_to_go_on)
{
    char text[] = "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n";
    struct http_head head = parse(text);

    cr_assert_null(head.check.complaint);
    cr_assert(head.old && head.close && !head.expect_continue);
}

static void refused(const char *text, const char *words)
{
    char copy[256];
    struct http_head head;

    strcpy(copy, text);
    head = parse(copy);
    cr_assert_not_null(head.check.complaint, "nothing was wrong with %s", text);
    cr_assert_not_null(strstr(head.check.complaint, words), "'%s' does not say '%s'", head.check.complaint, words);
    cr_assert_eq(head.check.status, 400);
}

Test(http_parse, what_is_not_the_grammar_is_refused)
{
    refused("GET\r\n\r\n", "request line");
    refused("GET /\r\n\r\n", "request line");
    refused("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "blank");
    refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "starts with '/'");
    refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "no token");
    refused("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "no token");
    refused("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "no token");
    refused("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "control character");
}

Test(http_parse, a_nul_hides_nothing)
{
    char line[] = "GET /\0/secret HTTP/1.1\r\nHost: a\r\n\r\n", field[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    struct http_head head;

    head_parse(line, sizeof(line) - 1, &head);
    cr_assert_not_null(head.check.complaint);
    head_parse(field, sizeof(field) - 1, &head);
    cr_assert_not_null(head.check.complaint);
}

/* The body behind `text`, and what is left over; NULL when it is refused or goes on. */
static const char *unchunk(const char *text, char *out, const char **ret_rest)
{
    struct chunks chunks = { 0 };
    const char *end = text + strlen(text);
    size_t n = 0;

    while (text < end) {
        size_t used, len;
        enum chunks_found found = chunks_next(&chunks, text, (size_t)(end - text), &used, &len);

        if (found == CHUNKS_BAD)
            return NULL;
        memcpy(out + n, text + used - len, len);
        n += len;
        out[n] = '\0';
        text += used;
        *ret_rest = text;
        if (found == CHUNKS_END)
            return out;
    }
    return NULL;
}

Test(http_parse, chunks_give_the_body_and_leave_what_follows)
{
    char out[64];
    const char *rest;

    cr_assert_str_eq(unchunk("5\r\nhello\r\n0A;x=\"y\"\r\n, my world\r\n0\r\nTrailer: x\r\n\r\nGET /", out, &rest),
                     "hello, my world");
    cr_assert_str_eq(rest, "GET /");
    cr_assert_not_null(unchunk("0\r\n\r\n", out, &rest));
    cr_assert_null(unchunk("5\r\nhel", out, &rest), "it goes on");
}

Test(http_parse, malformed_chunks_are_refused)
{
    static const char *const bad[] = {
        "\r\n",         ";x\r\n",      "g\r\n",        "0x5\r\nhello\r\n",      "-5\r\n",   " 5\r\n", "5 \r\nhello\r\n",
        "5\nhello\r\n", "5\r\nhelloX", "5\r\nhello\n", "10000000000000000\r\n", "0\r\nA\n", "5\r;",   "5;a\nb\r\n"
    };
    char out[64];
    const char *rest;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct chunks chunks = { 0 };
        enum chunks_found found = CHUNKS_MORE;
        size_t at = 0, used, len;

        while (at < strlen(bad[i]) && found != CHUNKS_BAD && found != CHUNKS_END) {
            found = chunks_next(&chunks, bad[i] + at, strlen(bad[i]) - at, &used, &len);
            at += used;
        }
        cr_assert_eq(found, CHUNKS_BAD, "%s", bad[i]);
        cr_assert_null(unchunk(bad[i], out, &rest));
    }
}

Test(http_parse, lines_that_never_end_are_refused)
{
    struct chunks size = { 0 }, trailer = { 0 };
    size_t used, len;
    enum chunks_found found = chunks_next(&size, "1;", 2, &used, &len);

    for (int i = 0; i < 300 && found == CHUNKS_MORE; i++)
        found = chunks_next(&size, "x", 1, &used, &len);
    cr_assert_eq(found, CHUNKS_BAD);
    found = chunks_next(&trailer, "0\r\n", 3, &used, &len);
    for (int i = 0; i < 10000 && found == CHUNKS_MORE; i++)
        found = chunks_next(&trailer, "A: b\r\n", 6, &used, &len);
    cr_assert_eq(found, CHUNKS_BAD);
}
