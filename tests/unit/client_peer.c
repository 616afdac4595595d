/* SPDX-License-Identifier: MIT */
#include "client_peer.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool request_is_whole(const char *request)
{
    const char *body = strstr(request, "\r\n\r\n"), *length = strstr(request, "Content-Length: ");

    return body != NULL && strlen(body + 4) >= (length != NULL ? strtoul(length + 16, NULL, 10) : 0);
}

static void *serve(void *user)
{
    struct client_peer *peer = user;
    int conn = accept(peer->listener, NULL, NULL);
    struct pollfd wait = { .fd = conn, .events = POLLRDHUP };
    size_t n = 0;
    ssize_t got = 1;

    while (conn >= 0 && got > 0 && !request_is_whole(peer->request)) {
        got = read(conn, peer->request + n, sizeof(peer->request) - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (conn >= 0 && send(conn, peer->reply, strlen(peer->reply), MSG_NOSIGNAL) >= 0 && peer->hold)
        peer->hung_up = poll(&wait, 1, 60000) == 1;
    if (conn >= 0)
        close(conn);
    return NULL;
}

void client_peer_open(struct client_peer *peer, const char *reply, bool hold)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };

    memset(peer, 0, sizeof(*peer));
    peer->reply = reply;
    peer->hold = hold;
    strcpy(peer->dir, "/tmp/expert-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(peer->dir));
    snprintf(peer->path, sizeof(peer->path), "%s/s", peer->dir);
    strcpy(name.sun_path, peer->path);
    peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(peer->listener, (struct sockaddr *)&name, sizeof(name)), 0);
    cr_assert_eq(listen(peer->listener, 1), 0);
    cr_assert_eq(pthread_create(&peer->thread, NULL, serve, peer), 0);
}

void client_peer_close(struct client_peer *peer)
{
    shutdown(peer->listener, SHUT_RDWR); /* wakes accept() when nobody has come */
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    unlink(peer->path);
    rmdir(peer->dir);
}
