/* SPDX-License-Identifier: MIT */
#include "cache/state.h"

#include "base/arith.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WORTH_BYTES (256UL << 20) /* a model that is smaller is read before the way of reading matters */
#define STEPS (DRIVE_CELLS * DRIVE_ROUNDS)

static uint64_t largest_expert(const struct expert_layout *layout)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        bytes = u64_max(bytes, layout->layers[i].expert_bytes);
    return bytes;
}

/* What the user has set stays. */
static void follow(struct cache *c, const struct drive_curve *curve)
{
    struct cache_drive *d = &c->measure.drive;
    struct drive_choice choice;

    d->curve = *curve;
    d->doubt = drive_doubt(curve);
    if (d->doubt != NULL)
        return;
    drive_choose(curve, largest_expert(c->layout), &choice);
    d->rate = choice.rate;
    d->latency_ns = choice.latency_ns;
    if (c->measure.piece_set == 0)
        d->piece_bytes = choice.piece_bytes;
    if (c->measure.depth_set == 0)
        d->depth = (uint32_t)u64_min(choice.depth, reader_io(c->reader)->depth);
    reader_tune(c->reader, d->piece_bytes, d->depth);
}

void cache_measure_init(struct cache *c, const struct cache_options *options, uint32_t piece_bytes, uint32_t depth)
{
    struct measure *m = &c->measure;
    const struct drive_curve *known = catalog_curve(c->catalog);
    bool is_known = known->measured_s > 0 && known->drives == files_drives(&c->files);
    uint64_t all = 0;

    for (uint32_t i = 0; i < c->layout->n_layers; i++)
        all += c->layout->n_experts * c->layout->layers[i].expert_bytes;
    *m = (struct measure){ .drive = { .piece_bytes = piece_bytes, .depth = depth, .doubt = "it has not been measured" },
                           .piece_set = options->piece_bytes,
                           .depth_set = options->queue_depth,
                           .random = clock_ns() | 1 };
    if (!c->files.direct) {
        m->drive.doubt = "reads are not direct";
        return;
    }
    if (options->measure != MEASURE_NOW && is_known)
        follow(c, known);
    else if (options->measure == MEASURE_NOW ||
             (options->measure == MEASURE_ONCE && all >= WORTH_BYTES && reader_io(c->reader)->depth >= DRIVE_MAX_DEPTH))
        m->drive.measuring = true;
}

/* The pack alone when there is one: nearly all is read from there. */
static uint32_t files_list(const struct cache *c, struct drive_file *files)
{
    uint32_t n = 0;

    for (uint32_t i = c->files.pack != NULL ? c->files.n_fds - 1 : 0; i < c->files.n_fds && n < MEASURE_FILES; i++) {
        struct stat st;

        if (fstat(c->files.fds[i], &st) == 0 && st.st_size > 0)
            files[n++] = (struct drive_file){ .file = i, .bytes = (uint64_t)st.st_size };
    }
    return n;
}

static void finish(struct cache *c)
{
    struct measure *m = &c->measure;
    struct drive_curve curve = { .measured_s = (uint64_t)time(NULL),
                                 .drives = files_drives(&c->files),
                                 .took_ns = m->spent_ns };

    m->drive.measuring = false;
    drive_cells(m->sums, &curve);
    catalog_curve_put(c->catalog, &curve);
    follow(c, &curve);
}

static int cell_run(struct cache *c, uint32_t cell)
{
    struct measure *m = &c->measure;
    struct drive_file files[MEASURE_FILES];
    uint32_t n_files = files_list(c, files), slot;
    int rc = -1;

    if (n_files == 0)
        return -1;
    c->slots.request += 2;             /* nobody is in the midst of one: what was named may go */
    slot = slots_borrow(&c->slots, 0); /* of the largest class */
    if (slot == SLOT_NONE)
        return -1;
    rc =
        drive_measure(reader_io(c->reader), files, n_files, c->slots.slot[slot].data, cell, &m->random, &m->sums[cell]);
    slots_give(&c->slots, slot);
    return rc;
}

/* One cell; those that no read of this cache can be like are left out. */
void cache_measure_step(struct cache *c)
{
    struct measure *m = &c->measure;
    uint64_t start_ns = clock_ns();

    while (m->step < STEPS && (drive_size(m->step % DRIVE_CELLS) > c->slots.plan.class[0].slot_bytes ||
                               drive_depth(m->step % DRIVE_CELLS) > reader_io(c->reader)->depth))
        m->step++;
    if (m->step < STEPS && cell_run(c, m->step % DRIVE_CELLS) < 0) {
        m->drive.measuring = false;
        m->drive.doubt = "a read failed while it was measured, or no slot was to be had for it";
        return;
    }
    m->spent_ns += clock_ns() - start_ns;
    if (++m->step >= STEPS || m->spent_ns >= DRIVE_ALL_NS)
        finish(c);
}

void cache_drive(const struct cache *cache, struct cache_drive *ret_drive)
{
    *ret_drive = cache->measure.drive;
}
