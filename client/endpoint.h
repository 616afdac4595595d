/* SPDX-License-Identifier: MIT
 *
 * endpoint.h: where the daemon is, and why nobody could be reached there.
 *
 * An endpoint is a Unix socket or the base of a URL. explain() is what turns a refused connection into a sentence with
 * a remedy: it looks at the socket file itself, so that "no such file", "nobody listens" and "not for you" are told
 * apart. Caller's storage, and no heap but while names of users and groups are looked up. Thread-safe as far as the
 * storage is one thread's.
 */
#ifndef EXPERT_CLIENT_ENDPOINT_H
#define EXPERT_CLIENT_ENDPOINT_H

#include "client/expert.h"

#include <sys/stat.h>

#define ENDPOINT_SOCKET_PATH_MAX 107 /* what sun_path holds beside its NUL */

struct endpoint {
    char address[512];  /* for people */
    char socket[108];   /* path of the Unix socket, or "" */
    char base_url[512]; /* without a slash at its end: "http://localhost" for a Unix socket */
};

/* Take an address apart (expert_open() says which forms there are). */
int endpoint_parse(struct endpoint *endpoint, const char *address, struct expert_error *error);

/* Say why connecting failed; `reason` is the transport's own word, for where we know no better. Returns the code. */
int endpoint_explain(const struct endpoint *endpoint, const char *reason, struct expert_error *error);

/* The text for a socket that is there and refuses us: who it belongs to and how to be let in. */
int endpoint_explain_denied(const char *path, const struct stat *st, struct expert_error *error);

#endif
