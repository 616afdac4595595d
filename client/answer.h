/* SPDX-License-Identifier: MIT
 *
 * answer.h: a completion as it arrives, from the bytes of a body to text, usage and figures.
 *
 * Understands a stream of events (chat or plain completion chunks, ended by "[DONE]") and one JSON object with the
 * whole answer, and passes text on at once. An answer is whole only with its [DONE] (or, unstreamed, its last brace):
 * anything less is an error, so that nobody takes half an answer for a whole one.
 *
 * Caller's storage; borrows the request for its life; one thread. Text is kept up to ANSWER_TEXT_MAX bytes, an event up
 * to ANSWER_EVENT_MAX.
 */
#ifndef EXPERT_CLIENT_ANSWER_H
#define EXPERT_CLIENT_ANSWER_H

#include "client/expert.h"
#include "client/http.h"
#include "client/sse.h"
#include "client/text.h"

#define ANSWER_TEXT_MAX ((size_t)64 << 20)
#define ANSWER_EVENT_MAX ((size_t)4 << 20)

struct answer {
    const struct expert_request *request;
    struct expert_error *error; /* of the call in progress */
    struct sse sse;
    struct text body; /* of an answer that is no stream */
    struct text text;
    struct expert_result result;
    int http_status;
    bool done;
    uint64_t start_ns;
};

void answer_init(struct answer *answer);
void answer_fini(struct answer *answer);

/* Begin a new answer to `request`. */
void answer_start(struct answer *answer, const struct expert_request *request);

/* For http.h: the next bytes. `user` is the answer. */
int answer_on_body(void *user, const struct http_reply *reply, const char *bytes, size_t n_bytes,
                   struct expert_error *error);

/* The body has ended: is the answer whole? Fills the result and tells on_done. */
int answer_finish(struct answer *answer, const struct http_reply *reply, struct expert_error *error);

#endif
