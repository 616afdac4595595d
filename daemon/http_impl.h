/* SPDX-License-Identifier: MIT
 *
 * http_impl.h: what the files of the HTTP server share. Nobody else includes it.
 *
 * http_server.c: listeners and the whole; http_conn.c: one connection, its reading, its turns and its end;
 * http_request.c: one request, from its head to the last byte of its answer; http_out.c: that answer's bytes.
 *
 * A connection moves in turns (http_conn_turn): take in what has been read, send what is to be sent, and so on until
 * neither gets further; then it says what it waits for. Answers given between turns only mark their connection, and are
 * sent by http_flush or before the loop next waits: so no callback comes from within a call of the handler's.
 */
#ifndef EXPERTD_DAEMON_HTTP_IMPL_H
#define EXPERTD_DAEMON_HTTP_IMPL_H

#include "daemon/http.h"
#include "daemon/http_parse.h"

#define HTTP_MAX_LISTENERS 4
#define HTTP_HEAD_BYTES (16 << 10) /* a head that does not fit is refused */

struct http_port {
    struct http_server *server;
    uv_poll_t poll;
    int fd;
    bool tcp;
    bool listening;
};

struct http_server {
    uv_loop_t *loop;
    struct http_limits limits;
    struct http_handler handler;
    struct http_port ports[HTTP_MAX_LISTENERS];
    uint32_t n_ports;
    uv_prepare_t sender; /* sends what was answered since the last wait */
    uv_timer_t retry;    /* listens again, after descriptors have run out */
    uint32_t n_conns, n_active;
    uint32_t n_handles; /* libuv handles not yet closed */
    size_t bodies_bytes;
    bool draining, closing;
    struct http_conn *conns;  /* list */
    struct http_conn *marked; /* list of those with something to send */
};

/* A connection: lives from accept to close, carries one request at a time. */
struct http_conn {
    struct http_server *server;
    struct http_conn *prev, *next, *next_marked;
    struct http_request *req; /* the one in progress, or NULL */
    uv_poll_t poll;
    uv_timer_t timer; /* the deadline of whatever is due next */
    int fd, events;
    uint8_t n_handles;
    bool tcp;
    bool marked, turning;
    bool gone;      /* the client closed its side */
    bool ended;     /* and everything it sent has been read */
    bool lingering; /* answered and closed on our side: what still comes is thrown away */
    bool closed;
    char *in; /* read and not used yet: in[in_from .. in_len), HTTP_HEAD_BYTES large; NULL when empty */
    size_t in_from, in_len, scanned, n_thrown;
};

/* The bytes of an answer. A stream's backlog becomes chunks as it is sent: what is on its way is one whole chunk. */
struct http_out {
    char head[512]; /* the head; later the line that begins a chunk */
    uint16_t head_len;
    bool chunked;  /* data goes out in chunks */
    bool ended;    /* no more data comes */
    bool final;    /* the end has been put behind the data */
    size_t moving; /* bytes of data on their way */
    const char *tail;
    size_t sent;     /* of head, moving data and tail together */
    uint64_t n_sent; /* in all */
    char *data;      /* backlog: data[from .. len) */
    size_t from, len, cap;
};

enum http_state {
    HTTP_RECEIVING, /* body not complete */
    HTTP_HANDED,    /* with the handler, no answer yet */
    HTTP_REPLIED,   /* answer known, not sent to its end yet */
};

struct http_request {
    struct http_conn *conn;
    enum http_state state;
    char *method, *path; /* one block, method first */
    bool chunked;        /* the body */
    bool old;            /* HTTP/1.0 */
    bool headless, close;
    struct chunks chunks;
    uint64_t length;
    char *body;
    size_t body_len, body_cap;
    bool dead;   /* close the connection instead of answering */
    bool handed; /* the handler knows it, and is told when it is over */
    bool streaming, over_high;
    struct http_out out;
    void *data;
};

/* Connections. */
void http_conn_open(struct http_port *port, int fd);
void http_conn_turn(struct http_conn *conn);
void http_conn_mark(struct http_conn *conn);                  /* it has something to send */
void http_conn_drop(struct http_conn *conn);                  /* close it now; the handler is told */
void http_conn_deadline(struct http_conn *conn, uint32_t ms); /* 0: none */

/* Requests. */
/* A head is whole, and `n_here` bytes behind it have come. Always true: something came of it, if only a refusal. */
bool http_request_open(struct http_conn *conn, const struct http_head *head, size_t n_here);
bool http_request_refuse(struct http_conn *conn, int status, const char *message);
/* Take in body bytes; returns how many were used. May hand the request over, or refuse it. */
size_t http_request_receive(struct http_request *req, const char *p, size_t n);
void http_request_sent(struct http_request *req);  /* some bytes went out */
void http_request_close(struct http_request *req); /* tell the handler and free */

/* Output. */
void http_out_head(struct http_out *out, int status, const char *type, const char *fields, bool close);
bool http_out_put(struct http_out *out, const void *data, size_t len); /* false: no memory */
void http_out_forget(struct http_out *out);                            /* backlog that is not on its way */
int http_out_send(struct http_out *out, int fd);                       /* 1: all is sent; 0: not yet; or -errno */
bool http_out_pending(const struct http_out *out);                     /* there is something that could be sent now */
size_t http_out_backlog(const struct http_out *out);
void http_out_fini(struct http_out *out);

void http_listen_again(struct http_server *server);
void http_unref(struct http_server *server); /* one of its handles is closed */

#endif
