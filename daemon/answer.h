/* SPDX-License-Identifier: MIT
 *
 * answer.h: one request for text on its way: from the body to a job, and from the engine's events to JSON or to a
 * stream of server-sent events.
 *
 * An answer lives until both its HTTP request and its job are over; whichever ends first only lets go. Life:
 * prepared (on a worker of the loop's pool), submitted, started, finished. A client that goes away cancels the job.
 *
 * Threads: the loop thread.
 */
#ifndef EXPERTD_DAEMON_ANSWER_H
#define EXPERTD_DAEMON_ANSWER_H

#include "daemon/api_error.h"
#include "daemon/api_params.h"
#include "daemon/engine.h"
#include "daemon/http.h"
#include "daemon/jbuf.h"

#include <uv.h>

struct api;

enum answer_state { ANSWER_PREPARING, ANSWER_SUBMITTED, ANSWER_FINISHED };

/* Log-probabilities collected and not sent yet; comma-separated JSON values. Chat uses `items` alone. */
struct answer_logprobs {
    struct jbuf items, values, tops, offsets;
    size_t n;
    uint64_t n_chars; /* of the text before the next token, prompt included when echoed */
};

struct answer {
    struct api *api;
    struct answer *prev, *next;
    struct http_request *req; /* NULL: gone */
    struct job *job;          /* NULL: over */
    enum api_kind kind;
    enum answer_state state;
    bool stream, include_usage, streaming;
    int64_t created;
    uint64_t id;
    uint64_t wrote_ms; /* when the stream last carried something */
    uv_work_t work;
    int prepared; /* result of job_prepare */
    struct err prepare_err;
    struct jbuf text; /* of the answer (whole, or since the last chunk) */
    struct jbuf out;  /* scratch: what is sent next */
    struct answer_logprobs logprobs;
};

/* Take a parsed request over (its job too) and answer `req`. */
void answer_start(struct api *api, struct http_request *req, enum api_kind kind, struct api_request *request);
/* The client is gone or the answer is sent. */
void answer_closed(struct answer *a);
/* The client reads again. */
void answer_drained(struct answer *a);
void answer_event(struct answer *a, const struct engine_event *event);
/* Keep proxies and clients awake while nothing is to say. */
void answer_ping(struct answer *a, const struct engine_snapshot *snapshot);
/* The daemon ends: say so and finish. */
void answer_cut(struct answer *a);

/* Free it, whatever its state: engine and HTTP are gone. */
void answer_drop(struct answer *a);

/* answer_json.c */
void answer_json_score(struct answer *a, const struct engine_event *event);
void answer_json_chunk(struct answer *a, const char *finish, const struct engine_event *done);
void answer_json_usage(struct answer *a, const struct engine_event *done);
void answer_json_whole(struct answer *a, const char *finish, const struct engine_event *done);
void answer_json_ids(struct answer *a);

#endif
