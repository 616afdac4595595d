/* SPDX-License-Identifier: MIT
 *
 * interrupt.h: Ctrl-C and its kin, for a program that waits on a client.
 *
 * A thread of its own waits for SIGINT, SIGTERM and SIGHUP (none that the parent had ignored). While a client is
 * attached, a signal cancels the call in progress and is remembered; while none is, it ends the process as it would
 * without us. Nothing runs in a signal handler.
 *
 * Threads: all of this is for the main thread; only the one that waits is another.
 */
#ifndef EXPERT_CLIENT_CLI_INTERRUPT_H
#define EXPERT_CLIENT_CLI_INTERRUPT_H

#include "client/expert.h"

/* Once, before any other thread exists. 0 or -1. */
int interrupt_start(void);

/* From now on a signal cancels `client`, which stays the caller's; NULL detaches. */
void interrupt_attach(struct expert_client *client);

/* The signal that has come since the last clear, or 0. */
int interrupt_signal(void);

/* Forget it, and let the attached client make calls again. */
void interrupt_clear(void);

/* Readable while a signal is remembered: for poll(). */
int interrupt_fd(void);

/* Wait: true after `ms`, false as soon as a signal is remembered. */
bool interrupt_sleep(int ms);

/* End the process as the signal would have (a shell must see that), output flushed. */
_Noreturn void interrupt_die(int signum);

#endif
