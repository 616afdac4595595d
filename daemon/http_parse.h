/* SPDX-License-Identifier: MIT
 *
 * http_parse.h: the bytes of a request taken apart: where a head ends, what it says, and the body behind chunks.
 *
 * Strict, because whatever two readers could take for two things is an attack (RFC 9112 sections 2.2, 5 and 7.1): lines
 * end with CR LF and nothing else, names touch their colon, fields are not folded, chunk sizes are hexadecimal digits
 * that fit. What the head must satisfy beyond its form stands in http_check.h.
 *
 * Pure functions over bytes; no allocation, nothing is kept but what the caller holds. Fuzzed by
 * tests/fuzz/fuzz_http.c.
 */
#ifndef EXPERTD_DAEMON_HTTP_PARSE_H
#define EXPERTD_DAEMON_HTTP_PARSE_H

#include "daemon/http_check.h"

struct http_head {
    const char *method, *path; /* into the bytes parsed; the path is raw, without its query */
    bool old;                  /* HTTP/1.0 */
    bool close;                /* the client wants the connection closed after the answer */
    bool expect_continue;      /* it waits for a 100 before it sends the body */
    struct head_check check;   /* check.complaint tells whether the rest means anything */
};

/* How long the head at the beginning of p[0..n) is, its empty line included; 0: there is more to come; -1: it cannot
 * become one. `scanned` begins at 0 with each head, and saves looking at the same bytes twice. */
long head_find(const char *p, size_t n, size_t *scanned);

/* Take a whole head apart; its bytes are changed (terminators are put in). */
void head_parse(char *p, size_t n, struct http_head *ret_head);

/* A body in chunks. Zeroed before the first byte. */
struct chunks {
    int state;
    uint64_t left;    /* bytes of the current chunk still to come */
    unsigned n_line;  /* length of the line being read */
    unsigned n_extra; /* bytes of trailers so far */
};

enum chunks_found {
    CHUNKS_MORE, /* everything given was used, and the body goes on */
    CHUNKS_DATA, /* a piece of the body */
    CHUNKS_END,  /* the body is whole; bytes behind ret_used belong to the next request */
    CHUNKS_BAD,  /* this is no chunked body */
};

/* Read on from p[0..n), n > 0: `ret_used` bytes are done with, the last `ret_len` of them are data. */
enum chunks_found chunks_next(struct chunks *c, const char *p, size_t n, size_t *ret_used, size_t *ret_len);

#endif
