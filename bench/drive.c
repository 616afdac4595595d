/* SPDX-License-Identifier: MIT
 *
 * drive FILE [SECONDS [THREADS]]: what a drive gives to direct reads at random places, and what is left of that while
 * the processors do what computing a token asks of them: read memory as fast as they can.
 *
 * Two figures, MB/s, on one line: idle (the reader sleeps until something arrives) and busy (THREADS threads sum memory
 * that no cache holds, and one of them sees to the reads between pieces of it, as the engine does between experts).
 * Both are measured in turn in slices of a tenth of a second, since a drive drifts, and each with 512 KiB and 1 MiB at
 * depths of 4 and 8: the best way counts. A virtual machine's drive needs the processors too; then the second figure is
 * what a token can hope for. Reads go where the engine's go: into 2 MiB pages, since where small pages lie strewn a read
 * falls into as many pieces, which cost a virtual drive up to half of its rate; and each to another place of a quarter
 * of a GiB, since a virtual drive writes a third faster into memory that the processor's caches still hold.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "cache/io.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 8
#define MAX_BYTES (1U << 20)
#define MAX_THREADS 256
#define SLICE_NS 100000000ULL
#define SUM_BYTES (128UL << 10) /* between two looks at the reads */
#define MEMORY_BYTES (128UL << 20)
#define ARENA_BYTES (256UL << 20)

static const struct way {
    uint32_t bytes, depth;
} ways[] = { { 512 << 10, 4 }, { 512 << 10, 8 }, { 1 << 20, 4 }, { 1 << 20, 8 } };
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

struct drive {
    int fd;
    uint64_t file_bytes;
    char *arena; /* [ARENA_BYTES] */
    size_t at;   /* where the next read goes */
};

struct adder {
    pthread_t thread;
    char *memory; /* [MEMORY_BYTES] */
    size_t at;
};

static atomic_bool adding;
static volatile uint64_t sink;

static void *memory_take(size_t bytes)
{
    void *p;

    if (mem_map(bytes, MEM_HUGE | MEM_POPULATE, &p, NULL) < 0) {
        fprintf(stderr, "drive: no memory\n");
        exit(1);
    }
    return p;
}

static void add_some(struct adder *adder)
{
    const uint64_t *v = (const uint64_t *)(adder->memory + adder->at);
    uint64_t sum[8] = { 0 };

    for (size_t i = 0; i < SUM_BYTES / 8; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += v[i + (size_t)j];
    for (int j = 0; j < 8; j++)
        sink += sum[j];
    adder->at = (adder->at + SUM_BYTES) % MEMORY_BYTES;
}

static void *add_on(void *ctx)
{
    while (atomic_load(&adding))
        add_some(ctx);
    return NULL;
}

static void read_one(struct drive *drive, struct io *io, uint32_t bytes, uint32_t tag)
{
    uint64_t at = ((uint64_t)random() << 31 ^ (uint64_t)random()) % ((drive->file_bytes - bytes) / 4096) * 4096;
    struct io_read read = { .dst = drive->arena + drive->at, .bytes = bytes, .offset = at, .tag = tag };

    drive->at = (drive->at + MAX_BYTES) % ARENA_BYTES;
    io->ops->submit(io, &read, 1);
}

/* Reads in flight for a slice; with an adder, polls between pieces of its sum. Bytes per second, negative: failed. */
static double slice(struct drive *drive, struct io *io, const struct way *way, struct adder *adder)
{
    uint64_t start_ns = clock_ns(), bytes = 0, now_ns = start_ns;
    uint32_t in_flight = way->depth;

    for (uint32_t tag = 0; tag < way->depth; tag++)
        read_one(drive, io, way->bytes, tag);
    while (in_flight > 0) {
        struct io_done done[MAX_DEPTH];
        int n = io->ops->reap(io, done, MAX_DEPTH, adder == NULL);

        now_ns = clock_ns();
        for (int i = 0; i < n; i++) {
            if (done[i].result != (int32_t)way->bytes)
                return -1;
            bytes += way->bytes;
            if (now_ns - start_ns < SLICE_NS)
                read_one(drive, io, way->bytes, done[i].tag);
            else
                in_flight--;
        }
        if (n < 0)
            return -1;
        if (adder != NULL)
            add_some(adder);
    }
    return (double)bytes * 1e9 / (double)(now_ns - start_ns);
}

static double busy_slice(struct drive *drive, struct io *io, const struct way *way, struct adder *adders, int n)
{
    double rate;

    atomic_store(&adding, true);
    for (int i = 1; i < n; i++)
        if (pthread_create(&adders[i].thread, NULL, add_on, &adders[i]) != 0)
            return -1;
    rate = slice(drive, io, way, &adders[0]);
    atomic_store(&adding, false);
    for (int i = 1; i < n; i++)
        pthread_join(adders[i].thread, NULL);
    return rate;
}

static int open_drive(const char *path, struct drive *drive, struct io **ret_io)
{
    struct io_options options = { .fds = &drive->fd, .n_fds = 1, .depth = MAX_DEPTH };
    struct iovec buffers = { .iov_len = ARENA_BYTES };
    struct err err = { 0 };
    struct stat st;

    drive->fd = open(path, O_RDONLY | O_DIRECT);
    if (drive->fd < 0 || fstat(drive->fd, &st) != 0) {
        perror(path);
        return 1;
    }
    drive->file_bytes = (uint64_t)st.st_size;
    if (drive->file_bytes < 64 * MAX_BYTES)
        return fprintf(stderr, "drive: %s is too small: 64 MiB at least\n", path), 1;
    drive->arena = memory_take(ARENA_BYTES);
    buffers.iov_base = drive->arena;
    options.buffers = &buffers;
    options.n_buffers = 1;
    if (io_uring_open(&options, ret_io, &err) < 0 && io_pread_open(&options, ret_io, &err) < 0)
        return fprintf(stderr, "drive: %s\n", err_text(&err)), 1;
    return 0;
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 1.6, idle[N_WAYS] = { 0 }, busy[N_WAYS] = { 0 }, best[2] = { 0 };
    int n_threads = argc > 3 ? atoi(argv[3]) : (int)sysconf(_SC_NPROCESSORS_ONLN), rounds;
    static struct adder adders[MAX_THREADS];
    struct drive drive = { 0 };
    struct io *io;

    if (argc < 2 || seconds <= 0 || n_threads < 1 || n_threads > MAX_THREADS) {
        fprintf(stderr, "usage: drive FILE [SECONDS [THREADS]]\n");
        return 2;
    }
    if (open_drive(argv[1], &drive, &io) != 0)
        return 1;
    for (int i = 0; i < n_threads; i++)
        adders[i].memory = memory_take(MEMORY_BYTES);
    rounds = (int)(seconds * 1e9 / (2.0 * N_WAYS * SLICE_NS) + 0.5);
    rounds = rounds < 1 ? 1 : rounds;
    for (int round = 0; round < rounds; round++)
        for (size_t w = 0; w < N_WAYS; w++) {
            double a = slice(&drive, io, &ways[w], NULL), b = busy_slice(&drive, io, &ways[w], adders, n_threads);

            if (a < 0 || b < 0)
                return fprintf(stderr, "drive: %s: a read failed\n", argv[1]), 1;
            idle[w] += a / rounds;
            busy[w] += b / rounds;
        }
    for (size_t w = 0; w < N_WAYS; w++) {
        best[0] = idle[w] > best[0] ? idle[w] : best[0];
        best[1] = busy[w] > best[1] ? busy[w] : best[1];
    }
    io->ops->close(io);
    printf("idle %.0f MB/s, busy %.0f MB/s\n", best[0] / 1e6, best[1] / 1e6);
    return 0;
}
