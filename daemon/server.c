/* SPDX-License-Identifier: MIT */
#include "daemon/server.h"

#include "base/arith.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/api.h"
#include "daemon/http.h"
#include "daemon/machine.h"
#include "daemon/notify.h"
#include "daemon/pressure.h"
#include "daemon/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define CUT_GRACE_MS 3000 /* for the last words of cut answers to go out */
#define IDLE_MS 75000
#define RECORD_MS 50 /* the ring holds far more */
#define LOOK_MS 1000 /* at the memory that is left */

struct server {
    const struct config *config;
    const struct service *service;
    struct listeners *listeners;
    uv_loop_t loop;
    uv_async_t events;
    uv_signal_t signals[3];
    uv_timer_t watchdog, drain, ender, looker, recording;
    uv_poll_t alarms[MACHINE_ALARMS];
    int alarm_fds[MACHINE_ALARMS];
    int n_alarms;
    struct pressure pressure;
    uv_work_t first_work;
    struct http_server *http;
    struct engine *engine;
    struct api api;
    uint64_t started_ns;
    int n_signals;
    int result;
    struct err *err;
};

/* --- sockets --- */

static int open_configured(const struct config *config, struct listeners *l, struct err *err)
{
    bool loopback;
    int r = listen_unix(config->socket, &l->v[0], err);

    if (r < 0)
        return r;
    l->n = 1;
    if (!config->listen)
        return 0;
    r = listen_tcp(config->listen, &l->v[1], &loopback, err);
    if (r < 0)
        return r;
    l->n = 2;
    if (!loopback)
        log_warning(
            "listen: %s can be reached from other machines, and asks for no password: whoever reaches it can use "
            "it; 127.0.0.1 keeps it to this one",
            l->v[1].name);
    return 0;
}

int listeners_open(const struct config *config, struct listeners *ret_listeners, struct err *err)
{
    struct listeners l = { 0 };
    int r = listen_passed(l.v, SERVER_MAX_LISTENERS, err);

    if (r > 0)
        l.n = (uint32_t)r;
    else if (r == 0)
        r = open_configured(config, &l, err);
    if (r < 0) {
        listeners_close(&l);
        return r;
    }
    *ret_listeners = l;
    return 0;
}

void listeners_close(struct listeners *listeners)
{
    for (uint32_t i = 0; i < listeners->n; i++)
        listener_close(&listeners->v[i]);
    listeners->n = 0;
}

/* --- the end --- */

static void on_end(uv_timer_t *timer)
{
    struct server *s = timer->data;

    uv_stop(&s->loop);
}

static void end_in(struct server *s, uint64_t ms)
{
    uv_timer_start(&s->ender, on_end, ms, 0);
}

static void cut(struct server *s)
{
    api_cut(&s->api);
    end_in(s, CUT_GRACE_MS);
    if (http_active(s->http) == 0)
        end_in(s, 0);
}

static void on_drain_over(uv_timer_t *timer)
{
    struct server *s = timer->data;

    log_warning("stopping: %u answers did not finish in %u s and are cut", s->api.n_inflight, s->config->drain_s);
    cut(s);
}

static void on_http_idle(void *ctx)
{
    struct api *api = ctx;

    end_in(api->ctx, 0); /* not from within the HTTP server's callbacks */
}

static void drain(struct server *s)
{
    s->api.draining = true;
    notify_send("STOPPING=1\nSTATUS=finishing %u answers", s->api.n_inflight);
    http_drain(s->http);
    for (uint32_t i = 0; i < s->listeners->n; i++)
        if (!s->listeners->v[i].passed)
            listener_close(&s->listeners->v[i]);
    log_info("stopping: %u answers running", s->api.n_inflight);
    if (!s->api.ready) { /* reading the weights cannot be interrupted, and there is nothing to lose */
        notify_fini();
        _exit(0);
    }
    if (http_active(s->http) == 0)
        end_in(s, 0);
    else
        uv_timer_start(&s->drain, on_drain_over, (uint64_t)s->config->drain_s * 1000, 0);
}

static void on_stop_signal(uv_signal_t *handle, int signum)
{
    struct server *s = handle->data;

    s->n_signals++;
    if (s->n_signals == 1) {
        drain(s);
    } else if (s->n_signals == 2) {
        log_warning("stopping: a second signal, running answers are cut");
        cut(s);
    } else {
        _exit(128 + signum);
    }
}

static void on_hangup(uv_signal_t *handle, int signum)
{
    struct server *s = handle->data;
    enum log_level level;
    struct err err = { 0 };

    if (s->api.ready && !s->api.draining) /* or else the service manager is told of that later, or nothing more */
        notify_reloading();
    if (config_reload_log_level(s->config, &level, &err) < 0) {
        log_error("reload: %s; nothing is changed", err_text(&err));
    } else {
        log_init(level, s->config->journal);
        log_info("reload: the log level is read again; other options need a restart");
    }
    if (s->api.ready && !s->api.draining)
        notify_send("READY=1");
}

/* --- memory pressure --- */

static void look_at_memory(struct server *s)
{
    struct engine_snapshot *shown = &s->api.snapshot;
    struct pressure *p = &s->pressure;
    struct machine_memory memory;
    uint64_t before = p->target;
    char by[24], to[24];

    engine_snapshot(s->engine, shown);
    machine_memory("", &memory);
    if (!pressure_look(p, &memory, shown->cache.slot_bytes, clock_ns()))
        return;
    engine_resize(s->engine, p->target);
    if (p->target < before)
        log_warning("memory: %s: %s of expert slots are given back, %s remain", p->why,
                    size_format(u64_min(before, shown->cache.slot_bytes) - p->target, by), size_format(p->target, to));
    else
        log_info("memory: %s: %s of expert slots are taken again, %s in all", p->why,
                 size_format(p->target - before, by), size_format(p->target, to));
}

static void on_look(uv_timer_t *timer)
{
    look_at_memory(timer->data);
}

static void on_alarm(uv_poll_t *poll, int status, int events)
{
    if (status < 0 || !(events & UV_PRIORITIZED)) /* the group is gone */
        uv_poll_stop(poll);
    else
        look_at_memory(poll->data);
}

/* Where the kernel cannot wake us, the timer alone looks. */
static void start_looking(struct server *s)
{
    struct engine_snapshot *shown = &s->api.snapshot;

    engine_snapshot(s->engine, shown);
    pressure_init(&s->pressure, cache_min_bytes(model_layout(s->service->model)), shown->cache.slot_bytes);
    look_at_memory(s);
    uv_timer_start(&s->looker, on_look, LOOK_MS, LOOK_MS);
    for (int i = 0; i < s->n_alarms; i++)
        uv_poll_start(&s->alarms[i], UV_PRIORITIZED, on_alarm);
}

static void init_alarms(struct server *s)
{
    int fds[MACHINE_ALARMS], n = machine_alarms("", fds);

    for (int i = 0; i < n; i++) {
        if (uv_poll_init(&s->loop, &s->alarms[s->n_alarms], fds[i]) < 0) {
            close(fds[i]);
            continue;
        }
        s->alarms[s->n_alarms].data = s;
        s->alarm_fds[s->n_alarms++] = fds[i];
    }
}

static void stop_looking(struct server *s)
{
    uv_close((uv_handle_t *)&s->looker, NULL);
    for (int i = 0; i < s->n_alarms; i++)
        uv_close((uv_handle_t *)&s->alarms[i], NULL);
}

static void on_record(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct err err = { 0 };

    if (recorder_flush(s->service->recorder, &err) == 0)
        return;
    log_error("record-routing: %s; answers go on", err_text(&err));
    uv_timer_stop(timer);
}

/* --- what happens --- */

static void on_watchdog(uv_timer_t *timer)
{
    struct server *s = timer->data;

    if (strcmp(api_health(&s->api), "stuck") != 0)
        notify_send("WATCHDOG=1");
}

static void on_loaded(void *ctx, int code, const char *text)
{
    struct server *s = ctx;

    if (code < 0) {
        s->result = err_set(s->err, code, "%s", text);
        end_in(s, 0);
        return;
    }
    for (uint32_t i = 0; i < s->listeners->n; i++)
        log_info("ready: serving '%s' on %s (loaded in %.1f s)", s->service->name, s->listeners->v[i].name,
                 (double)(clock_ns() - s->started_ns) / 1e9);
    start_looking(s);
    notify_send("READY=1\nSTATUS=serving %s", s->service->name);
}

static void on_events(uv_async_t *async)
{
    struct server *s = async->data;

    api_take_events(&s->api);
}

static void wake_loop(void *ctx)
{
    uv_async_send(ctx);
}

/* --- start --- */

static int start_http(struct server *s, struct err *err)
{
    uint64_t reserve = budget_reserve(s->service->budget.total);
    struct http_limits limits = { .connections = (uint32_t)u64_min(u64_max(reserve >> 16, 16), 256),
                                  .body_bytes = reserve / 32, /* tokenizing takes up to 22 times as much */
                                  .bodies_bytes = reserve / 8,
                                  .stream_high = u64_min(u64_max(reserve / 64, 32 << 10), 256 << 10),
                                  .receive_ms = s->config->receive_s * 1000,
                                  .idle_ms = IDLE_MS,
                                  .stall_ms = s->config->stall_s * 1000 };
    struct http_handler handler = { api_on_request, api_on_closed, api_on_drained, on_http_idle, &s->api };
    int r;

    s->api.answer_bytes.max = reserve / 2;
    s->api.json_bytes = reserve / 4 * 3; /* a body of short numbers takes some twenty times its length */
    r = http_open(&s->loop, &limits, &handler, &s->http, err);
    for (uint32_t i = 0; r == 0 && i < s->listeners->n; i++)
        r = http_listen(s->http, &s->listeners->v[i], err);
    return r;
}

static void start_handles(struct server *s)
{
    static const int signums[] = { SIGTERM, SIGINT, SIGHUP };
    uint64_t watchdog_ms = notify_watchdog_ms();

    uv_async_init(&s->loop, &s->events, on_events);
    uv_timer_init(&s->loop, &s->watchdog);
    uv_timer_init(&s->loop, &s->drain);
    uv_timer_init(&s->loop, &s->ender);
    uv_timer_init(&s->loop, &s->looker);
    uv_timer_init(&s->loop, &s->recording);
    init_alarms(s);
    s->events.data = s->watchdog.data = s->drain.data = s->ender.data = s->looker.data = s->recording.data = s;
    for (int i = 0; i < 3; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], signums[i] == SIGHUP ? on_hangup : on_stop_signal, signums[i]);
    }
    if (s->service->recorder)
        uv_timer_start(&s->recording, on_record, RECORD_MS, RECORD_MS);
    if (watchdog_ms)
        uv_timer_start(&s->watchdog, on_watchdog, 0, watchdog_ms);
}

static void *nothing(void *arg)
{
    return arg;
}

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

static void did_nothing(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

/* libuv starts its worker at the first work, and aborts when it cannot: let both be before we say that we are ready. */
static int start_worker(struct server *s, struct err *err)
{
    pthread_t probe;
    int r = -pthread_create(&probe, NULL, nothing, NULL);

    if (r < 0)
        return err_sys(err, -r, "worker thread");
    pthread_join(probe, NULL);
    r = uv_queue_work(&s->loop, &s->first_work, do_nothing, did_nothing);
    return r < 0 ? err_set(err, r, "worker thread: %s", uv_strerror(r)) : 0;
}

static int start(struct server *s, struct err *err)
{
    const struct budget_shape *shape = &s->service->budget.shape;
    int r;

    s->api = (struct api){ .loop = &s->loop,
                           .service = s->service,
                           .pressure = &s->pressure,
                           .max_inflight = shape->n_seqs + s->config->queue,
                           .on_loaded = on_loaded,
                           .ctx = s };
    start_handles(s);
    api_start(&s->api);
    r = start_worker(s, err);
    if (r == 0)
        r = start_http(s, err);
    s->api.http = s->http;
    if (r == 0)
        r = engine_start(s->service, wake_loop, &s->events, &s->engine, err);
    s->api.engine = s->engine;
    return r;
}

static void stop(struct server *s)
{
    if (s->http)
        http_close(s->http);
    if (s->engine)
        engine_stop(s->engine);
    api_stop(&s->api);
    uv_close((uv_handle_t *)&s->events, NULL);
    uv_close((uv_handle_t *)&s->watchdog, NULL);
    uv_close((uv_handle_t *)&s->drain, NULL);
    uv_close((uv_handle_t *)&s->ender, NULL);
    uv_close((uv_handle_t *)&s->recording, NULL);
    stop_looking(s);
    for (int i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    for (int i = 0; i < s->n_alarms; i++)
        close(s->alarm_fds[i]);
    api_drop_answers(&s->api);
}

int server_run(const struct config *config, const struct service *service, struct listeners *listeners, struct err *err)
{
    struct server s = { .config = config, .service = service, .listeners = listeners, .err = err };
    int r = uv_loop_init(&s.loop);

    if (r < 0)
        return err_set(err, r, "event loop: %s", uv_strerror(r));
    s.started_ns = clock_ns();
    s.result = start(&s, err);
    if (s.result == 0)
        uv_run(&s.loop, UV_RUN_DEFAULT);
    stop(&s);
    uv_loop_close(&s.loop);
    if (s.result == 0)
        log_info("stopped");
    return s.result;
}
