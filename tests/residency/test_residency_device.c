/* SPDX-License-Identifier: MIT
 *
 * Residency changes nothing on a device with memory of its own either: the logits are the same bits whatever share of
 * the experts lies in its slots, in RAM, or on the drive, exclusive or not, in whatever order copies and products are
 * executed, and with the CPU's help, which computes as this device does. No copy and no product meet without a fence.
 */
#include "cache/tier.h"
#include "model/forward.h"
#include "model/model.h"
#include "tests/support/io_sim.h"
#include "tests/support/ram_door.h"
#include "tests/support/sim_device.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_PROMPT = 24, N_CHUNK = 20, N_STEPS = 10, N_ROWS = N_PROMPT + N_STEPS, N_PREDICT = 1 };

static struct sim sim;
static struct io_sim io;
static struct model *model;
static uint32_t n_vocab;
static int32_t tokens[N_ROWS];
static float *expected, *logits; /* [N_ROWS, n_vocab] */

/* What one run is made of. */
struct run {
    struct device *device, *helper;
    struct cache *cache;
    struct tier *tier;
    struct forward *forward;
    struct expert_door *hinted; /* each layer's experts are hinted for the next layer */
    struct err err;
};

static struct forward_options forward_options_of(struct device *helper)
{
    return (struct forward_options){ .n_ctx = N_ROWS,
                                     .n_seqs = 1,
                                     .max_batch = N_CHUNK,
                                     .max_logits = N_CHUNK,
                                     .kv_type = KV_F16,
                                     .helper = helper,
                                     .help_rows = helper != NULL ? 1 : 0,
                                     .predict_rows = N_PREDICT };
}

static int eval_rows(struct forward *forward, uint32_t row, uint32_t *ret_n, struct err *err)
{
    uint32_t left = N_PROMPT > row ? N_PROMPT - row : 1, n = left < N_CHUNK ? left : N_CHUNK;
    struct batch_span span = { .pos0 = row, .n_tokens = n, .tokens = tokens + row, .all_logits = true };
    const float *rows;
    int r = forward_eval(forward, &span, 1, NULL, NULL, &rows, err);

    if (r < 0)
        return r;
    memcpy(logits + (size_t)row * n_vocab, rows, (size_t)n * n_vocab * sizeof(*rows));
    *ret_n = n;
    return 0;
}

/* The prompt in chunks, then token by token; a failed eval is done again, at most `may_fail` times in all. */
static uint32_t run_rows(struct run *run, uint32_t may_fail)
{
    uint32_t failed = 0, n;

    memset(logits, 0xff, (size_t)N_ROWS * n_vocab * sizeof(*logits));
    for (uint32_t row = 0; row < N_ROWS;)
        if (eval_rows(run->forward, row, &n, &run->err) == 0)
            row += n;
        else
            cr_assert_leq(++failed, may_fail, "%s", err_text(&run->err));
    return failed;
}

static void assert_same(const char *what)
{
    size_t n = (size_t)N_ROWS * n_vocab;

    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&logits[i], &expected[i], sizeof(float)), 0, "%s: position %zu, token %zu: %a, not %a",
                     what, i / n_vocab, i % n_vocab, (double)logits[i], (double)expected[i]);
}

static void expect_make(void)
{
    struct forward_options options = forward_options_of(NULL);
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };
    struct run run = { 0 };
    struct ram_door *ram;

    forward_cpu_options(model, &options, &cpu);
    cr_assert_eq(cpu_device_open(&cpu, &run.device, &run.err), 0);
    cr_assert_eq(ram_door_open(model, &(struct ram_door_options){ 0 }, &ram, &run.err), 0);
    cr_assert_eq(forward_open(model, run.device, ram_door_door(ram), &options, NULL, NULL, &run.forward, &run.err), 0);
    run_rows(&run, 0);
    memcpy(expected, logits, (size_t)N_ROWS * n_vocab * sizeof(*logits));
    forward_close(run.forward);
    ram_door_close(ram);
    run.device->ops->close(run.device);
}

static void setup(const char *name)
{
    struct err err = { 0 };

    cr_assert_eq(model_open(tiny_model_path(name), &model, &err), 0, "%s", err_text(&err));
    n_vocab = model_hparams(model)->n_vocab;
    for (uint32_t i = 0; i < N_ROWS; i++)
        tokens[i] = (int32_t)((i * i * 31 + i * 17 + 5) % n_vocab);
    expected = calloc((size_t)N_ROWS * n_vocab, sizeof(*expected));
    logits = calloc((size_t)N_ROWS * n_vocab, sizeof(*logits));
    expect_make();
}

static void teardown(void)
{
    free(expected);
    free(logits);
    model_close(model);
}

enum share { LEAST, QUARTER, HALF, ALL, SHARES };

/* `pad`: what a slot is larger than its expert at most. */
static uint64_t share_of(enum share share, uint64_t least, uint64_t pad)
{
    const struct expert_layout *layout = model_layout(model);
    uint64_t all = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        all += layout->n_experts * ((layout->layers[i].expert_bytes + pad) & ~4095ULL);
    all = share == ALL ? all : share == HALF ? all / 2 : share == QUARTER ? all / 4 : 0;
    return all > least ? all : least;
}

struct shape {
    enum share vram, ram;
    bool inclusive, help, hints;
};

static void on_route(void *ctx, uint32_t layer, const float *router, const uint16_t *ids, uint32_t n)
{
    struct run *run = ctx;

    cr_assert_null(router);
    if (run->hinted != NULL)
        run->hinted->ops->hint(run->hinted, layer + 1, ids, model_hparams(model)->n_used);
}

/* 0, or the code of what could not be opened, with everything closed again. */
static int run_open(struct run *run, const struct shape *shape)
{
    const struct expert_layout *layout = model_layout(model);
    struct forward_options options = forward_options_of(NULL);
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };
    struct tier_options tier = { .slot_budget = share_of(shape->vram, tier_min_bytes(layout), 3 * 256 + 4095),
                                 .inclusive = shape->inclusive };
    struct cache_options cache;
    struct gpu_options gpu;
    int r;

    cache_options_default(&cache);
    cache.slot_budget = share_of(shape->ram, cache_min_bytes(layout), 6 * 4096);
    cache.on_io_open = io_sim_open;
    cache.io_ctx = &io;
    cache.policy = POLICY_NEXT_USE;
    forward_cpu_options(model, &options, &cpu);
    gpu =
        (struct gpu_options){ .max_rows = cpu.max_rows, .max_ff = cpu.max_ff, .max_expert_rows = cpu.max_expert_rows };
    r = sim_device_open(&sim, &gpu, &run->device, &run->err);
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
    return forward_open(model, run->device, tier_door(run->tier), &options, NULL, NULL, &run->forward, &run->err);
}

static void run_close(struct run *run)
{
    forward_close(run->forward);
    tier_close(run->tier);
    cache_close(run->cache);
    if (run->helper != NULL)
        run->helper->ops->close(run->helper);
    if (run->device != NULL)
        run->device->ops->close(run->device);
    *run = (struct run){ 0 };
    cr_assert_eq(sim.used_bytes, 0, "%llu bytes of the device are lost", (unsigned long long)sim.used_bytes);
}

static void sim_reset(uint64_t seed, uint64_t copy_rate)
{
    sim =
        (struct sim){ .seed = seed, .copy_rate = copy_rate, .compute_rate = 50ull << 30, .max_level = CPU_LEVEL_BEST };
    io = (struct io_sim){ .order = IO_SIM_RANDOM };
}

/* Every share of VRAM x every share of RAM x exclusive or not x slow or fast bus, the other switches in turn. */
static void every_way(const char *name)
{
    setup(name);
    for (uint32_t i = 0; i < SHARES * SHARES * 4; i++) {
        struct shape shape = { .vram = i % SHARES,
                               .ram = i / SHARES % SHARES,
                               .inclusive = i / SHARES / SHARES % 2,
                               .help = i % 3 == 1,
                               .hints = i % 5 < 2 };
        struct run run = { 0 };
        struct tier_stats stats;
        char what[500];

        sim_reset(i % 4 == 3 ? 0 : i + 1, i / SHARES / SHARES / 2 ? 0 : 1 << 20);
        cr_assert_eq(run_open(&run, &shape), 0, "%s", err_text(&run.err));
        snprintf(what, sizeof(what), "%s vram %d ram %d%s%s%s seed %llu", name, shape.vram, shape.ram,
                 shape.inclusive ? " inclusive" : "", shape.help ? " help" : "", shape.hints ? " hints" : "",
                 (unsigned long long)sim.seed);
        run_rows(&run, 0);
        assert_same(what);
        run_rows(&run, 0);
        assert_same(what);
        tier_stats(run.tier, &stats);
        cr_assert_eq(sim.n_misuse + sim.n_races, 0, "%s: %s", what, sim.complaint);
        cr_assert_gt(stats.hits + stats.copied + stats.helped, 0);
        run_close(&run);
    }
    teardown();
}

Test(residency_device, llama)
{
    every_way("llama-f32");
}

Test(residency_device, olmoe)
{
    every_way("olmoe-q4_0");
}

Test(residency_device, qwen2moe_with_a_shared_expert)
{
    every_way("qwen2moe-q8_0");
}

Test(residency_device, qwen3moe_with_a_dense_layer)
{
    every_way("qwen3moe-dense-first-f32");
}
