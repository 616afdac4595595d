/* SPDX-License-Identifier: MIT
 *
 * job.h: one answer to be written: what is asked, and the flags by which the asker steers it.
 *
 * A job is filled on the loop thread, made ready by job_prepare (on a worker of the loop's pool: tokenizing may take
 * a while), submitted to the engine, and from then on read-only but for two flags that the loop sets and the engine
 * polls: `cancelled` (the asker is gone) and `paused` (the asker reads too slowly). Counted: loop and engine hold one
 * reference each.
 */
#ifndef EXPERTD_DAEMON_JOB_H
#define EXPERTD_DAEMON_JOB_H

#include "base/err.h"
#include "daemon/service.h"
#include "model/sampler.h"
#include "model/stops.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JOB_MAX_TOP 20 /* alternatives per token */

struct job {
    atomic_uint refs;
    atomic_bool cancelled, paused;

    /* What is asked. A prompt is a conversation, a text, or ids. */
    uint64_t id;
    bool chat;
    struct chat_message *messages; /* role and content owned */
    size_t n_messages;
    char *text;
    size_t text_len;
    bool parse_special; /* control tokens written in `text` are meant */
    bool no_bos;
    bool tokenize_only; /* the ids are all that is wanted; never submitted */
    struct token_ids prompt;

    uint32_t max_tokens; /* UINT32_MAX: to the end of the context */
    bool ignore_eos, echo, stream;
    int n_logprobs; /* alternatives per token; -1: no log-probabilities at all */
    struct sampler_options sampling;
    struct logit_bias *bias;      /* owned; lent to sampling.bias */
    struct stop_text *stop_texts; /* owned */
    size_t n_stops;
    pid_t pid; /* of the asker; 0: unknown */
    uid_t uid;
    uint64_t submitted_ns;

    void *asker; /* the loop's own */

    /* Used by the engine alone. A sampler's scratch is as large as the vocabulary, so only jobs with a sequence have
     * one. */
    struct sampler *sampler;
    struct stops *stops;
};

struct job *job_new(void); /* one reference; defaults set; NULL when there is no memory */
struct job *job_ref(struct job *job);
void job_unref(struct job *job);

/* Tokenize, check against the context, open the stops. ERR_TOO_LONG when the prompt does not fit. */
int job_prepare(struct job *job, const struct service *service, struct err *err);

#endif
