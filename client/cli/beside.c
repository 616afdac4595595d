/* SPDX-License-Identifier: MIT */
#include "client/cli/beside.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The expertd that was installed with this program, or the one on the path. */
static const char *find_expertd(char *buffer, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buffer, size - sizeof("d"));

    if (n <= 0)
        return "expertd";
    memcpy(buffer + n, "d", sizeof("d"));
    return access(buffer, X_OK) == 0 ? buffer : "expertd";
}

static bool copy(char *to, const char *text)
{
    return text != NULL && snprintf(to, PATH_MAX, "%s", text) < PATH_MAX;
}

int beside_ask(struct session *session, const char *command, const char *option, struct beside *ret_beside)
{
    struct expert_error error;
    json_t *props;
    const char *text;
    bool known;

    if (expert_call_json(session->client, "/props", NULL, &text, &error) < 0)
        return session_fail(&error);
    props = json_loads(text, JSON_ALLOW_NUL, NULL);
    known = copy(ret_beside->model, json_string_value(json_object_get(props, "path"))) &&
            copy(ret_beside->state_dir, json_string_value(json_object_get(props, "state_dir")));
    json_decref(props);
    if (known && access(ret_beside->model, R_OK) == 0)
        return EXIT_OK;
    fprintf(stderr,
            "expert %s: this daemon cannot %s a model while it serves it, and its file cannot be read from here: use "
            "'expertd %s --model FILE' where it can\n",
            command, command, option);
    return EXIT_SERVER;
}

int beside_run(const char *command, const char **argv)
{
    char program[PATH_MAX];
    sigset_t none;

    fflush(NULL);
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    argv[0] = "expertd";
    execvp(find_expertd(program, sizeof(program)), (char *const *)argv);
    fprintf(stderr, "expert %s: expertd cannot be run (%s): it does this itself, see 'expertd --help'\n", command,
            strerror(errno));
    return EXIT_SERVER;
}
