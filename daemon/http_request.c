/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BODY_FIRST_BYTES (4 << 10)

/* --- answering --- */

/* The answer's head is known: it goes out with the next turn. */
static void answer(struct http_request *req, int status, const char *type, const char *fields)
{
    struct http_server *server = req->conn->server;

    req->state = HTTP_REPLIED;
    req->close = req->close || server->draining;
    http_out_head(&req->out, status, type, fields, req->close);
    http_conn_deadline(req->conn, server->limits.stall_ms);
    http_conn_mark(req->conn);
}

void http_reply(struct http_request *req, int status, const char *type, const char *extra, const void *body, size_t len)
{
    struct http_out *out = &req->out;
    char fields[256];

    if (req->dead)
        return;
    if (!req->headless && !http_out_put(out, body, len)) {
        http_abort(req); /* no memory for an answer: the connection's end is one */
        return;
    }
    snprintf(fields, sizeof(fields), "Content-Length: %zu\r\n%s%s", len, extra ? extra : "", extra ? "\r\n" : "");
    answer(req, status, type, fields);
    out->moving = out->len;
    out->ended = out->final = true;
}

static void reply_error(struct http_request *req, int status, const char *message)
{
    char body[512];
    int n =
        snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":null}}\n",
                 message, status >= 500 ? "server_error" : "invalid_request_error");

    req->close = true;
    http_reply(req, status, "application/json", status == 503 ? "Retry-After: 5" : NULL, body, (size_t)n);
}

void http_stream_begin(struct http_request *req, int status, const char *type)
{
    req->streaming = true;
    req->out.chunked = !req->old && !req->headless;
    answer(req, status, type,
           req->out.chunked ? "Transfer-Encoding: chunked\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
                            : "Cache-Control: no-cache\r\n");
}

bool http_stream_write(struct http_request *req, const void *data, size_t len)
{
    struct http_server *server = req->conn->server;

    if (req->dead || req->out.ended || req->headless)
        return true;
    if (!http_out_backlog(&req->out))
        http_conn_deadline(req->conn, server->limits.stall_ms);
    if (!http_out_put(&req->out, data, len)) {
        http_abort(req);
        return true;
    }
    http_conn_mark(req->conn);
    if (http_out_backlog(&req->out) > server->limits.stream_high)
        req->over_high = true;
    return !req->over_high;
}

void http_stream_end(struct http_request *req)
{
    if (req->dead)
        return;
    req->out.ended = true;
    http_conn_deadline(req->conn, req->conn->server->limits.stall_ms);
    http_conn_mark(req->conn);
}

void http_stream_forget(struct http_request *req)
{
    http_out_forget(&req->out);
}

void http_abort(struct http_request *req)
{
    req->dead = true;
    shutdown(req->conn->fd, SHUT_RDWR);
    http_conn_mark(req->conn);
}

void http_request_sent(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    http_conn_deadline(req->conn, http_out_pending(&req->out) ? server->limits.stall_ms : 0);
    if (!req->over_high || http_out_backlog(&req->out) >= server->limits.stream_high / 2)
        return;
    req->over_high = false;
    if (server->handler.on_drained)
        server->handler.on_drained(server->handler.ctx, req);
}

/* --- life --- */

static struct http_request *request_new(struct http_conn *conn, const char *method, const char *path)
{
    size_t method_bytes = strlen(method) + 1, path_bytes = strlen(path) + 1;
    struct http_request *req = mem_zalloc(sizeof(*req));

    if (!req)
        return NULL;
    req->out.tail = "";
    req->conn = conn;
    req->method = mem_alloc(method_bytes + path_bytes);
    if (!req->method) {
        mem_free(req);
        return NULL;
    }
    req->path = req->method + method_bytes;
    memcpy(req->method, method, method_bytes);
    memcpy(req->path, path, path_bytes);
    conn->req = req;
    return req;
}

static void body_release(struct http_request *req)
{
    mem_free(req->body);
    req->body = NULL;
    req->conn->server->bodies_bytes -= req->body_cap;
    req->body_cap = req->body_len = 0;
}

void http_request_close(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    if (req->handed) {
        server->n_active--;
        if (server->handler.on_closed)
            server->handler.on_closed(server->handler.ctx, req);
        if (server->draining && server->n_active == 0 && server->handler.on_idle)
            server->handler.on_idle(server->handler.ctx);
    }
    body_release(req);
    http_out_fini(&req->out);
    mem_free(req->method);
    mem_free(req);
}

/* Answered without the handler; what else comes on this connection has no meaning any more. */
bool http_request_refuse(struct http_conn *conn, int status, const char *message)
{
    struct http_request *req = conn->req ? conn->req : request_new(conn, "", "");

    conn->in_from = conn->in_len = 0;
    if (req)
        reply_error(req, status, message);
    else
        http_conn_drop(conn);
    return true;
}

static bool refuse_large(struct http_conn *conn)
{
    char message[160];

    snprintf(message, sizeof(message),
             "the request body is larger than the %zu bytes this server takes; with a larger --memory it takes more",
             conn->server->limits.body_bytes);
    return http_request_refuse(conn, 413, message);
}

/* The body is whole: to the handler with it. */
static void hand_over(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    req->state = HTTP_HANDED;
    req->handed = true;
    server->n_active++;
    http_conn_deadline(req->conn, 0);
    server->handler.on_request(server->handler.ctx, req);
}

/* What speaks against a request already from its head; 0 when nothing does. */
static int head_verdict(const struct http_server *server, const struct http_head *head, const char **ret_message)
{
    *ret_message = head->check.complaint;
    if (head->check.complaint)
        return head->check.status;
    *ret_message = "";
    if (head->check.length > server->limits.body_bytes)
        return 413;
    *ret_message = "the daemon is shutting down";
    if (server->draining)
        return 503;
    *ret_message = "too many connections";
    if (server->n_conns > server->limits.connections)
        return 503;
    *ret_message = "too many request bodies at once";
    if (server->bodies_bytes + head->check.length > server->limits.bodies_bytes)
        return 503;
    return 0;
}

bool http_request_open(struct http_conn *conn, const struct http_head *head, size_t n_here)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *message;
    int status = head_verdict(conn->server, head, &message);
    struct http_request *req = request_new(conn, head->method, head->path);

    if (!req) {
        http_conn_drop(conn);
        return true;
    }
    req->old = head->old;
    req->close = head->close;
    req->chunked = head->check.chunked;
    req->length = head->check.length;
    req->headless = strcmp(head->method, "HEAD") == 0;
    if (status)
        return status == 413 ? refuse_large(conn) : http_request_refuse(conn, status, message);
    http_conn_deadline(conn, conn->server->limits.receive_ms);
    if (!req->chunked && !req->length)
        hand_over(req);
    else if (head->expect_continue && !n_here)
        send(conn->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL | MSG_DONTWAIT); /* the first bytes: there is room */
    return true;
}

/* --- receiving --- */

static bool body_reserve(struct http_request *req, size_t len)
{
    struct http_server *server = req->conn->server;
    size_t cap = req->body_cap ? req->body_cap : BODY_FIRST_BYTES;
    char *grown;

    if (req->length)
        cap = req->length + 1;
    while (cap < len + 1)
        cap *= 2;
    if (cap == req->body_cap)
        return true;
    if (server->bodies_bytes - req->body_cap + cap > server->limits.bodies_bytes + BODY_FIRST_BYTES)
        return false;
    grown = mem_realloc(req->body, cap);
    if (!grown)
        return false;
    req->body = grown;
    server->bodies_bytes += cap - req->body_cap;
    req->body_cap = cap;
    return true;
}

/* False when the request has been refused. */
static bool body_add(struct http_request *req, const char *p, size_t n)
{
    if (req->body_len + n > req->conn->server->limits.body_bytes) {
        refuse_large(req->conn);
        return false;
    }
    if (!body_reserve(req, req->body_len + n)) {
        http_request_refuse(req->conn, 503, "too many request bodies at once");
        return false;
    }
    memcpy(req->body + req->body_len, p, n);
    req->body_len += n;
    req->body[req->body_len] = '\0';
    return true;
}

static size_t receive_chunks(struct http_request *req, const char *p, size_t n)
{
    size_t used, len;

    switch (chunks_next(&req->chunks, p, n, &used, &len)) {
    case CHUNKS_DATA:
        return body_add(req, p + used - len, len) ? used : 0;
    case CHUNKS_END:
        hand_over(req);
        return used;
    case CHUNKS_MORE:
        return used;
    case CHUNKS_BAD:
        break;
    }
    http_request_refuse(req->conn, 400, "the chunks of the body are malformed");
    return 0;
}

size_t http_request_receive(struct http_request *req, const char *p, size_t n)
{
    if (req->chunked)
        return receive_chunks(req, p, n);
    n = n < req->length - req->body_len ? n : (size_t)(req->length - req->body_len);
    if (!body_add(req, p, n))
        return 0;
    if (req->body_len == req->length)
        hand_over(req);
    return n;
}

/* --- the request as the handler sees it --- */

const char *http_method(const struct http_request *req)
{
    return req->method;
}

const char *http_path(const struct http_request *req)
{
    return req->path;
}

const char *http_body(const struct http_request *req, size_t *ret_len)
{
    *ret_len = req->body_len;
    return req->body ? req->body : "";
}

void http_body_drop(struct http_request *req)
{
    body_release(req);
}

void http_set_data(struct http_request *req, void *data)
{
    req->data = data;
}

void *http_data(const struct http_request *req)
{
    return req->data;
}

bool http_peer(const struct http_request *req, pid_t *ret_pid, uid_t *ret_uid)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    /* On TCP the call succeeds and knows nothing. */
    if (req->conn->tcp || getsockopt(req->conn->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    *ret_pid = cred.pid;
    *ret_uid = cred.uid;
    return true;
}
