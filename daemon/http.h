/* SPDX-License-Identifier: MIT
 *
 * http.h: HTTP on the libuv loop: requests in, whole answers or streams out.
 *
 * HTTP/1.1 and 1.0, as far as an API on one machine needs them, and strictly (http_parse.h, http_check.h): bodies of
 * known length and in chunks, kept connections, requests one behind the other, Expect: 100-continue, HEAD. Clients that
 * vanish are noticed while their answer is being written; bodies that are too large or never end, readers that stall,
 * and more connections than we serve get an error or are dropped.
 *
 * A request is handed to on_request when its body is complete. The handler answers it, at once or later, with
 * http_reply, or with http_stream_begin, _write, _end. `on_closed` is called exactly once per request that was handed
 * over: when it is done, or as soon as the client is known to be gone; after it the request must not be touched.
 *
 * Threads: the loop thread only. Ownership: the server owns requests; http_reply and http_stream_write copy.
 */
#ifndef EXPERTD_DAEMON_HTTP_H
#define EXPERTD_DAEMON_HTTP_H

#include "base/err.h"
#include "daemon/listen.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct http_server;
struct http_request;

struct http_limits {
    uint32_t connections; /* above it: 503 */
    size_t body_bytes;    /* of one request: 413 */
    size_t bodies_bytes;  /* of all requests being received together: 503 */
    size_t stream_high;   /* http_stream_write reports above this backlog */
    uint32_t receive_ms;  /* from a request's first byte to its last */
    uint32_t idle_ms;     /* between requests of a connection */
    uint32_t stall_ms;    /* a reader that takes nothing for so long is dropped */
};

struct http_handler {
    void (*on_request)(void *ctx, struct http_request *req);
    void (*on_closed)(void *ctx, struct http_request *req);
    /* A stream whose backlog had passed stream_high has room again. */
    void (*on_drained)(void *ctx, struct http_request *req);
    /* The last running request is over (heard while draining). */
    void (*on_idle)(void *ctx);
    void *ctx;
};

int http_open(uv_loop_t *loop, const struct http_limits *limits, const struct http_handler *handler,
              struct http_server **ret_server, struct err *err);
/* Serve on a listener; its descriptor stays the caller's. */
int http_listen(struct http_server *server, const struct listener *listener, struct err *err);

/* Stop accepting; running requests go on, new ones on open connections get 503. */
void http_drain(struct http_server *server);
/* Cut what is left and close; frees the server when the loop has seen its handles off. */
void http_close(struct http_server *server);
/* Send what has been answered now, instead of before the loop waits next: call once after a batch of answers. */
void http_flush(struct http_server *server);

uint32_t http_connections(const struct http_server *server);
uint32_t http_active(const struct http_server *server); /* requests handed over and not over yet */

/* The request. Everything is lent until on_closed. */
const char *http_method(const struct http_request *req);
const char *http_path(const struct http_request *req);                  /* raw, without the query, never decoded */
const char *http_body(const struct http_request *req, size_t *ret_len); /* NUL-terminated besides */
void http_body_drop(struct http_request *req); /* free the body early, once it has been understood */
void http_set_data(struct http_request *req, void *data);
void *http_data(const struct http_request *req);
/* The process at the other end; false on TCP. */
bool http_peer(const struct http_request *req, pid_t *ret_pid, uid_t *ret_uid);

/* A whole answer. `extra` (may be NULL): one more header, "Name: value". */
void http_reply(struct http_request *req, int status, const char *type, const char *extra, const void *body,
                size_t len);

/* An answer of unknown length. Headers go out at once. */
void http_stream_begin(struct http_request *req, int status, const char *type);
/* Returns false when the backlog is above stream_high: pause, on_drained tells when to go on. */
bool http_stream_write(struct http_request *req, const void *data, size_t len);
void http_stream_end(struct http_request *req);
/* Drop what was written and is not on its way yet, for what is to be written now is more urgent. Whole writes are kept
 * or dropped, never parts. */
void http_stream_forget(struct http_request *req);
/* Break the connection off: the reader must see that the answer is not whole. */
void http_abort(struct http_request *req);

#endif
