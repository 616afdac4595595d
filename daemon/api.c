/* SPDX-License-Identifier: MIT */
#include "daemon/api.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PING_CHECK_MS 1000

/* --- replies --- */

void api_reply(struct http_request *req, int status, const struct jbuf *body)
{
    const char *extra = status == 503 ? "Retry-After: 5" : NULL;

    if (body->failed)
        api_reply_error(req, -ENOMEM, "out of memory");
    else
        http_reply(req, status, "application/json", extra, body->p, body->n);
}

static void reply_api_error(struct http_request *req, const struct api_error *error)
{
    struct jbuf out = { 0 };

    api_error_write(error, &out);
    jbuf_put(&out, "\n");
    if (out.failed)
        http_abort(req);
    else
        api_reply(req, error->status, &out);
    jbuf_fini(&out);
}

void api_reply_error(struct http_request *req, int code, const char *text)
{
    struct api_error error;

    api_error_from(&error, code, text);
    reply_api_error(req, &error);
}

static void reply_status(struct http_request *req, int status, const char *code, const char *text)
{
    struct api_error error = { .status = status, .type = "invalid_request_error", .code = code };

    snprintf(error.message, sizeof(error.message), "%s", text);
    reply_api_error(req, &error);
}

/* --- endpoints --- */

static void get_health(struct api *api, struct http_request *req)
{
    struct jbuf out = { 0 };

    api_write_health(api, &out);
    api_reply(req, strcmp(api_health(api), "ok") == 0 ? 200 : 503, &out);
    jbuf_fini(&out);
}

static void get_json(struct api *api, struct http_request *req, void (*write)(struct api *, struct jbuf *))
{
    struct jbuf out = { 0 };

    write(api, &out);
    api_reply(req, 200, &out);
    jbuf_fini(&out);
}

static void get_models(struct api *api, struct http_request *req)
{
    get_json(api, req, api_write_models);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Whether the end of a path, with its %-escapes, spells a name. */
static bool path_spells(const char *path, const char *name)
{
    for (; *path && *name; path++, name++) {
        int high = *path == '%' ? hex_value(path[1]) : -1, low = high >= 0 ? hex_value(path[2]) : -1;
        char c = low >= 0 ? (char)(high << 4 | low) : *path;

        if (c != *name)
            return false;
        path += low >= 0 ? 2 : 0;
    }
    return !*path && !*name;
}

static bool is_model_name(const struct api *api, const char *name)
{
    return path_spells(name, "default") || path_spells(name, api->service->name) ||
           path_spells(name, model_name(api->service->model));
}

static void get_model(struct api *api, struct http_request *req)
{
    if (is_model_name(api, http_path(req) + strlen("/v1/models/")))
        get_json(api, req, api_write_model);
    else
        reply_status(req, 404, "model_not_found", "this server has no model of that name; see /v1/models");
}

static void get_props(struct api *api, struct http_request *req)
{
    get_json(api, req, api_write_props);
}

static void get_stats(struct api *api, struct http_request *req)
{
    get_json(api, req, api_write_stats);
}

static void get_metrics(struct api *api, struct http_request *req)
{
    struct jbuf out = { 0 };

    api_write_metrics(api, &out);
    if (out.failed)
        api_reply_error(req, -ENOMEM, "out of memory");
    else
        http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.p, out.n);
    jbuf_fini(&out);
}

static struct api_limits limits_of(const struct api *api)
{
    return (struct api_limits){ .n_vocab = model_hparams(api->service->model)->n_vocab,
                                .json_bytes = api->json_bytes,
                                .names = { api->service->name, model_name(api->service->model) } };
}

static void post_text(struct api *api, struct http_request *req, enum api_kind kind)
{
    struct api_limits limits = limits_of(api);
    struct api_request request;
    struct api_error error;
    size_t len;
    const char *body = http_body(req, &len);

    if (kind != API_TOKENIZE && !api->ready) {
        api_reply_error(req, ERR_BUSY, "the model is still being loaded; try again in a moment");
        return;
    }
    if (api_params_parse(kind, body, len, &limits, &request, &error) < 0) {
        reply_api_error(req, &error);
        return;
    }
    api->n_requests++;
    answer_start(api, req, kind, &request);
}

static void post_chat(struct api *api, struct http_request *req)
{
    post_text(api, req, API_CHAT);
}

static void post_completions(struct api *api, struct http_request *req)
{
    post_text(api, req, API_TEXT);
}

static void post_tokenize(struct api *api, struct http_request *req)
{
    post_text(api, req, API_TOKENIZE);
}

static void post_detokenize(struct api *api, struct http_request *req)
{
    struct api_limits limits = limits_of(api);
    struct token_ids ids = { 0 };
    struct jbuf text = { .pool = &api->answer_bytes }, out = text;
    struct api_error error;
    size_t len;
    const char *body = http_body(req, &len);

    if (api_params_tokens(body, len, &limits, &ids, &error) < 0) {
        token_ids_fini(&ids);
        reply_api_error(req, &error);
        return;
    }
    for (size_t i = 0; i < ids.n; i++) {
        struct gguf_str piece = tokenizer_piece(api->service->tokenizer, ids.v[i], true, i == 0);

        jbuf_raw(&text, piece.p, piece.len);
    }
    jbuf_put(&out, "{\"content\":");
    jbuf_string(&out, text.p, text.n);
    jbuf_put(&out, "}\n");
    if (out.failed || text.failed)
        api_reply_error(req, -ENOMEM, "the text is larger than this server may hold now: send fewer tokens at once");
    else
        api_reply(req, 200, &out);
    jbuf_fini(&text);
    jbuf_fini(&out);
    token_ids_fini(&ids);
}

/* --- routes --- */

static const struct route_entry {
    const char *method, *path;
    bool prefix; /* path is the beginning; something must follow */
    void (*handle)(struct api *api, struct http_request *req);
} routes[] = {
    { "GET", "/health", false, get_health },
    { "GET", "/v1/models", false, get_models },
    { "GET", "/v1/models/", true, get_model },
    { "GET", "/props", false, get_props },
    { "GET", "/stats", false, get_stats },
    { "GET", "/metrics", false, get_metrics },
    { "POST", "/v1/chat/completions", false, post_chat },
    { "POST", "/v1/completions", false, post_completions },
    { "POST", "/v1/tokenize", false, post_tokenize },
    { "POST", "/v1/detokenize", false, post_detokenize },
};

static bool path_matches(const struct route_entry *route, const char *path)
{
    size_t n = strlen(route->path);

    return route->prefix ? strncmp(path, route->path, n) == 0 && path[n] : strcmp(path, route->path) == 0;
}

void api_on_request(void *ctx, struct http_request *req)
{
    const char *method = http_method(req), *path = http_path(req), *allowed = NULL;
    struct jbuf out = { 0 };
    char allow[32];

    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!path_matches(&routes[i], path))
            continue;
        if (strcmp(method, routes[i].method) == 0) {
            routes[i].handle(ctx, req);
            return;
        }
        allowed = routes[i].method;
    }
    if (!allowed) {
        reply_status(req, 404, "not_found", "there is nothing at this path; see expertd(8) for what there is");
        return;
    }
    snprintf(allow, sizeof(allow), "Allow: %s", strcmp(allowed, "GET") == 0 ? "GET, HEAD" : allowed);
    jbuf_printf(&out,
                "{\"error\":{\"message\":\"this path takes %s\",\"type\":\"invalid_request_error\",\"param\":null,"
                "\"code\":\"method_not_allowed\"}}\n",
                allowed);
    http_reply(req, 405, "application/json", allow, out.p, out.n);
    jbuf_fini(&out);
}

void api_on_closed(void *ctx, struct http_request *req)
{
    struct answer *a = http_data(req);

    if (a)
        answer_closed(a);
}

void api_on_drained(void *ctx, struct http_request *req)
{
    struct answer *a = http_data(req);

    if (a)
        answer_drained(a);
}

/* --- the engine's side --- */

void api_take_events(struct api *api)
{
    struct engine_event event;

    while (engine_next_event(api->engine, &event)) {
        if (event.job) {
            answer_event(event.job->asker, &event);
            continue;
        }
        api->ready = event.kind == EVENT_READY;
        api->on_loaded(api->ctx, event.code, event.text);
    }
    http_flush(api->http);
}

static void on_ping(uv_timer_t *timer)
{
    struct api *api = timer->data;

    if (!api->answers)
        return;
    engine_snapshot(api->engine, &api->snapshot);
    for (struct answer *a = api->answers; a; a = a->next)
        answer_ping(a, &api->snapshot);
    http_flush(api->http);
}

void api_start(struct api *api)
{
    uv_timer_init(api->loop, &api->pinger);
    api->pinger.data = api;
    uv_timer_start(&api->pinger, on_ping, PING_CHECK_MS, PING_CHECK_MS);
    uv_unref((uv_handle_t *)&api->pinger);
}

void api_stop(struct api *api)
{
    uv_close((uv_handle_t *)&api->pinger, NULL);
}

void api_cut(struct api *api)
{
    api->cutting = true;
    for (struct answer *a = api->answers, *next; a; a = next) {
        next = a->next;
        answer_cut(a);
    }
    http_flush(api->http);
}

void api_drop_answers(struct api *api)
{
    while (api->answers)
        answer_drop(api->answers);
}

const char *api_health(struct api *api)
{
    if (api->draining)
        return "draining";
    if (!api->ready)
        return "loading";
    return engine_silent_ns(api->engine) > API_STUCK_NS ? "stuck" : "ok";
}
