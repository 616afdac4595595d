/* SPDX-License-Identifier: MIT */
#include "daemon/jbuf.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void jbuf_fini(struct jbuf *b)
{
    mem_free(b->p);
    if (b->pool)
        b->pool->used -= b->cap;
    *b = (struct jbuf){ .max = b->max, .pool = b->pool };
}

void jbuf_clear(struct jbuf *b)
{
    b->n = 0;
    b->failed = false;
}

static bool reserve(struct jbuf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 256;
    char *grown;

    if (b->failed || (b->max && b->n + n > b->max)) {
        b->failed = true;
        return false;
    }
    if (b->n + n <= b->cap)
        return true;
    while (cap < b->n + n)
        cap *= 2;
    grown = b->pool && b->pool->used + (cap - b->cap) > b->pool->max ? NULL : mem_realloc(b->p, cap);
    if (!grown) {
        b->failed = true;
        return false;
    }
    if (b->pool)
        b->pool->used += cap - b->cap;
    b->p = grown;
    b->cap = cap;
    return true;
}

void jbuf_raw(struct jbuf *b, const char *s, size_t n)
{
    if (!n || !reserve(b, n))
        return;
    memcpy(b->p + b->n, s, n);
    b->n += n;
}

void jbuf_put(struct jbuf *b, const char *s)
{
    jbuf_raw(b, s, strlen(s));
}

void jbuf_printf(struct jbuf *b, const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(text))
        b->failed = true;
    else
        jbuf_raw(b, text, (size_t)n);
}

size_t utf8_length(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] < 0x80 ? 1 : u[0] >= 0xc2 && u[0] < 0xe0 ? 2 : u[0] >= 0xe0 && u[0] < 0xf0 ? 3 : 4;

    if ((u[0] >= 0x80 && u[0] < 0xc2) || u[0] > 0xf4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    /* over-long forms, surrogates, beyond U+10FFFF */
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return len;
}

static void escape_control(struct jbuf *b, unsigned char c)
{
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (const char *p = names; *p; p += 2)
        if ((unsigned char)p[0] == c) {
            jbuf_raw(b, (const char[]){ '\\', p[1] }, 2);
            return;
        }
    jbuf_printf(b, "\\u%04x", c);
}

void jbuf_escape(struct jbuf *b, const char *s, size_t n)
{
    size_t plain = 0, i = 0; /* s[plain .. i) goes out as it is */

    while (i < n) {
        unsigned char c = (unsigned char)s[i];
        size_t len = utf8_length(s + i, n - i);

        if (len && c >= ' ' && c != '"' && c != '\\' && c != 0x7f) {
            i += len;
            continue;
        }
        jbuf_raw(b, s + plain, i - plain);
        if (len)
            escape_control(b, c);
        else
            jbuf_put(b, "\xef\xbf\xbd");
        plain = ++i;
    }
    jbuf_raw(b, s + plain, i - plain);
}

void jbuf_string(struct jbuf *b, const char *s, size_t n)
{
    jbuf_put(b, "\"");
    jbuf_escape(b, s, n);
    jbuf_put(b, "\"");
}

void jbuf_number(struct jbuf *b, double v)
{
    if (isfinite(v))
        jbuf_printf(b, "%.9g", v);
    else
        jbuf_put(b, "null");
}
