/* SPDX-License-Identifier: MIT */
#include "daemon/http_check.h"

#include <string.h>
#include <strings.h>

static void complain(struct head_check *c, int status, const char *what)
{
    if (c->complaint)
        return;
    c->complaint = what;
    c->status = status;
}

void head_check_line(struct head_check *c, const char *method, const char *target, const char *version)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH" };
    bool known = false;

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        known = known || strcmp(method, methods[i]) == 0;
    if (!known)
        complain(c, 501, "unknown method");
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        complain(c, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (target[0] != '/')
        complain(c, 400, "the request target must be a path that starts with '/'");
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            complain(c, 400, "blank or control character in the request target");
}

static bool is_token(const char *s, size_t n)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)s[i];
        bool alnum = (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');

        if (!alnum && (!b || !strchr(others, b)))
            return false;
    }
    return n > 0;
}

static bool name_is(const char *name, size_t len, const char *want)
{
    return len == strlen(want) && strncasecmp(name, want, len) == 0;
}

static void check_length(struct head_check *c, const char *value, size_t n)
{
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++)
        if (value[i] < '0' || value[i] > '9' || __builtin_mul_overflow(length, (uint64_t)10, &length) ||
            __builtin_add_overflow(length, (uint64_t)(value[i] - '0'), &length)) {
            complain(c, 400, "Content-Length is not a number");
            return;
        }
    if (!n)
        complain(c, 400, "Content-Length is empty");
    if (c->n_length++)
        complain(c, 400, "more than one Content-Length");
    c->length = length;
}

void head_check_field(struct head_check *c, const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (!is_token(name, name_len))
        complain(c, 400, "a header name that is no token");
    for (size_t i = 0; i < value_len; i++) {
        unsigned char b = (unsigned char)value[i];

        if ((b < ' ' && b != '\t') || b == 0x7f)
            complain(c, 400, "control character in a header value");
    }
    if (name_is(name, name_len, "Host")) {
        if (c->n_host++)
            complain(c, 400, "more than one Host");
    } else if (name_is(name, name_len, "Content-Length")) {
        check_length(c, value, value_len);
    } else if (name_is(name, name_len, "Transfer-Encoding")) {
        if (c->n_coding++)
            complain(c, 400, "more than one Transfer-Encoding");
        c->chunked = name_is(value ? value : "", value_len, "chunked");
        if (!c->chunked)
            complain(c, 400, "Transfer-Encoding other than chunked");
    }
}

void head_check_end(struct head_check *c, const char *version)
{
    if (c->n_length && c->n_coding)
        complain(c, 400, "Content-Length together with Transfer-Encoding");
    if (c->n_coding && strcmp(version, "HTTP/1.0") == 0)
        complain(c, 400, "Transfer-Encoding in an HTTP/1.0 request");
    if (!c->n_host && strcmp(version, "HTTP/1.1") == 0)
        complain(c, 400, "no Host header");
}
