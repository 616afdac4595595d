/* SPDX-License-Identifier: MIT
 *
 * Any bytes as they could come on a connection: a head, and what is behind it as a body in chunks. The first byte says
 * in what pieces they come.
 *
 * What must hold: pieces make no difference, neither to where the head ends nor to the body; a head without complaint
 * has a known method and a clean path, and its body one length; nothing is read beyond what has come.
 */
#include "daemon/http_parse.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Where the head ends when the bytes come `step` at a time, each time in a block of just their size. */
static long find_in_steps(const char *p, size_t n, size_t step)
{
    size_t scanned = 0;

    for (size_t have = step;; have += step) {
        size_t now = have < n ? have : n;
        char *exact = malloc(now ? now : 1);
        long len;

        FUZZ_CHECK(exact);
        memcpy(exact, p, now);
        len = head_find(exact, now, &scanned);
        free(exact);
        if (len || now == n)
            return len;
    }
}

static bool is_clean(const char *path)
{
    for (; *path; path++)
        if ((unsigned char)*path <= ' ' || *path == 0x7f || *path == '?')
            return false;
    return true;
}

static bool parse(const char *p, size_t n)
{
    struct http_head head;
    char *exact = malloc(n);
    bool chunked;

    FUZZ_CHECK(exact);
    memcpy(exact, p, n);
    head_parse(exact, n, &head);
    chunked = head.check.chunked;
    if (!head.check.complaint) {
        FUZZ_CHECK(strlen(head.method) >= 3 && head.path[0] == '/' && is_clean(head.path));
        FUZZ_CHECK(!chunked || (!head.check.length && !head.old));
        FUZZ_CHECK(head.check.n_host <= 1 && head.check.n_length + head.check.n_coding <= 1);
    } else {
        FUZZ_CHECK(head.check.status >= 400 && head.check.complaint[0]);
    }
    free(exact);
    return chunked;
}

/* The body behind the chunks, and how far it went. */
static enum chunks_found unchunk(const char *p, size_t n, size_t step, char *out, size_t *ret_len, size_t *ret_used)
{
    struct chunks chunks = { 0 };
    enum chunks_found found = CHUNKS_MORE;
    size_t at = 0;

    *ret_len = 0;
    while (at < n && (found == CHUNKS_MORE || found == CHUNKS_DATA)) {
        size_t now = step < n - at ? step : n - at, used = 0, len = 0;

        found = chunks_next(&chunks, p + at, now, &used, &len);
        if (found == CHUNKS_BAD)
            break;
        FUZZ_CHECK(used <= now && len <= used && (used == now || found != CHUNKS_MORE));
        FUZZ_CHECK((len > 0) == (found == CHUNKS_DATA));
        memcpy(out + *ret_len, p + at + used - len, len);
        *ret_len += len;
        at += used;
    }
    *ret_used = at;
    return found;
}

static void check_chunks(const char *p, size_t n, size_t step)
{
    char *whole = malloc(n + 1), *pieces = malloc(n + 1);
    size_t len[2], used[2];
    enum chunks_found a, b;

    FUZZ_CHECK(whole && pieces);
    a = unchunk(p, n, n, whole, &len[0], &used[0]);
    b = unchunk(p, n, step, pieces, &len[1], &used[1]);
    FUZZ_CHECK((a == CHUNKS_BAD) == (b == CHUNKS_BAD) && (a == CHUNKS_END) == (b == CHUNKS_END));
    FUZZ_CHECK(len[0] == len[1] && memcmp(whole, pieces, len[0]) == 0);
    FUZZ_CHECK(a == CHUNKS_BAD || used[0] == used[1]);
    free(whole);
    free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data + 1;
    size_t n = size - 1, step, scanned = 0;
    long len;

    if (size < 2)
        return 0;
    step = data[0] % 16 + 1;
    len = head_find(p, n, &scanned);
    FUZZ_CHECK(len >= -1 && len <= (long)n);
    FUZZ_CHECK(find_in_steps(p, n, step) == len);
    if (len > 0 && parse(p, (size_t)len) && n > (size_t)len)
        check_chunks(p + len, n - (size_t)len, step);
    check_chunks(p, n, step);
    return 0;
}
