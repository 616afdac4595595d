/* SPDX-License-Identifier: MIT
 *
 * chores.h: what expertd does to a model instead of serving it, in a process of its own beside a daemon or without one.
 *
 * Each opens the model, works with log lines now and then, says in a last one how it ended, and closes. SIGINT, SIGTERM
 * and SIGHUP end chore_write_pack in order, and then the process as they would have.
 */
#ifndef EXPERTD_DAEMON_CHORES_H
#define EXPERTD_DAEMON_CHORES_H

#include "base/err.h"
#include "daemon/config.h"

/* Read every expert of the model and hold it against the checksums kept in the state directory (or record them there,
 * the first time); then the same for its pack, if there is one. */
int chore_verify(const struct config *config, struct err *err);

/* Measure what the model's drive gives, print it, and keep it for the daemon. */
int chore_measure_drive(const struct config *config, struct err *err);

/* Write the model's pack. With config->json the result, or the error, is one line on standard output. */
int chore_write_pack(const struct config *config, struct err *err);

#endif
