/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = { { 200, "OK" },
                    { 400, "Bad Request" },
                    { 404, "Not Found" },
                    { 405, "Method Not Allowed" },
                    { 408, "Request Timeout" },
                    { 413, "Content Too Large" },
                    { 414, "URI Too Long" },
                    { 417, "Expectation Failed" },
                    { 429, "Too Many Requests" },
                    { 431, "Request Header Fields Too Large" },
                    { 500, "Internal Server Error" },
                    { 501, "Not Implemented" },
                    { 503, "Service Unavailable" },
                    { 505, "HTTP Version Not Supported" },
                    { 507, "Insufficient Storage" } };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return status < 400 ? "OK" : status < 500 ? "Bad Request" : "Internal Server Error";
}

/* RFC 9110 section 5.6.7; not strftime, which speaks the user's language. */
static void write_date(char *out, size_t size)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    snprintf(out, size, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days + (size_t)tm.tm_wday * 3, tm.tm_mday,
             months + (size_t)tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void http_out_head(struct http_out *out, int status, const char *type, const char *fields, bool close)
{
    char date[64];
    int n;

    write_date(date, sizeof(date));
    n = snprintf(out->head, sizeof(out->head), "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\n%s%s\r\n", status,
                 reason(status), date, type, fields, close ? "Connection: close\r\n" : "");
    out->head_len = (uint16_t)(n < (int)sizeof(out->head) ? n : (int)sizeof(out->head) - 1);
    out->tail = "";
}

bool http_out_put(struct http_out *out, const void *data, size_t len)
{
    size_t cap = out->cap ? out->cap : 1024;

    if (out->from) {
        memmove(out->data, out->data + out->from, out->len - out->from);
        out->len -= out->from;
        out->from = 0;
    }
    while (cap < out->len + len)
        cap *= 2;
    if (cap != out->cap) {
        char *grown = mem_realloc(out->data, cap);

        if (!grown)
            return false;
        out->data = grown;
        out->cap = cap;
    }
    if (len)
        memcpy(out->data + out->len, data, len);
    out->len += len;
    return true;
}

void http_out_forget(struct http_out *out)
{
    out->len = out->from + out->moving;
}

size_t http_out_backlog(const struct http_out *out)
{
    return out->len - out->from;
}

static bool is_under_way(const struct http_out *out)
{
    return out->sent < out->head_len + out->moving + strlen(out->tail);
}

bool http_out_pending(const struct http_out *out)
{
    return is_under_way(out) || (!out->final && (out->len > out->from || out->ended));
}

/* Put the next piece under way: all of the backlog as one chunk, or as it is. False when there is none. */
static bool next_piece(struct http_out *out)
{
    size_t n = out->len - out->from;

    if (is_under_way(out))
        return true;
    if (!http_out_pending(out))
        return false;
    out->sent = 0;
    out->moving = n;
    out->final = out->ended;
    out->head_len = 0;
    out->tail = "";
    if (!out->chunked)
        return n > 0;
    if (n)
        out->head_len = (uint16_t)snprintf(out->head, sizeof(out->head), "%zx\r\n", n);
    out->tail = n && out->ended ? "\r\n0\r\n\r\n" : n ? "\r\n" : "0\r\n\r\n";
    return true;
}

static size_t add_piece(struct iovec *v, size_t n, const char *p, size_t len, size_t *skip)
{
    size_t s = *skip < len ? *skip : len;

    *skip -= s;
    v[n] = (struct iovec){ (char *)(uintptr_t)p + s, len - s };
    return n + (len > s);
}

/* Take `n` sent bytes off; data that is out makes room at once. */
static void advance(struct http_out *out, size_t n)
{
    size_t sent = out->sent + n, data = sent > out->head_len ? sent - out->head_len : 0;

    data = data < out->moving ? data : out->moving;
    out->moving -= data;
    out->from += data;
    out->sent = sent - data;
    if (out->from == out->len)
        out->from = out->len = 0;
}

int http_out_send(struct http_out *out, int fd)
{
    while (next_piece(out)) {
        struct iovec v[3];
        size_t skip = out->sent, n = 0;
        struct msghdr message = { .msg_iov = v };
        ssize_t r;

        n = add_piece(v, n, out->head, out->head_len, &skip);
        n = add_piece(v, n, out->data ? out->data + out->from : "", out->moving, &skip);
        n = add_piece(v, n, out->tail, strlen(out->tail), &skip);
        message.msg_iovlen = n;
        r = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
        out->n_sent += (uint64_t)r;
        advance(out, (size_t)r);
    }
    return out->final;
}

void http_out_fini(struct http_out *out)
{
    mem_free(out->data);
}
