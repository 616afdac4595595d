/* SPDX-License-Identifier: MIT
 *
 * http_impl.h: what http_server.c (listeners, loop glue, connections) and http_request.c (one request's life) share.
 * Nobody else includes it.
 */
#ifndef EXPERTD_DAEMON_HTTP_IMPL_H
#define EXPERTD_DAEMON_HTTP_IMPL_H

#include "daemon/http.h"
#include "daemon/http_check.h"

#include <microhttpd.h>

#define HTTP_MAX_LISTENERS 4

/* One MHD daemon and its drivers on the loop. */
struct http_port {
    struct http_server *server;
    struct MHD_Daemon *mhd;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t idle; /* for a timeout of zero: a timer of 0 ms re-armed from its own callback starves the loop */
    bool running;   /* MHD_run is on the stack */
    bool tcp;
};

struct http_server {
    uv_loop_t *loop;
    struct http_limits limits;
    struct http_handler handler;
    struct http_port ports[HTTP_MAX_LISTENERS];
    uint32_t n_ports;
    uint32_t n_conns, n_gone, n_active;
    uint32_t n_handles; /* libuv handles not yet closed */
    size_t bodies_bytes;
    bool draining, closing;
    struct http_conn *conns; /* list */
};

/* A connection: lives from accept to close, carries one request at a time. */
struct http_conn {
    struct http_server *server;
    struct http_port *port;
    struct http_conn *prev, *next;
    struct MHD_Connection *mhd;
    struct http_request *req; /* the one in progress, or NULL */
    uv_poll_t poll;           /* watches for the client's end alone */
    uv_timer_t timer;         /* the deadline of whatever is due next */
    uint8_t n_handles;
    bool gone;       /* the client closed its side */
    bool swept;      /* and so did we */
    bool bad_target; /* the raw target broke a rule */
    int fd;
};

enum http_state {
    HTTP_REFUSED,   /* answered from its head alone */
    HTTP_RECEIVING, /* body not complete */
    HTTP_HANDED,    /* with the handler, no answer yet */
    HTTP_REPLIED,   /* answer known, not queued or not sent yet */
};

struct http_request {
    struct http_conn *conn;
    enum http_state state;
    char method[8];
    char *path;
    struct head_check head;
    char *body;
    size_t body_len, body_cap, body_charged, body_seen;
    bool too_large, no_room;
    bool suspended;
    bool dead;   /* close the connection instead of answering */
    bool closed; /* on_closed has been called */
    bool streaming, ended, over_high;
    struct MHD_Response *response;
    int status;
    char *out; /* backlog of a stream: out[out_from .. out_len) */
    size_t out_from, out_len, out_cap;
    void *data;
};

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_len, void **request);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode code);
/* The client is gone or must go: tell the handler, let the connection close. */
void http_request_kill(struct http_request *req);
/* A JSON error answer in OpenAI's shape. */
struct MHD_Response *http_error_response(int status, const char *message);

void http_conn_deadline(struct http_conn *conn, uint32_t ms); /* 0: none */

#endif
