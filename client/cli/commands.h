/* SPDX-License-Identifier: MIT
 *
 * commands.h: the subcommands of `expert`. Each takes an open session and returns the exit status.
 */
#ifndef EXPERT_CLIENT_CLI_COMMANDS_H
#define EXPERT_CLIENT_CLI_COMMANDS_H

#include "client/cli/session.h"

int command_run(struct session *session);  /* run.c */
int command_chat(struct session *session); /* chat.c */
int command_ps(struct session *session);   /* show.c, with the three that follow */
int command_models(struct session *session);
int command_show(struct session *session);
int command_stats(struct session *session);
int command_top(struct session *session);    /* top.c */
int command_bench(struct session *session);  /* bench.c */
int command_doctor(struct session *session); /* doctor.c */
int command_verify(struct session *session); /* verify.c */
int command_pack(struct session *session);   /* pack.c */

/* An answer's figures on stderr, for -v. */
void figures_print(const struct expert_result *result); /* run.c */

#endif
