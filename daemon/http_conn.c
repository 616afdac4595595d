/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 2000

/* --- the end --- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct http_conn *conn = handle->data;
    struct http_server *server = conn->server;

    if (--conn->n_handles == 0)
        mem_free(conn);
    http_unref(server);
}

static void unmark(struct http_conn *conn)
{
    struct http_conn **at = &conn->server->marked;

    if (!conn->marked)
        return;
    while (*at != conn)
        at = &(*at)->next_marked;
    *at = conn->next_marked;
    conn->marked = false;
}

void http_conn_drop(struct http_conn *conn)
{
    struct http_server *server = conn->server;

    if (conn->closed)
        return;
    conn->closed = true;
    unmark(conn);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    server->n_conns--;
    if (conn->req)
        http_request_close(conn->req);
    mem_free(conn->in);
    conn->in = NULL;
    uv_poll_stop(&conn->poll);
    uv_close((uv_handle_t *)&conn->poll, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
    close(conn->fd);
    http_listen_again(server);
}

/* Closing with bytes unread would take our last words back: say that we are done, and wait for the client's end. */
static void linger(struct http_conn *conn)
{
    conn->lingering = true;
    conn->in_from = conn->in_len = 0;
    shutdown(conn->fd, SHUT_WR);
    http_conn_deadline(conn, LINGER_MS);
}

static void on_deadline(uv_timer_t *timer)
{
    struct http_conn *conn = timer->data;

    if (!conn->lingering)
        log_debug("connection: deadline passed, dropped");
    http_conn_drop(conn);
}

void http_conn_deadline(struct http_conn *conn, uint32_t ms)
{
    if (ms)
        uv_timer_start(&conn->timer, on_deadline, ms, 0);
    else
        uv_timer_stop(&conn->timer);
}

/* --- taking in --- */

static bool is_line_start(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* The next request's head, when it is whole. Whether anything came of it. */
static bool begin(struct http_conn *conn)
{
    char *p = conn->in + conn->in_from;
    size_t n = conn->in_len - conn->in_from;
    struct http_head head;
    long len;

    if (n >= 2 && p[0] == '\r' && p[1] == '\n') { /* an empty line in front, as RFC 9112 section 2.2 lets be */
        conn->in_from += 2;
        conn->scanned = 0;
        return true;
    }
    if (!is_line_start(p[0]) && p[0] != '\r')
        return http_request_refuse(conn, 400, "this is not HTTP");
    len = head_find(p, n, &conn->scanned);
    if (len < 0)
        return http_request_refuse(conn, 400, "a line that does not end with CR LF");
    if (len == 0 && n == HTTP_HEAD_BYTES)
        return memchr(p, '\n', n) ? http_request_refuse(conn, 431, "the header fields are too large")
                                  : http_request_refuse(conn, 414, "the request line is too long");
    if (len == 0)
        return false;
    conn->scanned = 0;
    conn->in_from += (size_t)len;
    head_parse(p, (size_t)len, &head);
    return http_request_open(conn, &head, n - (size_t)len);
}

static bool take_in(struct http_conn *conn)
{
    bool any = false;

    while (!conn->closed && conn->in_from < conn->in_len) {
        if (!conn->req) {
            if (!begin(conn))
                break;
        } else if (conn->req->state == HTTP_RECEIVING) {
            size_t used = http_request_receive(conn->req, conn->in + conn->in_from, conn->in_len - conn->in_from);

            conn->in_from += used; /* it may have been set back */
        } else {
            break;
        }
        any = true;
    }
    return any;
}

static void read_some(struct http_conn *conn)
{
    bool fresh = !conn->req && !conn->in;
    ssize_t n;

    if (!conn->in)
        conn->in = mem_alloc(HTTP_HEAD_BYTES);
    if (!conn->in) {
        http_conn_drop(conn);
        return;
    }
    if (conn->in_from) {
        memmove(conn->in, conn->in + conn->in_from, conn->in_len - conn->in_from);
        conn->in_len -= conn->in_from;
        conn->in_from = 0;
    }
    n = recv(conn->fd, conn->in + conn->in_len, HTTP_HEAD_BYTES - conn->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* a reset is an end like another */
        conn->gone = conn->ended = true;
        return;
    }
    if (conn->lingering) {
        conn->n_thrown += (size_t)n;
        if (conn->n_thrown / 4 > conn->server->limits.body_bytes + HTTP_HEAD_BYTES)
            http_conn_drop(conn);
        return;
    }
    conn->in_len += (size_t)n;
    if (fresh)
        http_conn_deadline(conn, conn->server->limits.receive_ms);
}

/* --- turns --- */

/* Whether another request can be looked for now. */
static bool send_out(struct http_conn *conn)
{
    struct http_request *req = conn->req;
    uint64_t before = req->out.n_sent;
    int r = http_out_send(&req->out, conn->fd);
    bool last = req->close;

    if (r < 0) {
        http_conn_drop(conn);
        return false;
    }
    if (r == 0) {
        if (req->out.n_sent > before)
            http_request_sent(req);
        return false;
    }
    conn->req = NULL;
    http_request_close(req);
    if (last)
        linger(conn);
    else
        http_conn_deadline(conn, conn->server->limits.idle_ms);
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* What the connection waits for. While a request runs nothing more is read, but its client's end is noticed. */
static void watch(struct http_conn *conn)
{
    const struct http_request *req = conn->req;
    int events = conn->gone ? 0 : UV_DISCONNECT;

    if (!req || req->state == HTTP_RECEIVING)
        events |= UV_READABLE;
    else if (req->state == HTTP_REPLIED && http_out_pending(&req->out))
        events |= UV_WRITABLE;
    if (events == conn->events)
        return;
    conn->events = events;
    if (!events)
        uv_poll_stop(&conn->poll);
    else if (uv_poll_start(&conn->poll, events, on_ready) < 0)
        http_conn_drop(conn);
}

/* Nobody is left to wait for what is still to be written. */
static bool is_forsaken(const struct http_conn *conn)
{
    const struct http_request *req = conn->req;

    if (req && req->dead)
        return true;
    if (!conn->gone)
        return false;
    if (!req || req->state == HTTP_RECEIVING)
        return conn->ended;
    return req->state == HTTP_HANDED || (req->streaming && !req->out.ended);
}

void http_conn_turn(struct http_conn *conn)
{
    bool further = true;

    if (conn->turning || conn->closed)
        return;
    conn->turning = true;
    while (further && !conn->closed && !(conn->req && conn->req->dead)) {
        further = !conn->lingering && take_in(conn);
        if (!conn->closed && conn->req && conn->req->state == HTTP_REPLIED && !conn->req->dead)
            further = send_out(conn) || further;
    }
    conn->turning = false;
    if (!conn->closed && is_forsaken(conn))
        http_conn_drop(conn);
    if (conn->closed)
        return;
    if (conn->in_from == conn->in_len) {
        mem_free(conn->in);
        conn->in = NULL;
        conn->in_from = conn->in_len = 0;
    }
    watch(conn);
}

void http_conn_mark(struct http_conn *conn)
{
    if (conn->marked || conn->turning || conn->closed)
        return;
    conn->marked = true;
    conn->next_marked = conn->server->marked;
    conn->server->marked = conn;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct http_conn *conn = poll->data;

    if (status < 0) {
        http_conn_drop(conn);
        return;
    }
    conn->gone = conn->gone || (events & UV_DISCONNECT);
    if (events & UV_READABLE)
        read_some(conn);
    http_conn_turn(conn);
}

/* --- the beginning --- */

void http_conn_open(struct http_port *port, int fd)
{
    struct http_server *server = port->server;
    struct http_conn *conn = mem_zalloc(sizeof(*conn));
    int on = 1;

    if (!conn || uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        mem_free(conn);
        close(fd);
        return;
    }
    conn->server = server;
    conn->fd = fd;
    conn->tcp = port->tcp;
    conn->poll.data = conn->timer.data = conn;
    uv_timer_init(server->loop, &conn->timer);
    conn->n_handles = 2;
    server->n_handles += 2;
    server->n_conns++;
    conn->next = server->conns;
    if (conn->next)
        conn->next->prev = conn;
    server->conns = conn;
    if (conn->tcp)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    http_conn_deadline(conn, server->limits.receive_ms);
    watch(conn);
}
