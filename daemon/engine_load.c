/* SPDX-License-Identifier: MIT */
#include "daemon/engine_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/processor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PUBLISH_EVERY_NS 100000000u

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct engine *e = ctx;
    uint64_t now = clock_ns();

    atomic_store(&e->alive_ns, now);
    e->totals.load_done = done;
    e->totals.load_total = total;
    if (now - e->heard_load_ns < PUBLISH_EVERY_NS && done < total)
        return;
    e->heard_load_ns = now;
    engine_publish(e);
}

/* --- guessing ahead --- */

static void on_route(void *ctx, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n)
{
    struct engine *e = ctx;

    if (e->service->recorder)
        engine_record_route(e, layer, logits, ids, n);
    if (e->lookahead)
        lookahead_on_route(e->lookahead, layer, ids, n);
}

static void on_request(void *ctx, uint32_t layer, uint32_t n)
{
    struct engine *e = ctx;

    if (e->lookahead)
        lookahead_on_request(e->lookahead, layer, n);
    if (e->lookahead && e->service->recorder)
        engine_record_guess(e);
}

static int predict(void *ctx, uint32_t layer, uint32_t n, const uint16_t **ret_ids)
{
    struct engine *e = ctx;

    return forward_predict(e->forward, layer, n, ret_ids, NULL);
}

static int open_prefetch(struct engine *e, struct err *err)
{
    const struct config *config = e->service->config;
    const struct expert_layout *layout = model_layout(e->service->model);
    struct lookahead_options options = { .mode = config->prefetch,
                                         .max_rows = e->service->budget.shape.n_seqs,
                                         .predict = predict,
                                         .ctx = e };
    int r;

    if (config->prefetch == LOOKAHEAD_OFF)
        return 0;
    r = lookahead_open(layout, engine_door(e), &options, &e->lookahead, err);
    if (r == 0)
        r = warmup_open(layout, e->cache, &e->warmup, err);
    if (r == 0 && warmup_count(e->warmup))
        log_info("warm-up: reading the %u experts that were used most before, while there is nothing else to do",
                 warmup_count(e->warmup));
    return r;
}

/* --- the parts --- */

struct expert_door *engine_door(const struct engine *e)
{
    return e->tier ? tier_door(e->tier) : cache_door(e->cache);
}

int engine_open_pass(struct engine *e, struct forward_options *options, struct err *err)
{
    int r;

    options->hooks =
        (struct forward_hooks){ .on_route = on_route, .on_request = on_request, .ctx = e, .no_logits = true };
    r = forward_open(e->service->model, e->device, engine_door(e), options, on_progress, e, &e->forward, err);
    return r < 0 ? r : open_prefetch(e, err);
}

void engine_close_pass(struct engine *e)
{
    warmup_close(e->warmup);
    if (e->lookahead)
        lookahead_close(e->lookahead);
    if (e->forward)
        forward_close(e->forward);
    e->warmup = NULL;
    e->lookahead = NULL;
    e->forward = NULL;
}

int engine_open_cpu(struct engine *e, struct err *err)
{
    struct forward_options forward;
    struct cpu_device_options device;
    int r;

    service_device_options(e->service, &device);
    r = cpu_device_open(&device, &e->device, err);
    if (r < 0)
        return r;
    cache_use_threads(e->cache, cpu_device_threads(e->device));
    service_forward_options(e->service->config, &e->service->budget.shape, &forward);
    forward.on_demand = e->lent > 0;
    return engine_open_pass(e, &forward, err);
}

static int open_parts(struct engine *e, struct err *err)
{
    struct cache_options cache;
    int r;

    service_cache_options(e->service, &cache);
    r = cache_open(model_layout(e->service->model), &cache, &e->cache, err);
    if (r < 0)
        return r;
    return e->service->gpu.module ? engine_open_gpu(e, err) : engine_open_cpu(e, err);
}

void engine_say_parts(struct engine *e)
{
    snprintf(e->totals.device, sizeof(e->totals.device), "%s", e->device->name);
    e->totals.on_gpu = e->tier != NULL;
    log_info("compute: %s, %u %s; experts are read with %s", e->device->name, e->service->n_threads,
             e->service->n_threads == 1 ? "thread" : "threads", cache_describe(e->cache));
    if (e->helper)
        log_info("compute: %s computes experts that lie in memory where that is sooner: the last digits of answers may "
                 "differ from run to run (--cpu-help off)",
                 e->helper->name);
}

int engine_load(struct engine *e, struct err *err)
{
    const struct budget_shape *shape = &e->service->budget.shape;
    int r;

    e->lent = service_lent(e->service);
    r = open_parts(e, err);
    if (r < 0)
        return r;
    r = scheduler_init(&e->scheduler, shape, shape->n_seqs + e->service->config->queue);
    e->writers = mem_calloc(shape->n_seqs, sizeof(*e->writers));
    if (r < 0 || !e->writers)
        return err_set(err, -ENOMEM, "out of memory");
    e->slots_most = e->service->budget.slots;
    atomic_store(&e->slot_bytes_wanted, e->slot_bytes_set = service_slots_most(e->service));
    snprintf(e->totals.io, sizeof(e->totals.io), "%s", cache_describe(e->cache));
    engine_say_parts(e);
    processor_say_pages();
    cache_drive(e->cache, &e->totals.drive);
    if (e->totals.drive.doubt == NULL)
        service_say_drive(&e->totals.drive);
    if (cache_note(e->cache)) {
        log_info("catalog: %s", cache_note(e->cache));
        snprintf(e->noted, sizeof(e->noted), "%s", cache_note(e->cache));
    }
    return 0;
}

static void keep_catalog(struct engine *e)
{
    struct err err = { 0 };
    int r = cache_keep(e->cache, &err);

    if (r < 0 && r != -EAGAIN)
        log_warning("checksums and heat could not be kept: %s", err_text(&err));
}

void engine_unload(struct engine *e)
{
    if (e->cache)
        keep_catalog(e);
    engine_close_pass(e);
    engine_close_device(e);
    if (e->cache)
        cache_close(e->cache);
    for (uint32_t i = 0; e->writers && i < e->service->budget.shape.n_seqs; i++) {
        mem_free(e->writers[i].piece);
        mem_free(e->writers[i].out);
        mem_free(e->writers[i].held);
    }
    mem_free(e->writers);
    scheduler_fini(&e->scheduler);
}
