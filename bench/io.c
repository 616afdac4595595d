/* SPDX-License-Identifier: MIT
 *
 * io FILE [ROUNDS]: what a drive gives, and what of it arrives as experts.
 *
 * First the drive's curve: direct reads of random ranges by request size and depth, rate and median latency. Then the
 * expert cache over the same file, every request missing: 8 experts of 3 MiB (three slices each) per request, by piece
 * size, depth and order; the rate, and the median time until the first and until the last expert has arrived, without
 * and with checksums, and without and with as much work per expert as multiplying with it is (reading it). Cells are
 * measured in turn, ROUNDS times over (5), and medians are printed, since a drive drifts. FILE must be large (1 GiB or
 * more) and really written; its content does not matter.
 */
#include "cache/io.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cache/cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CELL_NS 80000000ULL
#define MAX_DEPTH 32
#define MAX_BYTES (4U << 20)
#define MAX_ROUNDS 25
#define MAX_LATENCIES 20000
#define PART_BYTES (1U << 20)
#define TOP_K 8

static const uint32_t sizes[] = { 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20 };
static const uint32_t depths[] = { 1, 2, 4, 8, 16, 32 };
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))
#define N_DEPTHS (sizeof(depths) / sizeof(depths[0]))

static double compare_rounds[MAX_ROUNDS];

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *v, size_t n)
{
    memcpy(compare_rounds, v, n * sizeof(*v));
    qsort(compare_rounds, n, sizeof(*v), double_compare);
    return compare_rounds[n / 2];
}

static int fail(const char *what, const struct err *err)
{
    fprintf(stderr, "io: %s: %s\n", what, err_text(err));
    return 1;
}

/* ---- the drive ---- */

static uint64_t random_offset(uint64_t file_bytes, uint32_t bytes)
{
    uint64_t r = (uint64_t)random() << 31 ^ (uint64_t)random();

    return r % ((file_bytes - bytes) / 4096) * 4096;
}

static int cell_measure(struct io *io, char *memory, uint64_t file_bytes, uint32_t bytes, double *ret_mbs,
                        double *ret_ms)
{
    static double latency_ms[MAX_LATENCIES];
    uint64_t begun_ns[MAX_DEPTH], start_ns = clock_ns(), now_ns = start_ns, done_bytes = 0;
    size_t n_latencies = 0;
    uint32_t in_flight = 0;

    for (uint32_t tag = 0; tag < io->depth || in_flight > 0;) {
        struct io_done done;

        if (tag < io->depth) { /* fill the queue, then one for one */
            struct io_read read = { .dst = memory + (uint64_t)tag * MAX_BYTES,
                                    .bytes = bytes,
                                    .tag = tag,
                                    .offset = random_offset(file_bytes, bytes) };

            begun_ns[tag++] = clock_ns();
            io->ops->submit(io, &read, 1);
            in_flight++;
            continue;
        }
        if (io->ops->reap(io, &done, 1, true) != 1 || done.result != (int32_t)bytes)
            return -1;
        now_ns = clock_ns();
        done_bytes += bytes;
        if (n_latencies < MAX_LATENCIES)
            latency_ms[n_latencies++] = (double)(now_ns - begun_ns[done.tag]) / 1e6;
        in_flight--;
        if (now_ns - start_ns < CELL_NS) {
            struct io_read read = { .dst = memory + (uint64_t)done.tag * MAX_BYTES,
                                    .bytes = bytes,
                                    .tag = done.tag,
                                    .offset = random_offset(file_bytes, bytes) };

            begun_ns[done.tag] = now_ns;
            io->ops->submit(io, &read, 1);
            in_flight++;
        }
    }
    *ret_mbs = (double)done_bytes / ((double)(now_ns - start_ns) / 1e3);
    qsort(latency_ms, n_latencies, sizeof(*latency_ms), double_compare);
    *ret_ms = latency_ms[n_latencies / 2];
    return 0;
}

static int file_measure(const char *path, int rounds)
{
    static double mbs[N_SIZES][N_DEPTHS][MAX_ROUNDS], ms[N_SIZES][N_DEPTHS][MAX_ROUNDS];
    int fd = open(path, O_RDONLY | O_DIRECT);
    void *memory = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || mem_map((size_t)MAX_DEPTH * MAX_BYTES, MEM_HUGE | MEM_POPULATE, &memory, NULL) < 0) {
        perror(path);
        return 1;
    }
    for (int round = 0; round < rounds; round++)
        for (size_t s = 0; s < N_SIZES; s++)
            for (size_t d = 0; d < N_DEPTHS; d++) {
                struct io_options options = { .fds = &fd, .n_fds = 1, .depth = depths[d] };
                struct io *io;
                struct err err = { 0 };
                int rc;

                if (io_uring_open(&options, &io, &err) < 0 && io_pread_open(&options, &io, &err) < 0)
                    return fail(path, &err);
                rc = cell_measure(io, memory, (uint64_t)st.st_size, sizes[s], &mbs[s][d][round], &ms[s][d][round]);
                io->ops->close(io);
                if (rc < 0)
                    return fprintf(stderr, "io: %s: a read failed\n", path), 1;
            }
    printf("direct random reads, MB/s (median latency, ms), by request size and depth\n%8s", "KiB");
    for (size_t d = 0; d < N_DEPTHS; d++)
        printf("%14u", depths[d]);
    for (size_t s = 0; s < N_SIZES; s++) {
        printf("\n%8u", sizes[s] >> 10);
        for (size_t d = 0; d < N_DEPTHS; d++)
            printf("%7.0f (%4.2f)", median(mbs[s][d], (size_t)rounds), median(ms[s][d], (size_t)rounds));
    }
    printf("\n\n");
    mem_unmap(memory, (size_t)MAX_DEPTH * MAX_BYTES);
    close(fd);
    return 0;
}

/* ---- experts ---- */

struct way {
    uint32_t piece_bytes, depth;
    bool by_part, verify, compute;
    enum io_engine engine;
};

#define URING IO_ENGINE_URING
static const struct way ways[] = {
    { 1 << 20, 4, false, false, false, URING },           { 1 << 20, 8, false, false, false, URING },
    { 512 << 10, 4, false, false, false, URING },         { 512 << 10, 8, false, false, false, URING },
    { 256 << 10, 4, false, false, false, URING },         { 256 << 10, 8, false, false, false, URING },
    { 256 << 10, 16, false, false, false, URING },        { 128 << 10, 16, false, false, false, URING },
    { 256 << 10, 8, true, false, false, URING },          { 256 << 10, 8, false, true, false, URING },
    { 256 << 10, 8, false, false, true, URING },          { 256 << 10, 16, false, false, true, URING },
    { 256 << 10, 32, false, false, true, URING },         { 256 << 10, 8, false, true, true, URING },
    { 256 << 10, 16, false, true, true, URING },          { 256 << 10, 32, false, true, true, URING },
    { 512 << 10, 8, false, true, true, URING },           { 256 << 10, 8, true, true, true, URING },
    { 256 << 10, 8, false, true, true, IO_ENGINE_PREAD },
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

/* Layers of 32 experts, as many as the file holds. */
static uint32_t layers_make(struct expert_layer_layout *layers, uint32_t max, uint64_t file_bytes)
{
    uint64_t at = 4096 + 32; /* unaligned, as in a GGUF */
    uint32_t n = 0;

    for (; n < max && at + 3 * 32 * (uint64_t)PART_BYTES < file_bytes; n++) {
        layers[n] = (struct expert_layer_layout){ .layer = n, .expert_bytes = 3 * PART_BYTES };
        for (int p = 0; p < EXPERT_PARTS; p++, at += 32 * (uint64_t)PART_BYTES)
            layers[n].part[p] = (struct expert_part_layout){
                .type = QUANT_Q8_0,
                .rows = PART_BYTES / 272,
                .cols = 256,
                .part_bytes = PART_BYTES,
                .first.offset = at,
                .stride = PART_BYTES,
            };
    }
    return n;
}

/* As much work as multiplying with the expert: each of its weights is read once. */
static uint64_t expert_sum(const struct expert_view *view)
{
    const struct weight *weight[] = { &view->gate, &view->up, &view->down };
    uint64_t sum = 0;

    for (int p = 0; p < EXPERT_PARTS; p++)
        for (size_t i = 0; i + 8 <= view->gate.rows * (size_t)272; i += 8) {
            uint64_t v;

            memcpy(&v, (const char *)weight[p]->data + i, 8);
            sum += v;
        }
    return sum;
}

static volatile uint64_t sink;

/* Like the forward pass: take all that is ready, work on it, take what is ready then. */
static int request_measure(struct cache *cache, uint32_t layer, bool compute, double *ret_first_ms, double *ret_all_ms)
{
    struct expert_door *door = cache_door(cache);
    struct expert_view view[TOP_K];
    uint16_t ids[TOP_K];
    uint64_t start_ns;
    struct err err = { 0 };
    size_t index;

    for (uint32_t i = 0; i < TOP_K; i++)
        ids[i] = (uint16_t)(4 * i + (uint32_t)random() % 4);
    start_ns = clock_ns();
    if (door->ops->request(door, layer, ids, TOP_K, &err) < 0)
        return fail("request", &err);
    for (uint32_t done = 0; done < TOP_K;) {
        uint32_t n = 0;
        int rc = door->ops->next(door, &index, &view[n], &err);

        if (rc == 1 && done == 0)
            *ret_first_ms = (double)(clock_ns() - start_ns) / 1e6;
        for (; rc == 1; rc = door->ops->try_next(door, &index, &view[n], &err))
            if (++n == TOP_K)
                break;
        if (rc < 0 && n == 0)
            return fail("next", &err);
        for (uint32_t i = 0; i < n; i++) {
            if (compute)
                sink += expert_sum(&view[i]);
            door->ops->release(door, &view[i]);
        }
        done += n;
    }
    *ret_all_ms = (double)(clock_ns() - start_ns) / 1e6;
    return 0;
}

static int way_measure(const struct expert_layout *layout, const struct way *way, double *ret_first_ms,
                       double *ret_all_ms)
{
    double first_ms[MAX_ROUNDS], all_ms[MAX_ROUNDS];
    struct cache_options options;
    struct cache *cache;
    struct err err = { 0 };
    int rc = 0;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(layout);
    options.io_mode = IO_DIRECT;
    options.io_engine = way->engine;
    options.piece_bytes = way->piece_bytes;
    options.queue_depth = way->depth;
    options.read_by_part = way->by_part;
    options.verify = way->verify;
    if (cache_open(layout, &options, &cache, &err) < 0)
        return fail("cache", &err);
    for (int i = 0; i < MAX_ROUNDS && rc == 0; i++)
        rc = request_measure(cache, (uint32_t)random() % layout->n_layers, way->compute, &first_ms[i], &all_ms[i]);
    *ret_first_ms = median(first_ms, MAX_ROUNDS);
    *ret_all_ms = median(all_ms, MAX_ROUNDS);
    cache_close(cache);
    return rc;
}

static int experts_measure(const char *path, int rounds)
{
    static struct expert_layer_layout layers[256];
    static double first_ms[N_WAYS][MAX_ROUNDS], all_ms[N_WAYS][MAX_ROUNDS];
    struct layout_file file = { .path = path, .fd = open(path, O_RDONLY) };
    struct expert_layout layout = { .n_experts = 32, .n_used = TOP_K, .n_files = 1, .layers = layers, .files = &file };
    struct stat st;

    if (file.fd < 0 || fstat(file.fd, &st) != 0) {
        perror(path);
        return 1;
    }
    file.bytes = (uint64_t)st.st_size;
    file.mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
    layout.n_layers = layers_make(layers, 256, file.bytes);
    for (int round = 0; round < rounds; round++)
        for (size_t w = 0; w < N_WAYS; w++)
            if (way_measure(&layout, &ways[w], &first_ms[w][round], &all_ms[w][round]) != 0)
                return 1;
    printf("%d experts of %u MiB missing\n%8s %6s %9s %9s %9s %9s %8s\n", TOP_K, 3 * PART_BYTES >> 20, "KiB", "depth",
           "order", "engine", "first ms", "all ms", "MB/s");
    for (size_t w = 0; w < N_WAYS; w++) {
        double all = median(all_ms[w], (size_t)rounds);

        printf("%8u %6u %9s %9s %9.2f %9.2f %8.0f%s\n", ways[w].piece_bytes >> 10, ways[w].depth,
               ways[w].by_part ? "by part" : "by expert", ways[w].engine == IO_ENGINE_PREAD ? "pread" : "io_uring",
               median(first_ms[w], (size_t)rounds), all, TOP_K * 3.0 * PART_BYTES / (all * 1e3),
               ways[w].verify && ways[w].compute ? "  checksums, compute"
               : ways[w].verify                  ? "  checksums"
               : ways[w].compute                 ? "  compute"
                                                 : "");
    }
    close(file.fd);
    return 0;
}

int main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 5;

    if (argc < 2 || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: io FILE [ROUNDS, 1..%d]\n", MAX_ROUNDS);
        return 2;
    }
    return file_measure(argv[1], rounds) || experts_measure(argv[1], rounds);
}
