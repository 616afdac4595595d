/* SPDX-License-Identifier: MIT
 *
 * http_check.h: what a request's head must satisfy before anybody acts on it.
 *
 * These rules are what keeps a request from meaning two things to two readers (RFC 9112 sections 3, 5 and 6): one Host,
 * one Content-Length, never Content-Length with Transfer-Encoding, chunked as the only coding, header names that are
 * tokens, a known method and version, a target without blanks or control bytes.
 *
 * Pure functions over bytes; no state, no allocation.
 */
#ifndef EXPERTD_DAEMON_HTTP_CHECK_H
#define EXPERTD_DAEMON_HTTP_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head_check {
    unsigned n_host, n_length, n_coding;
    bool chunked;
    uint64_t length;       /* of the body as announced; 0 without Content-Length */
    const char *complaint; /* the first rule broken, or NULL; static storage */
    int status;            /* to answer with when there is a complaint */
};

/* The request line. `target` as sent, before any decoding. */
void head_check_line(struct head_check *c, const char *method, const char *target, const char *version);
/* One header field. `value` may be NULL (no value). Lengths exclude any terminator. */
void head_check_field(struct head_check *c, const char *name, size_t name_len, const char *value, size_t value_len);
/* After the last field. */
void head_check_end(struct head_check *c, const char *version);

#endif
