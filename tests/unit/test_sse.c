/* SPDX-License-Identifier: MIT */
#include "client/expert.h"
#include "client/sse.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events as one text, each between angle brackets. */
struct seen {
    char text[4096];
    size_t n;
    int stop_at; /* event number that stops the parser, from 1; 0: none */
    int n_events;
};

static int on_event(void *user, const char *data, size_t n_bytes)
{
    struct seen *seen = user;

    cr_assert_eq(data[n_bytes], '\0', "an event's data ends in NUL");
    cr_assert_lt(seen->n + n_bytes + 2, sizeof(seen->text));
    seen->text[seen->n++] = '<';
    memcpy(seen->text + seen->n, data, n_bytes);
    seen->n += n_bytes;
    seen->text[seen->n++] = '>';
    return ++seen->n_events == seen->stop_at ? 42 : 0;
}

/* Feed exactly-sized heap copies, so that a sanitizer sees a read past the end. */
static int feed(struct sse *sse, const char *bytes, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);
    int r;

    memcpy(copy, bytes, n);
    r = sse_feed(sse, copy, n);
    free(copy);
    return r;
}

static void expect_cut(const char *stream, size_t n, size_t cut_a, size_t cut_b, const char *events)
{
    struct seen seen = { 0 };
    struct sse sse;

    sse_init(&sse, 1000, on_event, &seen);
    cr_assert_eq(feed(&sse, stream, cut_a), 0);
    cr_assert_eq(feed(&sse, stream + cut_a, cut_b - cut_a), 0);
    cr_assert_eq(feed(&sse, stream + cut_b, n - cut_b), 0);
    cr_assert_eq(seen.n, strlen(events), "'%.*s' cut at %zu and %zu", (int)seen.n, seen.text, cut_a, cut_b);
    cr_assert(memcmp(seen.text, events, seen.n) == 0, "'%.*s' cut at %zu and %zu", (int)seen.n, seen.text, cut_a,
              cut_b);
    sse_fini(&sse);
}

/* The same events whatever the pieces: cut in three at every pair of places, and byte by byte. */
static void expect(const char *stream, const char *events)
{
    size_t n = strlen(stream);
    struct seen seen = { 0 };
    struct sse sse;

    for (size_t a = 0; a <= n; a++)
        for (size_t b = a; b <= n; b++)
            expect_cut(stream, n, a, b, events);
    sse_init(&sse, 1000, on_event, &seen);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(feed(&sse, stream + i, 1), 0);
    cr_assert_eq(seen.n, strlen(events));
    cr_assert(memcmp(seen.text, events, seen.n) == 0, "'%.*s' byte by byte", (int)seen.n, seen.text);
    sse_fini(&sse);
}

Test(sse, events_at_every_split)
{
    expect("data: one\n\ndata: two\n\n", "<one><two>");
}

Test(sse, all_line_ends)
{
    expect("data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\n\ndata: e\n\r\n", "<a><b><c><d><e>");
}

Test(sse, data_lines_are_joined)
{
    expect("data: a\ndata: b\ndata:\ndata: c\n\n", "<a\nb\n\nc>");
}

Test(sse, one_blank_after_the_colon_is_dropped)
{
    expect("data:a\n\ndata:  b\n\ndata: \n\ndata\n\n", "<a>< b><><>");
}

Test(sse, comments_are_dropped)
{
    expect(": ping\n\n:\ndata: a\n: in between\ndata: b\n\n: ping\n\n", "<a\nb>");
}

Test(sse, comments_are_counted_and_not_kept)
{
    struct seen seen = { 0 };
    struct sse sse;

    sse_init(&sse, 10, on_event, &seen);
    cr_assert_eq(feed(&sse, ": a comment beyond the limit\n\n:\n\n", 33), 0);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(feed(&sse, ": endless ", 10), 0);
    cr_assert_eq(sse.n_comments, 3);
    cr_assert_leq(sse.line.n, 10);
    cr_assert_eq(seen.n_events, 0);
    sse_fini(&sse);
}

Test(sse, other_fields_are_ignored)
{
    expect("event: x\nid: 7\nretry: 10\ndata: a\nDATA: b\ndatax: c\n data: d\n\nevent: y\n\n", "<a>");
}

Test(sse, byte_order_mark_at_the_start_only)
{
    expect("\xef\xbb\xbf"
           "data: a\n\n\xef\xbb\xbf"
           "data: b\n\ndata: c\n\n",
           "<a><c>");
    expect("\xef\xbb\xbf: ping\n\ndata: a\n\n", "<a>");
    expect("\xef\xbb", "");
}

Test(sse, what_the_end_cuts_off_is_no_event)
{
    expect("data: a\n\ndata: b\n", "<a>");
    expect("data: a\n\ndata: b", "<a>");
    expect("", "");
    expect("\n\n\r\r\n", "");
}

Test(sse, nul_bytes_are_bytes)
{
    static const char stream[] = "data: a\0b\n\nda\0ta: c\n\n";
    static const char events[] = "<a\0b>";
    struct seen seen = { 0 };
    struct sse sse;

    sse_init(&sse, 1000, on_event, &seen);
    cr_assert_eq(feed(&sse, stream, sizeof(stream) - 1), 0);
    cr_assert_eq(seen.n, sizeof(events) - 1);
    cr_assert(memcmp(seen.text, events, seen.n) == 0);
    sse_fini(&sse);
}

Test(sse, an_endless_line_is_an_error)
{
    struct seen seen = { 0 };
    struct sse sse;
    int r = 0;

    sse_init(&sse, 100, on_event, &seen);
    for (int i = 0; i < 11 && r == 0; i++)
        r = feed(&sse, "data: aaaa", 10);
    cr_assert_eq(r, EXPERT_ERR_PROTOCOL);
    cr_assert_leq(sse.line.room_bytes, 256);
    sse_fini(&sse);
}

Test(sse, endless_data_lines_are_an_error)
{
    struct seen seen = { 0 };
    struct sse sse;
    int r = 0;

    sse_init(&sse, 100, on_event, &seen);
    for (int i = 0; i < 21 && r == 0; i++)
        r = feed(&sse, "data: aaaa\n", 11);
    cr_assert_eq(r, EXPERT_ERR_PROTOCOL);
    cr_assert_eq(seen.n_events, 0);
    sse_fini(&sse);
}

Test(sse, a_line_of_just_the_limit_is_none)
{
    struct seen seen = { 0 };
    struct sse sse;

    sse_init(&sse, 16, on_event, &seen);
    cr_assert_eq(feed(&sse, "data: 0123456789\n\n", 18), 0);
    cr_assert_eq(seen.n_events, 1);
    cr_assert_eq(feed(&sse, "data: 0123456789a", 17), EXPERT_ERR_PROTOCOL);
    sse_fini(&sse);
}

Test(sse, the_callback_can_stop_it)
{
    struct seen seen = { .stop_at = 2 };
    struct sse sse;

    sse_init(&sse, 100, on_event, &seen);
    cr_assert_eq(feed(&sse, "data: a\n\ndata: b\n\ndata: c\n\n", 27), 42);
    cr_assert_eq(seen.n_events, 2);
    sse_fini(&sse);
}
