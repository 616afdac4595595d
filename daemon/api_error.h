/* SPDX-License-Identifier: MIT
 *
 * api_error.h: an error as OpenAI's clients expect it:
 * {"error":{"message":...,"type":...,"param":...,"code":...}}, with a fitting HTTP status.
 */
#ifndef EXPERTD_DAEMON_API_ERROR_H
#define EXPERTD_DAEMON_API_ERROR_H

#include "daemon/jbuf.h"

struct api_error {
    int status;       /* of HTTP */
    const char *type; /* static */
    const char *code; /* static, or NULL */
    char param[64];   /* name of the field at fault; empty: none */
    char message[600];
};

/* A wrong field: status 400; returns -EINVAL. */
int api_error_param(struct api_error *e, const char *param, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An error number of ours with its text. */
void api_error_from(struct api_error *e, int code, const char *text);
void api_error_write(const struct api_error *e, struct jbuf *out);

#endif
