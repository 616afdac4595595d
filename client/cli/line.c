/* SPDX-License-Identifier: MIT */
#include "client/cli/line.h"

#include "client/cli/interrupt.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct line {
    EditLine *edit; /* NULL: lines come from a pipe */
    History *history;
    char history_path[512]; /* "" when there is nowhere to keep it */
    const char *prompt;
    char *text; /* the line lent out */
    size_t room;
};

static char *prompt_of(EditLine *edit)
{
    struct line *line;

    el_get(edit, EL_CLIENTDATA, &line);
    return (char *)line->prompt;
}

/* One character for libedit, waiting for signals as well: 1, 0 at the end, -1 when a signal has come. */
static int next_char(EditLine *edit, wchar_t *ret_char)
{
    struct pollfd waits[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = interrupt_fd(), .events = POLLIN } };
    mbstate_t state = { 0 };
    char byte;

    for (;;) {
        ssize_t n;
        size_t used;

        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (waits[1].revents != 0)
            return -1;
        if (waits[0].revents == 0)
            continue;
        n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0)
            return n == 0 ? 0 : -1;
        /* A Ctrl-D typed before libedit takes the terminal over is read as a NUL afterwards. */
        if (byte == '\0')
            byte = '\004';
        used = mbrtowc(ret_char, &byte, 1, &state);
        if (used == (size_t)-2)
            continue;
        if (used == (size_t)-1) {
            memset(&state, 0, sizeof(state)); /* not of this character set: drop it */
            continue;
        }
        return 1;
    }
}

/* Make the directories of a path; false when one cannot be made. */
static bool make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        int r;

        *slash = '\0';
        r = mkdir(path, 0700);
        *slash = '/';
        if (r < 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static void history_open(struct line *line)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    HistEvent event;

    line->history = history_init();
    if (line->history == NULL)
        return;
    history(line->history, &event, H_SETSIZE, HISTORY_LINES);
    history(line->history, &event, H_SETUNIQUE, 1);
    if (state != NULL && state[0] == '/')
        n = snprintf(line->history_path, sizeof(line->history_path), "%s/expert/history", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(line->history_path, sizeof(line->history_path), "%s/.local/state/expert/history", home);
    if (n < 0 || (size_t)n >= sizeof(line->history_path) || !make_parents(line->history_path))
        line->history_path[0] = '\0';
    else
        history(line->history, &event, H_LOAD, line->history_path);
    el_set(line->edit, EL_HIST, history, line->history);
}

static void history_close(struct line *line)
{
    mode_t mask = umask(0077);
    HistEvent event;

    if (line->history_path[0] != '\0' && history(line->history, &event, H_SAVE, line->history_path) < 0)
        fprintf(stderr, "expert chat: the history cannot be kept in %s\n", line->history_path);
    umask(mask);
    history_end(line->history);
}

static bool edit_open(struct line *line)
{
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8"); /* a model's text and a prompt are UTF-8, whatever the environment says */
    line->edit = el_init("expert", stdin, stdout, stderr);
    if (line->edit == NULL)
        return false;
    el_set(line->edit, EL_CLIENTDATA, line);
    el_set(line->edit, EL_PROMPT, prompt_of);
    el_set(line->edit, EL_EDITOR, "emacs");
    el_set(line->edit, EL_SIGNAL, 0);
    el_set(line->edit, EL_GETCFN, next_char);
    history_open(line);
    el_source(line->edit, NULL);
    return true;
}

struct line *line_open(const char *prompt)
{
    struct line *line = calloc(1, sizeof(*line));

    if (line == NULL)
        return NULL;
    line->prompt = prompt;
    if (isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && !edit_open(line)) {
        free(line);
        return NULL;
    }
    return line;
}

void line_close(struct line *line)
{
    if (line == NULL)
        return;
    if (line->history != NULL)
        history_close(line);
    if (line->edit != NULL)
        el_end(line->edit);
    free(line->text);
    free(line);
}

bool line_is_typed(const struct line *line)
{
    return line->edit != NULL;
}

static const char *keep(struct line *line, const char *text, size_t n)
{
    HistEvent event;
    char *grown;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    grown = realloc(line->text, n + 1);
    if (grown == NULL)
        return NULL;
    memcpy(grown, text, n);
    grown[n] = '\0';
    line->text = grown;
    if (n > 0 && line->history != NULL)
        history(line->history, &event, H_ENTER, grown);
    return grown;
}

static const char *line_type(struct line *line)
{
    for (;;) {
        int n = 0;
        const char *text = el_gets(line->edit, &n);

        if (text != NULL && n > 0)
            return keep(line, text, (size_t)n);
        if (interrupt_signal() != SIGINT)
            return NULL;
        interrupt_clear();
        el_reset(line->edit);
        fputs("\n", stdout);
    }
}

const char *line_read(struct line *line)
{
    ssize_t n;

    if (line->edit != NULL)
        return line_type(line);
    n = getline(&line->text, &line->room, stdin);
    if (n < 0)
        return NULL;
    while (n > 0 && (line->text[n - 1] == '\n' || line->text[n - 1] == '\r'))
        line->text[--n] = '\0';
    return line->text;
}
