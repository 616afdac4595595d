/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
    const char *name;
    int bit;
    int (*run)(struct session *session);
    int max_arguments; /* -1: any number */
    const char *arguments;
    const char *summary;
    const char *details;
} commands[] = {
    { "run", FOR_RUN, command_run, -1, " [PROMPT...]", "ask once and print the answer",
      "The prompt is the arguments, joined by blanks; without any, it is read from stdin. An argument '-' stands\n"
      "for what stdin holds: expert run \"Explain this:\" - < file\n" },
    { "chat", FOR_CHAT, command_chat, 0, "", "talk with the model",
      "In the chat: /help, /reset, /system TEXT, /save FILE, /quit. Ctrl-C stops an answer, Ctrl-D ends the chat.\n" },
    { "ps", FOR_PS, command_ps, 0, "", "list the answers being written now", "" },
    { "models", FOR_MODELS, command_models, 0, "", "list the models that can be asked", "" },
    { "show", FOR_SHOW, command_show, 0, "", "show what is loaded, and with what", "" },
    { "stats", FOR_STATS, command_stats, 0, "", "show counters since the daemon's start", "" },
    { "top", FOR_TOP, command_top, 0, "", "watch the daemon at work",
      "On a terminal a page that refreshes; elsewhere a line for each look.\n" },
    { "bench", FOR_BENCH, command_bench, -1, " [PROMPT...]", "measure how fast answers are written",
      "Asks for answers of a fixed length (--max-tokens, default 64), one after the other, and prints medians.\n" },
    { "doctor", FOR_DOCTOR, command_doctor, 0, "", "look for what is wrong or slow, and say what to do",
      "The exit status is 0 when nothing stands in the way of answers.\n" },
    { "verify", FOR_VERIFY, command_verify, 0, "", "have the daemon check the model's bytes on disk", "" },
    { "pack", FOR_PACK, command_pack, 0, "", "write the model's experts in one piece each, beside it",
      "The daemon reads experts from MODEL.pack when that is there; the answers are the same. Takes about as much "
      "disk\n"
      "as the model. What is interrupted goes on with the same command.\n" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
    fprintf(out,
            "Usage: expert COMMAND [OPTION...] [ARGUMENT...]\n\nThe command-line client of expertd.\n\nCommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n'expert COMMAND --help' tells more. The daemon is looked for at $EXPERTD_SOCKET,\n"
                 "$XDG_RUNTIME_DIR/expertd.sock and /run/expertd/expertd.sock, unless --socket says where.\n\n"
                 "Exit status: 0 good, 1 refused by the daemon, 2 wrong command line, 3 no daemon,\n"
                 "4 no permission, 5 still loading, 6 connection broke, 7 daemon busy, 130 interrupted.\n");
}

static void print_help(const struct command *command)
{
    printf("Usage: expert %s [OPTION...]%s\n\nexpert %s: %s.\n%s\nOptions:\n", command->name, command->arguments,
           command->name, command->summary, command->details);
    options_print(command->bit, stdout);
}

/* Edit distance (Levenshtein) of short words; SIZE_MAX for long ones. */
static size_t distance(const char *a, const char *b)
{
    size_t row[33], n = strlen(b);

    if (n > 32)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t edit = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

            diagonal = row[j];
            row[j] = change < edit ? change : edit;
        }
    }
    return row[n];
}

static int unknown_command(const char *name)
{
    const struct command *best = NULL;
    size_t least = 3;

    for (size_t i = 0; i < N_COMMANDS; i++) {
        size_t d = distance(commands[i].name, name);

        if (d < least && d < strlen(commands[i].name)) {
            least = d;
            best = &commands[i];
        }
    }
    if (best != NULL)
        fprintf(stderr, "expert: there is no command '%s'; did you mean 'expert %s'?\n", name, best->name);
    else
        fprintf(stderr, "expert: there is no command '%s'; 'expert --help' lists them\n", name);
    return EXIT_USAGE;
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct session session;
    int status;

    if (!options_parse(&options, command->bit, argc, argv))
        return EXIT_USAGE;
    if (options.help) {
        print_help(command);
        return EXIT_OK;
    }
    if (command->max_arguments >= 0 && options.n_arguments > command->max_arguments) {
        fprintf(stderr, "expert %s: '%s' is one argument too many; try 'expert %s --help'\n", command->name,
                options.arguments[command->max_arguments], command->name);
        return EXIT_USAGE;
    }
    if (interrupt_start() < 0) {
        perror("expert: starting");
        return EXIT_SERVER;
    }
    if (!session_open(&session, &options))
        return EXIT_USAGE;
    status = command->run(&session);
    session_close(&session);
    return status;
}

/* What stdio still holds must arrive, or the exit status must say that it did not. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return status;
    return session_fail_output(errno);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *command;

    setlocale(LC_CTYPE, "");
    if (name == NULL) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("expert %s\n", expert_version());
        return finish(EXIT_OK);
    }
    if (strcmp(name, "help") == 0 && argc > 2 && (command = find(argv[2])) != NULL) {
        print_help(command);
        return finish(EXIT_OK);
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return finish(EXIT_OK);
    }
    command = find(name);
    return finish(command != NULL ? run_command(command, argc - 1, argv + 1) : unknown_command(name));
}
