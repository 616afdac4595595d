/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define SPARE_CONNECTIONS 16 /* above our own limit, to say 503 on */
#define CONNECTION_POOL_BYTES (16 << 10)

/* --- driving one MHD daemon --- */

static void port_run(struct http_port *port);

static void on_port_readable(uv_poll_t *poll, int status, int events)
{
    port_run(poll->data);
}

static void on_port_timer(uv_timer_t *timer)
{
    port_run(timer->data);
}

static void on_port_idle(uv_idle_t *idle)
{
    port_run(idle->data);
}

/* A client that closed its side and from which nothing more can come: the library may have missed it, when the end came
 * together with data. Only when it has no data left to work on. */
static void sweep_gone(struct http_server *server)
{
    for (struct http_conn *conn = server->conns; conn; conn = conn->next) {
        if (!conn->gone || conn->swept || (conn->req && conn->req->state >= HTTP_HANDED))
            continue;
        conn->swept = true;
        shutdown(conn->fd, SHUT_RDWR);
    }
}

static void port_arm(struct http_port *port)
{
    MHD_UNSIGNED_LONG_LONG ms;
    bool due = MHD_get_timeout(port->mhd, &ms) == MHD_YES;

    if (port->server->n_gone && !(due && ms == 0))
        sweep_gone(port->server);
    if (due && ms == 0)
        uv_idle_start(&port->idle, on_port_idle);
    else
        uv_idle_stop(&port->idle);
    if (due && ms > 0)
        uv_timer_start(&port->timer, on_port_timer, ms, 0);
    else
        uv_timer_stop(&port->timer);
}

static void port_run(struct http_port *port)
{
    uint32_t before;

    if (port->running || !port->mhd)
        return;
    port->running = true;
    /* After closes at the library's own limit, a second run lets it accept again. */
    do {
        before = port->server->n_conns;
        MHD_run(port->mhd);
    } while (port->server->n_conns < before);
    port->running = false;
    port_arm(port);
}

void http_flush(struct http_server *server)
{
    for (uint32_t i = 0; i < server->n_ports; i++)
        port_run(&server->ports[i]);
}

/* --- connections --- */

static void server_unref(struct http_server *server)
{
    if (--server->n_handles == 0 && server->closing)
        mem_free(server);
}

static void on_conn_handle_closed(uv_handle_t *handle)
{
    struct http_conn *conn = handle->data;
    struct http_server *server = conn->server;

    if (--conn->n_handles == 0)
        mem_free(conn);
    server_unref(server);
}

static void on_conn_gone(uv_poll_t *poll, int status, int events)
{
    struct http_conn *conn = poll->data;

    uv_poll_stop(poll); /* the condition stays, it would be reported for ever */
    conn->gone = true;
    conn->server->n_gone++;
    if (conn->req && conn->req->state >= HTTP_HANDED)
        http_request_kill(conn->req);
    port_run(conn->port);
}

static void on_conn_deadline(uv_timer_t *timer)
{
    struct http_conn *conn = timer->data;

    log_debug("connection: deadline passed, dropped");
    shutdown(conn->fd, SHUT_RDWR);
    if (conn->req)
        http_request_kill(conn->req);
    port_run(conn->port);
}

void http_conn_deadline(struct http_conn *conn, uint32_t ms)
{
    if (ms)
        uv_timer_start(&conn->timer, on_conn_deadline, ms, 0);
    else
        uv_timer_stop(&conn->timer);
}

static struct http_conn *conn_open(struct http_port *port, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_server *server = port->server;
    struct http_conn *conn = info ? mem_zalloc(sizeof(*conn)) : NULL;

    if (!conn)
        return NULL;
    conn->server = server;
    conn->port = port;
    conn->mhd = mhd;
    conn->fd = info->connect_fd;
    conn->poll.data = conn->timer.data = conn;
    if (uv_poll_init(server->loop, &conn->poll, conn->fd) < 0) {
        mem_free(conn);
        return NULL;
    }
    uv_timer_init(server->loop, &conn->timer);
    conn->n_handles = 2;
    server->n_handles += 2;
    uv_poll_start(&conn->poll, UV_DISCONNECT, on_conn_gone);
    http_conn_deadline(conn, server->limits.receive_ms);
    conn->next = server->conns;
    if (conn->next)
        conn->next->prev = conn;
    server->conns = conn;
    return conn;
}

static void conn_close(struct http_conn *conn)
{
    conn->server->n_gone -= conn->gone;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conn->server->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    uv_poll_stop(&conn->poll);
    uv_timer_stop(&conn->timer);
    uv_close((uv_handle_t *)&conn->poll, on_conn_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_conn_handle_closed);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_port *port = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        port->server->n_conns++;
        *context = conn_open(port, mhd);
    } else {
        port->server->n_conns--;
        if (*context)
            conn_close(*context);
        *context = NULL;
    }
}

/* The target as it was sent, before the library cuts and decodes it. */
static void *on_raw_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *conn = info ? info->socket_context : NULL;
    struct head_check check = { 0 };

    head_check_line(&check, "GET", target, "HTTP/1.1");
    if (conn)
        conn->bad_target = check.complaint != NULL;
    return NULL;
}

/* Leave %-escapes alone: no path of ours has any, and %00 must not become a NUL. */
static size_t on_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
    return strlen(s);
}

static __attribute__((format(printf, 2, 0))) void on_mhd_log(void *cls, const char *fmt, va_list args)
{
    char text[256];
    size_t n;

    vsnprintf(text, sizeof(text), fmt, args);
    n = strlen(text);
    while (n && text[n - 1] == '\n')
        text[--n] = '\0';
    log_debug("http: %s", text);
}

/* --- the server --- */

int http_open(uv_loop_t *loop, const struct http_limits *limits, const struct http_handler *handler,
              struct http_server **ret_server, struct err *err)
{
    struct http_server *server = mem_zalloc(sizeof(*server));

    if (!server)
        return err_set(err, -ENOMEM, "http: out of memory");
    server->loop = loop;
    server->limits = *limits;
    server->handler = *handler;
    *ret_server = server;
    return 0;
}

static void on_port_handle_closed(uv_handle_t *handle)
{
    server_unref(((struct http_port *)handle->data)->server);
}

static int port_watch(struct http_port *port, struct err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(port->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    struct http_server *server = port->server;
    int r = info ? uv_poll_init(server->loop, &port->poll, info->epoll_fd) : UV_EINVAL;

    if (r < 0)
        return err_set(err, r, "http: cannot watch the listener: %s", uv_strerror(r));
    uv_timer_init(server->loop, &port->timer);
    uv_idle_init(server->loop, &port->idle);
    port->poll.data = port->timer.data = port->idle.data = port;
    server->n_handles += 3;
    return uv_poll_start(&port->poll, UV_READABLE, on_port_readable);
}

int http_listen(struct http_server *server, const struct listener *listener, struct err *err)
{
    struct http_port *port = &server->ports[server->n_ports];
    int r;

    if (server->n_ports == HTTP_MAX_LISTENERS)
        return err_set(err, -ENOSPC, "http: more than %d listeners", HTTP_MAX_LISTENERS);
    *port = (struct http_port){ .server = server, .tcp = !listener->local };
    port->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                                 http_on_access, port, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, listener->fd, MHD_OPTION_CONNECTION_LIMIT,
                                 server->limits.connections + SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)CONNECTION_POOL_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection, port,
                                 MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, port, MHD_OPTION_URI_LOG_CALLBACK,
                                 on_raw_target, port, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_END);
    if (!port->mhd)
        return err_set(err, -EIO, "http: the HTTP library refuses to serve on %s", listener->name);
    r = port_watch(port, err);
    if (r < 0) {
        MHD_stop_daemon(port->mhd);
        port->mhd = NULL;
        return r;
    }
    server->n_ports++;
    return 0;
}

void http_drain(struct http_server *server)
{
    server->draining = true;
    for (uint32_t i = 0; i < server->n_ports; i++)
        MHD_quiesce_daemon(server->ports[i].mhd); /* gives the descriptor back; it is the caller's anyway */
    http_flush(server);
}

void http_close(struct http_server *server)
{
    struct http_conn *next;

    /* A suspended connection at MHD_stop_daemon aborts the process: every one is resumed and run off first. */
    if (!server->draining)
        http_drain(server);
    for (struct http_conn *conn = server->conns; conn; conn = next) {
        next = conn->next;
        if (conn->req)
            http_request_kill(conn->req);
        shutdown(conn->fd, SHUT_RDWR);
    }
    http_flush(server);
    server->closing = true;
    server->n_handles++; /* ours, until everything below is under way */
    for (uint32_t i = 0; i < server->n_ports; i++) {
        struct http_port *port = &server->ports[i];

        uv_poll_stop(&port->poll);
        uv_close((uv_handle_t *)&port->poll, on_port_handle_closed);
        uv_close((uv_handle_t *)&port->timer, on_port_handle_closed);
        uv_close((uv_handle_t *)&port->idle, on_port_handle_closed);
        MHD_stop_daemon(port->mhd);
        port->mhd = NULL;
    }
    server_unref(server);
}

uint32_t http_connections(const struct http_server *server)
{
    return server->n_conns;
}

uint32_t http_active(const struct http_server *server)
{
    return server->n_active;
}
