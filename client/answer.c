/* SPDX-License-Identifier: MIT */
#include "client/answer.h"

#include "client/error.h"
#include "client/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int too_long(struct expert_error *error)
{
    return error_set(error, EXPERT_ERR_PROTOCOL, "the answer is longer than any that expertd gives: gave up");
}

/* What failed in a text or a parser, as an error. */
static int grow_error(int code, struct expert_error *error)
{
    return code == EXPERT_ERR_MEMORY ? error_memory(error) : too_long(error);
}

static int take_text(struct answer *answer, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    int r;

    if (n == 0)
        return 0;
    if (answer->result.first_text_ns == 0)
        answer->result.first_text_ns = now_ns() - answer->start_ns;
    r = text_append(&answer->text, text, n);
    if (r < 0)
        return grow_error(r, answer->error);
    if (answer->request->on_text != NULL && answer->request->on_text(answer->request->user, text, n) != 0)
        return error_set(answer->error, EXPERT_ERR_CANCELED, "canceled");
    return 0;
}

static void take_name(char *buffer, size_t buffer_bytes, const json_t *value)
{
    if (json_is_string(value))
        error_quote(buffer, buffer_bytes, json_string_value(value), json_string_length(value));
}

static void take_count(int64_t *count, const json_t *value)
{
    if (json_is_integer(value))
        *count = json_integer_value(value);
}

static void take_figure(double *figure, const json_t *value)
{
    if (json_is_number(value))
        *figure = json_number_value(value);
}

static void take_figures(struct expert_result *result, const json_t *object)
{
    const json_t *usage = json_object_get(object, "usage"), *own = json_object_get(object, "expertd");

    take_name(result->model, sizeof(result->model), json_object_get(object, "model"));
    take_count(&result->prompt_tokens, json_object_get(usage, "prompt_tokens"));
    take_count(&result->completion_tokens, json_object_get(usage, "completion_tokens"));
    take_figure(&result->prompt_tokens_per_second, json_object_get(own, "prompt_tokens_per_second"));
    take_figure(&result->tokens_per_second, json_object_get(own, "tokens_per_second"));
    take_figure(&result->hit_rate, json_object_get(own, "hit_rate"));
    take_figure(&result->bytes_read_per_token, json_object_get(own, "bytes_read_per_token"));
}

/* A chunk of a stream, or a whole answer: they differ in where the text is. */
static int take_object(struct answer *answer, const json_t *object)
{
    const json_t *choice = json_array_get(json_object_get(object, "choices"), 0), *carrier;
    int r = reply_error_object(object, answer->http_status, answer->error);

    if (r < 0)
        return r;
    if (!json_is_object(object))
        return error_set(answer->error, EXPERT_ERR_PROTOCOL, "the answer holds JSON that is no object");
    take_figures(&answer->result, object);
    carrier = json_object_get(choice, "delta");
    if (carrier == NULL)
        carrier = json_object_get(choice, "message");
    r = take_text(answer, carrier != NULL ? json_object_get(carrier, "content") : json_object_get(choice, "text"));
    take_name(answer->result.finish_reason, sizeof(answer->result.finish_reason),
              json_object_get(choice, "finish_reason"));
    return r;
}

static int take_json(struct answer *answer, const char *bytes, size_t n_bytes)
{
    json_t *object;
    int r = reply_parse(bytes, n_bytes, &object, answer->error);

    if (r < 0)
        return r;
    r = take_object(answer, object);
    json_decref(object);
    return r;
}

static int on_event(void *user, const char *data, size_t n_bytes)
{
    struct answer *answer = user;

    if (n_bytes == 6 && memcmp(data, "[DONE]", 6) == 0) {
        answer->done = true;
        return HTTP_ENOUGH;
    }
    return take_json(answer, data, n_bytes);
}

void answer_init(struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    sse_init(&answer->sse, ANSWER_EVENT_MAX, on_event, answer);
    text_init(&answer->body, ANSWER_EVENT_MAX);
    text_init(&answer->text, ANSWER_TEXT_MAX);
}

void answer_fini(struct answer *answer)
{
    sse_fini(&answer->sse);
    text_fini(&answer->body);
    text_fini(&answer->text);
}

void answer_start(struct answer *answer, const struct expert_request *request)
{
    sse_fini(&answer->sse);
    sse_init(&answer->sse, ANSWER_EVENT_MAX, on_event, answer);
    text_clear(&answer->body);
    text_clear(&answer->text);
    answer->request = request;
    answer->done = false;
    answer->start_ns = now_ns();
    answer->result = (struct expert_result){
        .prompt_tokens = EXPERT_UNSET,
        .completion_tokens = EXPERT_UNSET,
        .prompt_tokens_per_second = NAN,
        .tokens_per_second = NAN,
        .hit_rate = NAN,
        .bytes_read_per_token = NAN,
    };
}

static bool is_stream(const struct http_reply *reply)
{
    return reply->status < 300 && strcmp(reply->content_type, "text/event-stream") == 0;
}

int answer_on_body(void *user, const struct http_reply *reply, const char *bytes, size_t n_bytes,
                   struct expert_error *error)
{
    struct answer *answer = user;
    struct expert_error cause = { 0 };
    int r;

    answer->http_status = reply->status;
    answer->error = &cause;
    r = is_stream(reply) ? sse_feed(&answer->sse, bytes, n_bytes) : text_append(&answer->body, bytes, n_bytes);
    answer->error = NULL;
    if (r >= 0)
        return r;
    if (cause.code != 0 && error != NULL)
        *error = cause;
    return cause.code != 0 ? cause.code : grow_error(r, error);
}

static int finish_whole(struct answer *answer, struct expert_error *error)
{
    int r;

    answer->error = error;
    r = take_json(answer, text_string(&answer->body), answer->body.n);
    answer->error = NULL;
    return r;
}

int answer_finish(struct answer *answer, const struct http_reply *reply, struct expert_error *error)
{
    int r = 0;

    if (reply->status >= 300 || reply->status < 200)
        return reply_error(reply->status, text_string(&answer->body), answer->body.n, error);
    if (!is_stream(reply))
        r = finish_whole(answer, error);
    else if (!answer->done)
        r = error_set(error, EXPERT_ERR_CONNECTION,
                      "the answer broke off: the daemon closed the connection before it was complete. Its log says why "
                      "('journalctl -u expertd')");
    if (r < 0)
        return r;
    answer->result.text = text_string(&answer->text);
    answer->result.text_bytes = answer->text.n;
    answer->result.total_ns = now_ns() - answer->start_ns;
    if (answer->request->on_done != NULL)
        answer->request->on_done(answer->request->user, &answer->result);
    return 0;
}
