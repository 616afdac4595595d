/* SPDX-License-Identifier: MIT */
#include "daemon/answer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PING_MS 10000u
#define SCORES_PER_CHUNK 64u

/* --- life --- */

void answer_drop(struct answer *a)
{
    if (a->prev)
        a->prev->next = a->next;
    else
        a->api->answers = a->next;
    if (a->next)
        a->next->prev = a->prev;
    jbuf_fini(&a->text);
    jbuf_fini(&a->out);
    jbuf_fini(&a->logprobs.items);
    jbuf_fini(&a->logprobs.values);
    jbuf_fini(&a->logprobs.tops);
    jbuf_fini(&a->logprobs.offsets);
    job_unref(a->job);
    mem_free(a);
}

static void maybe_free(struct answer *a)
{
    if (!a->req && a->state == ANSWER_FINISHED)
        answer_drop(a);
}

void answer_closed(struct answer *a)
{
    a->req = NULL;
    if (a->state == ANSWER_SUBMITTED) {
        atomic_store(&a->job->cancelled, true);
        engine_wake(a->api->engine);
    }
    maybe_free(a);
}

void answer_drained(struct answer *a)
{
    if (a->state != ANSWER_SUBMITTED)
        return;
    atomic_store(&a->job->paused, false);
    engine_wake(a->api->engine);
}

/* --- sending --- */

static void stream_out(struct answer *a)
{
    a->wrote_ms = uv_now(a->api->loop);
    if (!a->req)
        return;
    if (a->out.failed) {
        http_abort(a->req);
        return;
    }
    if (!http_stream_write(a->req, a->out.p, a->out.n) && a->state == ANSWER_SUBMITTED)
        atomic_store(&a->job->paused, true);
}

static void stream_put(struct answer *a, const char *text)
{
    jbuf_clear(&a->out);
    jbuf_put(&a->out, text);
    stream_out(a);
}

static void reply_error(struct answer *a, const struct api_error *error)
{
    jbuf_clear(&a->out);
    if (a->streaming)
        jbuf_put(&a->out, "data: ");
    api_error_write(error, &a->out);
    jbuf_put(&a->out, a->streaming ? "\n\n" : "\n");
    if (!a->req)
        return;
    if (a->streaming) {
        stream_out(a);
        http_stream_end(a->req);
    } else {
        api_reply(a->req, error->status, &a->out);
    }
}

static void finish_with_error(struct answer *a, int code, const char *text)
{
    struct api_error error;

    api_error_from(&error, code, text);
    if (a->state == ANSWER_PREPARING && code == -EINVAL)
        snprintf(error.param, sizeof(error.param), a->kind == API_CHAT ? "messages" : "prompt");
    log_debug("request %llu: %s", (unsigned long long)a->id, text);
    a->state = ANSWER_FINISHED;
    reply_error(a, &error);
    maybe_free(a);
}

static void finish(struct answer *a, const struct engine_event *done)
{
    const char *reason = done->finish == FINISH_STOP ? "stop" : "length";

    log_debug("request %llu: %u tokens read, %u written, %s", (unsigned long long)a->id, done->figures.n_prompt,
              done->figures.n_written, reason);
    a->state = ANSWER_FINISHED;
    if (!a->req) {
        maybe_free(a);
        return;
    }
    if (a->stream) {
        answer_json_chunk(a, reason, done);
        stream_out(a);
        if (a->include_usage && a->req) {
            answer_json_usage(a, done);
            stream_out(a);
        }
        stream_put(a, "data: [DONE]\n\n");
        http_stream_end(a->req);
        return;
    }
    answer_json_whole(a, reason, done);
    if (a->out.failed) {
        finish_with_error(
            a, -ENOMEM,
            "the answer is larger than this server may hold now: stream it, or ask for fewer log-probabilities");
        return;
    }
    api_reply(a->req, 200, &a->out);
}

/* --- events --- */

/* The prompt itself comes first in the text when it is to be echoed. */
static void echo(struct answer *a)
{
    const struct job *job = a->job;
    struct tokenizer *tokenizer = a->api->service->tokenizer;

    if (!job->echo)
        return;
    if (job->text) {
        jbuf_raw(&a->text, job->text, job->text_len);
        return;
    }
    for (size_t i = 0; i < job->prompt.n; i++) {
        struct gguf_str piece = tokenizer_piece(tokenizer, job->prompt.v[i], false, i == 0);

        jbuf_raw(&a->text, piece.p, piece.len);
    }
}

static void on_started(struct answer *a)
{
    echo(a);
    if (a->stream && a->text.n && a->req) {
        answer_json_chunk(a, NULL, NULL);
        stream_out(a);
    }
}

static void on_token(struct answer *a, const struct engine_event *event)
{
    jbuf_raw(&a->text, event->text, event->text_len);
    if (event->kind != EVENT_TEXT && a->job->n_logprobs >= 0)
        answer_json_score(a, event);
    if (!a->stream || !a->req)
        return;
    if (event->kind == EVENT_SCORE ? a->logprobs.n < SCORES_PER_CHUNK : !a->text.n && !a->text.failed && !a->logprobs.n)
        return;
    answer_json_chunk(a, NULL, NULL);
    stream_out(a);
}

void answer_event(struct answer *a, const struct engine_event *event)
{
    switch (event->kind) {
    case EVENT_STARTED:
        on_started(a);
        break;
    case EVENT_SCORE:
    case EVENT_TOKEN:
    case EVENT_TEXT:
        on_token(a, event);
        break;
    case EVENT_DONE:
        a->api->n_inflight--;
        if (event->finish == FINISH_ERROR)
            finish_with_error(a, event->code, event->text);
        else
            finish(a, event);
        job_unref(event->job);
        break;
    case EVENT_READY:
    case EVENT_LOAD_FAILED:
        break;
    }
}

/* --- start --- */

static void on_prepare(uv_work_t *work)
{
    struct answer *a = work->data;

    a->prepared = job_prepare(a->job, a->api->service, &a->prepare_err);
}

static void submit(struct answer *a)
{
    struct api *api = a->api;

    if (api->n_inflight >= api->max_inflight || engine_submit(api->engine, a->job) < 0) {
        finish_with_error(a, ERR_BUSY, "too many requests are waiting; try again later");
        return;
    }
    api->n_inflight++;
    a->state = ANSWER_SUBMITTED;
    if (!a->stream)
        return;
    a->wrote_ms = uv_now(a->api->loop);
    http_stream_begin(a->req, 200, "text/event-stream; charset=utf-8");
    if (a->kind == API_CHAT) {
        answer_json_chunk(a, NULL, NULL);
        stream_out(a);
    }
    a->streaming = true;
}

static void on_prepared(uv_work_t *work, int status)
{
    struct answer *a = work->data;

    if (!a->req) {
        a->state = ANSWER_FINISHED;
        maybe_free(a);
        return;
    }
    http_body_drop(a->req);
    if (a->prepared < 0) {
        finish_with_error(a, a->prepared, err_text(&a->prepare_err));
    } else if (a->api->cutting) {
        finish_with_error(a, ERR_CANCELED, "the daemon is shutting down");
    } else if (a->kind == API_TOKENIZE) {
        answer_json_ids(a);
        a->state = ANSWER_FINISHED;
        api_reply(a->req, 200, &a->out);
    } else {
        submit(a);
    }
    http_flush(a->api->http);
}

void answer_start(struct api *api, struct http_request *req, enum api_kind kind, struct api_request *request)
{
    struct answer *a = mem_zalloc(sizeof(*a));

    if (!a) {
        job_unref(request->job);
        api_reply_error(req, -ENOMEM, "out of memory");
        return;
    }
    a->api = api;
    a->req = req;
    a->job = request->job;
    a->kind = kind;
    a->stream = a->job->stream && kind != API_TOKENIZE;
    a->include_usage = request->include_usage;
    a->created = time(NULL);
    a->id = a->job->id = ++api->last_id;
    a->job->asker = a;
    if (!http_peer(req, &a->job->pid, &a->job->uid))
        a->job->pid = 0;
    a->text.pool = a->out.pool = a->logprobs.items.pool = a->logprobs.values.pool = a->logprobs.tops.pool =
        a->logprobs.offsets.pool = &api->answer_bytes;
    a->next = api->answers;
    if (a->next)
        a->next->prev = a;
    api->answers = a;
    http_set_data(req, a);
    a->work.data = a;
    uv_queue_work(api->loop, &a->work, on_prepare, on_prepared);
}

void answer_ping(struct answer *a, const struct engine_snapshot *snapshot)
{
    const struct sequence_snapshot *seq = NULL;

    if (!a->req || !a->streaming || a->state != ANSWER_SUBMITTED || uv_now(a->api->loop) - a->wrote_ms < PING_MS)
        return;
    for (uint32_t i = 0; i < snapshot->n_seqs; i++)
        if (snapshot->seqs[i].id == a->job->id)
            seq = &snapshot->seqs[i];
    jbuf_clear(&a->out);
    if (!seq)
        jbuf_put(&a->out, ": waiting\n\n");
    else if (!seq->writing)
        jbuf_printf(&a->out, ": reading the prompt, %u of %u tokens\n\n", seq->n_read, seq->figures.n_prompt);
    else
        jbuf_put(&a->out, ": writing\n\n");
    stream_out(a);
}

void answer_cut(struct answer *a)
{
    struct api_error error;

    if (a->state != ANSWER_SUBMITTED)
        return;
    atomic_store(&a->job->cancelled, true);
    engine_wake(a->api->engine);
    if (!a->req)
        return;
    api_error_from(&error, ERR_CANCELED, "the daemon is shutting down");
    if (a->streaming)
        http_stream_forget(a->req); /* the end must come through, also to who reads slowly */
    reply_error(a, &error);
    http_set_data(a->req, NULL);
    a->req = NULL;
}
