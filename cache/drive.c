/* SPDX-License-Identifier: MIT */
#include "cache/drive.h"

#include "base/arith.h"
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>

#define RATE_LEAST 10000000u     /* below, it is no drive to read experts from, and moving the arm is all it does */
#define RATE_MOST 1000000000000u /* no drive, nor memory */
#define NEARLY_BEST 0.95
#define ENGINE_RATE 4000000000u /* at which the engine checks and multiplies an expert, about */
#define DEPTH_LEAST 2
#define OFFSET_UNIT 4096u

/* ---- choosing ---- */

static uint64_t best_rate(const struct drive_curve *curve)
{
    uint64_t best = 0;

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        best = u64_max(best, curve->cell[i].rate);
    return best;
}

const char *drive_doubt(const struct drive_curve *curve)
{
    uint64_t best = best_rate(curve);
    uint32_t n = 0;

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        n += curve->cell[i].rate > 0 && curve->cell[i].latency_ns > 0;
    if (curve->measured_s == 0)
        return "it has not been measured";
    if (curve->took_ns >= DRIVE_ALL_NS)
        return "it took too long to measure";
    if (n == 0)
        return "experts are too small for the way of reading to matter";
    if (best > RATE_MOST)
        return "what was measured is faster than memory";
    if (best < RATE_LEAST)
        return "it is too slow for the way of reading to matter";
    return NULL;
}

static uint64_t in_flight(uint32_t cell)
{
    return drive_size(cell) * u64_max(drive_depth(cell), DEPTH_LEAST);
}

/* Fewer bytes in flight; of as many, the faster, or in fewer reads. */
static bool is_better(const struct drive_curve *curve, uint32_t a, uint32_t b)
{
    if (in_flight(a) != in_flight(b))
        return in_flight(a) < in_flight(b);
    return curve->cell[a].rate >= curve->cell[b].rate;
}

/* More than the engine can have in flight goes in larger pieces, where those are as good. */
static void fit_depth(const struct drive_curve *curve, uint64_t least, uint32_t knee, uint64_t depth,
                      struct drive_choice *choice)
{
    uint32_t size = drive_size(knee);

    while (depth > DRIVE_MAX_DEPTH && knee + DRIVE_DEPTHS - 1 < DRIVE_CELLS && knee % DRIVE_DEPTHS > 0 &&
           curve->cell[knee + DRIVE_DEPTHS - 1].rate >= least) {
        knee += DRIVE_DEPTHS - 1; /* twice the size, half the depth */
        size *= 2;
        depth = (depth + 1) / 2;
    }
    choice->piece_bytes = size;
    choice->depth = (uint32_t)u64_max(u64_min(depth, DRIVE_MAX_DEPTH), DEPTH_LEAST);
}

void drive_choose(const struct drive_curve *curve, uint64_t expert_bytes, struct drive_choice *ret_choice)
{
    uint64_t least = (uint64_t)((double)best_rate(curve) * NEARLY_BEST), away, depth;
    uint32_t knee = DRIVE_CELLS;

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        if (curve->cell[i].rate >= least && (knee == DRIVE_CELLS || is_better(curve, i, knee)))
            knee = i;
    away = (uint64_t)((double)expert_bytes * (double)curve->cell[knee].rate / ENGINE_RATE);
    depth = drive_depth(knee) + (away + drive_size(knee) - 1) / drive_size(knee);
    *ret_choice = (struct drive_choice){ .rate = curve->cell[knee].rate, .latency_ns = curve->cell[knee].latency_ns };
    fit_depth(curve, least, knee, depth, ret_choice);
}

/* ---- measuring ---- */

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

/* Anywhere in the files, each as likely as it is long. */
static void place_find(const struct drive_file *files, uint32_t n_files, uint32_t bytes, uint64_t *random,
                       struct io_read *ret_read)
{
    uint64_t all = 0, at;
    uint32_t i = 0;

    for (uint32_t f = 0; f < n_files; f++)
        all += files[f].bytes;
    at = next_random(random) % all;
    while (at >= files[i].bytes)
        at -= files[i++].bytes;
    ret_read->file = files[i].file;
    ret_read->offset = u64_align_down(u64_min(at, files[i].bytes > bytes ? files[i].bytes - bytes : 0), OFFSET_UNIT);
}

struct cell_run {
    uint32_t n_sent, n_done, n_wanted;
    uint64_t bytes, latency_ns, start_ns, end_ns;
    uint64_t sent_ns[DRIVE_MAX_DEPTH];
    int code;
};

static int cell_reap(struct io *io, struct cell_run *run, uint32_t *ret_tag)
{
    struct io_done done;
    int n = io->ops->reap(io, &done, 1, true);

    if (n < 0)
        return n;
    run->end_ns = clock_ns();
    run->n_done++;
    if (done.result < 0 && run->code == 0)
        run->code = done.result;
    if (done.result > 0)
        run->bytes += (uint32_t)done.result;
    run->latency_ns += run->end_ns - run->sent_ns[done.tag];
    *ret_tag = done.tag;
    return 0;
}

static void cell_add(struct drive_sum *sum, const struct cell_run *run)
{
    sum->bytes += run->bytes;
    sum->ns += run->end_ns - run->start_ns;
    sum->n_reads += run->n_done;
    sum->latency_ns += run->latency_ns;
}

void drive_cells(const struct drive_sum sums[DRIVE_CELLS], struct drive_curve *curve)
{
    for (uint32_t i = 0; i < DRIVE_CELLS; i++) {
        const struct drive_sum *s = &sums[i];

        curve->cell[i] = (struct drive_cell){ 0 };
        if (s->ns > 0 && s->n_reads > 0)
            curve->cell[i] = (struct drive_cell){ .rate = (uint64_t)((double)s->bytes * 1e9 / (double)s->ns),
                                                  .latency_ns = u64_max(s->latency_ns / s->n_reads, 1) };
    }
}

int drive_measure(struct io *io, const struct drive_file *files, uint32_t n_files, void *scratch, uint32_t cell,
                  uint64_t *random, struct drive_sum *sum)
{
    uint32_t bytes = drive_size(cell), depth = drive_depth(cell), tag = 0, failures = 0;
    struct cell_run run = { .start_ns = clock_ns() };

    run.n_wanted = (uint32_t)u64_max(DRIVE_CELL_BYTES / bytes, 2ULL * depth);
    run.end_ns = run.start_ns;
    while (run.n_done < run.n_sent || run.n_sent == 0 ||
           (run.n_sent < run.n_wanted && run.code == 0 && run.end_ns - run.start_ns < DRIVE_CELL_NS)) {
        bool more = run.n_sent < run.n_wanted && run.code == 0 && run.end_ns - run.start_ns < DRIVE_CELL_NS;

        if (more && run.n_sent - run.n_done < depth) {
            struct io_read read = { .dst = scratch, .bytes = bytes, .tag = run.n_sent < depth ? run.n_sent : tag };

            place_find(files, n_files, bytes, random, &read);
            run.sent_ns[read.tag] = clock_ns();
            io->ops->submit(io, &read, 1);
            run.n_sent++;
        } else if (cell_reap(io, &run, &tag) < 0 && ++failures > 100) {
            return -EIO;
        }
    }
    if (run.code == 0)
        cell_add(sum, &run);
    return run.code;
}
