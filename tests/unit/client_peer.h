/* SPDX-License-Identifier: MIT
 *
 * client_peer.h: the other end of a client's socket, for unit tests: answers one request with given bytes.
 *
 * (Everything that can go wrong beyond that is scripted in tests/e2e/peer.py.) A thread of its own; every wait is for
 * an event. Open, use `path`, close; after the close, what it saw may be read.
 */
#ifndef EXPERT_TESTS_CLIENT_PEER_H
#define EXPERT_TESTS_CLIENT_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct client_peer {
    char dir[64];
    char path[80];
    int listener;
    pthread_t thread;
    const char *reply;
    bool hold;           /* after the reply, wait until the client hangs up, instead of closing */
    char request[65536]; /* what came, NUL-terminated */
    bool hung_up;        /* seen with `hold` */
};

void client_peer_open(struct client_peer *peer, const char *reply, bool hold);
void client_peer_close(struct client_peer *peer);

#endif
