/* SPDX-License-Identifier: MIT */
#include "daemon/chores.h"

#include "base/clock.h"
#include "base/log.h"
#include "cache/pack.h"
#include "cache/pack_write.h"
#include "daemon/jbuf.h"
#include "daemon/service.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SAY_EVERY_NS 2000000000u

/* ---- verifying ---- */

struct verifying {
    const char *what;
    unsigned tenths;
};

static bool on_verify_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct verifying *v = ctx;
    unsigned now = (unsigned)(total ? 10.0 * (double)done / (double)total : 10);

    if (now > v->tenths)
        log_info("verify: %u%% read%s", now * 10, v->what);
    v->tenths = now;
    return false;
}

static int verify_model(const struct service *service, const char *state_dir, struct err *err)
{
    struct verifying v = { .what = "" };
    uint64_t n_bad = 0;
    int r = cache_verify(model_layout(service->model), state_dir, on_verify_progress, &v, &n_bad, err);

    if (r == 0)
        log_info("verify: every expert reads as it is recorded");
    else if (n_bad)
        err_wrap(err, "verify: %" PRIu64 " experts are bad, the first", n_bad);
    return r;
}

/* None is no fault, if it was not asked for. */
static int verify_pack(const struct service *service, const char *state_dir, struct err *err)
{
    const struct config *config = service->config;
    struct verifying v = { .what = " of the pack" };
    struct pack *pack;
    char path[PATH_MAX];
    uint64_t n_bad = 0;
    int r;

    if (config->pack && strcasecmp(config->pack, "off") == 0)
        return 0;
    r = service_pack_path(config, path, err);
    if (r == 0)
        r = pack_open(path, model_layout(service->model), &pack, err);
    if (r < 0)
        return r == -ENOENT && (!config->pack || strcmp(config->pack, path) != 0) ? 0 : r;
    r = cache_verify_pack(model_layout(service->model), pack, state_dir, on_verify_progress, &v, NULL, &n_bad, err);
    pack_close(pack);
    if (r == 0)
        log_info("verify: the pack '%s' is whole", path);
    else if (n_bad)
        err_wrap(err,
                 "verify: %" PRIu64 " experts of the pack are bad ('expert pack --force' makes it anew), the first",
                 n_bad);
    return r;
}

int chore_verify(const struct config *config, struct err *err)
{
    struct service service;
    int r = service_open_files(config, &service, err);

    if (r == 0)
        r = verify_model(&service, service.catalog ? config->state_dir : NULL, err);
    if (r == 0)
        r = verify_pack(&service, service.catalog ? config->state_dir : NULL, err);
    service_close(&service);
    return r;
}

/* ---- measuring ---- */

static void say_curve(const struct cache_drive *d)
{
    log_info("drive: MB/s (latency in ms) by the size of a read, with 1, 2, 4, 8 and 16 of them in flight:");
    for (uint32_t row = 0; row < DRIVE_CELLS; row += DRIVE_DEPTHS) {
        char line[160];
        int n = snprintf(line, sizeof(line), "%5u KiB", drive_size(row) >> 10);

        for (uint32_t i = row; i < row + DRIVE_DEPTHS; i++)
            n += snprintf(line + n, sizeof(line) - (size_t)n, "%8.0f (%5.2f)", (double)d->curve.cell[i].rate / 1e6,
                          (double)d->curve.cell[i].latency_ns / 1e6);
        if (d->curve.cell[row].rate > 0)
            log_info("drive: %s", line);
    }
}

int chore_measure_drive(const struct config *config, struct err *err)
{
    struct service service;
    struct cache_options options;
    struct cache_drive drive = { .measuring = true };
    struct cache *cache = NULL;
    int r = service_open_files(config, &service, err);

    if (r == 0) {
        service_cache_options(&service, &options);
        options.slot_budget = cache_min_bytes(model_layout(service.model));
        options.io_mode = IO_DIRECT;
        options.queue_depth = options.piece_bytes = 0;
        options.measure = MEASURE_NOW;
        r = cache_open(model_layout(service.model), &options, &cache, err);
    }
    for (; r == 0 && drive.measuring; cache_drive(cache, &drive))
        cache_idle(cache);
    if (r == 0) {
        if (drive.curve.measured_s > 0)
            say_curve(&drive);
        service_say_drive(&drive);
        r = cache_keep(cache, err);
    }
    cache_close(cache);
    service_close(&service);
    return r;
}

/* ---- packing ---- */

static volatile sig_atomic_t stop_signal;

static void on_stop(int number)
{
    stop_signal = number;
}

static void signals_take(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART }, was;

        if (sigaction(numbers[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

struct packing {
    enum pack_phase phase;
    uint64_t start_ns, said_ns; /* of the phase; of the last line */
};

static bool on_pack_progress(void *ctx, enum pack_phase phase, uint64_t done, uint64_t total)
{
    struct packing *p = ctx;
    uint64_t now = clock_ns();
    double seconds, rate;
    char a[24], b[24], c[24];

    if (phase != p->phase || !p->start_ns) {
        p->phase = phase;
        p->start_ns = p->said_ns = now;
    }
    if (now - p->said_ns >= SAY_EVERY_NS) {
        seconds = (double)(now - p->start_ns) / 1e9;
        rate = (double)done / seconds;
        log_info("pack: %s %.0f%%: %s of %s, %s/s, %.0f s left", phase == PACK_WRITING ? "writing" : "reading back",
                 100.0 * (double)done / (double)total, size_format(done, a), size_format(total, b),
                 size_format((uint64_t)rate, c), rate > 0 ? (double)(total - done) / rate : 0.0);
        p->said_ns = now;
    }
    return stop_signal != 0;
}

static void say_written(const char *path, const struct pack_written *w, double seconds)
{
    char bytes[24];

    if (w->existed)
        log_info("pack: '%s' is there, and belongs to this model; --force makes it anew", path);
    else if (w->n_kept)
        log_info("pack: '%s' is whole: %s, %u experts, of which an earlier run wrote %u, in %.1f s", path,
                 size_format(w->file_bytes, bytes), w->n_experts, w->n_kept, seconds);
    else
        log_info("pack: '%s' is whole: %s, %u experts, in %.1f s", path, size_format(w->file_bytes, bytes),
                 w->n_experts, seconds);
    if (!w->existed)
        log_info("pack: a daemon uses it from its next start on");
}

static void print_json(const char *path, const struct pack_written *w, double seconds, int r, const struct err *err)
{
    struct jbuf out = { 0 };

    jbuf_put(&out, "{\"path\":");
    jbuf_string(&out, path, strlen(path));
    if (r == 0)
        jbuf_printf(&out,
                    ",\"ok\":true,\"existed\":%s,\"bytes\":%" PRIu64 ",\"experts\":%u,\"kept\":%u,\"seconds\":%.3f}\n",
                    w->existed ? "true" : "false", w->file_bytes, w->n_experts, w->n_kept, seconds);
    else {
        jbuf_put(&out, ",\"ok\":false,\"error\":");
        jbuf_string(&out, err_text(err), strlen(err_text(err)));
        jbuf_put(&out, "}\n");
    }
    if (!out.failed)
        fwrite(out.p, 1, out.n, stdout);
    fflush(stdout);
    jbuf_fini(&out);
}

static int pack_model(const struct service *service, const char *path, struct pack_written *ret_written,
                      struct err *err)
{
    struct packing packing = { 0 };
    struct pack_write_options options = { .path = path,
                                          .catalog_dir = service->catalog ? service->config->state_dir : NULL,
                                          .force = service->config->force,
                                          .on_progress = on_pack_progress,
                                          .ctx = &packing };

    log_info("pack: writing '%s'", path);
    return pack_write(model_layout(service->model), &options, ret_written, err);
}

int chore_write_pack(const struct config *config, struct err *err)
{
    struct pack_written written = { 0 };
    struct service service;
    uint64_t start_ns = clock_ns();
    char path[PATH_MAX] = "";
    double seconds;
    int r;

    signals_take();
    r = service_open_files(config, &service, err);
    if (r == 0)
        r = service_pack_path(config, path, err);
    if (r == 0)
        r = pack_model(&service, path, &written, err);
    seconds = (double)(clock_ns() - start_ns) / 1e9;
    if (r == 0)
        say_written(path, &written, seconds);
    if (config->json)
        print_json(path, &written, seconds, r, err);
    service_close(&service);
    if (r == ERR_CANCELED && stop_signal) {
        log_error("pack: %s", err_text(err));
        signal(stop_signal, SIG_DFL);
        raise(stop_signal);
    }
    return r < 0 ? err_wrap(err, "pack") : r;
}
