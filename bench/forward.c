/* SPDX-License-Identifier: MIT
 *
 * forward.c: tokens per second of the forward pass with every expert in RAM: what the disk and the cache cannot better.
 *
 * A prompt of --prompt tokens is evaluated in batches of --batch (prefill), then --decode tokens one by one, --runs
 * times over; medians are printed, the first run set aside. --profile adds the time spent in each operation of the
 * device.
 *
 * bench/forward --model FILE [--threads N] [--level NAME] [--prompt N] [--batch N] [--decode N] [--runs N]
 * [--kv-type f16|f32|q8_0] [--profile]
 */
#include "model/forward.h"
#include "base/clock.h"
#include "base/mem.h"
#include "compute/cpu_device.h"
#include "tests/support/ram_door.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 100 };

struct bench {
    const char *model_path;
    struct cpu_device_options cpu;
    uint32_t n_prompt, n_batch, n_decode, n_runs;
    enum kv_type kv_type;
    bool profile;
    struct model *model;
    struct device *device;
    struct ram_door *ram;
    struct forward *forward;
    int32_t *tokens;
};

/* The device's own operations, each timed on its way. */
enum timed { T_EMBED, T_NORM, T_LINEAR, T_ROPE, T_KV_STORE, T_ATTENTION, T_ROUTE, T_EXPERTS, T_COMBINE, T_ADD, T_OPS };
static const char *const timed_names[T_OPS] = { "embed",     "rms_norm", "linear",  "rope",    "kv_store",
                                                "attention", "route",    "experts", "combine", "add" };
static const struct device_ops *real;
static struct device_ops timed_ops;
static uint64_t timed_ns[T_OPS], timed_calls[T_OPS];

#define TIMED(op, name, params, args)      \
    static int timed_##name params         \
    {                                      \
        uint64_t from = clock_ns();        \
        int ret = real->name args;         \
                                           \
        timed_ns[op] += clock_ns() - from; \
        timed_calls[op]++;                 \
        return ret;                        \
    }
TIMED(T_EMBED, embed, (struct device * d, const struct weight *t, const int32_t *ids, uint32_t n, float *y),
      (d, t, ids, n, y))
TIMED(T_NORM, rms_norm, (struct device * d, const float *x, const float *w, float e, uint32_t n, uint32_t c, float *y),
      (d, x, w, e, n, c, y))
TIMED(T_LINEAR, linear, (struct device * d, struct acts *a, const struct linear *l, uint32_t n), (d, a, l, n))
TIMED(T_ROPE, rope,
      (struct device * d, const struct rope *r, float *x, const uint32_t *p, uint32_t n, uint32_t h, uint32_t dim),
      (d, r, x, p, n, h, dim))
TIMED(T_KV_STORE, kv_store,
      (struct device * d, const struct kv_view *kv, enum kv_type t, uint32_t p, uint32_t n, uint32_t h, uint32_t dim,
       const float *k, const float *v),
      (d, kv, t, p, n, h, dim, k, v))
TIMED(T_ATTENTION, attention, (struct device * d, const struct attention *a), (d, a))
TIMED(T_ROUTE, route, (struct device * d, const struct route *r, const float *l, uint32_t n, uint16_t *ids, float *w),
      (d, r, l, n, ids, w))
TIMED(T_EXPERTS, experts, (struct device * d, struct acts *a, const struct expert_call *c, uint32_t n, float *y),
      (d, a, c, n, y))
TIMED(T_COMBINE, combine,
      (struct device * d, float *x, const float *y, const float *w, uint32_t n, uint32_t k, uint32_t c),
      (d, x, y, w, n, k, c))
TIMED(T_ADD, add, (struct device * d, float *x, const float *y, const float *g, uint32_t n, uint32_t c),
      (d, x, y, g, n, c))

static void time_operations(struct device *device)
{
    real = device->ops;
    timed_ops = *real;
    timed_ops.embed = timed_embed;
    timed_ops.rms_norm = timed_rms_norm;
    timed_ops.linear = timed_linear;
    timed_ops.rope = timed_rope;
    timed_ops.kv_store = timed_kv_store;
    timed_ops.attention = timed_attention;
    timed_ops.route = timed_route;
    timed_ops.experts = timed_experts;
    timed_ops.combine = timed_combine;
    timed_ops.add = timed_add;
    device->ops = &timed_ops;
}

static void timed_print(const char *what, uint64_t total_ns, uint32_t n_tokens)
{
    uint64_t sum = 0;

    printf("%s, microseconds per token:\n", what);
    for (int i = 0; i < T_OPS; i++) {
        sum += timed_ns[i];
        printf("  %-10s %10.1f  %5.1f %%  %6.1f calls\n", timed_names[i], (double)timed_ns[i] / 1e3 / n_tokens,
               100.0 * (double)timed_ns[i] / (double)total_ns, (double)timed_calls[i] / n_tokens);
    }
    printf("  %-10s %10.1f  %5.1f %%\n", "the rest", (double)(total_ns - sum) / 1e3 / n_tokens,
           100.0 * (double)(total_ns - sum) / (double)total_ns);
}

/* Print what has gathered, unless `what` is NULL, and begin anew. */
static void timed_report(const char *what, uint64_t total_ns, uint32_t n_tokens)
{
    if (what != NULL)
        timed_print(what, total_ns, n_tokens);
    memset(timed_ns, 0, sizeof(timed_ns));
    memset(timed_calls, 0, sizeof(timed_calls));
}

static int fail(const struct err *err)
{
    fprintf(stderr, "bench/forward: %s\n", err_text(err));
    return 1;
}

static int eval(struct bench *b, uint32_t pos, uint32_t n, bool logits, struct err *err)
{
    const struct batch_span span = { .pos0 = pos, .n_tokens = n, .tokens = b->tokens + pos, .no_logits = !logits };
    const float *unused;

    return forward_eval(b->forward, &span, 1, NULL, NULL, &unused, err);
}

struct rate {
    double clock[MAX_RUNS], cpu[MAX_RUNS]; /* tokens per second */
};

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Tokens pos .. end - 1 in steps; returns nanoseconds, 0 on failure. */
static uint64_t pass(struct bench *b, uint32_t pos, uint32_t end, uint32_t step, struct rate *rate, uint32_t run,
                     struct err *err)
{
    uint64_t from = clock_ns(), cpu_from = cpu_ns(), ns;
    uint32_t n_tokens = end - pos;

    for (; pos < end; pos += step) {
        uint32_t n = end - pos < step ? end - pos : step;

        if (eval(b, pos, n, step == 1 || pos + n == end, err) < 0)
            return 0;
    }
    ns = clock_ns() - from;
    rate->clock[run] = n_tokens / ((double)ns / 1e9);
    rate->cpu[run] = n_tokens / ((double)(cpu_ns() - cpu_from) / 1e9);
    return ns;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void median_print(const char *what, struct rate *rate, uint32_t n)
{
    qsort(rate->clock, n, sizeof(*rate->clock), ascending);
    qsort(rate->cpu, n, sizeof(*rate->cpu), ascending);
    printf("%s %8.2f tokens/s (median of %u, %.2f to %.2f), %.2f per processor second\n", what, rate->clock[n / 2], n,
           rate->clock[0], rate->clock[n - 1], rate->cpu[n / 2]);
}

/* The first run is overwritten by the second. */
static int run(struct bench *b, struct err *err)
{
    struct rate prefill, decode;
    uint32_t end = b->n_prompt + b->n_decode;

    for (uint32_t i = 0; i <= b->n_runs; i++) {
        bool last = i == b->n_runs;
        uint64_t ns = pass(b, 0, b->n_prompt, b->n_batch, &prefill, i > 0 ? i - 1 : 0, err);

        if (ns == 0)
            return -1;
        timed_report(b->profile && last ? "prefill" : NULL, ns, b->n_prompt);
        ns = pass(b, b->n_prompt, end, 1, &decode, i > 0 ? i - 1 : 0, err);
        if (ns == 0)
            return -1;
        timed_report(b->profile && last ? "decode" : NULL, ns, b->n_decode);
    }
    median_print("prefill", &prefill, b->n_runs);
    median_print("decode ", &decode, b->n_runs);
    return 0;
}

static int open_all(struct bench *b, struct err *err)
{
    struct forward_options options = {
        .n_ctx = b->n_prompt + b->n_decode, .n_seqs = 1, .max_batch = b->n_batch, .max_logits = 1, .kv_type = b->kv_type
    };
    const struct ram_door_options manners = { 0 };
    struct forward_bytes bytes;
    int r = model_open(b->model_path, &b->model, err);

    if (r < 0)
        return r;
    forward_cpu_options(b->model, &options, &b->cpu);
    if ((r = cpu_device_open(&b->cpu, &b->device, err)) < 0 ||
        (r = ram_door_open(b->model, &manners, &b->ram, err)) < 0 ||
        (r = forward_open(b->model, b->device, ram_door_door(b->ram), &options, NULL, NULL, &b->forward, err)) < 0)
        return r;
    forward_measure(b->model, b->device, &options, &bytes);
    printf("%s: %s %s on %s, experts %.0f MiB, dense %.0f MiB, %.1f MiB of experts per token\n", b->model_path,
           model_arch_name(b->model), model_quant_name(b->model), b->device->name,
           (double)model_expert_bytes(b->model) / (1 << 20), (double)bytes.dense / (1 << 20),
           (double)model_token_bytes(b->model) / (1 << 20));
    if (b->profile)
        time_operations(b->device);
    b->tokens = mem_calloc(options.n_ctx, sizeof(*b->tokens));
    if (b->tokens == NULL)
        return err_set(err, -1, "no memory");
    for (uint32_t i = 0; i < options.n_ctx; i++)
        b->tokens[i] = (int32_t)((i * 2654435761u >> 7) % model_hparams(b->model)->n_vocab);
    return 0;
}

static void close_all(struct bench *b)
{
    forward_close(b->forward);
    ram_door_close(b->ram);
    if (b->device != NULL)
        b->device->ops->close(b->device);
    model_close(b->model);
    mem_free(b->tokens);
}

static int options_parse(struct bench *b, int argc, char **argv, struct err *err)
{
    enum { MODEL, THREADS, LEVEL, PROMPT, BATCH, DECODE, RUNS, KV_TYPE, PROFILE };
    static const struct option options[] = {
        { "model", 1, NULL, MODEL },   { "threads", 1, NULL, THREADS }, { "level", 1, NULL, LEVEL },
        { "prompt", 1, NULL, PROMPT }, { "batch", 1, NULL, BATCH },     { "decode", 1, NULL, DECODE },
        { "runs", 1, NULL, RUNS },     { "kv-type", 1, NULL, KV_TYPE }, { "profile", 0, NULL, PROFILE },
        { NULL, 0, NULL, 0 },
    };
    uint32_t *numbers[] = { [THREADS] = &b->cpu.n_threads,
                            [PROMPT] = &b->n_prompt,
                            [BATCH] = &b->n_batch,
                            [DECODE] = &b->n_decode,
                            [RUNS] = &b->n_runs };
    int o, r = 0;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1 && r == 0)
        if (o == MODEL)
            b->model_path = optarg;
        else if (o == LEVEL)
            r = cpu_level_parse(optarg, &b->cpu.max_level, err);
        else if (o == PROFILE)
            b->profile = true;
        else if (o == KV_TYPE)
            b->kv_type = kv_type_of(optarg);
        else if (o > MODEL && o < KV_TYPE)
            *numbers[o] = (uint32_t)strtoul(optarg, NULL, 10);
        else
            r = err_set(err, -1, "see the head of bench/forward.c for the options");
    if (r == 0 && b->kv_type >= KV_TYPES)
        r = err_set(err, -1, "--kv-type is f16, f32 or q8_0");
    if (r == 0 && (b->model_path == NULL || b->n_prompt == 0 || b->n_batch == 0 || b->n_decode == 0 || b->n_runs == 0 ||
                   b->n_runs > MAX_RUNS))
        return err_set(err, -1, "--model FILE is needed, and numbers above 0 (at most %d runs)", MAX_RUNS);
    return r;
}

int main(int argc, char **argv)
{
    struct bench b = {
        .cpu.max_level = CPU_LEVEL_BEST, .n_prompt = 512, .n_batch = 512, .n_decode = 64, .n_runs = 5, .kv_type = KV_F16
    };
    struct err err = { 0 };
    int r = options_parse(&b, argc, argv, &err);

    if (r == 0)
        r = open_all(&b, &err);
    if (r == 0)
        r = run(&b, &err);
    close_all(&b);
    return r < 0 ? fail(&err) : 0;
}
