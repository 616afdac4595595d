/* SPDX-License-Identifier: MIT */
#include "client/request.h"

#include "client/error.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

void expert_request_init(struct expert_request *request)
{
    memset(request, 0, sizeof(*request));
    request->max_tokens = request->seed = request->top_k = EXPERT_UNSET;
    request->temperature = request->top_p = request->min_p = NAN;
    request->repeat_penalty = request->presence_penalty = request->frequency_penalty = NAN;
}

const char *request_path(const struct expert_request *request)
{
    return request->prompt != NULL ? "/v1/completions" : "/v1/chat/completions";
}

/* A JSON string, or an error that says which text is to blame and where. */
static int text_json(const char *text, const char *field, json_t **ret_json, struct expert_error *error)
{
    if (text == NULL)
        return error_set(error, EXPERT_ERR_USAGE, "%s is missing", field);
    *ret_json = json_string(text);
    if (*ret_json == NULL)
        return error_set(error, EXPERT_ERR_USAGE, "%s is not valid UTF-8: convert it first (iconv -f LATIN1 -t UTF-8)",
                         field);
    return 0;
}

static int add(json_t *body, const char *name, json_t *value, struct expert_error *error)
{
    return json_object_set_new(body, name, value) == 0 ? 0 : error_memory(error);
}

static int add_text(json_t *body, const char *name, const char *text, struct expert_error *error)
{
    json_t *value = NULL;
    int r = text_json(text, name, &value, error);

    return r < 0 ? r : add(body, name, value, error);
}

static int add_messages(json_t *body, const struct expert_request *request, struct expert_error *error)
{
    json_t *messages = json_array();
    int r = add(body, "messages", messages, error);

    for (size_t i = 0; i < request->n_messages && r == 0; i++) {
        json_t *message = json_object();

        if (json_array_append_new(messages, message) < 0)
            return error_memory(error);
        r = add_text(message, "role", request->messages[i].role, error);
        if (r == 0)
            r = add_text(message, "content", request->messages[i].content, error);
    }
    return r;
}

static int add_stop(json_t *body, const struct expert_request *request, struct expert_error *error)
{
    json_t *stop, *text = NULL;
    int r;

    if (request->n_stop == 0)
        return 0;
    stop = json_array();
    r = add(body, "stop", stop, error);
    for (size_t i = 0; i < request->n_stop && r == 0; i++) {
        r = text_json(request->stop[i], "stop", &text, error);
        if (r == 0 && json_array_append_new(stop, text) < 0)
            r = error_memory(error);
    }
    return r;
}

static int add_options(json_t *body, const struct expert_request *request, struct expert_error *error)
{
    const struct {
        const char *name;
        int64_t value;
    } integers[] = { { "max_tokens", request->max_tokens }, { "seed", request->seed }, { "top_k", request->top_k } };
    const struct {
        const char *name;
        double value;
    } reals[] = {
        { "temperature", request->temperature },
        { "top_p", request->top_p },
        { "min_p", request->min_p },
        { "repeat_penalty", request->repeat_penalty },
        { "presence_penalty", request->presence_penalty },
        { "frequency_penalty", request->frequency_penalty },
    };
    int r = 0;

    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]) && r == 0; i++)
        if (integers[i].value != EXPERT_UNSET)
            r = add(body, integers[i].name, json_integer(integers[i].value), error);
    for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]) && r == 0; i++) {
        if (isnan(reals[i].value))
            continue;
        if (isinf(reals[i].value))
            return error_set(error, EXPERT_ERR_USAGE, "%s is not a finite number", reals[i].name);
        r = add(body, reals[i].name, json_real(reals[i].value), error);
    }
    if (r == 0 && request->ignore_eos)
        r = add(body, "ignore_eos", json_true(), error);
    return r;
}

static int add_stream(json_t *body, struct expert_error *error)
{
    int r = add(body, "stream", json_true(), error);

    return r < 0 ? r : add(body, "stream_options", json_pack("{s:b}", "include_usage", 1), error);
}

static int fill(json_t *body, const struct expert_request *request, struct expert_error *error)
{
    int r = request->model != NULL ? add_text(body, "model", request->model, error) : 0;

    if (r == 0 && request->prompt != NULL)
        r = add_text(body, "prompt", request->prompt, error);
    else if (r == 0)
        r = add_messages(body, request, error);
    if (r == 0)
        r = add_options(body, request, error);
    if (r == 0)
        r = add_stop(body, request, error);
    return r < 0 ? r : add_stream(body, error);
}

int request_build(const struct expert_request *request, char **ret_body, struct expert_error *error)
{
    json_t *body;
    int r;

    if ((request->prompt != NULL) == (request->n_messages > 0))
        return error_set(error, EXPERT_ERR_USAGE,
                         request->prompt != NULL ? "a request has messages or a prompt, not both"
                                                 : "a request needs messages or a prompt");
    body = json_object();
    if (body == NULL)
        return error_memory(error);
    r = fill(body, request, error);
    if (r == 0) {
        char *text = json_dumps(body, JSON_COMPACT);

        if (text != NULL)
            *ret_body = text;
        else
            r = error_memory(error);
    }
    json_decref(body);
    return r;
}
