/* SPDX-License-Identifier: MIT */
#include "tests/support/device_rig.h"

#include "tests/support/ram_door.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { N_PREDICT = 1 };

int (*rig_device_open)(const struct gpu_options *options, struct device **ret_device, struct err *err);
enum kv_type rig_kv_type = KV_F16;
struct sim rig_sim;
struct io_sim rig_io;
struct model *rig_model;

static uint32_t n_vocab;
static int32_t tokens[RIG_ROWS];
static float *expected, *logits; /* [RIG_ROWS, n_vocab] */

static struct forward_options forward_options_of(struct device *helper)
{
    return (struct forward_options){ .n_ctx = RIG_ROWS,
                                     .n_seqs = 1,
                                     .max_batch = RIG_CHUNK,
                                     .max_logits = RIG_CHUNK,
                                     .kv_type = rig_kv_type,
                                     .helper = helper,
                                     .help_rows = helper != NULL ? 1 : 0,
                                     .stay_rows = RIG_CHUNK,
                                     .predict_rows = N_PREDICT };
}

static int eval_rows(struct forward *forward, uint32_t row, uint32_t *ret_n, struct err *err)
{
    uint32_t left = RIG_PROMPT > row ? RIG_PROMPT - row : 1, n = left < RIG_CHUNK ? left : RIG_CHUNK;
    struct batch_span span = { .pos0 = row, .n_tokens = n, .tokens = tokens + row, .all_logits = true };
    const float *rows;
    int r = forward_eval(forward, &span, 1, NULL, NULL, &rows, err);

    if (r < 0)
        return r;
    memcpy(logits + (size_t)row * n_vocab, rows, (size_t)n * n_vocab * sizeof(*rows));
    *ret_n = n;
    return 0;
}

int rig_rows(struct rig_run *run, int (*on_failure)(struct rig_run *run, int code))
{
    memset(logits, 0xff, (size_t)RIG_ROWS * n_vocab * sizeof(*logits));
    for (uint32_t row = 0, n; row < RIG_ROWS;) {
        int r = eval_rows(run->forward, row, &n, &run->err);

        if (r == 0) {
            row += n;
            continue;
        }
        cr_assert_lt(++run->failed, 200, "%s", err_text(&run->err));
        if (on_failure != NULL)
            r = on_failure(run, r);
        if (r < 0)
            return r;
    }
    return 0;
}

void rig_assert_same(const char *what)
{
    size_t n = (size_t)RIG_ROWS * n_vocab;

    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&logits[i], &expected[i], sizeof(float)), 0, "%s: position %zu, token %zu: %a, not %a",
                     what, i / n_vocab, i % n_vocab, (double)logits[i], (double)expected[i]);
}

static void expect_make(void)
{
    struct forward_options options = forward_options_of(NULL);
    struct cpu_device_options cpu = { .n_threads = 1, .max_level = CPU_LEVEL_BEST };
    struct rig_run run = { 0 };
    struct ram_door *ram;

    forward_cpu_options(rig_model, &options, &cpu);
    cr_assert_eq(cpu_device_open(&cpu, &run.device, &run.err), 0);
    cr_assert_eq(ram_door_open(rig_model, &(struct ram_door_options){ 0 }, &ram, &run.err), 0);
    cr_assert_eq(forward_open(rig_model, run.device, ram_door_door(ram), &options, NULL, NULL, &run.forward, &run.err),
                 0);
    cr_assert_eq(rig_rows(&run, NULL), 0, "%s", err_text(&run.err));
    memcpy(expected, logits, (size_t)RIG_ROWS * n_vocab * sizeof(*logits));
    forward_close(run.forward);
    ram_door_close(ram);
    run.device->ops->close(run.device);
}

void rig_setup(const char *name)
{
    struct err err = { 0 };

    cr_assert_eq(model_open(tiny_model_path(name), &rig_model, &err), 0, "%s", err_text(&err));
    n_vocab = model_hparams(rig_model)->n_vocab;
    for (uint32_t i = 0; i < RIG_ROWS; i++)
        tokens[i] = (int32_t)((i * i * 31 + i * 17 + 5) % n_vocab);
    expected = calloc((size_t)RIG_ROWS * n_vocab, sizeof(*expected));
    logits = calloc((size_t)RIG_ROWS * n_vocab, sizeof(*logits));
    expect_make();
}

void rig_teardown(void)
{
    free(expected);
    free(logits);
    model_close(rig_model);
}

/* `pad`: what a slot is larger than its expert at most. */
static uint64_t share_of(enum share share, uint64_t least, uint64_t pad)
{
    const struct expert_layout *layout = model_layout(rig_model);
    uint64_t all = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        all += layout->n_experts * ((layout->layers[i].expert_bytes + pad) & ~4095ULL);
    all = share == ALL ? all : share == MOST ? all / 6 * 5 : share == HALF ? all / 2 : share == QUARTER ? all / 4 : 0;
    return all > least ? all : least;
}

static void expect_next(struct rig_run *run, uint32_t layer, const uint16_t *ids)
{
    run->hinted->ops->hint(run->hinted, layer, ids, model_hparams(rig_model)->n_used);
    run->hinted->ops->lift(run->hinted, layer, ids, model_hparams(rig_model)->n_used);
}

static void on_route(void *ctx, uint32_t layer, const float *router, const uint16_t *ids, uint32_t n)
{
    struct rig_run *run = ctx;

    cr_assert_null(router);
    if (run->hinted != NULL)
        expect_next(run, layer + 1, ids);
}

static struct gpu_options gpu_options_of(void)
{
    struct forward_options options = forward_options_of(NULL);
    struct cpu_device_options like = { 0 };

    forward_cpu_options(rig_model, &options, &like);
    return (struct gpu_options){ .max_rows = like.max_rows,
                                 .max_ff = like.max_ff,
                                 .max_expert_rows = like.max_expert_rows };
}

void rig_measure(const struct rig_run *run, struct gpu_options *ret_gpu, struct forward_bytes *ret_bytes)
{
    struct forward_options options = forward_options_of(NULL);

    *ret_gpu = gpu_options_of();
    forward_measure(rig_model, run->device, &options, ret_bytes);
}

int rig_open(struct rig_run *run, const struct rig_shape *shape)
{
    const struct expert_layout *layout = model_layout(rig_model);
    struct forward_options options = forward_options_of(NULL);
    struct cpu_device_options cpu = { .n_threads = 1, .max_level = CPU_LEVEL_BEST };
    struct tier_options tier = { .slot_budget = share_of(shape->vram, tier_min_bytes(layout), 3 * 256 + 4095),
                                 .inclusive = shape->inclusive };
    struct cache_options cache;
    struct gpu_options gpu = gpu_options_of();
    int r;

    cache_options_default(&cache);
    cache.slot_budget = share_of(shape->ram, cache_min_bytes(layout), 6 * 4096);
    cache.on_io_open = io_sim_open;
    cache.io_ctx = &rig_io;
    cache.policy = POLICY_NEXT_USE;
    forward_cpu_options(rig_model, &options, &cpu);
    r = rig_device_open != NULL ? rig_device_open(&gpu, &run->device, &run->err)
                                : sim_device_open(&rig_sim, &gpu, &run->device, &run->err);
    if (r == 0)
        r = cpu_device_open(&cpu, &run->helper, &run->err);
    if (r == 0)
        r = cache_open(layout, &cache, &run->cache, &run->err);
    if (r == 0)
        r = tier_open(layout, run->cache, run->device, &tier, &run->tier, NULL, &run->err);
    if (r < 0)
        return r;
    options = forward_options_of(shape->help ? run->helper : NULL);
    options.hooks = (struct forward_hooks){ .on_route = on_route, .ctx = run, .no_logits = true };
    run->hinted = shape->hints ? tier_door(run->tier) : NULL;
    r = forward_open(rig_model, run->device, tier_door(run->tier), &options, NULL, NULL, &run->forward, &run->err);
    while (r == 0 && shape->fill && tier_idle(run->tier))
        ;
    return r;
}

void rig_close(struct rig_run *run)
{
    forward_close(run->forward);
    tier_close(run->tier);
    cache_close(run->cache);
    if (run->helper != NULL)
        run->helper->ops->close(run->helper);
    if (run->device != NULL)
        run->device->ops->close(run->device);
    *run = (struct rig_run){ 0 };
    cr_assert_eq(rig_sim.used_bytes, 0, "%llu bytes of the device are lost", (unsigned long long)rig_sim.used_bytes);
}

void rig_sim_reset(uint64_t seed, uint64_t copy_rate)
{
    rig_sim = (struct sim){
        .n_threads = 1, .seed = seed, .copy_rate = copy_rate, .compute_rate = 50ull << 30, .max_level = CPU_LEVEL_BEST
    };
    rig_io = (struct io_sim){ .order = IO_SIM_RANDOM };
}

void rig_fill(struct rig_run *run)
{
    const struct expert_layout *layout = model_layout(rig_model);
    struct tier_stats stats;

    for (uint32_t i = 0; tier_idle(run->tier); i++)
        cr_assert_lt(i, 20 * layout->n_layers * layout->n_experts, "there is always more to fill");
    tier_stats(run->tier, &stats);
    cr_assert_eq(stats.slots_used, layout->n_layers * layout->n_experts);
}

static uint64_t waits_of_rows(struct rig_run *run, const char *what)
{
    uint64_t before = run->device->n_waits;

    cr_assert_eq(rig_rows(run, NULL), 0, "%s: %s", what, err_text(&run->err));
    rig_assert_same(what);
    return run->device->n_waits - before;
}

/* The last row again, of which the best alone come back, the very ones; and all of it where somebody wants all. */
static void check_best(struct rig_run *run)
{
    enum { BEST = 7 };
    struct batch_span span = { .pos0 = RIG_ROWS - 1, .n_tokens = 1, .tokens = tokens + RIG_ROWS - 1, .best = BEST };
    const float *row = expected + (size_t)(RIG_ROWS - 1) * n_vocab, *all;
    const struct token_logit *best;
    uint64_t waits = run->device->n_waits;
    uint32_t n;

    cr_assert_eq(forward_eval(run->forward, &span, 1, NULL, NULL, &all, &run->err), 0, "%s", err_text(&run->err));
    best = forward_best(run->forward, &n);
    cr_assert_eq(run->device->n_waits - waits, 1);
    cr_assert_eq(n, BEST);
    cr_assert_null(all);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = 0;

        for (int32_t t = 0; t < (int32_t)n_vocab; t++)
            rank += row[t] > best[i].logit || (row[t] == best[i].logit && t < best[i].token);
        cr_assert_eq(rank, i);
        cr_assert_eq(memcmp(&row[best[i].token], &best[i].logit, sizeof(float)), 0);
    }
    span.all_logits = true;
    cr_assert_eq(forward_eval(run->forward, &span, 1, NULL, NULL, &all, &run->err), 0, "%s", err_text(&run->err));
    cr_assert_null(forward_best(run->forward, &n));
    cr_assert_eq(memcmp(all, row, n_vocab * sizeof(float)), 0);
}

void rig_check_one_hand_off(const char *name, enum share ram)
{
    const struct rig_shape shape = { .vram = ALL, .ram = ram };
    struct rig_run run = { 0 };
    struct tier_stats before, after;

    rig_setup(name);
    rig_sim_reset(ram + 1, 0);
    cr_assert_eq(rig_open(&run, &shape), 0, "%s", err_text(&run.err));
    rig_fill(&run);
    tier_stats(run.tier, &before);
    cr_assert_eq(waits_of_rows(&run, name), RIG_EVALS);
    cr_assert_eq(waits_of_rows(&run, name), RIG_EVALS);
    tier_stats(run.tier, &after);
    cr_assert_eq(after.passes - before.passes, 2 * RIG_EVALS - 1);
    cr_assert_geq(after.hits - before.hits, 2 * RIG_EVALS * model_layout(rig_model)->n_layers);
    cr_assert_eq(after.copies, before.copies);
    check_best(&run);
    cr_assert(tier_give_back(run.tier, 1));
    cr_assert_gt(waits_of_rows(&run, "with fewer slots"), RIG_EVALS);
    cr_assert_eq(rig_sim.n_misuse + rig_sim.n_races, 0, "%s", rig_sim.complaint);
    rig_close(&run);
    rig_teardown();
}
