/* SPDX-License-Identifier: MIT */
#include "cache/drive.h"
#include "cache/cache.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1U << 20)

/* A drive that gives `top` once `knee` bytes are in flight, less in proportion below, and `loss` of it for each
 * doubling of the size above 256 KiB. */
static struct drive_curve made(double top, double knee, double loss)
{
    struct drive_curve curve = { .measured_s = 1, .took_ns = 400000000 };

    for (uint32_t i = 0; i < DRIVE_CELLS; i++) {
        double in_flight = (double)drive_size(i) * drive_depth(i), rate = top;

        if (in_flight < knee)
            rate *= in_flight / knee;
        for (uint32_t size = drive_size(i); size > 256 << 10; size /= 2)
            rate *= 1 - loss;
        curve.cell[i].rate = (uint64_t)rate;
        curve.cell[i].latency_ns = (uint64_t)(in_flight * 1e9 / rate);
    }
    return curve;
}

static struct drive_choice chosen(const struct drive_curve *curve, uint64_t expert_bytes)
{
    struct drive_choice choice;

    cr_assert_null(drive_doubt(curve), "%s", drive_doubt(curve));
    drive_choose(curve, expert_bytes, &choice);
    return choice;
}

Test(drive, cells_are_sizes_by_depths)
{
    cr_assert_eq(drive_size(0), 64 << 10);
    cr_assert_eq(drive_depth(0), 1);
    cr_assert_eq(drive_size(DRIVE_CELLS - 1), MIB);
    cr_assert_eq(drive_depth(DRIVE_CELLS - 1), DRIVE_MAX_DEPTH);
}

/* Larger ones are slower: 256 KiB, and what the knee asks for; the more the larger the expert to be away with. */
Test(drive, the_fewest_bytes_in_flight_that_nearly_reach_the_best)
{
    struct drive_curve curve = made(2.4e9, MIB, 0.1);
    struct drive_choice choice = chosen(&curve, 0);

    cr_assert_eq(choice.piece_bytes, 256 << 10);
    cr_assert_eq(choice.depth, 4);
    cr_assert_eq(choice.rate, 2400000000u);
    choice = chosen(&curve, 3 * MIB);
    cr_assert_geq(choice.piece_bytes * choice.depth, MIB + (uint64_t)(3 * MIB * 0.6));
    cr_assert_leq(choice.depth, DRIVE_MAX_DEPTH);
}

/* 64 KiB is a little faster: but 16 at a time are all that can be in flight. */
Test(drive, more_than_fits_goes_in_larger_pieces)
{
    struct drive_curve curve = made(2e9, MIB / 2, 0);
    struct drive_choice choice;

    curve.cell[3].rate += 1000; /* 64 KiB, 8 at a time */
    cr_assert_eq(chosen(&curve, 0).piece_bytes, 64 << 10);
    choice = chosen(&curve, 4 * MIB);
    cr_assert_gt(choice.piece_bytes, 64 << 10);
    cr_assert_geq((uint64_t)choice.piece_bytes * choice.depth, MIB / 2 + 2 * MIB);
}

Test(drive, a_drive_that_wants_much_in_flight_gets_it)
{
    struct drive_curve curve = made(7e9, 8 * MIB, 0);
    struct drive_choice choice = chosen(&curve, 0);

    cr_assert_eq(choice.piece_bytes * choice.depth, 8 * MIB);
    cr_assert_gt(choice.rate, 6900000000u);
}

Test(drive, one_that_loses_by_depth_is_read_one_by_one_or_two)
{
    struct drive_curve curve = made(150e6, 1, 0);

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        curve.cell[i].rate = 20000000 + 100 * (drive_size(i) / drive_depth(i));
    cr_assert_eq(chosen(&curve, 0).piece_bytes, MIB);
    cr_assert_eq(chosen(&curve, 0).depth, 2, "while one read is checked the next one runs");
}

/* Noise of a twentieth must not decide for more in flight. */
Test(drive, a_little_more_is_not_worth_more_in_flight)
{
    struct drive_curve curve = made(2e9, MIB / 2, 0);

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        if (drive_size(i) * drive_depth(i) > MIB)
            curve.cell[i].rate = 2080000000;
    cr_assert_eq(chosen(&curve, 0).piece_bytes * chosen(&curve, 0).depth, MIB / 2);
}

Test(drive, cells_that_were_not_measured_are_not_chosen)
{
    struct drive_curve curve = made(2e9, MIB, 0);

    for (uint32_t i = 0; i < DRIVE_CELLS; i++)
        if (drive_size(i) > 128 << 10)
            curve.cell[i] = (struct drive_cell){ 0 };
    cr_assert_leq(chosen(&curve, MIB).piece_bytes, 128 << 10);
}

Test(drive, what_cannot_be_believed_is_doubted)
{
    struct drive_curve curve = { 0 };

    cr_assert_not_null(drive_doubt(&curve));
    curve.measured_s = 1;
    cr_assert_not_null(drive_doubt(&curve), "no cell");
    curve = made(2e13, MIB, 0);
    cr_assert_not_null(strstr(drive_doubt(&curve), "faster than memory"));
    curve = made(1e6, MIB, 0);
    cr_assert_not_null(strstr(drive_doubt(&curve), "too slow"));
    curve = made(2e9, MIB, 0);
    curve.took_ns = DRIVE_ALL_NS;
    cr_assert_not_null(strstr(drive_doubt(&curve), "too long"));
    curve = made(2e9, MIB, 0);
    curve.measured_s = 0;
    cr_assert_not_null(drive_doubt(&curve));
}

/* ---- measuring ---- */

static struct expert_file file;
static struct io_sim sim;
static char dir[] = "/tmp/expertd-test-XXXXXX";

static void setup(void)
{
    expert_file_init(&file, &(struct expert_file_shape){
                                .n_layers = 4, .n_experts = 16, .n_used = 2, .rows = 900, .n_files = 2, .seed = 4 });
    sim = (struct io_sim){ .order = IO_SIM_RANDOM };
    cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void)
{
    char command[100];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
    expert_file_fini(&file);
}

TestSuite(drive_measure, .init = setup, .fini = teardown);

/* Over a simulated engine: as much in flight as the cell says, and none beyond a file. */
Test(drive_measure, a_cell)
{
    int fds[2] = { open(file.files[0].path, O_RDONLY), open(file.files[1].path, O_RDONLY) };
    struct drive_file files[2] = { { 0, file.files[0].bytes }, { 1, file.files[1].bytes } };
    struct io_options options = { .fds = fds, .n_fds = 2, .depth = DRIVE_MAX_DEPTH };
    void *scratch = aligned_alloc(4096, MIB);
    struct drive_sum sums[DRIVE_CELLS] = { 0 };
    struct drive_curve curve = { .measured_s = 1 };
    uint64_t random = 1;
    struct io *io;

    cr_assert_eq(io_sim_open(&sim, &options, &io, NULL), 0);
    for (uint32_t cell = 0; cell < DRIVE_CELLS; cell += 3) {
        sim.most_in_flight = 0;
        cr_assert_eq(drive_measure(io, files, 2, scratch, cell, &random, &sums[cell]), 0);
        cr_assert_eq(sim.most_in_flight, drive_depth(cell));
        cr_assert_eq(sim.n_in_flight, 0);
        cr_assert_gt(sums[cell].bytes, 0);
        cr_assert_eq(sums[cell].n_reads, sums[cell].bytes / drive_size(cell), "whole reads all");
    }
    drive_cells(sums, &curve);
    for (uint32_t cell = 0; cell < DRIVE_CELLS; cell++)
        cr_assert_eq(curve.cell[cell].rate > 0 && curve.cell[cell].latency_ns > 0, cell % 3 == 0);
    sim.fault = IO_SIM_ERROR;
    sim.fault_arg = EIO;
    sim.fault_at = sim.n_submitted + 5;
    sim.n_faults = 1;
    cr_assert_eq(drive_measure(io, files, 2, scratch, 0, &random, &sums[0]), -EIO);
    sim.n_failing_reaps = 3; /* the engine itself falters, and goes on */
    cr_assert_eq(drive_measure(io, files, 2, scratch, 0, &random, &sums[0]), 0);
    cr_assert_eq(sim.n_in_flight, 0);
    io->ops->close(io);
    free(scratch);
    close(fds[0]);
    close(fds[1]);
}

static struct cache *open_to_measure(enum cache_measuring measure)
{
    struct cache_options options;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    options.io_mode = IO_DIRECT;
    options.measure = measure;
    options.catalog_dir = dir;
    return door_check_open(&file, &options);
}

static struct cache_drive drive_of(const struct cache *cache)
{
    struct cache_drive drive;

    cache_drive(cache, &drive);
    return drive;
}

static bool can_direct(const struct cache *cache)
{
    return strstr(cache_describe(cache), "refused") == NULL;
}

/* In between requests, which get what they ask for; and the next start knows. */
Test(drive_measure, when_there_is_nothing_else_to_do_and_once)
{
    struct cache *cache = open_to_measure(MEASURE_NOW);
    struct cache_drive first, again;
    uint32_t n_requests = 0;

    if (!can_direct(cache)) {
        cr_assert(!drive_of(cache).measuring);
        cache_close(cache);
        cr_skip_test("skipped: no direct reads here");
    }
    cr_assert(drive_of(cache).measuring);
    cr_assert_not_null(drive_of(cache).doubt);
    while (drive_of(cache).measuring) {
        cr_assert(cache_idle(cache));
        door_check_run(cache, &file, 3, ++n_requests);
    }
    first = drive_of(cache);
    cr_assert_gt(first.curve.measured_s, 0);
    door_check_run(cache, &file, 60, 1);
    cache_close(cache);

    cache = open_to_measure(MEASURE_ONCE);
    again = drive_of(cache);
    cr_assert(!again.measuring);
    cr_assert_eq(memcmp(&again.curve, &first.curve, sizeof(first.curve)), 0);
    cr_assert_eq(again.piece_bytes, first.piece_bytes);
    cr_assert_eq(again.depth, first.depth);
    cr_assert_eq(again.doubt == NULL, first.doubt == NULL);
    door_check_run(cache, &file, 60, 2);
    cache_close(cache);
}

/* A small model is read before the way of reading matters. */
Test(drive_measure, not_for_a_small_model_of_itself)
{
    struct cache *cache = open_to_measure(MEASURE_ONCE);

    cr_assert(!drive_of(cache).measuring);
    cr_assert_eq(drive_of(cache).curve.measured_s, 0);
    cache_close(cache);
}

Test(drive_measure, what_the_user_sets_stays)
{
    struct cache *cache = open_to_measure(MEASURE_NOW);
    struct cache_options options;

    while (drive_of(cache).measuring)
        cache_idle(cache);
    cache_close(cache);
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    options.io_mode = IO_DIRECT;
    options.catalog_dir = dir;
    options.queue_depth = 3;
    options.piece_bytes = 20480;
    cache = door_check_open(&file, &options);
    cr_assert_eq(drive_of(cache).depth, 3);
    cr_assert_eq(drive_of(cache).piece_bytes, 20480);
    door_check_run(cache, &file, 60, 3);
    cache_close(cache);
}

/* A drive that fails is not asked again and read as by default; so is one whose curve is absurd. */
Test(drive_measure, a_failing_drive_leaves_the_defaults)
{
    struct cache_options options;
    struct cache *cache;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    options.io_mode = IO_DIRECT;
    options.measure = MEASURE_NOW;
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    if (!can_direct(cache)) {
        cache_close(cache);
        cr_skip_test("skipped: no direct reads here");
    }
    sim.fault = IO_SIM_ERROR;
    sim.fault_arg = EIO;
    sim.fault_at = 7;
    sim.n_faults = 1;
    while (drive_of(cache).measuring)
        cache_idle(cache);
    cr_assert_not_null(strstr(drive_of(cache).doubt, "a read failed"));
    cr_assert_eq(drive_of(cache).curve.measured_s, 0, "and nothing is kept");
    cr_assert_eq(drive_of(cache).depth, 16);
    cr_assert_eq(drive_of(cache).piece_bytes, 256 << 10);
    door_check_run(cache, &file, 60, 4);
    cache_close(cache);
}
