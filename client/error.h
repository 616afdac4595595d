/* SPDX-License-Identifier: MIT
 *
 * error.h: filling a struct expert_error (expert.h). The library's own, because client/ includes nothing of the daemon.
 *
 * Every function takes NULL for "nobody listens" and returns the code, so that a failing function can end in
 * `return error_set(...)`. A text that does not fit is cut at the end. Texts of a peer go through error_quote(), which
 * keeps them printable and short.
 */
#ifndef EXPERT_CLIENT_ERROR_H
#define EXPERT_CLIENT_ERROR_H

#include "client/expert.h"

/* Clear what was there and record `code` with a sentence. */
int error_set(struct expert_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Record that memory has run out. */
int error_memory(struct expert_error *error);

/* Copy a peer's bytes into `buffer`, cut to fit, control characters as '?' : safe to show. Returns `buffer`. */
char *error_quote(char *buffer, size_t buffer_bytes, const char *bytes, size_t n_bytes);

#endif
