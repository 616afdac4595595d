/* SPDX-License-Identifier: MIT */
#include "daemon/http_impl.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <sys/socket.h>

#define SPARE_CONNECTIONS 16 /* above our own limit, to say 503 on */
#define ACCEPTS_AT_ONCE 32
#define RETRY_MS 200

/* --- listening --- */

static void port_deafen(struct http_port *port)
{
    if (port->listening)
        uv_poll_stop(&port->poll);
    port->listening = false;
}

static void on_retry(uv_timer_t *timer)
{
    http_listen_again(timer->data);
}

static void on_knock(uv_poll_t *poll, int status, int events)
{
    struct http_port *port = poll->data;
    struct http_server *server = port->server;

    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd;

        if (server->n_conns >= server->limits.connections + SPARE_CONNECTIONS) {
            port_deafen(port); /* until one of them ends */
            return;
        }
        fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            http_conn_open(port, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            log_debug("http: no descriptor for another connection; it waits");
            port_deafen(port);
            uv_timer_start(&server->retry, on_retry, RETRY_MS, 0);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

void http_listen_again(struct http_server *server)
{
    if (server->draining || server->n_conns >= server->limits.connections + SPARE_CONNECTIONS)
        return;
    for (uint32_t i = 0; i < server->n_ports; i++) {
        struct http_port *port = &server->ports[i];

        if (!port->listening)
            port->listening = uv_poll_start(&port->poll, UV_READABLE, on_knock) == 0;
    }
}

int http_listen(struct http_server *server, const struct listener *listener, struct err *err)
{
    struct http_port *port = &server->ports[server->n_ports];
    int r;

    if (server->n_ports == HTTP_MAX_LISTENERS)
        return err_set(err, -ENOSPC, "http: more than %d listeners", HTTP_MAX_LISTENERS);
    *port = (struct http_port){ .server = server, .fd = listener->fd, .tcp = !listener->local };
    r = uv_poll_init(server->loop, &port->poll, port->fd); /* makes it non-blocking, too */
    if (r < 0)
        return err_set(err, r, "http: cannot watch the listener %s: %s", listener->name, uv_strerror(r));
    port->poll.data = port;
    server->n_handles++;
    server->n_ports++;
    http_listen_again(server);
    return port->listening ? 0 : err_set(err, -EIO, "http: cannot watch the listener %s", listener->name);
}

/* --- the server --- */

void http_flush(struct http_server *server)
{
    while (server->marked) {
        struct http_conn *conn = server->marked;

        server->marked = conn->next_marked;
        conn->marked = false;
        http_conn_turn(conn);
    }
}

static void on_before_wait(uv_prepare_t *prepare)
{
    http_flush(prepare->data);
}

int http_open(uv_loop_t *loop, const struct http_limits *limits, const struct http_handler *handler,
              struct http_server **ret_server, struct err *err)
{
    struct http_server *server = mem_zalloc(sizeof(*server));

    if (!server)
        return err_set(err, -ENOMEM, "http: out of memory");
    server->loop = loop;
    server->limits = *limits;
    server->handler = *handler;
    uv_prepare_init(loop, &server->sender);
    uv_timer_init(loop, &server->retry);
    server->sender.data = server->retry.data = server;
    server->n_handles = 2;
    uv_prepare_start(&server->sender, on_before_wait);
    *ret_server = server;
    return 0;
}

void http_unref(struct http_server *server)
{
    if (--server->n_handles == 0 && server->closing)
        mem_free(server);
}

static void on_port_closed(uv_handle_t *handle)
{
    http_unref(((struct http_port *)handle->data)->server);
}

static void on_own_closed(uv_handle_t *handle)
{
    http_unref(handle->data);
}

void http_drain(struct http_server *server)
{
    server->draining = true;
    for (uint32_t i = 0; i < server->n_ports; i++)
        port_deafen(&server->ports[i]);
}

void http_close(struct http_server *server)
{
    http_drain(server);
    while (server->conns)
        http_conn_drop(server->conns);
    server->closing = true;
    for (uint32_t i = 0; i < server->n_ports; i++)
        uv_close((uv_handle_t *)&server->ports[i].poll, on_port_closed);
    uv_close((uv_handle_t *)&server->sender, on_own_closed);
    uv_close((uv_handle_t *)&server->retry, on_own_closed);
}

uint32_t http_connections(const struct http_server *server)
{
    return server->n_conns;
}

uint32_t http_active(const struct http_server *server)
{
    return server->n_active;
}
