/* SPDX-License-Identifier: MIT
 *
 * engine.h: the thread that computes: it alone touches the model's state, keys and values, the cache and the device.
 *
 * The loop hands it jobs through one bounded queue and hears events through another; beside them there are only the
 * flags in struct job, the size that the slots are to have, and a snapshot of figures that the engine publishes after
 * each step. A failed step fails the
 * requests that were in it, with the error's text, and nothing else.
 */
#ifndef EXPERTD_DAEMON_ENGINE_H
#define EXPERTD_DAEMON_ENGINE_H

#include "base/err.h"
#include "cache/cache.h"
#include "cache/tier.h"
#include "daemon/job.h"
#include "daemon/service.h"
#include "prefetch/lookahead.h"

#include <stdbool.h>
#include <stdint.h>

struct engine;

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED, ENGINE_STOPPED };

enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_ERROR };

/* Figures of one answer. The cache's are shared with whoever was computed in the same steps. */
struct job_figures {
    uint32_t n_prompt, n_reused, n_written;
    uint64_t read_ns, write_ns; /* prompt; answer */
    uint64_t hits, misses, bytes_read;
};

enum event_kind {
    EVENT_READY,       /* the model is loaded; no job */
    EVENT_LOAD_FAILED, /* no job; `text` says why */
    EVENT_STARTED,     /* the job has a sequence */
    EVENT_SCORE,       /* one prompt token's log-probability, in order; the first has none (has_logprob false) */
    EVENT_TOKEN,       /* one token of the answer, and the text that became final with it */
    EVENT_TEXT,        /* more text of the same token */
    EVENT_DONE,        /* the last of a job; `text` says why when finish is FINISH_ERROR */
};

#define EVENT_TEXT_BYTES 512

struct engine_event {
    enum event_kind kind;
    struct job *job; /* EVENT_DONE gives the engine's reference to the receiver; the others lend it */
    /* EVENT_SCORE, EVENT_TOKEN */
    int32_t token;
    bool has_logprob;
    float logprob;
    uint32_t n_top;
    struct token_logprob top[JOB_MAX_TOP];
    /* EVENT_DONE */
    enum finish_reason finish;
    int code;
    struct job_figures figures;
    uint32_t text_len;
    char text[EVENT_TEXT_BYTES]; /* not terminated, whole UTF-8 characters; an error's text is terminated besides */
};

struct sequence_snapshot {
    uint64_t id;          /* 0: the sequence is free */
    bool writing, paused; /* paused: its reader is behind */
    uint32_t n_read;
    struct job_figures figures;
    uint64_t started_ns;
    pid_t pid;
    uid_t uid;
};

#define ENGINE_MAX_SEQS 256

struct engine_snapshot {
    enum engine_state state;
    uint64_t load_done, load_total;
    uint32_t n_seqs, n_active, n_waiting;
    uint64_t tokens_read, tokens_written; /* since the start */
    uint64_t requests_done, requests_failed, requests_cancelled;
    uint64_t steps, step_ns;
    struct cache_stats cache;
    uint64_t kv_held;   /* by keys and values */
    uint64_t lent_held; /* by all that slots may lie in otherwise, and do not now */
    bool on_gpu;
    struct tier_stats tier; /* when on_gpu */
    uint32_t device_losses;
    struct cache_drive drive;
    struct lookahead_stats lookahead;
    bool warming; /* the slots are being filled with what was used most before the start */
    char io[256]; /* how experts are read */
    char device[64];
    struct sequence_snapshot seqs[ENGINE_MAX_SEQS];
};

/* Starts the thread, which begins to load. `on_events` is called on the engine thread when events wait. */
int engine_start(const struct service *service, void (*on_events)(void *ctx), void *ctx, struct engine **ret_engine,
                 struct err *err);
/* Stops, joins and frees. Jobs that were not done are dropped without an event. */
void engine_stop(struct engine *engine);

/* The loop's side. */
int engine_submit(struct engine *engine, struct job *job); /* 0 and takes a reference, or ERR_BUSY */
void engine_wake(struct engine *engine);                   /* after a change of a job's flags */
/* Let the expert slots hold so many bytes from the next layer or the next wake-up on (cache_resize). */
void engine_resize(struct engine *engine, uint64_t slot_bytes);
bool engine_next_event(struct engine *engine, struct engine_event *ret_event);

/* Any thread. */
void engine_snapshot(struct engine *engine, struct engine_snapshot *ret_snapshot);
/* How long the engine has shown no sign of life in the midst of work; 0 when it waits for work. */
uint64_t engine_silent_ns(struct engine *engine);

#endif
