/* SPDX-License-Identifier: MIT
 *
 * engine_impl.h: what engine.c (the thread and its steps), engine_load.c (opening the parts), engine_gpu.c (the parts
 * on a GPU, and its loss), engine_memory.c (slots, and what they lend) and engine_write.c (logits to events) share.
 * Nobody else includes it.
 */
#ifndef EXPERTD_DAEMON_ENGINE_IMPL_H
#define EXPERTD_DAEMON_ENGINE_IMPL_H

#include "cache/tier.h"
#include "daemon/engine.h"
#include "daemon/queue.h"
#include "daemon/scheduler.h"
#include "prefetch/lookahead.h"
#include "prefetch/warmup.h"

/* A token whose text may yet turn out to belong to a stop: it is told of when the first of its text is final. */
struct held_token {
    uint64_t begin; /* of its text in the answer's */
    struct engine_event event;
};

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
    uint64_t text_bytes, final_bytes; /* of the answer so far, and of that what is final */
    struct held_token *held;          /* while log-probabilities are asked for and stops looked for */
    uint32_t n_held, held_cap;
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
    struct device *helper; /* the CPU beside a GPU; NULL: none */
    struct cache *cache;
    struct tier *tier;   /* of experts on a GPU; NULL: the CPU computes */
    bool without_gpu;    /* it was lost, and could not be opened again */
    char down[400];      /* nothing can compute: why; empty otherwise */
    uint64_t tried_ns;   /* when that was last found */
    uint64_t slots_most; /* bytes of RAM slots that the division in force allows */
    struct forward *forward;
    struct lookahead *lookahead; /* NULL: prefetch is off */
    struct warmup *warmup;       /* NULL: done, or off */
    struct scheduler scheduler;
    struct writer *writers;    /* [n_seqs] */
    struct engine_event event; /* being written; large, so not on the stack */
    uint64_t heard_load_ns;
    bool said_pack;          /* that the pack has bad records */
    uint32_t n_rests;        /* waits since the last step */
    char noted[256];         /* what the user has been told of the catalog */
    uint64_t slot_bytes_set; /* the slots follow this */
    uint64_t lent; /* what the budget has for keys, values and activations, where slots have it when it is idle */
    uint64_t held; /* what of it is needed now, and no slot's */
    uint32_t batch_tokens, batch_logits; /* for which activations are held, where they are lent */
    uint32_t n_decodes;                  /* steps since one that read a prompt */

    pthread_mutex_t lock; /* guards `shown` */
    struct engine_snapshot shown;
    struct engine_snapshot totals; /* the engine thread's draft of it */
};

int engine_load(struct engine *e, struct err *err);
/* The forward pass on e->device, through the tier where there is one, and guessing ahead. */
int engine_open_pass(struct engine *e, struct forward_options *options, struct err *err);
int engine_open_cpu(struct engine *e, struct err *err); /* device and pass, over the cache, which is open */
void engine_close_pass(struct engine *e);
void engine_say_parts(struct engine *e);
struct expert_door *engine_door(const struct engine *e);

/* ---- engine_memory.c ---- */

/* Let the slots have what they may, by the budget, memory pressure, and what is not needed now of what is lent. */
void engine_fit_slots(struct engine *e);
/* Before a step: have memory for it and for the keys and values of all sequences, taken from the slots. */
int engine_hold(struct engine *e, struct err *err);
uint64_t engine_kv_held(const struct engine *e); /* bytes */

/* ---- engine_gpu.c ---- */

/* Device, helper, tier and pass on the GPU, over the cache, which is open. */
int engine_open_gpu(struct engine *e, struct err *err);
void engine_close_device(struct engine *e); /* device, helper and tier, after the pass */
/* The device ran short of memory: give slots back to it. Whether the step may be tried again. */
bool engine_give_vram_back(struct engine *e, const struct err *why);
/* The device is lost: fail who is being answered, then open it again, or go on with the CPU. */
void engine_recover(struct engine *e, const struct err *why);
/* Nothing can compute: try once more, not too often. Whether it can now. */
bool engine_try_again(struct engine *e);

void engine_unload(struct engine *e);
void engine_publish(struct engine *e);
void engine_emit(struct engine *e); /* e->event */

/* For --record-routing, on the way through a layer: what was chosen, and why (logits, NULL where the host has none);
 * what look-ahead has just guessed. */
void engine_record_route(struct engine *e, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n);
void engine_record_guess(struct engine *e);

/* A job has been given a sequence: open what its answer needs. */
void writer_start(struct engine *e, struct sequence *seq);
/* Rows of logits that have come: all of each, or the best of each. */
struct logits_rows {
    const float *all;               /* [rows, n_vocab]; NULL: none, or only the best */
    const struct token_logit *best; /* [rows, n_best]; NULL: all */
    uint32_t n_vocab, n_best;
};
/* Without the first n. */
static inline struct logits_rows rows_from(const struct logits_rows *rows, size_t n)
{
    struct logits_rows rest = *rows;

    if (rows->best)
        rest.best = rows->best + n * rows->n_best;
    else if (rows->all)
        rest.all = rows->all + n * rows->n_vocab;
    return rest;
}
/* Those of one span have come. */
void writer_take(struct engine *e, struct sequence *seq, const struct batch_span *span, const struct logits_rows *rows);
/* The last event of a job: how it ended. */
void writer_done(struct engine *e, struct job *job, struct writer *w, enum finish_reason finish, int code,
                 const char *text);

#endif
