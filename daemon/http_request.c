/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define STREAM_BLOCK_BYTES (16 << 10)
#define BODY_FIRST_BYTES (4 << 10)

/* --- refusals --- */

struct MHD_Response *http_error_response(int status, const char *message)
{
    char body[512];
    struct MHD_Response *response;
    int n =
        snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":null}}\n",
                 message, status >= 500 ? "server_error" : "invalid_request_error");

    response = MHD_create_response_from_buffer((size_t)n, body, MHD_RESPMEM_MUST_COPY);
    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    return response;
}

static enum MHD_Result refuse(struct MHD_Connection *mhd, int status, const char *message)
{
    struct MHD_Response *response = http_error_response(status, message);
    enum MHD_Result r;

    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == 503)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "5");
    r = MHD_queue_response(mhd, (unsigned)status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                const char *value, size_t value_len)
{
    head_check_field(cls, name, name_len, value, value_len);
    return MHD_YES;
}

/* The head broke no rule, and there is room: 0, or the status to refuse with. */
static int head_verdict(struct http_request *req, struct MHD_Connection *mhd, const char *url, const char *method,
                        const char *version, const char **ret_message)
{
    struct http_server *server = req->conn->server;
    struct head_check *head = &req->head;

    head_check_line(head, method, req->conn->bad_target ? " " : url, version);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_field, head);
    head_check_end(head, version);
    *ret_message = head->complaint;
    if (head->complaint)
        return head->status;
    *ret_message = "the request body is larger than this server takes";
    if (head->length > server->limits.body_bytes)
        return 413;
    *ret_message = "the daemon is shutting down";
    if (server->draining)
        return 503;
    *ret_message = "too many connections";
    if (server->n_conns > server->limits.connections)
        return 503;
    *ret_message = "too many request bodies at once";
    if (server->bodies_bytes + head->length > server->limits.bodies_bytes)
        return 503;
    return 0;
}

/* --- receiving --- */

static void body_release(struct http_request *req)
{
    mem_free(req->body);
    req->body = NULL;
    req->conn->server->bodies_bytes -= req->body_charged;
    req->body_charged = req->body_cap = req->body_len = 0;
}

static bool body_reserve(struct http_request *req, size_t len)
{
    struct http_server *server = req->conn->server;
    size_t cap = req->body_cap ? req->body_cap : BODY_FIRST_BYTES;
    char *grown;

    if (req->head.length && req->head.length + 1 > cap)
        cap = req->head.length + 1;
    while (cap < len + 1)
        cap *= 2;
    if (cap == req->body_cap)
        return true;
    if (server->bodies_bytes - req->body_charged + cap > server->limits.bodies_bytes + BODY_FIRST_BYTES)
        return false;
    grown = mem_realloc(req->body, cap);
    if (!grown)
        return false;
    req->body = grown;
    req->body_cap = cap;
    server->bodies_bytes += cap - req->body_charged;
    req->body_charged = cap;
    return true;
}

static enum MHD_Result receive(struct http_request *req, const char *upload, size_t *upload_len)
{
    size_t n = *upload_len, limit = req->conn->server->limits.body_bytes;

    *upload_len = 0;
    req->body_seen += n;
    /* An answer cannot be queued in mid-upload: a chunked body that is too large is read off up to a point, and then
     * cut. */
    if (req->body_seen > limit)
        req->too_large = true;
    if (req->body_seen / 4 > limit)
        return MHD_NO;
    if (req->too_large || req->no_room)
        return MHD_YES;
    if (!body_reserve(req, req->body_len + n)) {
        req->no_room = true;
        return MHD_YES;
    }
    memcpy(req->body + req->body_len, upload, n);
    req->body_len += n;
    req->body[req->body_len] = '\0';
    return MHD_YES;
}

/* --- life --- */

static struct http_request *request_open(struct http_conn *conn, const char *url, const char *method)
{
    struct http_request *req = mem_zalloc(sizeof(*req));

    if (!req)
        return NULL;
    req->path = mem_strdup(url);
    if (!req->path) {
        mem_free(req);
        return NULL;
    }
    req->conn = conn;
    snprintf(req->method, sizeof(req->method), "%s", method);
    conn->req = req;
    return req;
}

static void request_tell_closed(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    if (req->closed || req->state < HTTP_HANDED)
        return;
    req->closed = true;
    server->n_active--;
    if (server->handler.on_closed)
        server->handler.on_closed(server->handler.ctx, req);
    if (server->draining && server->n_active == 0 && server->handler.on_idle)
        server->handler.on_idle(server->handler.ctx);
}

static void resume(struct http_request *req)
{
    if (!req->suspended)
        return;
    req->suspended = false;
    MHD_resume_connection(req->conn->mhd);
}

static void suspend(struct http_request *req)
{
    if (req->suspended)
        return;
    req->suspended = true;
    MHD_suspend_connection(req->conn->mhd);
}

void http_request_kill(struct http_request *req)
{
    req->dead = true;
    request_tell_closed(req);
    resume(req);
}

void http_on_completed(void *cls, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode code)
{
    struct http_request *req = *request;
    struct http_conn *conn;

    if (!req)
        return;
    conn = req->conn;
    request_tell_closed(req);
    body_release(req);
    if (req->response)
        MHD_destroy_response(req->response);
    mem_free(req->out);
    mem_free(req->path);
    mem_free(req);
    conn->req = NULL;
    *request = NULL;
    http_conn_deadline(conn, conn->server->limits.idle_ms);
}

/* A request's first call: its head is known. */
static enum MHD_Result begin(struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                             void **request)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *conn = info ? info->socket_context : NULL;
    struct http_request *req = conn ? request_open(conn, url, method) : NULL;
    const char *message;
    int status;

    if (!req)
        return refuse(mhd, 503, "out of memory");
    *request = req;
    http_conn_deadline(conn, conn->server->limits.receive_ms);
    status = head_verdict(req, mhd, url, method, version, &message);
    if (status)
        return refuse(mhd, status, message);
    req->state = HTTP_RECEIVING;
    return MHD_YES;
}

/* The body is whole: to the handler with it. */
static enum MHD_Result hand_over(struct http_request *req)
{
    struct http_server *server = req->conn->server;

    if (req->too_large)
        return refuse(req->conn->mhd, 413, "the request body is larger than this server takes");
    if (req->no_room)
        return refuse(req->conn->mhd, 503, "too many request bodies at once");
    if (req->head.length != req->body_len && !req->head.chunked)
        return refuse(req->conn->mhd, 400, "the body is not as long as Content-Length says");
    req->state = HTTP_HANDED;
    server->n_active++;
    http_conn_deadline(req->conn, 0);
    server->handler.on_request(server->handler.ctx, req);
    return MHD_YES;
}

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_len, void **request)
{
    struct http_request *req = *request;
    enum MHD_Result r = MHD_YES;

    if (!req)
        return begin(mhd, url, method, version, request);
    if (req->dead)
        return MHD_NO;
    if (*upload_len)
        return receive(req, upload, upload_len);
    if (req->state == HTTP_RECEIVING)
        r = hand_over(req);
    if (r != MHD_YES || req->dead)
        return MHD_NO;
    if (req->state == HTTP_HANDED && req->conn->gone) {
        http_request_kill(req); /* nobody is left to wait for the answer */
        return MHD_NO;
    }
    if (req->state == HTTP_HANDED) {
        suspend(req);
    } else if (req->response) {
        r = MHD_queue_response(mhd, (unsigned)req->status, req->response);
        MHD_destroy_response(req->response);
        req->response = NULL;
    }
    return r;
}

/* --- answering --- */

static void add_extra(struct MHD_Response *response, const char *extra)
{
    char name[64];
    const char *colon = extra ? strchr(extra, ':') : NULL;

    if (!colon || (size_t)(colon - extra) >= sizeof(name))
        return;
    snprintf(name, sizeof(name), "%.*s", (int)(colon - extra), extra);
    MHD_add_response_header(response, name, colon + 2);
}

static void answer(struct http_request *req, int status, struct MHD_Response *response, const char *type,
                   const char *extra)
{
    struct http_conn *conn = req->conn;

    req->state = HTTP_REPLIED;
    if (!response) { /* no memory for an answer: the connection's end is one */
        req->dead = true;
        resume(req);
        return;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    add_extra(response, extra);
    if (conn->gone || conn->server->draining)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    req->status = status;
    req->response = response;
    http_conn_deadline(conn, conn->server->limits.stall_ms);
    resume(req);
}

void http_reply(struct http_request *req, int status, const char *type, const char *extra, const void *body, size_t len)
{
    answer(req, status, MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY), type,
           extra);
}

static ssize_t on_stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct http_request *req = cls;
    struct http_server *server = req->conn->server;
    size_t n = req->out_len - req->out_from;

    if (req->dead)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!n && req->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) { /* returning 0 without suspending first would burn a core */
        http_conn_deadline(req->conn, 0);
        suspend(req);
        return 0;
    }
    n = n < max ? n : max;
    memcpy(buf, req->out + req->out_from, n);
    req->out_from += n;
    if (req->out_from == req->out_len)
        req->out_from = req->out_len = 0;
    http_conn_deadline(req->conn, req->out_len || req->ended ? server->limits.stall_ms : 0);
    if (req->over_high && req->out_len - req->out_from < server->limits.stream_high / 2) {
        req->over_high = false;
        if (!req->closed && server->handler.on_drained)
            server->handler.on_drained(server->handler.ctx, req);
    }
    return (ssize_t)n;
}

void http_stream_begin(struct http_request *req, int status, const char *type)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, on_stream_read, req, NULL);

    req->streaming = true;
    if (response) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
    }
    answer(req, status, response, type, NULL);
}

static bool stream_reserve(struct http_request *req, size_t len)
{
    size_t cap = req->out_cap ? req->out_cap : 1024;
    char *grown;

    if (req->out_from) {
        memmove(req->out, req->out + req->out_from, req->out_len - req->out_from);
        req->out_len -= req->out_from;
        req->out_from = 0;
    }
    while (cap < req->out_len + len)
        cap *= 2;
    if (cap == req->out_cap)
        return true;
    grown = mem_realloc(req->out, cap);
    if (!grown)
        return false;
    req->out = grown;
    req->out_cap = cap;
    return true;
}

bool http_stream_write(struct http_request *req, const void *data, size_t len)
{
    struct http_server *server = req->conn->server;

    if (req->dead || req->ended)
        return true;
    if (!stream_reserve(req, len)) {
        http_abort(req);
        return true;
    }
    if (req->out_from == req->out_len)
        http_conn_deadline(req->conn, server->limits.stall_ms);
    memcpy(req->out + req->out_len, data, len);
    req->out_len += len;
    resume(req);
    if (req->out_len - req->out_from > server->limits.stream_high)
        req->over_high = true;
    return !req->over_high;
}

void http_stream_end(struct http_request *req)
{
    req->ended = true;
    http_conn_deadline(req->conn, req->conn->server->limits.stall_ms);
    resume(req);
}

void http_abort(struct http_request *req)
{
    /* The handler still hears on_closed, when the library has seen the request off. */
    req->dead = true;
    shutdown(req->conn->fd, SHUT_RDWR);
    resume(req);
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
    if (req->conn->port->tcp || getsockopt(req->conn->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    *ret_pid = cred.pid;
    *ret_uid = cred.uid;
    return true;
}
