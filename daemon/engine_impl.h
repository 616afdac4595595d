/* SPDX-License-Identifier: MIT
 *
 * engine_impl.h: what engine.c (the thread and its steps), engine_load.c (opening the parts) and engine_write.c
 * (logits to events) share. Nobody else includes it.
 */
#ifndef EXPERTD_DAEMON_ENGINE_IMPL_H
#define EXPERTD_DAEMON_ENGINE_IMPL_H

#include "daemon/engine.h"
#include "daemon/queue.h"
#include "daemon/scheduler.h"
#include "prefetch/lookahead.h"
#include "prefetch/warmup.h"

/* What writing an answer needs beside its sequence. */
struct writer {
    struct detokenizer detokenizer;
    struct job_figures figures;
    uint64_t started_ns, first_ns; /* given a sequence; prompt read */
    bool ended;                    /* a stop, the end token or the limit was met */
    enum finish_reason finish;
    char *piece; /* text of one token */
    size_t piece_cap;
    char *out; /* text that is final */
    size_t out_cap;
};

struct engine {
    const struct service *service;
    pthread_t thread;
    struct queue jobs;   /* struct job * */
    struct queue events; /* struct engine_event */
    atomic_bool stopping;
    atomic_uint_fast64_t alive_ns; /* 0 while waiting for work */
    atomic_uint_fast64_t slot_bytes_wanted;

    /* The engine thread's own. */
    struct device *device;
    struct cache *cache;
    struct forward *forward;
    struct lookahead *lookahead; /* NULL: prefetch is off */
    struct warmup *warmup;       /* NULL: done, or off */
    struct scheduler scheduler;
    struct writer *writers;    /* [n_seqs] */
    struct engine_event event; /* being written; large, so not on the stack */
    uint64_t heard_load_ns;
    bool said_pack;   /* that the pack has bad records */
    uint32_t n_rests; /* waits since the last step */
    uint64_t slot_bytes_set; /* the slots follow this */

    pthread_mutex_t lock; /* guards `shown` */
    struct engine_snapshot shown;
    struct engine_snapshot totals; /* the engine thread's draft of it */
};

int engine_load(struct engine *e, struct err *err);
void engine_unload(struct engine *e);
void engine_publish(struct engine *e);
void engine_emit(struct engine *e); /* e->event */

/* A job has been given a sequence: open what its answer needs. */
void writer_start(struct engine *e, struct sequence *seq);
/* Rows of logits of one span have come. */
void writer_take(struct engine *e, struct sequence *seq, const struct batch_span *span, const float *logits);
/* The last event of a job: how it ended. */
void writer_done(struct engine *e, struct job *job, struct writer *w, enum finish_reason finish, int code,
                 const char *text);

#endif
