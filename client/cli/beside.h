/* SPDX-License-Identifier: MIT
 *
 * beside.h: work on a model's file that a daemon does not do while it serves: expertd does it in a process of its own.
 *
 * This program becomes that process, so that its output, its signals and its exit status are the command's.
 */
#ifndef EXPERT_CLIENT_CLI_BESIDE_H
#define EXPERT_CLIENT_CLI_BESIDE_H

#include "client/cli/session.h"

#include <limits.h>

struct beside {
    char model[PATH_MAX];     /* as the daemon has it */
    char state_dir[PATH_MAX]; /* the same; empty: expertd's default */
};

/* Ask the daemon what it serves, and from where. 0, or the exit status, with a sentence: also when the model cannot be
 * read from here. `command` and `option` name what was asked for ("verify", "--verify"). */
int beside_ask(struct session *session, const char *command, const char *option, struct beside *ret_beside);

/* Become expertd with these arguments, of which argv[0] is overwritten. Returns only when it cannot: the exit status.
 */
int beside_run(const char *command, const char **argv);

#endif
