/* SPDX-License-Identifier: MIT
 *
 * pack MODEL PACK [ROUNDS]: what a pack is worth on these drives: missing experts from the model in place against the
 * same ones from its pack.
 *
 * Every request names top-k random experts of a random layer, and there are slots for no more than these: nearly all
 * are missing. The two take turns with the same requests, ROUNDS times over (9) for each way of reading; printed are
 * medians: the time until the first and until the last expert has arrived, checksums included, the rate, and the ratio.
 */
#include "cache/pack.h"
#include "base/clock.h"
#include "cache/cache.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS 51
#define REQUESTS 20
#define MAX_USED 64

static const struct way {
    const char *name;
    enum io_engine engine;
    enum io_mode mode;
    uint32_t depth, piece_bytes;
} ways[] = {
    { "io_uring, direct", IO_ENGINE_AUTO, IO_DIRECT, 0, 0 },
    { "  depth 4", IO_ENGINE_AUTO, IO_DIRECT, 4, 0 },
    { "  pieces of 1 MiB", IO_ENGINE_AUTO, IO_DIRECT, 0, 1 << 20 },
    { "  pieces of 4 MiB", IO_ENGINE_AUTO, IO_DIRECT, 0, 4 << 20 },
    { "pread, direct", IO_ENGINE_PREAD, IO_DIRECT, 0, 0 },
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

struct times {
    double first_ms[MAX_ROUNDS], all_ms[MAX_ROUNDS];
    uint64_t bytes; /* of the last round */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), compare);
    return v[n / 2];
}

static void ids_draw(const struct expert_layout *layout, uint16_t *ids, unsigned *seed)
{
    for (uint32_t i = 0; i < layout->n_used; i++) {
        bool again = true;

        while (again) {
            ids[i] = (uint16_t)((uint32_t)rand_r(seed) % layout->n_experts);
            again = false;
            for (uint32_t j = 0; j < i; j++)
                again = again || ids[j] == ids[i];
        }
    }
}

static int request_run(struct expert_door *door, const struct expert_layout *layout, unsigned *seed, double *first_ms,
                       double *all_ms, struct err *err)
{
    uint32_t layer = layout->layers[(uint32_t)rand_r(seed) % layout->n_layers].layer;
    struct expert_view view;
    uint16_t ids[MAX_USED];
    uint64_t start_ns;
    bool first = true;
    size_t index;
    int rc;

    ids_draw(layout, ids, seed);
    start_ns = clock_ns();
    rc = door->ops->request(door, layer, ids, layout->n_used, err);
    while (rc >= 0 && (rc = door->ops->next(door, &index, &view, err)) > 0) {
        if (first)
            *first_ms += (double)(clock_ns() - start_ns) / 1e6 / REQUESTS;
        first = false;
        door->ops->release(door, &view);
    }
    *all_ms += (double)(clock_ns() - start_ns) / 1e6 / REQUESTS;
    return rc;
}

static int round_run(const struct expert_layout *layout, const struct pack *pack, const struct way *way, int round,
                     struct times *times, struct err *err)
{
    struct cache_options options;
    struct cache_stats stats;
    struct cache *cache;
    unsigned seed = (unsigned)round + 1;
    int rc;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(layout);
    options.pack = pack;
    options.io_engine = way->engine;
    options.io_mode = way->mode;
    options.queue_depth = way->depth;
    options.piece_bytes = way->piece_bytes;
    rc = cache_open(layout, &options, &cache, err);
    if (rc < 0)
        return rc;
    times->first_ms[round] = times->all_ms[round] = 0;
    for (int i = 0; i < REQUESTS && rc == 0; i++)
        rc = request_run(cache_door(cache), layout, &seed, &times->first_ms[round], &times->all_ms[round], err);
    cache_stats(cache, &stats);
    times->bytes = stats.bytes_read / REQUESTS;
    cache_close(cache);
    return rc;
}

static int way_measure(const struct expert_layout *layout, const struct pack *pack, const struct way *way, int rounds,
                       struct err *err)
{
    static struct times from[2]; /* the model, the pack */
    double ratio[MAX_ROUNDS], first[2], all[2];
    int rc = 0;

    for (int round = 0; round < rounds && rc == 0; round++) {
        for (int turn = 0; turn < 2 && rc == 0; turn++) {
            int which = (turn + round) % 2;

            rc = round_run(layout, which ? pack : NULL, way, round, &from[which], err);
        }
        ratio[round] = from[0].all_ms[round] / from[1].all_ms[round];
    }
    if (rc < 0)
        return rc;
    for (int i = 0; i < 2; i++) {
        first[i] = median(from[i].first_ms, rounds);
        all[i] = median(from[i].all_ms, rounds);
    }
    printf("%-20s %8.2f %8.2f %7.0f | %8.2f %8.2f %7.0f | %6.3f\n", way->name, first[0], all[0],
           (double)from[0].bytes / all[0] / 1e3, first[1], all[1], (double)from[1].bytes / all[1] / 1e3,
           median(ratio, rounds));
    return 0;
}

int main(int argc, char **argv)
{
    int rounds = argc > 3 ? atoi(argv[3]) : 9, rc;
    const struct expert_layout *layout;
    struct model *model;
    struct pack *pack = NULL;
    struct err err = { 0 };

    if (argc < 3 || rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: pack MODEL PACK [ROUNDS, 1..%d]\n", MAX_ROUNDS);
        return 2;
    }
    rc = model_open(argv[1], &model, &err);
    if (rc < 0) {
        fprintf(stderr, "pack: %s\n", err_text(&err));
        return 1;
    }
    layout = model_layout(model);
    rc = layout->n_used <= MAX_USED ? pack_open(argv[2], layout, &pack, &err)
                                    : err_set(&err, ERR_UNSUPPORTED, "more than %d experts per token", MAX_USED);
    if (rc == 0)
        printf("%u of %u experts of %.2f MB missing\n%20s %26s | %26s | pack is\n%-20s %8s %8s %7s | %8s %8s %7s | "
               "faster\n",
               layout->n_used, layout->n_experts, (double)layout->layers[0].expert_bytes / 1e6, "", "model in place",
               "pack", "", "first ms", "all ms", "MB/s", "first ms", "all ms", "MB/s");
    for (size_t i = 0; i < N_WAYS && rc == 0; i++)
        rc = way_measure(layout, pack, &ways[i], rounds, &err);
    if (rc < 0)
        fprintf(stderr, "pack: %s\n", err_text(&err));
    pack_close(pack);
    model_close(model);
    return rc < 0;
}
