/* SPDX-License-Identifier: MIT
 *
 * jbuf.h: text, mostly JSON, written piece by piece into a buffer that grows up to a limit.
 *
 * Running out of memory or over a limit is remembered (`failed`), so that a writer checks once, at the end. Buffers may
 * share a pool, which bounds what they hold together.
 */
#ifndef EXPERTD_DAEMON_JBUF_H
#define EXPERTD_DAEMON_JBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jbuf_pool {
    size_t used, max;
};

struct jbuf {
    char *p;
    size_t n, cap;
    size_t max;             /* 0: no limit */
    struct jbuf_pool *pool; /* NULL: none; borrowed */
    bool failed;
};

void jbuf_fini(struct jbuf *b);
void jbuf_clear(struct jbuf *b); /* empty, and not failed; memory kept */

void jbuf_raw(struct jbuf *b, const char *s, size_t n);
void jbuf_put(struct jbuf *b, const char *s);
void jbuf_printf(struct jbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The inside of a JSON string: escaped, what is no UTF-8 replaced by U+FFFD; no quotes around. */
void jbuf_escape(struct jbuf *b, const char *s, size_t n);
/* A whole JSON string. */
void jbuf_string(struct jbuf *b, const char *s, size_t n);
/* A finite number, or null. */
void jbuf_number(struct jbuf *b, double v);

/* Length in bytes of the UTF-8 character at s (n bytes follow), 0 when it is none. */
size_t utf8_length(const char *s, size_t n);

#endif
