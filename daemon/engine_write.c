/* SPDX-License-Identifier: MIT */
#include "daemon/engine_impl.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- events --- */

static struct engine_event *event_begin(struct engine *e, enum event_kind kind, struct job *job)
{
    struct engine_event *event = &e->event;

    event->kind = kind;
    event->job = job;
    event->has_logprob = false;
    event->n_top = 0;
    event->text_len = 0;
    return event;
}

/* Text in pieces that an event holds, cut between characters; the first goes with the event that is open. */
static void emit_text(struct engine *e, struct job *job, const char *text, size_t len)
{
    struct engine_event *event = &e->event;

    for (;;) {
        size_t n = len < EVENT_TEXT_BYTES ? len : EVENT_TEXT_BYTES;

        while (n < len && n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        memcpy(event->text, text, n);
        event->text_len = (uint32_t)n;
        engine_emit(e);
        text += n;
        len -= n;
        if (!len)
            return;
        event_begin(e, EVENT_TEXT, job);
    }
}

static void add_logprobs(struct engine *e, const struct job *job, int32_t token, const float *logits)
{
    uint32_t n_vocab = model_hparams(e->service->model)->n_vocab;
    struct engine_event *event = &e->event;

    event->has_logprob = true;
    event->logprob = logprob_of(logits, n_vocab, token);
    event->n_top = (uint32_t)job->n_logprobs;
    if (event->n_top)
        logprob_top(logits, n_vocab, event->n_top, event->top);
}

void writer_done(struct engine *e, struct job *job, struct writer *w, enum finish_reason finish, int code,
                 const char *text)
{
    struct engine_event *event = event_begin(e, EVENT_DONE, job);
    uint64_t now = clock_ns();

    event->finish = finish;
    event->code = code;
    event->figures = w ? w->figures : (struct job_figures){ .n_prompt = (uint32_t)job->prompt.n };
    if (w && w->first_ns)
        event->figures.write_ns = now - w->first_ns;
    event->text_len = (uint32_t)snprintf(event->text, sizeof(event->text), "%s", text ? text : "");
    if (event->text_len >= sizeof(event->text))
        event->text_len = sizeof(event->text) - 1;
    if (finish != FINISH_ERROR)
        e->totals.requests_done++;
    else if (code == ERR_CANCELED)
        e->totals.requests_cancelled++;
    else
        e->totals.requests_failed++;
    engine_emit(e);
}

/* --- an answer --- */

/* Room for `need` bytes, and never NULL. */
static int grow(char **buf, size_t *cap, size_t need)
{
    char *grown;

    need++;
    if (need <= *cap)
        return 0;
    grown = mem_realloc(*buf, need * 2);
    if (!grown)
        return -ENOMEM;
    *buf = grown;
    *cap = need * 2;
    return 0;
}

void writer_start(struct engine *e, struct sequence *seq)
{
    struct writer *w = &e->writers[seq->index];
    struct job *job = seq->job;
    struct err err = { 0 };
    int r = sampler_open(&job->sampling, model_hparams(e->service->model)->n_vocab, &job->sampler, &err);

    detokenizer_init(&w->detokenizer, e->service->tokenizer);
    w->detokenizer.first = job->chat;
    w->figures = (struct job_figures){ .n_prompt = (uint32_t)job->prompt.n, .n_reused = seq->n_reused };
    w->started_ns = clock_ns();
    w->first_ns = 0;
    w->text_bytes = w->final_bytes = w->n_held = 0;
    w->ended = false;
    if (r < 0) {
        writer_done(e, job, w, FINISH_ERROR, r, err_text(&err));
        scheduler_release(&e->scheduler, seq);
        return;
    }
    for (size_t i = 0; i < job->prompt.n; i++)
        sampler_accept(job->sampler, job->prompt.v[i]);
    event_begin(e, EVENT_STARTED, job)->figures = w->figures;
    engine_emit(e);
    if (!scheduler_scores(job))
        return;
    event_begin(e, EVENT_SCORE, job)->token = job->prompt.v[0];
    engine_emit(e);
}

static void end(struct writer *w, enum finish_reason finish)
{
    w->ended = true;
    w->finish = finish;
}

/* What the token adds to the text, through the detokenizer and the stops, into w->out. */
static int token_text(struct writer *w, struct job *job, int32_t token, size_t *ret_len)
{
    size_t n;

    if (grow(&w->piece, &w->piece_cap, detokenizer_max(&w->detokenizer, token)) < 0)
        return -ENOMEM;
    n = detokenizer_put(&w->detokenizer, token, w->piece);
    if (grow(&w->out, &w->out_cap, stops_max(job->stops, n)) < 0)
        return -ENOMEM;
    *ret_len = stops_put(job->stops, w->piece, n, w->out);
    w->text_bytes += n;
    w->final_bytes += *ret_len;
    return 0;
}

/* --- tokens and stops --- */

/* Keep the event for its token, whose text begins at `begin`. */
static int hold(struct writer *w, const struct engine_event *event, uint64_t begin)
{
    if (w->n_held == w->held_cap) {
        uint32_t cap = w->held_cap ? w->held_cap * 2 : 4;
        struct held_token *grown = mem_realloc(w->held, cap * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        w->held = grown;
        w->held_cap = cap;
    }
    w->held[w->n_held].begin = begin;
    w->held[w->n_held++].event = *event;
    return 0;
}

/* Tell of the tokens whose text has begun to be final (or of all), and of `len` bytes of text in w->out. */
static void tell_held(struct engine *e, struct job *job, struct writer *w, size_t len, bool all)
{
    uint32_t n = 0;

    while (n < w->n_held && (all || w->held[n].begin < w->final_bytes))
        n++;
    for (uint32_t i = 0; i < n; i++) {
        e->event = w->held[i].event;
        if (i + 1 < n)
            engine_emit(e);
    }
    if (!n && len)
        event_begin(e, EVENT_TEXT, job);
    if (n || len)
        emit_text(e, job, w->out, len);
    w->n_held -= n;
    if (w->n_held)
        memmove(w->held, w->held + n, w->n_held * sizeof(*w->held));
}

/* What was held back: a character that never became whole, the beginning of a stop that did not come. */
static int rest_of_text(struct writer *w, struct job *job, size_t *ret_len)
{
    char tail[16];
    size_t n = detokenizer_finish(&w->detokenizer, tail), m;

    if (grow(&w->out, &w->out_cap, stops_max(job->stops, n) + stops_max(job->stops, 0)) < 0)
        return -ENOMEM;
    m = stops_put(job->stops, tail, n, w->out);
    if (!stops_hit(job->stops))
        m += stops_finish(job->stops, w->out + m);
    w->final_bytes += m;
    *ret_len = m;
    return 0;
}

static void finish_text(struct engine *e, struct sequence *seq, struct writer *w)
{
    size_t len = 0;

    if (rest_of_text(w, seq->job, &len) == 0)
        tell_held(e, seq->job, w, len, !stops_hit(seq->job->stops));
    if (stops_hit(seq->job->stops))
        w->finish = FINISH_STOP;
}

static void fail(struct engine *e, struct sequence *seq, struct writer *w, int code, const char *text)
{
    end(w, FINISH_ERROR);
    writer_done(e, seq->job, w, FINISH_ERROR, code, text);
    scheduler_release(&e->scheduler, seq);
}

/* Draw the next token from logits and tell of it; may end the answer. */
static void write_token(struct engine *e, struct sequence *seq, struct writer *w, const struct logits_rows *row)
{
    struct job *job = seq->job;
    int32_t token =
        row->best ? sampler_draw_best(job->sampler, row->best, row->n_best) : sampler_draw(job->sampler, row->all);
    struct engine_event *event;
    uint64_t begin = w->text_bytes;
    size_t len = 0;

    if (token < 0) {
        fail(e, seq, w, ERR_DEVICE,
             "no token can be chosen: the computed logits are not numbers, or every token is banned");
        return;
    }
    if (tokenizer_is_end(e->service->tokenizer, token) && !job->ignore_eos) {
        end(w, FINISH_STOP);
        return;
    }
    sampler_accept(job->sampler, token);
    seq->next = token;
    seq->n_written++;
    w->figures.n_written++;
    e->totals.tokens_written++;
    if (token_text(w, job, token, &len) < 0) {
        fail(e, seq, w, -ENOMEM, "out of memory");
        return;
    }
    event = event_begin(e, EVENT_TOKEN, job);
    event->token = token;
    if (job->n_logprobs >= 0)
        add_logprobs(e, job, token, row->all);
    if (job->n_logprobs < 0 || !stops_any(job->stops)) {
        emit_text(e, job, w->out, len);
    } else if (hold(w, event, begin) < 0) {
        fail(e, seq, w, -ENOMEM, "out of memory");
        return;
    } else {
        tell_held(e, job, w, len, false);
    }
    if (stops_hit(job->stops))
        end(w, FINISH_STOP);
    else if (seq->n_written >= job->max_tokens || seq->n_held + 1 >= e->scheduler.shape.n_ctx)
        end(w, FINISH_LENGTH);
}

/* Row i of a scored chunk says how probable prompt token pos0 + i + 1 was. */
static void score(struct engine *e, const struct sequence *seq, const struct batch_span *span, const float *logits)
{
    uint32_t n_vocab = model_hparams(e->service->model)->n_vocab;
    struct job *job = seq->job;

    for (uint32_t i = 0; i < span->n_tokens; i++) {
        size_t at = (size_t)span->pos0 + i + 1;

        if (at >= job->prompt.n)
            return;
        event_begin(e, EVENT_SCORE, job)->token = job->prompt.v[at];
        add_logprobs(e, job, job->prompt.v[at], logits + (size_t)i * n_vocab);
        engine_emit(e);
    }
}

static void prompt_read(struct engine *e, struct sequence *seq, struct writer *w)
{
    seq->state = SEQUENCE_WRITING;
    w->first_ns = clock_ns();
    w->figures.read_ns = w->first_ns - w->started_ns;
    if (seq->job->max_tokens == 0)
        end(w, FINISH_LENGTH);
}

void writer_take(struct engine *e, struct sequence *seq, const struct batch_span *span, const struct logits_rows *rows)
{
    struct writer *w = &e->writers[seq->index];
    struct logits_rows last;

    if (seq->state == SEQUENCE_READING) {
        e->totals.tokens_read += span->n_tokens;
        if (span->all_logits)
            score(e, seq, span, rows->all);
        if (seq->n_held < seq->job->prompt.n)
            return;
        prompt_read(e, seq, w);
    }
    if (!w->ended) {
        last = rows_from(rows, scheduler_span_rows(span) - 1);
        write_token(e, seq, w, &last);
    }
    if (!seq->job || !w->ended)
        return;
    finish_text(e, seq, w);
    writer_done(e, seq->job, w, w->finish, 0, NULL);
    scheduler_release(&e->scheduler, seq);
}
