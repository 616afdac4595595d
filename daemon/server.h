/* SPDX-License-Identifier: MIT
 *
 * server.h: the loop thread: sockets, signals, the watchdog, and the order in which things start and end.
 *
 * SIGTERM and SIGINT drain: no new connections, running answers get drain_s seconds, then an error; a second signal
 * cuts them at once, a third ends the process where it stands. SIGHUP reads the log level again. The service manager
 * is told READY when the model is loaded, and hears from the watchdog as long as the engine shows signs of life.
 */
#ifndef EXPERTD_DAEMON_SERVER_H
#define EXPERTD_DAEMON_SERVER_H

#include "base/err.h"
#include "daemon/config.h"
#include "daemon/listen.h"
#include "daemon/service.h"

#define SERVER_MAX_LISTENERS 4

struct listeners {
    struct listener v[SERVER_MAX_LISTENERS];
    uint32_t n;
};

/* The sockets passed by the service manager, or else those of the configuration. */
int listeners_open(const struct config *config, struct listeners *ret_listeners, struct err *err);
void listeners_close(struct listeners *listeners);

/* Serve until told to stop. Returns 0 after an orderly end, negative when starting or loading failed. */
int server_run(const struct config *config, const struct service *service, struct listeners *listeners,
               struct err *err);

#endif
