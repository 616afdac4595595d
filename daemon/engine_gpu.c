/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/engine_impl.h"

#include <errno.h>
#include <stdio.h>

#define TRIES 8              /* of opening with less, when there is less than there was */
#define AGAIN_NS 5000000000u /* between two tries to open what is lost */
#define GIVE_LEAST ((uint64_t)64 << 20)

/* ---- opening ---- */

void engine_close_device(struct engine *e)
{
    tier_close(e->tier);
    if (e->cache)
        cache_use_threads(e->cache, NULL);
    if (e->helper)
        e->helper->ops->close(e->helper);
    if (e->device)
        e->device->ops->close(e->device);
    e->tier = NULL;
    e->helper = e->device = NULL;
}

static int open_devices(struct engine *e, struct forward_options *forward, struct err *err)
{
    const struct service *service = e->service;
    struct cpu_device_options helper;
    struct gpu_options options;
    int r;

    gpu_device_options(service, &options);
    r = service->gpu.module->open(&options, &e->device, err);
    if (r < 0 || !service->config->cpu_help)
        return r;
    gpu_helper_options(service, &helper);
    r = cpu_device_open(&helper, &e->helper, err);
    forward->helper = e->helper;
    if (r == 0)
        cache_use_threads(e->cache, cpu_device_threads(e->helper));
    return r;
}

static int open_with(struct engine *e, uint64_t slots, struct err *err)
{
    const struct service *service = e->service;
    const struct expert_layout *layout = model_layout(service->model);
    struct tier_options tier = { .slot_budget = slots };
    struct forward_options forward;
    int r;

    gpu_forward_options(service->config, &service->budget.shape, &forward);
    r = open_devices(e, &forward, err);
    if (r == 0)
        r = tier_open(layout, e->cache, e->device, &tier, &e->tier, NULL, err);
    if (r == 0)
        r = engine_open_pass(e, &forward, err);
    if (r < 0) {
        engine_close_pass(e);
        engine_close_device(e);
    }
    return r;
}

/* Not even the least fits. Rounded up to whole MiB, and one more for what the card's allocations round up. */
static int short_of(const struct budget *budget, uint64_t less, struct err *err)
{
    struct err why = *err;

    return err_set(err, -ENOMEM, "out of memory on the GPU: at least %lluM must be free: %s",
                   (unsigned long long)(((budget_sum(budget) - less) >> 20) + 2), err_text(&why));
}

/* Others may have taken of the card's memory since it was divided. A bound that was set is kept or refused with the
 * number that fits; our own is made to fit. */
int engine_open_gpu(struct engine *e, struct err *err)
{
    const struct budget *budget = &e->service->gpu.budget;
    uint64_t slots = budget->slots, least = budget->needs.slots_min, fits = slots;
    char v[24];
    int r = open_with(e, slots, err);

    for (int i = 0; i < TRIES && r == -ENOMEM && fits > least; i++) {
        struct err again = { 0 };

        fits = i + 1 < TRIES && fits - fits / 8 > least ? fits - fits / 8 : least;
        r = open_with(e, fits, &again);
    }
    if (r == -ENOMEM)
        return short_of(budget, slots - least, err);
    if (r < 0 || fits == slots)
        return r;
    if (e->service->config->vram) {
        engine_close_pass(e);
        engine_close_device(e);
        return err_set(err, -ENOMEM, "out of memory on the GPU: --vram %lluM fits now",
                       (unsigned long long)((budget_sum(budget) - (slots - fits)) >> 20));
    }
    log_warning("vram: less is free than before: %s of expert slots", size_format(fits, v));
    return 0;
}

/* ---- short of memory ---- */

bool engine_give_vram_back(struct engine *e, const struct err *why)
{
    struct tier_stats stats;
    char a[24], b[24];

    if (!e->tier)
        return false;
    tier_stats(e->tier, &stats);
    if (!tier_give_back(e->tier, stats.slot_bytes / 8 > GIVE_LEAST ? stats.slot_bytes / 8 : GIVE_LEAST))
        return false;
    tier_stats(e->tier, &e->totals.tier);
    log_warning("vram: %s; expert slots shrink from %s to %s, and service goes on", err_text(why),
                size_format(stats.slot_bytes, a), size_format(e->totals.tier.slot_bytes, b));
    return true;
}

/* ---- lost ---- */

/* Their keys and values are gone, and so are those kept for a next turn. */
static void fail_all(struct engine *e, const struct err *why)
{
    struct scheduler *s = &e->scheduler;

    for (uint32_t i = 0; i < s->shape.n_seqs; i++) {
        struct sequence *seq = &s->seqs[i];

        if (seq->job) {
            writer_done(e, seq->job, &e->writers[i], FINISH_ERROR, ERR_DEVICE, err_text(why));
            scheduler_release(s, seq);
        }
        seq->n_held = 0;
    }
}

static int open_without(struct engine *e, struct err *err)
{
    const struct gpu *gpu = &e->service->gpu;
    int r;

    if (!gpu->can_fall_back)
        return err_set(err, ERR_DEVICE, "without the GPU the model does not fit: %s", gpu->no_fallback);
    e->slots_most = gpu->fallback.slots;
    e->slot_bytes_set = gpu->fallback.slots;
    r = cache_resize(e->cache, gpu->fallback.slots, err);
    return r < 0 ? r : engine_open_cpu(e, err);
}

/* The GPU again, or else the CPU. */
static int reopen(struct engine *e, struct err *err)
{
    struct err why = { 0 };
    int r = -ENODEV;

    engine_close_pass(e);
    engine_close_device(e);
    if (!e->without_gpu) {
        e->slots_most = e->service->budget.slots;
        r = engine_open_gpu(e, &why);
    }
    if (r < 0) {
        log_error("gpu: %s; it is not to be had again, the CPU computes from now on", err_text(&why));
        r = open_without(e, err);
        e->without_gpu = r == 0;
    }
    if (r < 0) {
        engine_close_pass(e);
        engine_close_device(e);
    }
    return r;
}

static bool bring_back(struct engine *e)
{
    struct err err = { 0 };

    if (reopen(e, &err) < 0) {
        snprintf(e->down, sizeof(e->down), "the GPU is lost: %s", err_text(&err));
        log_error("%s", e->down);
        e->tried_ns = clock_ns();
        return false;
    }
    e->down[0] = '\0';
    engine_say_parts(e);
    return true;
}

void engine_recover(struct engine *e, const struct err *why)
{
    log_error("gpu: %s", err_text(why));
    e->totals.device_losses++;
    fail_all(e, why);
    bring_back(e);
}

bool engine_try_again(struct engine *e)
{
    return clock_ns() - e->tried_ns >= AGAIN_NS && bring_back(e);
}
