/* SPDX-License-Identifier: MIT */
#include "client/cli/beside.h"
#include "client/cli/commands.h"

#include <stdio.h>
#include <unistd.h>

#define MAX_ARGUMENTS 12

/* Of the model that is named, or else of the one that is served. */
int command_pack(struct session *session)
{
    const struct options *options = session->options;
    struct beside beside = { 0 };
    const char *argv[MAX_ARGUMENTS] = { "", "--write-pack", "--model", options->model };
    size_t n = 4;

    if (options->model == NULL) {
        int status = beside_ask(session, "pack", "--write-pack", &beside);

        if (status == EXIT_NO_DAEMON)
            fprintf(stderr, "expert pack: a model that is not being served is named with --model FILE\n");
        if (status != EXIT_OK)
            return status;
        argv[3] = beside.model;
        if (access(beside.state_dir, W_OK) == 0) {
            argv[n++] = "--state-dir";
            argv[n++] = beside.state_dir;
        }
    }
    if (options->output != NULL) {
        argv[n++] = "--pack";
        argv[n++] = options->output;
    }
    if (options->force)
        argv[n++] = "--force";
    if (options->json)
        argv[n++] = "--json";
    argv[n] = NULL;
    return beside_run("pack", argv);
}
