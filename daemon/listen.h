/* SPDX-License-Identifier: MIT
 *
 * listen.h: the sockets on which the daemon is spoken to.
 *
 * A Unix socket is made with mode 0660 from its first moment. A socket file that nobody answers on is replaced; one
 * that somebody answers on, and anything that is not a socket, is left alone and refused by name. The check and the
 * replacement happen under a lock on the directory, so that of two daemons starting at once only one wins.
 *
 * Threads: before the loop starts. Ownership: the caller owns the descriptors.
 */
#ifndef EXPERTD_DAEMON_LISTEN_H
#define EXPERTD_DAEMON_LISTEN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listener {
    int fd;
    bool passed;    /* by the service manager: not ours to close for good, nor to unlink */
    bool local;     /* a Unix socket */
    char name[160]; /* for log lines: the path or the address */
    dev_t dev;      /* of the socket file we made, to unlink only that one */
    ino_t ino;
};

int listen_unix(const char *path, struct listener *ret_listener, struct err *err);
/* "127.0.0.1:8080", "[::1]:8080", "localhost:0"; of several addresses the first that can be had. `ret_loopback` tells
 * whether only this machine can reach it. */
int listen_tcp(const char *address, struct listener *ret_listener, bool *ret_loopback, struct err *err);

/* Sockets passed by the service manager (LISTEN_FDS): each checked to be a listening stream socket. Returns their
 * number, 0 when none were passed. The environment is cleared. */
int listen_passed(struct listener *ret_listeners, size_t max, struct err *err);

/* Close it, and remove the socket file if it is still the one we made. */
void listener_close(struct listener *listener);

#endif
