/* SPDX-License-Identifier: MIT */
#include "client/cli/beside.h"
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"

#include <jansson.h>

/* Reading a whole model takes as long as the drive takes. */
#define PATIENCE_MS 0

static int verify_beside(struct session *session)
{
    struct beside beside;
    const char *argv[] = { "", "--verify", "--model", beside.model, "--state-dir", beside.state_dir, NULL };
    int status = beside_ask(session, "verify", "--verify", &beside);

    return status == EXIT_OK ? beside_run("verify", argv) : status;
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
