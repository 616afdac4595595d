/* SPDX-License-Identifier: MIT */
#include "client/client.h"

#include "client/error.h"
#include "client/reply.h"
#include "client/request.h"

#include <stdlib.h>
#include <string.h>

#define COMPLETE_PATIENCE_MS 300000
#define STATUS_PATIENCE_MS 10000
#define STATUS_BODY_MAX ((size_t)16 << 20)

const char *expert_version(void)
{
    return EXPERT_VERSION;
}

int expert_open(const char *address, struct expert_client **ret_client, struct expert_error *error)
{
    struct expert_client *client = calloc(1, sizeof(*client));
    int r;

    if (client == NULL)
        return error_memory(error);
    r = endpoint_parse(&client->endpoint, address, error);
    if (r == 0)
        r = http_open(&client->endpoint, &client->http, error);
    if (r < 0) {
        free(client);
        return r;
    }
    answer_init(&client->answer);
    text_init(&client->body, STATUS_BODY_MAX);
    client->complete_patience_ms = COMPLETE_PATIENCE_MS;
    client->status_patience_ms = STATUS_PATIENCE_MS;
    *ret_client = client;
    return 0;
}

void expert_close(struct expert_client *client)
{
    if (client == NULL)
        return;
    http_close(client->http);
    answer_fini(&client->answer);
    text_fini(&client->body);
    free(client);
}

const char *expert_address(const struct expert_client *client)
{
    return client->endpoint.address;
}

void expert_set_patience(struct expert_client *client, int complete_ms, int status_ms)
{
    client->complete_patience_ms = complete_ms;
    client->status_patience_ms = status_ms;
}

void expert_cancel(struct expert_client *client)
{
    http_cancel(client->http);
}

void expert_cancel_reset(struct expert_client *client)
{
    http_cancel_reset(client->http);
}

/* Busy with what? A daemon that loads its model says so when it is asked for its health. */
static void tell_loading(struct expert_client *client, int *code, struct expert_error *error)
{
    struct expert_health health;

    if (expert_health(client, &health, NULL) == 0 && health.status == EXPERT_STATUS_LOADING)
        *code = reply_loading(health.progress, 503, error);
}

int expert_complete(struct expert_client *client, const struct expert_request *request,
                    struct expert_result *ret_result, struct expert_error *error)
{
    struct http_call call = { .path = request_path(request),
                              .patience_ms = client->complete_patience_ms,
                              .on_body = answer_on_body,
                              .user = &client->answer };
    struct http_reply reply;
    char *body;
    int r = request_build(request, &body, error);

    if (r < 0)
        return r;
    answer_start(&client->answer, request);
    call.body = body;
    call.body_bytes = strlen(body);
    r = http_perform(client->http, &call, &reply, error);
    free(body);
    if (r == 0)
        r = answer_finish(&client->answer, &reply, error);
    if (r == EXPERT_ERR_BUSY)
        tell_loading(client, &r, error);
    if (r == 0 && ret_result != NULL)
        *ret_result = client->answer.result;
    return r;
}

static int on_status_body(void *user, const struct http_reply *reply, const char *bytes, size_t n_bytes,
                          struct expert_error *error)
{
    struct expert_client *client = user;
    int r = text_append(&client->body, bytes, n_bytes);

    if (r == EXPERT_ERR_PROTOCOL)
        return error_set(error, r, "the answer is longer than any that expertd gives: gave up");
    return r < 0 ? error_memory(error) : 0;
}

int client_call(struct expert_client *client, const char *path, const char *body, int *ret_http_status,
                struct expert_error *error)
{
    struct http_call call = { .path = path,
                              .body = body,
                              .body_bytes = body != NULL ? strlen(body) : 0,
                              .patience_ms = client->status_patience_ms,
                              .on_body = on_status_body,
                              .user = client };
    struct http_reply reply;
    int r;

    if (path[0] != '/' || strpbrk(path, " \t\r\n#") != NULL || strlen(path) > 200)
        return error_set(error, EXPERT_ERR_USAGE, "'%.100s' is no path of the API", path);
    text_clear(&client->body);
    r = http_perform(client->http, &call, &reply, error);
    if (r == 0)
        *ret_http_status = reply.status;
    return r;
}

int expert_call_json(struct expert_client *client, const char *path, const char *body, const char **ret_json,
                     struct expert_error *error)
{
    json_t *json;
    int status;
    int r = client_call(client, path, body, &status, error);

    if (r < 0)
        return r;
    if (status < 200 || status >= 300)
        return reply_error(status, text_string(&client->body), client->body.n, error);
    r = reply_parse(text_string(&client->body), client->body.n, &json, error);
    if (r < 0)
        return r;
    json_decref(json);
    *ret_json = text_string(&client->body);
    return 0;
}
