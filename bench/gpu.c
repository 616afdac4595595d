/* SPDX-License-Identifier: MIT
 *
 * bench/gpu: rates of the GPU device's kernels, beside what the card gives.
 *
 *   bench/gpu --probe MODULE            one line: the card, or why there is none (exit status 77)
 *   bench/gpu MODULE COPY_GB_S TOP_S    a table in Markdown; the two rates are the card's own (bench/gpu_rates)
 *
 * Decode: one token, a weight matrix that no cache holds; a layer's eight experts of 128, others each time, in one
 * call, as the host names them and as the card looks them up after routing. Prefill: 2048 tokens. Each figure is the
 * median of ROUNDS rounds, each timed from one sync to the next.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "compute/gpu_module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS = 21,
    CALLS = 16, /* in a round */
    COLS = 2048,
    WEIGHT_BYTES = 1 << 30,
    EXPERTS = 128,
    USED = 8,
    FF = 768,
    PROMPT = 2048,
    PROMPT_ROWS = 4096,
    VOCAB = 151936,
    BEST = 40,
};

/* What the card needs to find experts by itself, and where it leaves what it chose. */
struct lookup {
    const void *addresses[3][EXPERTS];
    float logits[CALLS][EXPERTS]; /* each call's choose the next eight */
    uint16_t ids[USED];
    int32_t best_ids[BEST];
    float best[BEST];
};

struct bench {
    struct device *device;
    struct acts *acts;
    char *weights;
    float *x, *y;
    struct lookup *lookup; /* on the card */
    double copy_gb_s, top_s;
};

static void must(struct device *device, int r)
{
    if (r == 0)
        return;
    fprintf(stderr, "bench: %s\n", err_text(&device->err));
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Median nanoseconds of one call of fn. */
static double median_ns(struct bench *b, void (*fn)(struct bench *b, void *arg, int call), void *arg)
{
    double times[ROUNDS];

    for (int round = -2; round < ROUNDS; round++) { /* the first two warm up: graphs are built */
        uint64_t start = clock_ns();

        for (int call = 0; call < CALLS; call++)
            fn(b, arg, call);
        must(b->device, b->device->ops->sync(b->device));
        if (round >= 0)
            times[round] = (double)(clock_ns() - start) / CALLS;
    }
    qsort(times, ROUNDS, sizeof(times[0]), compare);
    return times[ROUNDS / 2];
}

/* No scale beyond reason in any format: every 16-bit pattern here is a finite half and no subnormal bfloat. */
static void fill(struct bench *b)
{
    enum { PIECE = 16 << 20 };
    char *piece = mem_alloc(PIECE);
    uint64_t state = 1;

    if (piece == NULL)
        exit(1);
    for (size_t i = 0; i < PIECE; i += 8) {
        uint64_t bits;

        state = state * 6364136223846793005u + 1442695040888963407u;
        bits = ((state ^ state >> 29) & 0x1b1b1b1b1b1b1b1bu) | 0x2020202020202020u;
        memcpy(piece + i, &bits, sizeof(bits));
    }
    for (size_t at = 0; at < WEIGHT_BYTES; at += PIECE)
        must(b->device, b->device->ops->upload(b->device, b->weights + at, piece, PIECE));
    for (size_t at = 0; at < (size_t)PROMPT * COLS * 4; at += PIECE)
        must(b->device, b->device->ops->upload(b->device, (char *)b->x + at, piece, PIECE));
    mem_free(piece);
}

static void run_linear(struct bench *b, void *arg, int call)
{
    must(b->device, b->device->ops->linear(b->device, b->acts, arg, 1));
}

struct experts {
    struct expert_call calls[EXPERTS];
    uint32_t src, dst[USED];
};

static void run_experts(struct bench *b, void *arg, int call)
{
    struct experts *e = arg;

    must(b->device, b->device->ops->experts(b->device, b->acts, e->calls + call * USED % EXPERTS, USED, b->y));
}

struct lookups {
    struct route route;
    struct expert_table table;
};

static void run_routed(struct bench *b, void *arg, int call)
{
    struct lookups *l = arg;
    struct routed routed = {
        &l->route, &l->table, b->lookup->logits[call], 1, b->lookup->ids, b->y, b->y + USED * COLS
    };

    must(b->device, b->device->stay->routed(b->device, b->acts, &routed));
}

static void run_best(struct bench *b, void *arg, int call)
{
    static struct lookup here;
    struct lookup *there = b->lookup;
    struct device_copy parts[] = { { here.best_ids, there->best_ids, sizeof(here.best_ids) },
                                   { here.best, there->best, sizeof(here.best) } };

    must(b->device, b->device->stay->top_k(b->device, b->x, 1, VOCAB, BEST, there->best_ids, there->best));
    must(b->device, b->device->stay->fetch(b->device, parts, 2));
}

static void run_all_logits(struct bench *b, void *arg, int call)
{
    must(b->device, b->device->ops->download(b->device, arg, b->x, VOCAB * sizeof(float)));
}

static void run_attention(struct bench *b, void *arg, int call)
{
    must(b->device, b->device->ops->attention(b->device, arg));
}

static void bench_experts(struct bench *b, enum quant_type type)
{
    size_t bytes = quant_row_bytes(type, (size_t)FF * COLS);
    struct experts e;
    double ns;

    if (FF % quant_info(type)->block_len != 0 || 3 * bytes * EXPERTS > WEIGHT_BYTES) {
        printf(" - |");
        return;
    }
    e.src = 0;
    for (uint32_t i = 0; i < EXPERTS; i++) {
        char *at = b->weights + 3 * bytes * i;

        e.dst[i % USED] = i % USED;
        e.calls[i] = (struct expert_call){ { at, type, FF, COLS },
                                           { at + bytes, type, FF, COLS },
                                           { at + 2 * bytes, type, COLS, FF },
                                           &e.src,
                                           &e.dst[i % USED],
                                           1 };
    }
    must(b->device, b->device->ops->acts_set(b->device, b->acts, b->x, 1, COLS));
    ns = median_ns(b, run_experts, &e);
    printf(" %.0f (%.0f %%) |", 3.0 * USED * (double)bytes / ns, 100 * 3.0 * USED * (double)bytes / ns / b->copy_gb_s);
}

/* The same experts, looked up by the card; routing and the sum of their outputs are in the time. */
static void bench_routed(struct bench *b, enum quant_type type)
{
    size_t bytes = quant_row_bytes(type, (size_t)FF * COLS);
    struct lookups l = { .route = { ROUTE_SOFTMAX, true, 1, EXPERTS, USED },
                         .table = { { NULL, type, FF, COLS },
                                    { NULL, type, FF, COLS },
                                    { NULL, type, COLS, FF },
                                    (const void *const *)b->lookup->addresses } };
    static struct lookup here;
    double gb_s;

    if (FF % quant_info(type)->block_len != 0 || 3 * bytes * EXPERTS > WEIGHT_BYTES) {
        printf(" - |");
        return;
    }
    for (uint32_t e = 0; e < EXPERTS; e++) {
        for (uint32_t part = 0; part < 3; part++)
            here.addresses[part][e] = b->weights + (3 * e + part) * bytes;
        for (uint32_t call = 0; call < CALLS; call++)
            here.logits[call][e] = e / USED == call % (EXPERTS / USED) ? 10 : 0;
    }
    must(b->device, b->device->ops->upload(b->device, b->lookup, &here, sizeof(here)));
    gb_s = 3.0 * USED * (double)bytes / median_ns(b, run_routed, &l);
    printf(" %.0f (%.0f %%) |", gb_s, 100 * gb_s / b->copy_gb_s);
}

static void bench_best(struct bench *b)
{
    float *here = mem_alloc(VOCAB * sizeof(float));

    if (here == NULL)
        exit(1);
    printf("\nThe %d best of %d logits, chosen and brought back: %.1f us; all of them brought back: %.1f us.\n", BEST,
           VOCAB, median_ns(b, run_best, NULL) / 1e3, median_ns(b, run_all_logits, here) / 1e3);
    mem_free(here);
}

static void bench_type(struct bench *b, enum quant_type type)
{
    size_t row_bytes = quant_row_bytes(type, COLS);
    uint32_t rows = (uint32_t)(WEIGHT_BYTES / row_bytes);
    struct linear decode = { { b->weights, type, rows, COLS }, NULL, b->y };
    struct linear prefill = { { b->weights, type, PROMPT_ROWS, COLS }, NULL, b->y };
    double gb_s, top_s;

    must(b->device, b->device->ops->acts_set(b->device, b->acts, b->x, 1, COLS));
    gb_s = (double)rows * (double)row_bytes / median_ns(b, run_linear, &decode);
    printf("| %s | %.0f (%.0f %%) |", quant_info(type)->name, gb_s, 100 * gb_s / b->copy_gb_s);
    bench_experts(b, type);
    bench_routed(b, type);
    must(b->device, b->device->ops->acts_set(b->device, b->acts, b->x, PROMPT, COLS));
    top_s = 2.0 * PROMPT_ROWS * COLS * PROMPT / median_ns(b, run_linear, &prefill) / 1e3;
    printf(" %.1f (%.0f %%) |\n", top_s, 100 * top_s / b->top_s);
    fflush(stdout);
}

static void bench_attention(struct bench *b, enum kv_type type, uint32_t n_tokens, uint32_t n_ctx)
{
    enum { HEADS = 32, KV_HEADS = 4, DIM = 128 };
    size_t bytes = (size_t)n_ctx * KV_HEADS * kv_row_bytes(type, DIM);
    size_t head_bytes = 2 * (size_t)n_ctx * kv_row_bytes(type, DIM);
    struct attention a = { .q = b->x,
                           .kv = { b->weights, b->weights + head_bytes / 2, head_bytes, 0, n_ctx },
                           .kv_type = type,
                           .n_tokens = n_tokens,
                           .pos0 = n_ctx - n_tokens,
                           .n_heads = HEADS,
                           .n_kv_heads = KV_HEADS,
                           .head_dim = DIM,
                           .scale = 1e-6f,
                           .y = b->y };
    double ns = median_ns(b, run_attention, &a);

    printf("| %u | %u | %s | %.1f | %.0f (%.0f %%) |\n", n_tokens, n_ctx, kv_type_name(type), ns / 1e3,
           2 * (double)bytes / ns, 100 * 2 * (double)bytes / ns / b->copy_gb_s);
}

static void bench_all(struct bench *b)
{
    printf("| format | decode, GB/s (of copy) | 8 experts of 128, GB/s (of copy) | looked up by the card | "
           "prefill, Tops/s (of f16 matrices) |\n"
           "|---|---|---|---|---|\n");
    for (uint32_t type = 0; type < QUANT_TYPES; type++)
        if (quant_info(type) != NULL && quant_info(type)->computable)
            bench_type(b, type);
    printf(
        "\n| tokens | context | kept as | attention, us | keys and values, GB/s (of copy) |\n|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < 2; i++) {
        enum kv_type type = i == 0 ? KV_F16 : KV_Q8_0;

        bench_attention(b, type, 1, 1024);
        bench_attention(b, type, 1, 4096);
        bench_attention(b, type, 1, 32768);
        bench_attention(b, type, 512, 4096);
    }
    bench_best(b);
}

static const struct gpu_module *load(const char *path, struct gpu_card *ret_card)
{
    const struct gpu_module *module;
    struct err err = { 0 };

    if (gpu_module_load(path, &module, &err) < 0 || module->count(&err) < 0 || module->card(0, ret_card, &err) < 0) {
        printf("no CUDA device: %s\n", err_text(&err));
        exit(77);
    }
    return module;
}

int main(int argc, char **argv)
{
    const struct gpu_options options = { 0, PROMPT, FF, USED };
    bool probe = argc > 1 && strcmp(argv[1], "--probe") == 0;
    const struct gpu_module *module;
    struct gpu_card card;
    struct err err = { 0 };
    struct bench b;
    void *p[4];

    if (argc != (probe ? 3 : 4)) {
        fprintf(stderr, "usage: gpu --probe MODULE | gpu MODULE COPY_GB_S TOP_S\n");
        return 2;
    }
    module = load(argv[probe ? 2 : 1], &card);
    if (probe) {
        printf("CUDA device 0: %s, %.1f of %.1f GiB free\n", card.name, (double)card.free_bytes / (1 << 30),
               (double)card.total_bytes / (1 << 30));
        return 0;
    }
    b.copy_gb_s = atof(argv[2]);
    b.top_s = atof(argv[3]);
    if (module->open(&options, &b.device, &err) < 0) {
        fprintf(stderr, "bench: %s\n", err_text(&err));
        return 1;
    }
    must(b.device, b.device->ops->acts_open(b.device, PROMPT, COLS, &b.acts));
    must(b.device, b.device->ops->alloc(b.device, WEIGHT_BYTES, &p[0]));
    must(b.device, b.device->ops->alloc(b.device, (size_t)PROMPT * 4096 * 4, &p[1]));
    must(b.device, b.device->ops->alloc(b.device, (size_t)PROMPT * PROMPT_ROWS * 4, &p[2]));
    must(b.device, b.device->ops->alloc(b.device, sizeof(struct lookup), &p[3]));
    b.weights = p[0];
    b.x = p[1];
    b.y = p[2];
    b.lookup = p[3];
    fill(&b);
    bench_all(&b);
    for (int i = 0; i < 4; i++)
        b.device->ops->free(b.device, p[i], 0);
    b.device->ops->acts_close(b.device, b.acts);
    b.device->ops->close(b.device);
    return 0;
}
