/* SPDX-License-Identifier: MIT
 *
 * options.h: the command line of `expert`, from one table.
 *
 * Every option stands once in the table of options.c, with the commands it is for; parsing and --help both read it. An
 * option that a command does not know is refused. Values are checked for being numbers; the ranges of what the daemon
 * is asked for are the daemon's business. Texts are borrowed from argv.
 */
#ifndef EXPERT_CLIENT_CLI_OPTIONS_H
#define EXPERT_CLIENT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    FOR_RUN = 1 << 0,
    FOR_CHAT = 1 << 1,
    FOR_PS = 1 << 2,
    FOR_MODELS = 1 << 3,
    FOR_SHOW = 1 << 4,
    FOR_STATS = 1 << 5,
    FOR_TOP = 1 << 6,
    FOR_BENCH = 1 << 7,
    FOR_DOCTOR = 1 << 8,
    FOR_VERIFY = 1 << 9,
    FOR_PACK = 1 << 10,
    FOR_ALL = (1 << 11) - 1,
};

#define OPTIONS_STOP_MAX 16

struct options {
    const char *socket;
    const char *system;
    const char *stop[OPTIONS_STOP_MAX];
    int64_t n_stop;
    int64_t max_tokens, seed, top_k;  /* EXPERT_UNSET when not given */
    double temperature, top_p, min_p; /* NAN when not given */
    int64_t runs, warmup, count;
    double interval_s;
    const char *model, *output;
    bool json, verbose, no_wait, raw, force, help;
    char **arguments; /* [n_arguments] what is no option */
    int n_arguments;
};

/* Parse a command's argv (argv[0] is its name). False, and a sentence on stderr, when it is wrong. Reorders `argv`. */
bool options_parse(struct options *options, int command, int argc, char **argv);

/* The options of a command, one line each. */
void options_print(int command, FILE *out);

#endif
