/* SPDX-License-Identifier: MIT */
#include "daemon/service.h"

#include "base/arith.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/pack.h"
#include "daemon/machine.h"
#include "daemon/processor.h"
#include "daemon/recorder.h"
#include "model/forward.h"
#include "model/sampler.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_DEPTH 6                       /* two experts of three parts each */
#define CODE_BY_PAGE ((uint64_t)1344 << 10) /* all that ever runs while serving, on x86-64 with glibc 2.36 */
#define LENT_LEAST ((uint64_t)4 << 20) /* less is not worth the trouble */
#define STAY_ROWS 16u    /* tokens: of more than these an expert's rows are worth bringing together */
#define PREDICT_ROWS 64u /* likewise: more choose nearly every expert anyway */

/* The measuring functions ask a device; this one has opened nothing of size. */
struct measure {
    const struct config *config;
    const struct model *model;
    struct device *probe;
    uint32_t n_threads;
    const struct budget_shape *shape; /* this one, whatever is asked about; NULL: what is asked about */
    uint64_t total;
};

static void device_options(const struct config *config, const struct model *model, uint32_t n_threads,
                           const struct forward_options *forward, struct cpu_device_options *ret_options)
{
    *ret_options = (struct cpu_device_options){ .n_threads = n_threads, .max_level = config->cpu_level };
    forward_cpu_options(model, forward, ret_options);
}

void service_device_options(const struct service *service, struct cpu_device_options *ret_options)
{
    struct forward_options forward;

    service_forward_options(service->config, &service->budget.shape, &forward);
    device_options(service->config, service->model, service->n_threads, &forward, ret_options);
}

/* Answers' tokens, and those of a prompt's chunk that will not choose nearly every expert anyway. */
static uint32_t predict_rows(const struct config *config, const struct budget_shape *shape)
{
    uint32_t rows = shape->batch < PREDICT_ROWS ? shape->batch : PREDICT_ROWS;

    if (config->prefetch == LOOKAHEAD_OFF)
        return 0;
    return shape->n_seqs > rows ? shape->n_seqs : rows;
}

void service_forward_options(const struct config *config, const struct budget_shape *shape,
                             struct forward_options *ret_options)
{
    *ret_options = (struct forward_options){ .n_ctx = shape->n_ctx,
                                             .n_seqs = shape->n_seqs,
                                             .max_batch = shape->max_batch,
                                             .max_logits = shape->max_logits,
                                             .kv_type = config->kv_type,
                                             .on_demand = true,
                                             .stay_rows = shape->max_batch < STAY_ROWS ? shape->max_batch : STAY_ROWS,
                                             .predict_rows = predict_rows(config, shape),
                                             .lock = true,
                                             .embd_on_disk = shape->embd_on_disk };
}

uint64_t service_lent(const struct service *service)
{
    const struct budget *b = &service->budget;
    uint64_t bytes = b->needs.kv + b->needs.batch;
    bool lends = !service->gpu.module && bytes >= LENT_LEAST && b->slots < b->needs.slots_max;

    return lends ? bytes : 0;
}

uint64_t service_slots_most(const struct service *service)
{
    const struct budget *b = &service->budget;

    return u64_min(b->slots + service_lent(service), u64_max(b->slots, b->needs.slots_max));
}

void service_cache_options(const struct service *service, struct cache_options *ret_options)
{
    const struct config *config = service->config;

    cache_options_default(ret_options);
    ret_options->slot_budget = service_slots_most(service);
    ret_options->io_mode = config->io;
    ret_options->io_engine = config->io_engine;
    ret_options->queue_depth = config->queue_depth;
    if (!config->queue_depth && budget_is_small(service->budget.total))
        ret_options->queue_depth = SMALL_DEPTH;
    ret_options->no_shadow = budget_is_small(service->budget.total);
    ret_options->piece_bytes = config->read_kib << 10;
    ret_options->policy = config->policy;
    ret_options->pack = service->pack;
    ret_options->catalog_dir = service->catalog ? config->state_dir : NULL;
    ret_options->ram_free_bytes =
        service->free_bytes > service->budget.total ? service->free_bytes - service->budget.total : 0;
}

/* A sampler for each answer at once. The reserve is meant for such, as long as they are a small part of it. */
uint64_t service_samplers_bytes(const struct model *model, const struct budget_shape *shape, uint64_t total)
{
    uint64_t bytes = shape->n_seqs * sampler_bytes(model_hparams(model)->n_vocab);

    return bytes - u64_min(bytes, budget_reserve(total) / 4);
}

static void measure(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs)
{
    const struct measure *m = ctx;
    const struct expert_layout *layout = model_layout(m->model);
    struct service probe = { .config = m->config, .catalog = true, .budget.total = m->total };
    struct cpu_device_options device;
    struct forward_options options;
    struct cache_options cache;
    struct forward_bytes bytes;

    shape = m->shape != NULL ? m->shape : shape;
    service_forward_options(m->config, shape, &options);
    device_options(m->config, m->model, m->n_threads, &options, &device);
    service_cache_options(&probe, &cache);
    forward_measure(m->model, m->probe, &options, &bytes);
    *ret_needs =
        (struct budget_needs){ .dense = bytes.dense,
                               .kv = bytes.kv,
                               .batch = bytes.batch,
                               .activations = bytes.activations + service_samplers_bytes(m->model, shape, m->total),
                               .device = cpu_device_bytes(&device),
                               .cache_overhead = cache_overhead_bytes(layout, &cache),
                               .slots_min = cache_min_bytes(layout),
                               /* a slot holds an expert as it lies on disk, with its unaligned ends */
                               .slots_max = model_expert_bytes(m->model) +
                                            (uint64_t)layout->n_layers * layout->n_experts * 32768 };
}

static uint64_t free_memory(bool *ret_by_cgroup)
{
    struct machine_memory memory;
    uint64_t free_bytes;

    machine_memory("", &memory);
    free_bytes = u64_min(memory.machine.left, memory.group.left);
    *ret_by_cgroup = memory.group.left < memory.machine.left;
    return free_bytes == UINT64_MAX ? (uint64_t)2 << 30 : free_bytes;
}

static uint64_t choose_total(struct service *service)
{
    bool by_cgroup;
    uint64_t total;
    char a[24], b[24], c[24];

    service->free_bytes = free_memory(&by_cgroup);
    if (service->config->memory > service->free_bytes + machine_rss())
        log_warning("memory: a budget of %s is more than %s: %s are left here; slots will be given back when it runs "
                    "short",
                    size_format(service->config->memory, a), by_cgroup ? "this control group allows" : "there is",
                    size_format(service->free_bytes, b));
    if (service->config->memory)
        return service->config->memory;
    total = budget_of_free(service->free_bytes);
    log_info("memory: no --memory given; %s are free%s, of which %s are left to others: taking at most %s",
             size_format(service->free_bytes, a), by_cgroup ? " within this control group" : "",
             size_format(service->free_bytes - total, b), size_format(total, c));
    return total;
}

static double percent_of(uint64_t slots, uint64_t experts)
{
    return slots < experts ? 100.0 * (double)slots / (double)experts : 100;
}

static void say_budget(const struct service *service, const struct budget *b)
{
    const struct hparams *hp = model_hparams(service->model);
    const struct budget_needs *n = &b->needs;
    uint64_t experts = model_expert_bytes(service->model);
    double share = percent_of(b->slots, experts), most = percent_of(service_slots_most(service), experts);
    char v[8][24], more[80] = "";

    log_info("memory: %s of a budget of %s: %s dense weights, %s keys and values (%s), %s activations and scratch, %s "
             "expert slots, %s tables, %s everything else",
             size_format(budget_sum(b), v[7]), size_format(b->total, v[0]), size_format(n->dense, v[1]),
             size_format(n->kv, v[2]), kv_type_name(service->config->kv_type),
             size_format(n->activations + n->device, v[3]), size_format(b->slots, v[4]),
             size_format(n->cache_overhead, v[5]), size_format(b->other, v[6]));
    if (most >= share + 1)
        snprintf(more, sizeof(more), ", for %.0f%% while contexts are short and no prompt is read", most);
    log_info("memory: slots for %.0f%% of the experts (%s)%s; one token uses %s of them", share,
             size_format(experts, v[0]), more, size_format(model_token_bytes(service->model), v[1]));
    if (b->slots < model_token_bytes(service->model))
        log_warning(
            "memory: the experts that one token uses do not fit in %s of slots, so every token reads from disk; "
            "%s more of --memory would help most",
            size_format(b->slots, v[0]), size_format(model_token_bytes(service->model) - b->slots, v[1]));
    if (b->shape.embd_on_disk)
        log_info("memory: the table of embeddings stays on disk: a row of it is read with each token");
    log_info("context: %u tokens, %u %s at once, prompts in chunks of %u%s", b->shape.n_ctx, b->shape.n_seqs,
             b->shape.n_seqs == 1 ? "answer" : "answers", b->shape.batch,
             service->config->context || b->shape.n_ctx >= hp->n_ctx_train ? "" : " (--context N for longer ones)");
}

/* What the process takes beside the model: what is there now, less the code that was touched only to load it, and what
 * comes back of it when it runs: about half, or page by page so much as was measured (the libraries decide, not the
 * model). */
static uint64_t resident_in_service(uint64_t total)
{
    bool by_page = budget_is_small(total);
    uint64_t loaded = machine_rss(), kept;

    malloc_trim(0);
    machine_give_back_code(by_page);
    kept = machine_rss();
    if (by_page)
        return kept + CODE_BY_PAGE;
    return loaded > kept ? kept + (loaded - kept) / 2 : loaded;
}

int service_divide_cpu(const struct service *service, const struct budget_wish *wish, const struct budget_shape *shape,
                       struct budget *ret_budget, struct err *err)
{
    struct measure m = { .config = service->config,
                         .model = service->model,
                         .n_threads = service->n_threads,
                         .shape = shape,
                         .total = wish->total };
    struct cpu_device_options probe = { .n_threads = 1, .max_rows = 1, .max_ff = 1, .max_expert_rows = 1 };
    int r = cpu_device_open(&probe, &m.probe, err);

    if (r < 0)
        return r;
    r = budget_divide(wish, measure, &m, ret_budget, err);
    m.probe->ops->close(m.probe);
    return r;
}

/* With a GPU that was found but cannot serve this model, the CPU does, unless that GPU was asked for. */
static int divide_gpu(struct service *service, const struct budget_wish *wish, struct err *err)
{
    struct err why = { 0 };
    int r = gpu_divide(service, wish, &why);

    if (r == 0)
        return 0;
    if (service->config->gpu >= 0)
        return err_set(err, r, "gpu: %s", err_text(&why));
    log_warning("gpu: %s; computing on the CPU", err_text(&why));
    service->gpu.module = NULL;
    return 0;
}

static int divide(struct service *service, struct err *err)
{
    const struct config *config = service->config;
    const struct hparams *hp = model_hparams(service->model);
    struct budget_wish wish = { .total = choose_total(service),
                                .n_ctx = config->context,
                                .n_seqs = config->parallel,
                                .batch = config->batch,
                                .n_ctx_train = hp->n_ctx_train,
                                .n_vocab = hp->n_vocab,
                                .kv_wide =
                                    kv_row_bytes(config->kv_type, hp->head_dim) > kv_row_bytes(KV_Q8_0, hp->head_dim) };
    int r = 0;

    if (hp->n_ctx_train && config->context > hp->n_ctx_train) {
        log_warning("context: %u is more than this model was made for, taking %u", config->context, hp->n_ctx_train);
        wish.n_ctx = hp->n_ctx_train;
    }
    wish.other =
        resident_in_service(wish.total) + budget_reserve(wish.total) + (config->record_routing ? recorder_bytes() : 0);
    if (service->gpu.module != NULL)
        r = divide_gpu(service, &wish, err);
    if (r == 0 && service->gpu.module == NULL)
        r = service_divide_cpu(service, &wish, NULL, &service->budget, err);
    if (r == 0)
        say_budget(service, &service->budget);
    return r;
}

static int make_directories(const char *path)
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return mkdir(copy, 0750) < 0 && errno != EEXIST ? -errno : 0;
}

/* A directory that was asked for must work; without the default one we go on, and say what is lost. */
static int open_state_dir(struct service *service, struct err *err)
{
    const struct config *config = service->config;
    int r = make_directories(config->state_dir);

    if (r == 0 && access(config->state_dir, R_OK | W_OK | X_OK) < 0)
        r = -errno;
    service->catalog = r == 0;
    if (r == 0)
        return 0;
    if (config->state_dir_set)
        return err_sys(err, -r, "state directory '%s' cannot be written", config->state_dir);
    log_warning("state directory '%s' cannot be written (%s): checksums are kept in memory only; choose another with "
                "--state-dir",
                config->state_dir, strerror(-r));
    return 0;
}

static int open_model(struct service *service, struct err *err)
{
    const struct config *config = service->config;
    bool recognised;
    char bytes[24];
    int r;

    if (!config->model)
        return err_set(err, -EINVAL,
                       "no model: give one with --model FILE, or `model = FILE` in the configuration file");
    r = model_open(config->model, &service->model, err);
    if (r < 0)
        return r;
    r = tokenizer_open(model_gguf(service->model), &service->tokenizer, err);
    if (r < 0)
        return err_wrap(err, "model '%s'", config->model);
    service->format = chat_format_detect(model_gguf(service->model), &recognised);
    model_drop_arrays(service->model);
    service->name = config->alias ? config->alias : model_name(service->model);
    log_info("model: %s (%s, %s, %u layers, %u experts of which %u per token, %s)", model_name(service->model),
             model_arch_name(service->model), model_quant_name(service->model), model_hparams(service->model)->n_layers,
             model_hparams(service->model)->n_experts, model_hparams(service->model)->n_used,
             size_format(model_dense_bytes(service->model) + model_expert_bytes(service->model), bytes));
    if (model_note(service->model))
        log_warning("model: %s", model_note(service->model));
    if (tokenizer_warning(service->tokenizer))
        log_warning("model: %s", tokenizer_warning(service->tokenizer));
    if (!recognised)
        log_warning("model: its chat template is not one of those known here; conversations are written as %s",
                    chat_format_name(service->format));
    return 0;
}

int service_open_files(const struct config *config, struct service *service, struct err *err)
{
    int r;

    *service = (struct service){ .config = config, .started = time(NULL) };
    r = open_model(service, err);
    return r < 0 ? r : open_state_dir(service, err);
}

int service_pack_path(const struct config *config, char path[PATH_MAX], struct err *err)
{
    bool named = config->pack && strcasecmp(config->pack, "auto") != 0 && strcasecmp(config->pack, "off") != 0;
    int n = snprintf(path, PATH_MAX, "%s%s", named ? config->pack : config->model, named ? "" : PACK_SUFFIX);

    return n < PATH_MAX ? 0 : err_sys(err, ENAMETOOLONG, "pack of '%.200s'", config->model);
}

/* One that was asked for must work; one that lies there is used if it can be, and we say why not. */
static int open_pack(struct service *service, struct err *err)
{
    const struct config *config = service->config;
    bool found = !config->pack || strcasecmp(config->pack, "auto") == 0;
    struct err why = { 0 };
    char path[PATH_MAX];
    int r;

    if (config->pack && strcasecmp(config->pack, "off") == 0)
        return 0;
    r = service_pack_path(config, path, &why);
    if (r == 0)
        r = pack_open(path, model_layout(service->model), &service->pack, &why);
    if (r == 0)
        log_info("pack: experts are read from '%s'", path);
    else if (found && r != -ENOENT)
        log_warning("%s; experts are read from the model itself", err_text(&why));
    if (r == 0 || found)
        return 0;
    return err_set(err, r, "%s (or serve without: --pack off)", err_text(&why));
}

/* Serving is more than what is written down about it. */
static void open_recorder(struct service *service)
{
    const char *path = service->config->record_routing;
    struct err err = { 0 };

    if (!path || service->config->check_config)
        return;
    if (recorder_open(path, model_layout(service->model), &service->recorder, &err) < 0)
        log_error("record-routing: %s; serving without a recording", err_text(&err));
    else
        log_info("record-routing: which experts are chosen is written to '%s'", path);
}

int service_open(const struct config *config, struct service *ret_service, struct err *err)
{
    struct service service;
    int r = service_open_files(config, &service, err);

    if (r == 0)
        r = open_pack(&service, err);
    if (r == 0) {
        processor_say(model_gguf(service.model), config->cpu_level);
        processor_spread_memory();
        service.n_threads = processor_threads(config->threads);
        open_recorder(&service);
        r = gpu_find(config, &service.gpu, err);
    }
    if (r == 0)
        r = divide(&service, err);
    if (r < 0) {
        service_close(&service);
        return r;
    }
    *ret_service = service;
    return 0;
}

void service_say_drive(const struct cache_drive *d)
{
    char piece[24];

    if (d->doubt != NULL)
        log_info("drive: experts are read in pieces of %s, up to %u at a time, as by default: %s",
                 size_format(d->piece_bytes, piece), d->depth, d->doubt);
    else
        log_info("drive: experts are read in pieces of %s, up to %u at a time, as its curve asks for: about %.0f MB/s",
                 size_format(d->piece_bytes, piece), d->depth, (double)d->rate / 1e6);
}

void service_close(struct service *service)
{
    recorder_close(service->recorder);
    pack_close(service->pack);
    if (service->tokenizer)
        tokenizer_close(service->tokenizer);
    if (service->model)
        model_close(service->model);
    *service = (struct service){ 0 };
}
