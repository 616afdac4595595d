/* SPDX-License-Identifier: MIT */
#include "client/cli/session.h"

#include "client/cli/interrupt.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOADING_LOOK_MS 250

bool session_open(struct session *session, const struct options *options)
{
    struct expert_error error;

    session->options = options;
    if (expert_open(options->socket, &session->client, &error) < 0) {
        fprintf(stderr, "expert: %s\n", error.text);
        return false;
    }
    return true;
}

void session_close(struct session *session)
{
    interrupt_attach(NULL);
    expert_close(session->client);
}

void session_request_init(const struct session *session, struct expert_request *request)
{
    const struct options *options = session->options;

    expert_request_init(request);
    request->max_tokens = options->max_tokens;
    request->seed = options->seed;
    request->top_k = options->top_k;
    request->temperature = options->temperature;
    request->top_p = options->top_p;
    request->min_p = options->min_p;
    request->stop = options->stop;
    request->n_stop = (size_t)options->n_stop;
}

/* Progress on a terminal is one line that changes; elsewhere a line said once. */
static void say_loading(double progress, bool first)
{
    if (isatty(STDERR_FILENO) != 1) {
        if (first)
            fprintf(stderr, "expert: waiting for the daemon to load its model\n");
        return;
    }
    if (progress >= 0)
        fprintf(stderr, "\r\033[Kloading the model: %.0f %%", floor(progress * 100));
    else
        fprintf(stderr, "\r\033[Kloading the model");
    fflush(stderr);
}

/* Until it does not load any more: 0, or an error (a signal included). */
static int wait_while_loading(struct session *session, double progress, struct expert_error *error)
{
    struct expert_health health = { .status = EXPERT_STATUS_LOADING, .progress = progress };
    bool first = true;
    int r = 0;

    while (r == 0 && health.status == EXPERT_STATUS_LOADING) {
        say_loading(health.progress, first);
        first = false;
        interrupt_sleep(LOADING_LOOK_MS);
        r = expert_health(session->client, &health, error);
    }
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K");
    return r;
}

int session_complete(struct session *session, const struct expert_request *request, struct expert_result *ret_result,
                     struct expert_error *error)
{
    int r;

    interrupt_attach(session->client);
    r = expert_complete(session->client, request, ret_result, error);
    while (r == EXPERT_ERR_LOADING && !session->options->no_wait) {
        r = wait_while_loading(session, error->progress, error);
        if (r == 0)
            r = expert_complete(session->client, request, ret_result, error);
    }
    return r;
}

int session_exit_status(int code)
{
    switch (code) {
    case 0:
        return EXIT_OK;
    case EXPERT_ERR_USAGE:
        return EXIT_USAGE;
    case EXPERT_ERR_NO_DAEMON:
        return EXIT_NO_DAEMON;
    case EXPERT_ERR_PERMISSION:
        return EXIT_PERMISSION;
    case EXPERT_ERR_LOADING:
        return EXIT_LOADING;
    case EXPERT_ERR_CONNECTION:
    case EXPERT_ERR_PROTOCOL:
        return EXIT_CONNECTION;
    case EXPERT_ERR_BUSY:
        return EXIT_BUSY;
    default:
        return EXIT_SERVER;
    }
}

int session_fail(const struct expert_error *error)
{
    if (error->code == EXPERT_ERR_CANCELED && interrupt_signal() != 0)
        interrupt_die(interrupt_signal());
    if (error->param[0] != '\0' && strstr(error->text, error->param) == NULL)
        fprintf(stderr, "expert: %s: %s\n", error->param, error->text);
    else
        fprintf(stderr, "expert: %s\n", error->text);
    return session_exit_status(error->code);
}

int session_fail_output(int errnum)
{
    if (errnum == EPIPE)
        interrupt_die(SIGPIPE);
    fprintf(stderr, "expert: the output cannot be written: %s\n", strerror(errnum));
    return EXIT_SERVER;
}

int session_print_json(struct session *session, const char *path)
{
    size_t flags = isatty(STDOUT_FILENO) == 1 ? JSON_INDENT(2) | JSON_ENSURE_ASCII : JSON_COMPACT;
    struct expert_error error;
    const char *text;
    json_t *json;

    if (expert_call_json(session->client, path, NULL, &text, &error) < 0)
        return session_fail(&error);
    json = json_loads(text, JSON_ALLOW_NUL, NULL);
    json_dumpf(json, stdout, flags);
    putchar('\n');
    json_decref(json);
    return EXIT_OK;
}
