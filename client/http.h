/* SPDX-License-Identifier: MIT
 *
 * http.h: one HTTP exchange at a time with one peer; the only file that knows libcurl.
 *
 * An exchange sends a GET or a JSON POST and hands the answer's body to a callback as it arrives. It ends when the
 * answer ends, when the callback has had enough, when the peer has been silent for too long, or when http_cancel() is
 * called from any thread (noticed at once: the wait is woken, not polled). The connection is kept for the next
 * exchange.
 *
 * Threads: one at a time, http_cancel() and http_cancel_reset() excepted. Ownership: open/close; borrows the call.
 */
#ifndef EXPERT_CLIENT_HTTP_H
#define EXPERT_CLIENT_HTTP_H

#include "client/endpoint.h"
#include "client/expert.h"

struct http;

#define HTTP_ENOUGH 1 /* from on_body: the answer is complete, whatever still comes */

struct http_reply {
    int status;
    char content_type[64]; /* without parameters, lower case; "" when not given */
};

struct http_call {
    const char *path; /* "/v1/models" */
    const char *body; /* JSON to POST, or NULL to GET */
    size_t body_bytes;
    int patience_ms; /* the longest silence; 0: for ever */
    /* Part of the answer's body. 0 goes on, HTTP_ENOUGH ends well, a negative code (with `error` filled) ends the call.
     */
    int (*on_body)(void *user, const struct http_reply *reply, const char *bytes, size_t n_bytes,
                   struct expert_error *error);
    void *user;
};

int http_open(const struct endpoint *endpoint, struct http **ret_http, struct expert_error *error);
void http_close(struct http *http);

/* Perform one exchange. An HTTP status of any kind is a success here; `ret_reply` says which. */
int http_perform(struct http *http, const struct http_call *call, struct http_reply *ret_reply,
                 struct expert_error *error);

/* End the exchange in progress and all that follow, until the reset. Any thread. */
void http_cancel(struct http *http);
void http_cancel_reset(struct http *http);

#endif
