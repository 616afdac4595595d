/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Reading a whole model takes as long as the drive takes. */
#define PATIENCE_MS 0

/* The expertd that was installed with this program, or the one on the path. */
static const char *find_expertd(char *buffer, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buffer, size - sizeof("d"));

    if (n <= 0)
        return "expertd";
    memcpy(buffer + n, "d", sizeof("d"));
    return access(buffer, X_OK) == 0 ? buffer : "expertd";
}

/* The daemon keeps to its budget and does not verify while it serves; a process of its own does, beside it, with the
 * same model and the same catalog. Returns only when it cannot. */
static int verify_beside(struct session *session)
{
    const char *text, *model = NULL, *state_dir = NULL;
    struct expert_error error;
    char program[PATH_MAX];
    json_t *props = NULL;

    if (expert_call_json(session->client, "/props", NULL, &text, &error) == 0)
        props = json_loads(text, JSON_ALLOW_NUL, NULL);
    model = json_string_value(json_object_get(props, "path"));
    state_dir = json_string_value(json_object_get(props, "state_dir"));
    if (model == NULL || state_dir == NULL || access(model, R_OK) != 0) {
        fprintf(stderr, "expert verify: this daemon cannot verify a model while it serves it, and its file cannot be "
                        "read from here: use 'expertd --verify --model FILE' where it can\n");
        json_decref(props);
        return EXIT_SERVER;
    }
    fflush(NULL);
    execlp(find_expertd(program, sizeof(program)), "expertd", "--verify", "--model", model, "--state-dir", state_dir,
           (char *)NULL);
    fprintf(stderr, "expert verify: expertd cannot be run (%s): use 'expertd --verify --model %s'\n", strerror(errno),
            model);
    json_decref(props);
    return EXIT_SERVER;
}

int command_verify(struct session *session)
{
    struct expert_error error;
    const char *text;
    json_t *json, *ok;
    bool good;
    int r;

    expert_set_patience(session->client, PATIENCE_MS, PATIENCE_MS);
    interrupt_attach(session->client);
    r = expert_call_json(session->client, "/admin/verify", "{}", &text, &error);
    if (r == EXPERT_ERR_NOT_FOUND)
        return verify_beside(session);
    if (r < 0)
        return session_fail(&error);
    json = json_loads(text, JSON_ALLOW_NUL, NULL);
    ok = json_object_get(json, "ok");
    good = ok == NULL || json_is_true(ok);
    if (session->options->json) {
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (good) {
        puts("every expert reads as it was recorded");
    } else {
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        putchar('\n');
    }
    json_decref(json);
    return good ? EXIT_OK : EXIT_SERVER;
}
