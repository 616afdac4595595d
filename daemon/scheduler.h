/* SPDX-License-Identifier: MIT
 *
 * scheduler.h: whose tokens are evaluated next.
 *
 * Requests wait in order of arrival for one of n_seqs sequences. Each step takes one token of every sequence that is
 * writing, and one chunk of the oldest prompt being read; while others write, chunks are kept short, so that nobody
 * stands still for long. What a sequence still holds of an earlier prompt is used again where a new prompt starts the
 * same. None of this changes an answer: a token's logits depend on its own sequence alone.
 *
 * Threads: the engine thread only. Everything is taken at init. Jobs are borrowed: the engine counts them.
 */
#ifndef EXPERTD_DAEMON_SCHEDULER_H
#define EXPERTD_DAEMON_SCHEDULER_H

#include "daemon/budget.h"
#include "daemon/job.h"
#include "model/forward.h"

#include <stdbool.h>
#include <stdint.h>

enum sequence_state { SEQUENCE_FREE, SEQUENCE_READING, SEQUENCE_WRITING };

struct sequence {
    uint32_t index;
    enum sequence_state state;
    struct job *job;
    int32_t *held;      /* [n_ctx] tokens whose keys and values are in the cache */
    uint32_t n_held;    /* = the next position */
    uint32_t n_reused;  /* of the prompt, held from before */
    int32_t next;       /* the token drawn last, not evaluated yet */
    uint32_t n_written; /* tokens drawn */
    uint64_t order;     /* of admission */
    uint64_t used;      /* when it was last freed; the oldest is taken first */
};

struct scheduler {
    struct budget_shape shape;
    struct sequence *seqs; /* [n_seqs] */
    int32_t *held;
    struct job **waiting; /* ring of max_waiting */
    uint32_t max_waiting, first_waiting, n_waiting;
    uint64_t clock;
    uint64_t token_ns;        /* what a prompt token costs, smoothed; 0: not known yet */
    struct batch_span *spans; /* [n_seqs + 1], the step that was planned */
    struct sequence **span_seqs;
    uint32_t n_spans, n_tokens;
};

int scheduler_init(struct scheduler *s, const struct budget_shape *shape, uint32_t max_waiting);
void scheduler_fini(struct scheduler *s);

bool scheduler_enqueue(struct scheduler *s, struct job *job); /* false: no room to wait */
/* Take a waiting job out, the i-th in order; used to drop cancelled ones. */
struct job *scheduler_withdraw(struct scheduler *s, uint32_t i);
/* Give a waiting job a sequence, if there is one of each. NULL: none. */
struct sequence *scheduler_admit(struct scheduler *s);
void scheduler_release(struct scheduler *s, struct sequence *seq);

/* Fill spans; returns their number, 0: nothing can be done now. Jobs that are paused are passed over. */
uint32_t scheduler_plan(struct scheduler *s);
/* After an eval that went well: what was planned is held now. `ns`: what it took. */
void scheduler_commit(struct scheduler *s, uint64_t ns);
/* The positions that a sequence holds, or will hold after its prompt and the next token. */
uint32_t scheduler_positions(const struct scheduler *s, const struct sequence *seq);
/* How many rows of logits a span of the plan has. */
uint32_t scheduler_span_rows(const struct batch_span *span);
bool scheduler_scores(const struct job *job); /* log-probabilities of the prompt are wanted */

#endif
