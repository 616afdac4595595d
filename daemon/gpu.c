/* SPDX-License-Identifier: MIT */
#include "daemon/gpu.h"

#include "base/arith.h"
#include "base/log.h"
#include "cache/tier.h"
#include "daemon/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB ((uint64_t)1 << 20)
#define STAGING_SHARE 20 /* of all experts, one in so many has a RAM slot even if each has one on the card */

/* ---- finding one ---- */

static int find(const struct config *config, struct gpu *gpu, struct err *err)
{
    int r = gpu_module_load(NULL, &gpu->module, err);

    if (r < 0)
        return r;
    gpu->index = config->gpu >= 0 ? (uint32_t)config->gpu : 0;
    r = gpu->module->count(err);
    if (r < 0)
        return r;
    if (gpu->index >= (uint32_t)r)
        return err_set(err, -ENODEV, "card %u was asked for, but there %s %d (0 is the first)", gpu->index,
                       r == 1 ? "is" : "are", r);
    return gpu->module->card(gpu->index, &gpu->card, err);
}

int gpu_find(const struct config *config, struct gpu *ret_gpu, struct err *err)
{
    struct gpu gpu = { 0 };
    struct err why = { 0 };
    char a[24], b[24];
    int r;

    *ret_gpu = (struct gpu){ 0 };
    if (config->gpu == GPU_OFF)
        return 0;
    r = find(config, &gpu, &why);
    if (r < 0 && config->gpu >= 0)
        return err_set(err, r, "gpu: %s (--gpu off computes on the CPU)", err_text(&why));
    if (r == -ENOENT && gpu.module == NULL && getenv("EXPERTD_GPU_MODULE") == NULL)
        log_info("gpu: %s; computing on the CPU", err_text(&why));
    else if (r < 0)
        log_warning("gpu: %s; computing on the CPU", err_text(&why));
    if (r < 0)
        return 0;
    log_info("gpu: card %u, %s, %s of %s free", gpu.index, gpu.card.name, size_format(gpu.card.free_bytes, a),
             size_format(gpu.card.total_bytes, b));
    *ret_gpu = gpu;
    return 0;
}

/* ---- dividing ---- */

struct measure {
    const struct service *service;
    struct device *probe, *helper;    /* nothing of size is open on them */
    const struct budget_shape *shape; /* of the RAM division: as the card's memory allows */
    uint64_t total;                   /* of RAM */
};

static void options_of(const struct service *service, const struct forward_options *forward,
                       struct gpu_options *ret_options)
{
    struct cpu_device_options like = { 0 };

    forward_cpu_options(service->model, forward, &like);
    *ret_options = (struct gpu_options){ .index = service->gpu.index,
                                         .max_rows = like.max_rows,
                                         .max_ff = like.max_ff,
                                         .max_expert_rows = like.max_expert_rows };
}

static void helper_options_of(const struct service *service, const struct forward_options *forward,
                              struct cpu_device_options *ret_options)
{
    *ret_options =
        (struct cpu_device_options){ .n_threads = service->n_threads, .max_level = service->config->cpu_level };
    forward_helper_options(service->model, forward, ret_options);
}

void gpu_forward_options(const struct config *config, const struct budget_shape *shape,
                         struct forward_options *ret_options)
{
    service_forward_options(config, shape, ret_options);
    ret_options->lock = false;
    ret_options->help_rows = config->cpu_help ? shape->n_seqs : 0;
}

void gpu_device_options(const struct service *service, struct gpu_options *ret_options)
{
    struct forward_options forward;

    gpu_forward_options(service->config, &service->budget.shape, &forward);
    options_of(service, &forward, ret_options);
}

void gpu_helper_options(const struct service *service, struct cpu_device_options *ret_options)
{
    struct forward_options forward;

    gpu_forward_options(service->config, &service->budget.shape, &forward);
    helper_options_of(service, &forward, ret_options);
}

static uint64_t all_slots(const struct service *service)
{
    const struct expert_layout *layout = model_layout(service->model);

    return model_expert_bytes(service->model) + (uint64_t)layout->n_layers * layout->n_experts * 8192;
}

static void measure_card(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs)
{
    const struct measure *m = ctx;
    struct forward_options forward;
    struct gpu_options device;
    struct forward_bytes bytes;

    gpu_forward_options(m->service->config, shape, &forward);
    options_of(m->service, &forward, &device);
    forward.helper = m->helper;
    forward_measure(m->service->model, m->probe, &forward, &bytes);
    *ret_needs = (struct budget_needs){ .dense = bytes.dense,
                                        .kv = bytes.kv,
                                        .activations = bytes.activations,
                                        .device = m->service->gpu.module->device_bytes(&device),
                                        .slots_min = tier_min_bytes(model_layout(m->service->model)),
                                        .slots_max = all_slots(m->service) };
}

static void measure_memory(const void *ctx, const struct budget_shape *unused, struct budget_needs *ret_needs)
{
    const struct measure *m = ctx;
    const struct service *service = m->service;
    const struct expert_layout *layout = model_layout(service->model);
    uint64_t all = model_expert_bytes(service->model) + (uint64_t)layout->n_layers * layout->n_experts * 32768;
    uint64_t on_card = service->gpu.budget.slots, least = cache_min_bytes(layout);
    struct cpu_device_options helper = { 0 };
    struct forward_options forward;
    struct forward_bytes bytes;
    struct cache_options cache;

    gpu_forward_options(service->config, m->shape, &forward);
    forward.helper = m->helper;
    forward_measure(service->model, m->probe, &forward, &bytes);
    service_cache_options(service, &cache);
    cache.slot_budget = 0;
    if (m->helper != NULL)
        helper_options_of(service, &forward, &helper);
    *ret_needs = (struct budget_needs){
        .activations = bytes.host + service_samplers_bytes(service->model, m->shape, m->total),
        .device = m->helper != NULL ? cpu_device_bytes(&helper) : 0,
        .cache_overhead = cache_overhead_bytes(layout, &cache) + tier_overhead_bytes(layout, on_card),
        .slots_min = least,
        .slots_max = u64_max(all - u64_min(all, on_card), u64_max(2 * least, all / STAGING_SHARE)),
    };
}

/* What is free once a context is open, less a reserve for what drivers and others take. */
static int choose_total(const struct service *service, struct device *probe, uint64_t *ret_total, struct err *err)
{
    uint64_t free_bytes, total_bytes, reserve;
    char a[24], b[24];
    int r = probe->copy->memory(probe, &free_bytes, &total_bytes);

    if (r < 0)
        return err_set(err, r, "%s: %s", probe->name, err_text(&probe->err));
    if (service->config->vram > free_bytes)
        return err_set(err, ERR_BUDGET, "--vram %s was asked for, but %s are free on %s: at most --vram %lluM fits",
                       size_format(service->config->vram, a), size_format(free_bytes, b), probe->name,
                       (unsigned long long)(free_bytes / MIB));
    reserve = u64_max(free_bytes / 20, u64_min(256 * MIB, free_bytes / 8));
    *ret_total = service->config->vram > 0 ? service->config->vram : free_bytes - reserve;
    return 0;
}

static void say(const struct service *service)
{
    const struct budget *b = &service->gpu.budget;
    uint64_t experts = model_expert_bytes(service->model);
    double share = experts ? 100.0 * (double)b->slots / (double)experts : 100;
    char v[6][24];

    log_info("vram: %s of a budget of %s: %s dense weights, %s keys and values (%s), %s activations and scratch, %s "
             "expert slots, for %.0f%% of the experts",
             size_format(budget_sum(b), v[0]), size_format(b->total, v[1]), size_format(b->needs.dense, v[2]),
             size_format(b->needs.kv, v[3]), kv_type_name(service->config->kv_type),
             size_format(b->needs.activations + b->needs.device, v[4]), size_format(b->slots, v[5]),
             share > 100 ? 100 : share);
}

/* The shape is the card's; the memory's wish takes it over. */
static int divide_both(struct service *service, const struct budget_wish *wish, struct measure *m, struct err *err)
{
    struct budget_wish card = *wish, memory = *wish;
    struct gpu *gpu = &service->gpu;
    struct err why = { 0 };
    int r = choose_total(service, m->probe, &card.total, err);

    if (r < 0)
        return r;
    card.other = 0;
    card.option = "--vram";
    r = budget_divide(&card, measure_card, m, &gpu->budget, err);
    if (r < 0)
        return r;
    m->shape = &gpu->budget.shape;
    memory.n_ctx = m->shape->n_ctx;
    memory.n_seqs = m->shape->n_seqs;
    memory.batch = m->shape->batch;
    r = budget_divide(&memory, measure_memory, m, &service->budget, err);
    if (r < 0)
        return r;
    service->budget.shape = *m->shape;
    gpu->can_fall_back = service_divide_cpu(service, &memory, m->shape, &gpu->fallback, &why) == 0;
    snprintf(gpu->no_fallback, sizeof(gpu->no_fallback), "%s", err_text(&why));
    say(service);
    return 0;
}

int gpu_divide(struct service *service, const struct budget_wish *wish, struct err *err)
{
    struct gpu_options card = { .index = service->gpu.index, .max_rows = 1, .max_ff = 256, .max_expert_rows = 1 };
    struct cpu_device_options helper = { .n_threads = 1, .max_rows = 1, .max_ff = 1, .max_expert_rows = 1 };
    struct measure m = { .service = service, .total = wish->total };
    int r = service->gpu.module->open(&card, &m.probe, err);

    if (r == 0 && service->config->cpu_help)
        r = cpu_device_open(&helper, &m.helper, err);
    if (r == 0)
        r = divide_both(service, wish, &m, err);
    if (m.helper != NULL)
        m.helper->ops->close(m.helper);
    if (m.probe != NULL)
        m.probe->ops->close(m.probe);
    return r;
}
