/* SPDX-License-Identifier: MIT */
#include "client/reply.h"

#include "client/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *member_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static int status_code(int http_status)
{
    switch (http_status) {
    case 404:
    case 405:
    case 501:
        return EXPERT_ERR_NOT_FOUND;
    case 429:
    case 503:
        return EXPERT_ERR_BUSY;
    default:
        return EXPERT_ERR_SERVER;
    }
}

int reply_loading(double progress, int http_status, struct expert_error *error)
{
    if (progress >= 0 && progress <= 1)
        error_set(error, EXPERT_ERR_LOADING, "the daemon is still loading its model (%.0f %%): try again in a moment",
                  floor(progress * 100));
    else
        error_set(error, EXPERT_ERR_LOADING, "the daemon is still loading its model: try again in a moment");
    if (error != NULL) {
        error->http_status = http_status;
        error->progress = progress >= 0 && progress <= 1 ? progress : -1;
    }
    return EXPERT_ERR_LOADING;
}

static double progress_of(const json_t *object)
{
    const json_t *progress = json_object_get(object, "progress");

    return json_is_number(progress) ? json_number_value(progress) : -1;
}

int reply_error_object(const json_t *object, int http_status, struct expert_error *error)
{
    const json_t *details = json_object_get(object, "error");
    const char *message = json_is_string(details) ? json_string_value(details) : member_text(details, "message");
    const char *type = member_text(details, "type"), *code = member_text(details, "code");
    char quoted[600];
    int r;

    if (details == NULL || json_is_null(details))
        return 0;
    if (strstr(code, "loading") != NULL || strstr(type, "loading") != NULL) {
        double progress = progress_of(details);

        return reply_loading(progress >= 0 ? progress : progress_of(object), http_status, error);
    }
    r = status_code(http_status);
    if (message[0] == '\0')
        message = "the daemon reports an error and gives no reason";
    error_set(error, r, "%s", error_quote(quoted, sizeof(quoted), message, strlen(message)));
    if (error != NULL) {
        error->http_status = http_status;
        error_quote(error->param, sizeof(error->param), member_text(details, "param"),
                    strlen(member_text(details, "param")));
        error_quote(error->type, sizeof(error->type), type, strlen(type));
    }
    return r;
}

static int set_foreign(int http_status, const char *body, size_t n_bytes, struct expert_error *error)
{
    char quoted[120];
    int r = status_code(http_status);

    if (n_bytes == 0)
        error_set(error, r, "the daemon answered HTTP %d without a reason", http_status);
    else
        error_set(
            error, r, "HTTP %d, and not in expertd's way of saying why (is something else listening there?): '%s'%s",
            http_status, error_quote(quoted, sizeof(quoted), body, n_bytes), n_bytes >= sizeof(quoted) ? "..." : "");
    if (error != NULL)
        error->http_status = http_status;
    return r;
}

int reply_error(int http_status, const char *body, size_t n_bytes, struct expert_error *error)
{
    json_t *json = json_loadb(body, n_bytes, JSON_ALLOW_NUL, NULL);
    int r;

    if (strcasecmp(member_text(json, "status"), "loading") == 0)
        r = reply_loading(progress_of(json), http_status, error);
    else
        r = reply_error_object(json, http_status, error);
    if (r == 0)
        r = set_foreign(http_status, body, n_bytes, error);
    json_decref(json);
    return r;
}

int reply_parse(const char *body, size_t n_bytes, json_t **ret_json, struct expert_error *error)
{
    json_error_t cause;
    json_t *json = json_loadb(body, n_bytes, JSON_ALLOW_NUL, &cause);
    char quoted[80];

    if (json == NULL)
        return error_set(error, EXPERT_ERR_PROTOCOL, "the answer is not JSON (%s): '%s'%s", cause.text,
                         error_quote(quoted, sizeof(quoted), body, n_bytes), n_bytes >= sizeof(quoted) ? "..." : "");
    *ret_json = json;
    return 0;
}
