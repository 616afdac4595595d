/* SPDX-License-Identifier: MIT
 *
 * api.h: what can be asked of the daemon: OpenAI's endpoints, and our own for health and figures.
 *
 *   GET  /health /v1/models /v1/models/NAME /props /stats /metrics
 *   POST /v1/chat/completions /v1/completions /v1/tokenize /v1/detokenize
 *
 * Threads: the loop thread.
 */
#ifndef EXPERTD_DAEMON_API_H
#define EXPERTD_DAEMON_API_H

#include "daemon/answer.h"
#include "daemon/engine.h"
#include "daemon/http.h"
#include "daemon/jbuf.h"
#include "daemon/service.h"

#include <stdbool.h>
#include <stdint.h>

/* An engine that says nothing for so long in the midst of work is stuck. */
#define API_STUCK_NS 120000000000u

struct api {
    uv_loop_t *loop;
    const struct service *service;
    struct engine *engine;
    struct http_server *http;
    const struct pressure *pressure;
    struct answer *answers;            /* list */
    uint32_t n_inflight, max_inflight; /* submitted and not done */
    struct jbuf_pool answer_bytes;     /* what answers hold together */
    uint64_t json_bytes;               /* what one body may take when it is read */
    uint64_t last_id, n_requests;
    uv_timer_t pinger;
    struct engine_snapshot snapshot; /* the last one fetched; large, so not on the stack */
    bool ready;                      /* the model is loaded */
    bool draining, cutting;          /* no new work; the running work ends too */
    /* The engine has loaded, or failed to (text says why). */
    void (*on_loaded)(void *ctx, int code, const char *text);
    void *ctx;
};

void api_start(struct api *api);
void api_stop(struct api *api); /* closes its handles */
/* Handler of HTTP requests; ctx is the api. */
void api_on_request(void *ctx, struct http_request *req);
void api_on_closed(void *ctx, struct http_request *req);
void api_on_drained(void *ctx, struct http_request *req);
/* Hand the engine's events to their answers. */
void api_take_events(struct api *api);
/* Free what is left, when engine and HTTP are gone. */
void api_drop_answers(struct api *api);
/* End every running answer with an error. */
void api_cut(struct api *api);
/* "ok", "loading", "stuck", "failed" or "draining". */
const char *api_health(struct api *api);

void api_reply(struct http_request *req, int status, const struct jbuf *body);
void api_reply_error(struct http_request *req, int code, const char *text);

/* api_info.c: bodies of the GET endpoints. */
void api_write_health(struct api *api, struct jbuf *out);
void api_write_models(struct api *api, struct jbuf *out);
void api_write_model(struct api *api, struct jbuf *out);
void api_write_props(struct api *api, struct jbuf *out);
void api_write_stats(struct api *api, struct jbuf *out);
void api_write_metrics(struct api *api, struct jbuf *out);

#endif
