/* SPDX-License-Identifier: MIT
 *
 * session.h: what every command does with the daemon: open a client, ask, wait while it loads, and turn an error into a
 * sentence on stderr and an exit status.
 */
#ifndef EXPERT_CLIENT_CLI_SESSION_H
#define EXPERT_CLIENT_CLI_SESSION_H

#include "client/cli/options.h"
#include "client/expert.h"

/* The exit statuses of `expert`: part of its interface (expert.1). */
enum session_exit {
    EXIT_OK = 0,
    EXIT_SERVER = 1,     /* the daemon refused or failed; or our own output could not be written */
    EXIT_USAGE = 2,      /* the command line is wrong */
    EXIT_NO_DAEMON = 3,  /* nobody listens */
    EXIT_PERMISSION = 4, /* the socket is not for this user */
    EXIT_LOADING = 5,    /* still loading, and --no-wait */
    EXIT_CONNECTION = 6, /* the connection broke, or what answers is no expertd */
    EXIT_BUSY = 7,       /* the daemon's queue is full */
};

struct session {
    const struct options *options;
    struct expert_client *client;
};

/* Open the client that the options name; false, and a sentence, on failure (EXIT_USAGE). */
bool session_open(struct session *session, const struct options *options);
void session_close(struct session *session);

/* A request with the options of the command line. */
void session_request_init(const struct session *session, struct expert_request *request);

/* expert_complete(), but waits while the daemon loads (unless --no-wait) and says so on stderr. */
int session_complete(struct session *session, const struct expert_request *request, struct expert_result *ret_result,
                     struct expert_error *error);

/* Say what went wrong; the exit status for it. Does not return when a signal was what canceled the call. */
int session_fail(const struct expert_error *error);

/* The exit status alone. */
int session_exit_status(int code);

/* stdout cannot be written: say so, or die of SIGPIPE when its reader just went away. The exit status. */
int session_fail_output(int errnum);

/* GET `path` and print the JSON, for --json. The exit status. */
int session_print_json(struct session *session, const char *path);

#endif
