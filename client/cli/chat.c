/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"
#include "client/cli/line.h"
#include "client/cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A conversation: owns its texts. */
struct chat {
    struct session *session;
    struct line *line;
    struct expert_message *messages; /* [n]; the roles are literals */
    size_t n, room;
    char *partial; /* [n_partial] the answer being written */
    size_t n_partial;
    struct terminal terminal;
};

static bool out_of_memory(void)
{
    fprintf(stderr, "expert chat: out of memory\n");
    return false;
}

static bool chat_add(struct chat *chat, const char *role, const char *content)
{
    char *copy = strdup(content);

    if (chat->n == chat->room) {
        size_t room = chat->room > 0 ? 2 * chat->room : 16;
        struct expert_message *grown = reallocarray(chat->messages, room, sizeof(*grown));

        if (grown != NULL) {
            chat->messages = grown;
            chat->room = room;
        }
    }
    if (copy == NULL || chat->n == chat->room) {
        free(copy);
        return out_of_memory();
    }
    chat->messages[chat->n++] = (struct expert_message){ role, copy };
    return true;
}

static void chat_drop_last(struct chat *chat)
{
    free((char *)chat->messages[--chat->n].content);
}

/* Forget all but the system message. */
static void chat_reset(struct chat *chat)
{
    while (chat->n > 0 && !(chat->n == 1 && strcmp(chat->messages[0].role, "system") == 0))
        chat_drop_last(chat);
}

static bool chat_set_system(struct chat *chat, const char *content)
{
    while (chat->n > 0)
        chat_drop_last(chat);
    return content[0] == '\0' || chat_add(chat, "system", content);
}

static int on_text(void *user, const char *text, size_t n_bytes)
{
    struct chat *chat = user;
    char *grown = realloc(chat->partial, chat->n_partial + n_bytes + 1);

    if (grown == NULL)
        return -1;
    memcpy(grown + chat->n_partial, text, n_bytes);
    chat->partial = grown;
    chat->n_partial += n_bytes;
    grown[chat->n_partial] = '\0';
    return terminal_write(&chat->terminal, text, n_bytes);
}

/* After an answer that did not arrive whole. True when the chat may go on. */
static bool chat_recover(struct chat *chat, const struct expert_error *error, int *ret_status)
{
    bool typed = line_is_typed(chat->line);

    if (chat->terminal.errnum != 0) {
        *ret_status = session_fail_output(chat->terminal.errnum);
        return false;
    }
    if (typed && error->code == EXPERT_ERR_CANCELED && interrupt_signal() == SIGINT) {
        interrupt_clear();
        if (chat->n_partial > 0) /* what was read so far can be talked about */
            return chat_add(chat, "assistant", chat->partial);
        chat_drop_last(chat);
        return true;
    }
    chat_drop_last(chat);
    if (error->code == EXPERT_ERR_CANCELED && typed)
        return true; /* the reader of lines sees the signal and ends */
    *ret_status = session_fail(error);
    return typed; /* a person can mend it and go on; a script must know */
}

/* Ask with all that was said. True when the chat may go on. */
static bool chat_ask(struct chat *chat, const char *content, int *ret_status)
{
    struct expert_request request;
    struct expert_result result;
    struct expert_error error;
    int r;

    if (!chat_add(chat, "user", content)) {
        *ret_status = EXIT_SERVER;
        return false;
    }
    session_request_init(chat->session, &request);
    request.messages = chat->messages;
    request.n_messages = chat->n;
    request.on_text = on_text;
    request.user = chat;
    chat->n_partial = 0;
    r = session_complete(chat->session, &request, &result, &error);
    terminal_end_line(&chat->terminal);
    if (!line_is_typed(chat->line))
        interrupt_attach(NULL);
    if (r < 0 || chat->terminal.errnum != 0)
        return chat_recover(chat, &error, ret_status);
    if (chat->session->options->verbose)
        figures_print(&result);
    *ret_status = EXIT_OK;
    return chat_add(chat, "assistant", result.text);
}

static void chat_save(const struct chat *chat, const char *path)
{
    FILE *file = path[0] != '\0' ? fopen(path, "w") : NULL;
    bool good = file != NULL;

    if (path[0] == '\0') {
        fprintf(stderr, "/save takes the name of a file\n");
        return;
    }
    for (size_t i = 0; i < chat->n && good; i++)
        good = fprintf(file, "%s: %s\n\n", chat->messages[i].role, chat->messages[i].content) >= 0;
    if (file != NULL && fclose(file) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "%s cannot be written: %s\n", path, strerror(errno));
    else
        fprintf(stderr, "%zu messages saved in %s\n", chat->n, path);
}

static void print_help(void)
{
    fputs("/reset         forget what was said (the system message stays)\n"
          "/system TEXT   begin anew with a system message; without TEXT, without one\n"
          "/save FILE     write the conversation to a file\n"
          "/quit          end the chat (as does Ctrl-D); Ctrl-C stops an answer\n",
          stderr);
}

/* What follows a command's name; NULL when the line is not that command. */
static const char *argument_of(const char *line, const char *command)
{
    size_t n = strlen(command);

    if (strncmp(line, command, n) != 0 || (line[n] != '\0' && line[n] != ' '))
        return NULL;
    return line + n + strspn(line + n, " ");
}

/* A line that begins with '/'. False to end the chat. */
static bool chat_command(struct chat *chat, const char *line)
{
    const char *argument;

    if (argument_of(line, "/quit") != NULL || argument_of(line, "/exit") != NULL)
        return false;
    if (argument_of(line, "/help") != NULL)
        print_help();
    else if (argument_of(line, "/reset") != NULL)
        chat_reset(chat);
    else if ((argument = argument_of(line, "/system")) != NULL)
        return chat_set_system(chat, argument);
    else if ((argument = argument_of(line, "/save")) != NULL)
        chat_save(chat, argument);
    else
        fprintf(stderr, "there is no '%s'; /help lists what there is\n", line);
    return true;
}

static int chat_run(struct chat *chat)
{
    int status = EXIT_OK;
    bool go_on = true;
    const char *line;

    while (go_on && (line = line_read(chat->line)) != NULL) {
        if (line[strspn(line, " \t")] == '\0')
            continue;
        go_on = line[0] == '/' ? chat_command(chat, line) : chat_ask(chat, line, &status);
    }
    if (line_is_typed(chat->line))
        terminal_write(&chat->terminal, "\n", go_on ? 1 : 0);
    return line_is_typed(chat->line) ? EXIT_OK : status;
}

int command_chat(struct session *session)
{
    struct chat chat = { .session = session, .line = line_open("> ") };
    int status = EXIT_SERVER;

    terminal_init(&chat.terminal, STDOUT_FILENO);
    if (chat.line == NULL) {
        out_of_memory();
        return status;
    }
    if (line_is_typed(chat.line)) {
        interrupt_attach(session->client);
        fputs("/help tells what can be done here; Ctrl-D ends.\n", stderr);
    }
    if (session->options->system == NULL || chat_set_system(&chat, session->options->system))
        status = chat_run(&chat);
    line_close(chat.line);
    while (chat.n > 0)
        chat_drop_last(&chat);
    free(chat.messages);
    free(chat.partial);
    if (interrupt_signal() != 0)
        interrupt_die(interrupt_signal());
    return status;
}
