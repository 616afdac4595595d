/* SPDX-License-Identifier: MIT
 *
 * kernels.c: how fast the CPU device multiplies, per level and format.
 *
 * Decode is one activation row against a matrix much larger than the caches, in GB of weights per second and as a share
 * of a plain read of the same buffer by the same number of threads, taken just before. Prefill is many rows against a
 * matrix, in GFLOP/s (two per weight and row). Each figure is the best of several rounds.
 *
 * bench/kernels, or tests/parity/test_kernels --bench: [--threads N] [--level NAME] [--type NAME|attention] [--mib
 * SIZE] [--rows N] [--kv-type f16|f32|q8_0] [--positions N] [--block N] [--read]
 *
 * Attention is that of one token, through as many layers as SIZE holds, and that of the rows in one layer, over keys
 * and values of the type and number of positions given (f16, 4096), in blocks of so many (one).
 * --read prints only what a plain read takes, as bench/compare.py asks for its rooflines.
 */
#include "bench/kernels.h"

#include "base/clock.h"
#include "base/mem.h"
#include "compute/cpu_device.h"
#include "compute/pool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { COLS = 2048, PREFILL_WEIGHT_ROWS = 1024, ROUNDS = 5 };

struct bench {
    uint32_t n_threads, n_rows;
    size_t mib;
    int level; /* -1: all */
    const char *type;
    enum kv_type kv_type;
    uint32_t n_positions, n_block;
    bool read_only;
    unsigned char *weights;
    float *x, *y;
    double read_gb_s;
};

struct reader {
    const unsigned char *data;
    size_t bytes;
    uint32_t n_threads;
    uint64_t sums[256];
};

static void read_on_thread(void *arg, uint32_t thread)
{
    struct reader *r = arg;
    size_t n = r->bytes / sizeof(uint64_t) / r->n_threads;
    const uint64_t *p = (const uint64_t *)r->data + n * thread;
    uint64_t sums[8] = { 0 };

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            sums[l] += p[i + (size_t)l];
    r->sums[thread] = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

static double read_gb_s(const struct bench *b, size_t bytes)
{
    struct reader r = { b->weights, bytes, b->n_threads, { 0 } };
    struct pool *pool;
    uint64_t best = UINT64_MAX;

    if (pool_open(b->n_threads, &pool, NULL) < 0)
        return 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_ns(), ns;

        pool_run(pool, read_on_thread, &r);
        ns = clock_ns() - start;
        best = ns < best ? ns : best;
    }
    pool_close(pool);
    return (double)bytes / (double)best;
}

/* Random bytes with no scale beyond reason: every 16-bit pattern here is a finite half, and no subnormal bfloat. */
static void fill(unsigned char *p, size_t bytes)
{
    uint64_t state = 1;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t bits;

        state = state * 6364136223846793005u + 1442695040888963407u;
        bits = ((state ^ state >> 29) & 0x1b1b1b1b1b1b1b1bu) | 0x2020202020202020u;
        memcpy(p + i, &bits, sizeof(bits));
    }
}

static double best_ns(struct device *device, struct acts *acts, const float *x, uint32_t n_rows,
                      const struct linear *lin)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_ns(), ns;

        device->ops->acts_set(device, acts, x, n_rows, COLS);
        device->ops->linear(device, acts, lin, 1);
        ns = clock_ns() - start;
        best = ns < best ? ns : best;
    }
    return (double)best;
}

static void bench_type(const struct bench *b, struct device *device, struct acts *acts, uint32_t type)
{
    size_t row_bytes = quant_row_bytes(type, COLS), bytes = b->mib << 20;
    struct linear decode = { .w = { b->weights, type, (uint32_t)(bytes / row_bytes), COLS }, .y = b->y };
    struct linear prefill = { .w = { b->weights, type, PREFILL_WEIGHT_ROWS, COLS }, .y = b->y };
    double read = read_gb_s(b, bytes);
    double decode_gb_s = (double)decode.w.rows * (double)row_bytes / best_ns(device, acts, b->x, 1, &decode);
    double gflop_s = 2.0 * PREFILL_WEIGHT_ROWS * COLS * b->n_rows / best_ns(device, acts, b->x, b->n_rows, &prefill);

    printf("%-12s %-8s decode %6.2f GB/s = %4.0f %% of a read at %6.2f   prefill %7.1f GFLOP/s\n", device->name,
           quant_info(type)->name, decode_gb_s, 100 * decode_gb_s / read, read, gflop_s);
    fflush(stdout);
}

/* Keys and values of as many layers as there is room for, one after the other as a decoded token goes through them, so
 * that the caches keep nothing. */
static double attention_best_ns(const struct bench *b, struct device *device, struct attention *a, size_t bytes)
{
    size_t n_layers = a->n_tokens > 1 ? 1 : (b->mib << 20) / (2 * bytes);
    bool beside = a->kv.block_rows < a->pos0 + a->n_tokens; /* as model/kv.c lays them */
    size_t head = a->kv.head_bytes / (beside ? 2 : 1), layer_bytes = 2 * a->n_kv_heads * head;
    uint64_t best = UINT64_MAX;

    a->kv.block_bytes = layer_bytes * n_layers;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_ns(), ns;

        for (size_t layer = 0; layer < n_layers; layer++) {
            a->kv.k = b->weights + layer_bytes * layer;
            a->kv.v = b->weights + layer_bytes * layer + (beside ? head : layer_bytes / 2);
            device->ops->attention(device, a);
        }
        ns = clock_ns() - start;
        best = ns < best ? ns : best;
    }
    return (double)best / (double)n_layers;
}

/* Attention of n_tokens, the last of a context: microseconds for a layer, GB of keys and values per second, GFLOP/s. */
static void bench_attention(const struct bench *b, struct device *device, uint32_t n_tokens, uint32_t n_kv_heads)
{
    enum { HEADS = 16, DIM = 128 };
    uint32_t n_blocks = (b->n_positions + b->n_block - 1) / b->n_block;
    size_t bytes = (size_t)n_blocks * b->n_block * n_kv_heads * kv_row_bytes(b->kv_type, DIM);
    struct attention a = {
        .q = b->x,
        .kv.block_rows = b->n_block,
        .kv.head_bytes = (n_blocks > 1 ? 2 : 1) * b->n_block * kv_row_bytes(b->kv_type, DIM),
        .kv_type = b->kv_type,
        .n_tokens = n_tokens,
        .pos0 = b->n_positions - n_tokens,
        .n_heads = HEADS,
        .n_kv_heads = n_kv_heads,
        .head_dim = DIM,
        .scale = 1e-6f,
        .y = b->y,
    };
    double ns;

    if (n_tokens > b->n_positions || 2 * bytes > b->mib << 20) {
        printf("%-12s attention of %3u tokens over %u positions does not fit\n", device->name, n_tokens,
               b->n_positions);
        return;
    }
    ns = attention_best_ns(b, device, &a, bytes);
    printf("%-12s attention of %3u tokens over %5u positions, %2u KV heads, %-4s: %8.1f us %6.2f GB/s %7.1f GFLOP/s\n",
           device->name, n_tokens, b->n_positions, n_kv_heads, kv_type_name(b->kv_type), ns / 1e3,
           2 * (double)bytes / ns, 4.0 * HEADS * DIM * n_tokens * (b->n_positions - n_tokens / 2.0) / ns);
}

static void bench_attentions(const struct bench *b, struct device *device)
{
    bench_attention(b, device, 1, 16);
    bench_attention(b, device, 1, 4);
    bench_attention(b, device, b->n_rows, 16);
    bench_attention(b, device, b->n_rows, 4);
}

static int bench_level(const struct bench *b, enum cpu_level level)
{
    struct cpu_device_options options = {
        .n_threads = b->n_threads,
        .max_level = level,
        .max_rows = b->n_rows,
        .max_ff = COLS,
        .max_expert_rows = 1,
    };
    struct device *device;
    struct acts *acts;
    struct err err;

    if (cpu_device_open(&options, &device, &err) < 0 || device->ops->acts_open(device, b->n_rows, COLS, &acts) < 0) {
        fprintf(stderr, "bench: cannot open the CPU device\n");
        return 1;
    }
    for (uint32_t type = 0; type < QUANT_TYPES; type++) {
        const struct quant_info *info = quant_info(type);

        if (info != NULL && info->computable && (b->type == NULL || strcasecmp(b->type, info->name) == 0))
            bench_type(b, device, acts, type);
    }
    if (b->type == NULL || strcasecmp(b->type, "attention") == 0)
        bench_attentions(b, device);
    device->ops->acts_close(device, acts);
    device->ops->close(device);
    return 0;
}

static int parse(struct bench *b, int argc, char **argv)
{
    static const struct option longs[] = {
        { "threads", required_argument, NULL, 't' },
        { "level", required_argument, NULL, 'l' },
        { "type", required_argument, NULL, 'f' },
        { "mib", required_argument, NULL, 'm' },
        { "rows", required_argument, NULL, 'r' },
        { "kv-type", required_argument, NULL, 'k' },
        { "positions", required_argument, NULL, 'p' },
        { "block", required_argument, NULL, 'b' },
        { "read", no_argument, NULL, 'R' },
        { NULL, 0, NULL, 0 },
    };
    enum cpu_level level;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        switch (c) {
        case 't':
            b->n_threads = (uint32_t)atoi(optarg);
            break;
        case 'l':
            if (cpu_level_parse(optarg, &level, NULL) < 0)
                return -1;
            b->level = (int)cpu_level_within(level);
            break;
        case 'f':
            b->type = optarg;
            break;
        case 'm':
            b->mib = (size_t)atoi(optarg);
            break;
        case 'r':
            b->n_rows = (uint32_t)atoi(optarg);
            break;
        case 'k':
            b->kv_type = kv_type_of(optarg);
            break;
        case 'p':
            b->n_positions = (uint32_t)atoi(optarg);
            break;
        case 'b':
            b->n_block = (uint32_t)atoi(optarg);
            break;
        case 'R':
            b->read_only = true;
            break;
        default:
            return -1;
        }
    b->n_block = b->n_block > 0 ? b->n_block : b->n_positions;
    return b->n_threads > 0 && b->n_threads <= 256 && b->n_rows > 0 && b->n_positions > 0 && b->kv_type < KV_TYPES &&
                   b->mib >= 16
               ? 0
               : -1;
}

int kernels_bench(int argc, char **argv)
{
    struct bench b = { .n_threads = cpu_threads_detect(),
                       .n_rows = 256,
                       .mib = 256,
                       .level = -1,
                       .kv_type = KV_F16,
                       .n_positions = 4096 };
    void *weights, *x, *y;

    if (parse(&b, argc, argv) < 0) {
        fprintf(stderr, "usage: kernels [--threads N] [--level NAME] [--type NAME] [--mib SIZE] [--rows N] "
                        "[--kv-type TYPE] [--positions N] [--block N] [--read]\n");
        return 2;
    }
    if (mem_map(b.mib << 20, MEM_HUGE | MEM_POPULATE, &weights, NULL) < 0 ||
        mem_map((size_t)b.n_rows * COLS * sizeof(float), MEM_POPULATE, &x, NULL) < 0 ||
        mem_map(((b.mib << 20) / 256 + (size_t)b.n_rows * PREFILL_WEIGHT_ROWS) * sizeof(float), MEM_POPULATE, &y,
                NULL) < 0) {
        fprintf(stderr, "bench: no memory for %zu MiB of weights\n", b.mib);
        return 1;
    }
    b.weights = weights;
    b.x = x;
    b.y = y;
    fill(b.weights, b.mib << 20);
    if (b.read_only) {
        printf("read %.2f GB/s with %u threads\n", read_gb_s(&b, b.mib << 20), b.n_threads);
        return 0;
    }
    for (size_t i = 0; i < (size_t)b.n_rows * COLS; i++)
        b.x[i] = (float)(i * 2654435761u % 2048) / 1024 - 1;
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_level_runs((enum cpu_level)level) && (b.level < 0 || b.level == level) && bench_level(&b, level) != 0)
            return 1;
    return 0;
}
