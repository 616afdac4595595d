/* SPDX-License-Identifier: MIT */
#include "daemon/scheduler.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>

/* While somebody writes, a chunk of another's prompt should not take longer than this. */
#define MIXED_STEP_NS 400000000u
#define MIXED_CHUNK_LEAST 8u

int scheduler_init(struct scheduler *s, const struct budget_shape *shape, uint32_t max_waiting)
{
    uint32_t n = shape->n_seqs;

    *s = (struct scheduler){ .shape = *shape, .max_waiting = max_waiting };
    s->seqs = mem_calloc(n, sizeof(*s->seqs));
    s->held = mem_calloc((size_t)n * shape->n_ctx, sizeof(*s->held));
    s->waiting = mem_calloc(max_waiting ? max_waiting : 1, sizeof(*s->waiting));
    s->spans = mem_calloc(n + 1, sizeof(*s->spans));
    s->span_seqs = mem_calloc(n + 1, sizeof(*s->span_seqs));
    if (!s->seqs || !s->held || !s->waiting || !s->spans || !s->span_seqs) {
        scheduler_fini(s);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        s->seqs[i].index = i;
        s->seqs[i].held = s->held + (size_t)i * shape->n_ctx;
    }
    return 0;
}

void scheduler_fini(struct scheduler *s)
{
    mem_free(s->seqs);
    mem_free(s->held);
    mem_free(s->waiting);
    mem_free(s->spans);
    mem_free(s->span_seqs);
    *s = (struct scheduler){ 0 };
}

bool scheduler_enqueue(struct scheduler *s, struct job *job)
{
    if (s->n_waiting == s->max_waiting)
        return false;
    s->waiting[(s->first_waiting + s->n_waiting++) % s->max_waiting] = job;
    return true;
}

struct job *scheduler_withdraw(struct scheduler *s, uint32_t i)
{
    struct job *job = s->waiting[(s->first_waiting + i) % s->max_waiting];

    for (; i + 1 < s->n_waiting; i++)
        s->waiting[(s->first_waiting + i) % s->max_waiting] = s->waiting[(s->first_waiting + i + 1) % s->max_waiting];
    s->n_waiting--;
    return job;
}

bool scheduler_scores(const struct job *job)
{
    return job->echo && job->n_logprobs >= 0;
}

/* How much of a prompt a sequence holds already. The last token is evaluated anew in any case: its logits are needed.
 */
static uint32_t common_prefix(const struct sequence *seq, const struct job *job)
{
    uint32_t n = 0, most = (uint32_t)job->prompt.n - 1;

    if (scheduler_scores(job))
        return 0;
    while (n < most && n < seq->n_held && seq->held[n] == job->prompt.v[n])
        n++;
    return n;
}

/* The free sequence that holds most of the prompt; among equals the one unused for longest. */
static struct sequence *best_free(struct scheduler *s, const struct job *job, uint32_t *ret_prefix)
{
    struct sequence *best = NULL;
    uint32_t prefix = 0;

    for (uint32_t i = 0; i < s->shape.n_seqs; i++) {
        struct sequence *seq = &s->seqs[i];
        uint32_t n;

        if (seq->state != SEQUENCE_FREE)
            continue;
        n = common_prefix(seq, job);
        if (!best || n > prefix || (n == prefix && seq->used < best->used)) {
            best = seq;
            prefix = n;
        }
    }
    *ret_prefix = prefix;
    return best;
}

struct sequence *scheduler_admit(struct scheduler *s)
{
    struct sequence *seq;
    uint32_t prefix;

    if (!s->n_waiting)
        return NULL;
    seq = best_free(s, s->waiting[s->first_waiting], &prefix);
    if (!seq)
        return NULL;
    seq->job = scheduler_withdraw(s, 0);
    seq->state = SEQUENCE_READING;
    seq->n_held = seq->n_reused = prefix;
    seq->n_written = 0;
    seq->order = ++s->clock;
    return seq;
}

void scheduler_release(struct scheduler *s, struct sequence *seq)
{
    seq->state = SEQUENCE_FREE;
    seq->job = NULL;
    seq->used = ++s->clock;
}

static void add_span(struct scheduler *s, struct sequence *seq, struct batch_span span)
{
    s->span_seqs[s->n_spans] = seq;
    s->spans[s->n_spans++] = span;
    s->n_tokens += span.n_tokens;
}

static struct sequence *oldest_reading(struct scheduler *s)
{
    struct sequence *oldest = NULL;

    for (uint32_t i = 0; i < s->shape.n_seqs; i++) {
        struct sequence *seq = &s->seqs[i];

        if (seq->state == SEQUENCE_READING && !atomic_load(&seq->job->paused) &&
            (!oldest || seq->order < oldest->order))
            oldest = seq;
    }
    return oldest;
}

static uint32_t chunk_length(const struct scheduler *s, const struct sequence *seq)
{
    uint32_t n = (uint32_t)seq->job->prompt.n - seq->n_held, most = s->shape.batch;

    if (s->n_spans && s->token_ns && s->token_ns * most > MIXED_STEP_NS) {
        most = (uint32_t)(MIXED_STEP_NS / s->token_ns);
        if (most < MIXED_CHUNK_LEAST)
            most = MIXED_CHUNK_LEAST;
    }
    if (most > s->shape.batch)
        most = s->shape.batch;
    if (scheduler_scores(seq->job) && most > s->shape.max_logits - s->n_spans)
        most = s->shape.max_logits - s->n_spans;
    return n < most ? n : most;
}

uint32_t scheduler_plan(struct scheduler *s)
{
    struct sequence *reader = oldest_reading(s);

    s->n_spans = s->n_tokens = 0;
    for (uint32_t i = 0; i < s->shape.n_seqs; i++) {
        struct sequence *seq = &s->seqs[i];

        if (seq->state == SEQUENCE_WRITING && !atomic_load(&seq->job->paused))
            add_span(
                s, seq,
                (struct batch_span){ .seq = seq->index, .pos0 = seq->n_held, .n_tokens = 1, .tokens = &seq->next });
    }
    if (reader) {
        uint32_t n = chunk_length(s, reader);
        bool last = reader->n_held + n == reader->job->prompt.n, scores = scheduler_scores(reader->job);

        add_span(s, reader,
                 (struct batch_span){ .seq = reader->index,
                                      .pos0 = reader->n_held,
                                      .n_tokens = n,
                                      .tokens = reader->job->prompt.v + reader->n_held,
                                      .all_logits = scores,
                                      .no_logits = !scores && !last });
    }
    return s->n_spans;
}

void scheduler_commit(struct scheduler *s, uint64_t ns)
{
    for (uint32_t i = 0; i < s->n_spans; i++) {
        struct sequence *seq = s->span_seqs[i];
        const struct batch_span *span = &s->spans[i];

        memcpy(seq->held + seq->n_held, span->tokens, span->n_tokens * sizeof(*seq->held));
        seq->n_held += span->n_tokens;
        if (seq->state == SEQUENCE_READING) {
            uint64_t each = ns / s->n_tokens;

            s->token_ns = s->token_ns ? (s->token_ns * 3 + each) / 4 : each;
        }
    }
}

uint32_t scheduler_positions(const struct scheduler *s, const struct sequence *seq)
{
    uint64_t n = seq->n_held;

    if (seq->job)
        n = u64_max(n, seq->job->prompt.n) + 1;
    return (uint32_t)u64_min(n, s->shape.n_ctx);
}

uint32_t scheduler_span_rows(const struct batch_span *span)
{
    return span->no_logits ? 0 : span->all_logits ? span->n_tokens : 1;
}
