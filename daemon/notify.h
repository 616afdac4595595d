/* SPDX-License-Identifier: MIT
 *
 * notify.h: what the service manager is told (sd_notify(3)'s protocol: one datagram of NAME=VALUE lines to
 * $NOTIFY_SOCKET). Without a service manager every call does nothing. Threads: the loop thread.
 *
 * Source: sd_notify(3), sd_watchdog_enabled(3).
 */
#ifndef EXPERTD_DAEMON_NOTIFY_H
#define EXPERTD_DAEMON_NOTIFY_H

#include <stdint.h>

/* Reads the environment and clears it, so that no child inherits it. */
void notify_init(void);

/* Send lines, e.g. notify_send("READY=1\nSTATUS=%s", text). Best effort: a lost datagram is not an error. */
void notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* RELOADING=1 with the clock that systemd wants beside it. */
void notify_reloading(void);

/* Half of what the watchdog allows, in milliseconds; 0: no watchdog. */
uint64_t notify_watchdog_ms(void);

void notify_fini(void);

#endif
