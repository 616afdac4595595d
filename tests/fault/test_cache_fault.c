/* SPDX-License-Identifier: MIT
 *
 * Whatever single reads do, an expert's bytes are right or the request says why not, and the cache goes on.
 */
#include "base/mem.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_READS 40 /* of the run below, about: 12 experts of 3 parts, some in two pieces */

static struct expert_file file;
static struct io_sim sim;
static struct cache_options options;
static const uint16_t ids[] = { 7, 1, 4, 2 }, others[] = { 0, 3, 5, 6 };

static void setup(void)
{
    expert_file_init(&file,
                     &(struct expert_file_shape){ .n_layers = 3, .n_experts = 8, .n_used = 4, .rows = 40, .seed = 21 });
    memset(&sim, 0, sizeof(sim));
    cache_options_default(&options);
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    options.piece_bytes = 8192;
    options.slot_budget = cache_min_bytes(&file.layout);
}

static void teardown(void)
{
    expert_file_fini(&file);
}

TestSuite(cache_fault, .init = setup, .fini = teardown);

/* All three layers' experts, in a fresh cache. */
static int run(struct cache_stats *ret_stats, struct err *err)
{
    struct cache *cache = door_check_open(&file, &options);
    int rc = 0;

    for (uint32_t layer = 0; layer < 3 && rc == 0; layer++)
        rc = door_check_ask(cache, &file, layer, ids, 4, err);
    cache_stats(cache, ret_stats);
    cache_close(cache);
    return rc;
}

/* Every order with the same faults, the modes and depths in turn. `expected` is what each run must end with. */
static void run_all(int expected, const char *said)
{
    static unsigned turn;

    for (int order = IO_SIM_FIFO; order <= IO_SIM_RANDOM; order++, turn++) {
        struct cache_stats stats;
        struct err err = { 0 };

        sim.n_submitted = 0;
        sim.order = (enum io_sim_order)order;
        options.io_mode = turn & 1 ? IO_DIRECT : IO_BUFFERED;
        options.queue_depth = turn & 4 ? 1 : 8;
        cr_assert_eq(run(&stats, &err), expected, "%s", err_text(&err));
        cr_assert(sim.fault != IO_SIM_ERROR || sim.fault_arg != EIO || stats.reread > 0);
        if (said != NULL)
            cr_assert_not_null(strstr(err.text, said), "%s", err.text);
    }
}

Test(cache_fault, any_order_is_right)
{
    run_all(0, NULL);
    cr_assert_gt(sim.n_submitted, N_READS);
}

Test(cache_fault, each_nth_read_fails_once)
{
    sim.fault = IO_SIM_ERROR;
    sim.fault_arg = EIO;
    sim.n_faults = 1;
    for (sim.fault_at = 0; sim.fault_at < N_READS; sim.fault_at++)
        run_all(0, NULL);
}

Test(cache_fault, a_drive_that_is_gone_is_said)
{
    sim.fault = IO_SIM_ERROR;
    sim.fault_arg = EIO;
    sim.n_faults = UINT64_MAX;
    for (sim.fault_at = 0; sim.fault_at < N_READS; sim.fault_at++)
        run_all(-EIO, "failed twice: Input/output error");
}

Test(cache_fault, each_nth_read_is_short)
{
    static const uint32_t shorts[] = { 1, 63, 64, 511, 512, 513, 4096, 5000 };

    sim.fault = IO_SIM_SHORT;
    sim.n_faults = 1;
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        sim.fault_arg = shorts[i];
        for (sim.fault_at = 0; sim.fault_at < N_READS; sim.fault_at++)
            run_all(0, NULL);
    }
}

Test(cache_fault, every_read_is_short)
{
    sim.fault = IO_SIM_SHORT;
    sim.n_faults = UINT64_MAX;
    for (sim.fault_arg = 4096; sim.fault_arg < 8192; sim.fault_arg += 777)
        run_all(0, NULL);
}

/* Less than a block each time is no progress: an error, not a loop. */
Test(cache_fault, reads_that_bring_nothing_end)
{
    sim.fault = IO_SIM_SHORT;
    sim.n_faults = UINT64_MAX;
    sim.fault_arg = 1;
    run_all(ERR_CHANGED, "cut short");
    sim.fault = IO_SIM_END;
    run_all(ERR_CHANGED, "cut short");
}

Test(cache_fault, interruptions_are_borne)
{
    static const uint32_t errnums[] = { EINTR, EAGAIN };

    sim.fault = IO_SIM_ERROR;
    for (size_t i = 0; i < 2; i++) {
        sim.fault_arg = errnums[i];
        for (sim.n_faults = 1; sim.n_faults < 600; sim.n_faults = sim.n_faults * 3 + 1)
            for (sim.fault_at = 0; sim.fault_at < N_READS; sim.fault_at += 7)
                run_all(0, NULL);
    }
    sim.n_faults = UINT64_MAX;
    run_all(-EAGAIN, "failed twice");
}

/* ---- wrong bytes ---- */

/* Sums are recorded by a first, sound pass; the slots are too few to keep the experts of that pass. */
static struct cache *cache_with_sums(void)
{
    struct cache *cache;

    sim.fault = IO_SIM_NONE;
    cache = door_check_open(&file, &options);
    for (uint32_t layer = 0; layer < 3; layer++) {
        cr_assert_eq(door_check_ask(cache, &file, layer, ids, 4, NULL), 0);
        cr_assert_eq(door_check_ask(cache, &file, layer, others, 4, NULL), 0);
    }
    sim.fault = IO_SIM_WRONG;
    return cache;
}

Test(cache_fault, wrong_bytes_are_read_again)
{
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        struct cache *cache;
        struct cache_stats stats;
        uint64_t before = 0;

        options.io_mode = (enum io_mode)mode;
        cache = cache_with_sums();
        sim.n_faults = 1;
        for (uint32_t i = 0; i < 200; i++) {
            struct err err = { 0 };

            sim.fault_at = sim.n_submitted + i % 13;
            sim.fault_arg = i * 997;
            cr_assert_eq(door_check_ask(cache, &file, i % 3, i & 1 ? ids : others, 4, &err), 0, "%s", err_text(&err));
        }
        cache_stats(cache, &stats);
        cr_assert_gt(stats.reread, before + 50);
        cache_close(cache);
    }
}

Test(cache_fault, wrong_twice_is_damage)
{
    struct cache *cache = cache_with_sums();
    struct cache_stats stats;
    struct err err = { 0 };
    static const uint16_t one[] = { 2 };

    sim.fault_at = sim.n_submitted;
    sim.n_faults = UINT64_MAX;
    sim.fault_arg = 100; /* within the first expert's weights, whatever the displacement */
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(door_check_ask(cache, &file, 1, one, 1, &err), ERR_CHECKSUM, "%s", err_text(&err));
        cr_assert_not_null(strstr(err.text, "expert 2 of layer 1: checksum differs"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, file.files[0].path), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "offset"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "sha256sum"), "%s", err.text);
    }
    cache_stats(cache, &stats);
    cr_assert_eq(stats.reread, 3);
    sim.n_faults = 0;
    cr_assert_eq(door_check_ask(cache, &file, 1, one, 1, &err), 0, "%s", err_text(&err));
    door_check_run(cache, &file, 30, 4);
    cache_close(cache);
}

/* A damaged file is noticed on the run after the one that recorded it, and by verification. */
Test(cache_fault, damage_between_runs)
{
    char dir[200], path[240];
    const char *top = getenv("top_builddir");
    struct cache_stats stats;
    struct err err = { 0 };
    uint64_t at = expert_part_place(&file.layers[2].part[EXPERT_DOWN], 4).offset + 99;
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    uint64_t n_bad = 0;

    snprintf(dir, sizeof(dir), "%s/expertd-test-XXXXXX", top != NULL ? top : ".");
    cr_assert_not_null(mkdtemp(dir));
    options.catalog_dir = dir;
    cr_assert_eq(cache_verify(&file.layout, dir, NULL, NULL, &n_bad, &err), 0, "%s", err_text(&err));
    cr_assert_eq(run(&stats, &err), 0, "%s", err_text(&err));
    cr_assert_eq(pwrite(file.files[0].fd, "\x55", 1, (off_t)at), 1);
    times[1].tv_sec = file.files[0].mtime_ns / 1000000000;
    times[1].tv_nsec = file.files[0].mtime_ns % 1000000000;
    cr_assert_eq(futimens(file.files[0].fd, times), 0);
    cr_assert_eq(run(&stats, &err), ERR_CHECKSUM);
    cr_assert_not_null(strstr(err.text, "expert 4 of layer 2"), "%s", err.text);
    cr_assert_eq(cache_verify(&file.layout, dir, NULL, NULL, &n_bad, &err), ERR_CHECKSUM);
    cr_assert_eq(n_bad, 1);
    cr_assert_not_null(strstr(err.text, "expert 4 of layer 2"), "%s", err.text);
    snprintf(path, sizeof(path), "%s/catalog.mdb", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.lock", dir);
    unlink(path);
    rmdir(dir);
}

static bool cancel_at_half(void *ctx, uint64_t done, uint64_t total)
{
    return done * 2 >= total;
}

Test(cache_fault, verification_can_be_canceled)
{
    uint64_t n_bad;

    cr_assert_eq(cache_verify(&file.layout, NULL, cancel_at_half, NULL, &n_bad, NULL), ERR_CANCELED);
}

/* ---- files that change ---- */

Test(cache_fault, a_rewritten_file_is_not_called_damage)
{
    struct cache *cache = cache_with_sums();
    struct err err = { 0 };

    sim.fault = IO_SIM_NONE;
    for (uint64_t at = 0; at < file.files[0].bytes; at += 500)
        cr_assert_eq(pwrite(file.files[0].fd, "other", 5, (off_t)at), 5);
    cr_assert_eq(futimens(file.files[0].fd, (struct timespec[]){ { .tv_sec = 5 }, { .tv_sec = 5 } }), 0);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 4, &err), ERR_CHANGED, "%s", err_text(&err));
    cr_assert_not_null(strstr(err.text, "written to while in use"), "%s", err.text);
    cache_close(cache);
}

/* Even when everything asked for is in memory, a change of the file is noticed before long, and stays noticed. */
Test(cache_fault, a_changed_file_is_noticed_without_a_read)
{
    struct timespec was[2] = { { .tv_nsec = UTIME_OMIT } };
    struct cache *cache = cache_with_sums();
    struct err err = { 0 };
    int rc = 0;

    sim.fault = IO_SIM_NONE;
    was[1].tv_sec = file.files[0].mtime_ns / 1000000000;
    was[1].tv_nsec = file.files[0].mtime_ns % 1000000000;
    cr_assert_eq(futimens(file.files[0].fd, (struct timespec[]){ { .tv_sec = 5 }, { .tv_sec = 5 } }), 0);
    for (int i = 0; i < 2000 && rc == 0; i++)
        rc = door_check_ask(cache, &file, 0, ids, 1, &err);
    cr_assert_eq(rc, ERR_CHANGED);
    cr_assert_not_null(strstr(err.text, "written to while in use"), "%s", err.text);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 1, &err), ERR_CHANGED);
    cr_assert_eq(futimens(file.files[0].fd, was), 0);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 1, &err), 0, "%s", err_text(&err));
    cache_close(cache);
}

Test(cache_fault, a_cut_file_is_said)
{
    struct cache *cache = cache_with_sums();
    struct err err = { 0 };

    sim.fault = IO_SIM_NONE;
    cr_assert_eq(ftruncate(file.files[0].fd, (off_t)file.layers[1].part[EXPERT_UP].first.offset), 0);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 4, &err), ERR_CHANGED, "%s", err_text(&err));
    cr_assert_not_null(strstr(err.text, "cut short"), "%s", err.text);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 4, &err), 0, "%s", err_text(&err));
    cache_close(cache);
}

/* ---- askers that go away ---- */

Test(cache_fault, an_abandoned_request_leaves_room)
{
    for (int order = IO_SIM_FIFO; order <= IO_SIM_RANDOM; order++) {
        struct cache *cache;
        struct expert_door *door;

        sim.order = (enum io_sim_order)order;
        cache = door_check_open(&file, &options);
        door = cache_door(cache);
        for (uint32_t i = 0; i < 60; i++) {
            struct expert_view view;
            struct err err = { 0 };
            size_t index;

            sim.hold = true;
            cr_assert_eq(door->ops->request(door, i % 3, i & 1 ? ids : others, 4, &err), 0, "%s", err_text(&err));
            for (uint32_t taken = 0; taken < i % 4; taken++)
                cr_assert_eq(door->ops->next(door, &index, &view, &err), 1);
            door->ops->abandon(door);
            sim.hold = i & 4;
            cr_assert_eq(door_check_ask(cache, &file, (i + 1) % 3, i & 2 ? ids : others, 4, &err), 0, "%s",
                         err_text(&err));
        }
        cache_close(cache);
    }
}

/* What has not begun when its asker goes is not read. */
Test(cache_fault, an_abandoned_request_reads_no_further)
{
    struct cache *cache;
    struct expert_door *door;
    struct cache_stats stats;
    uint64_t before;

    options.queue_depth = 2;
    sim.hold = true;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    cr_assert_eq(door->ops->request(door, 0, ids, 4, NULL), 0);
    before = sim.n_submitted;
    door->ops->abandon(door);
    sim.hold = false;
    while (cache_idle(cache))
        ;
    cr_assert_eq(sim.n_submitted, before);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.slots_used, 0);
    cache_close(cache);
}

/* While a read does not end, other experts come, and nobody is made to wait who does not want to. */
Test(cache_fault, a_slow_read_blocks_nobody_who_asks_not_to_be)
{
    struct cache *cache = door_check_open(&file, &options);
    struct expert_door *door = cache_door(cache);
    struct expert_view view;
    struct err err = { 0 };
    size_t index;

    cr_assert_eq(door_check_ask(cache, &file, 0, ids + 1, 1, &err), 0);
    sim.hold = true;
    cr_assert_eq(door->ops->request(door, 0, ids, 4, &err), 0);
    cr_assert_eq(door->ops->try_next(door, &index, &view, &err), 1);
    cr_assert(index == 1 && expert_file_matches(&file, 0, ids[1], &view));
    for (int i = 0; i < 100; i++)
        cr_assert_eq(door->ops->try_next(door, &index, &view, &err), -EAGAIN);
    door->ops->release(door, &view);
    sim.hold = false;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(door->ops->next(door, &index, &view, &err), 1);
    door->ops->abandon(door);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 4, &err), 0, "%s", err_text(&err));
    cache_close(cache);
}

Test(cache_fault, an_engine_that_fails_is_said)
{
    struct cache *cache = door_check_open(&file, &options);
    struct err err = { 0 };

    for (uint64_t n = 1; n < 8; n++) {
        sim.n_failing_reaps = n;
        for (uint64_t i = 0; i < n && sim.n_failing_reaps > 0; i++) {
            cr_assert_eq(door_check_ask(cache, &file, (uint32_t)n % 3, n & 1 ? ids : others, 4, &err), -EIO);
            cr_assert_not_null(strstr(err.text, "simulated"), "%s", err.text);
        }
        cr_assert_eq(door_check_ask(cache, &file, (uint32_t)n % 3, n & 1 ? ids : others, 4, &err), 0, "%s",
                     err_text(&err));
    }
    cache_close(cache);
}

/* A hint whose read fails is nobody's error. */
Test(cache_fault, failing_hints_are_silent)
{
    struct cache *cache = door_check_open(&file, &options);
    struct expert_door *door = cache_door(cache);
    struct err err = { 0 };

    sim.fault = IO_SIM_ERROR;
    sim.fault_arg = EIO;
    sim.n_faults = UINT64_MAX;
    door->ops->hint(door, 0, ids, 4);
    while (cache_idle(cache))
        ;
    sim.fault = IO_SIM_NONE;
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 4, &err), 0, "%s", err_text(&err));
    cache_close(cache);
}

/* Demand that comes while hints are being read finds at most the hints in flight before it. */
Test(cache_fault, demand_overtakes_hints)
{
    struct cache *cache;
    struct expert_door *door;
    uint64_t before;
    size_t index;
    struct expert_view view;

    options.slot_budget *= 2;
    options.queue_depth = 4;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    sim.hold = true;
    door->ops->hint(door, 0, others, 4);
    cr_assert_eq(sim.n_in_flight, 2); /* half of the depth */
    before = sim.n_submitted;
    cr_assert_eq(door->ops->request(door, 1, ids, 1, NULL), 0);
    sim.hold = false;
    cr_assert_eq(door->ops->next(door, &index, &view, NULL), 1);
    cr_assert(expert_file_matches(&file, 1, ids[0], &view));
    cr_assert_leq(sim.n_submitted, before + 8 + 2 + 6); /* its own pieces; then hints go on */
    door->ops->release(door, &view);
    cache_close(cache);
}

Test(cache_fault, polling_keeps_the_drive_busy_and_does_nothing_else)
{
    struct cache *cache;
    struct expert_door *door;
    uint64_t before;

    options.slot_budget *= 2;
    cache = cache_with_sums();
    door = cache_door(cache);
    sim.fault = IO_SIM_NONE;
    before = sim.n_submitted;
    door->ops->hint(door, 0, ids, 4);
    for (int i = 0; i < 100; i++)
        door->ops->poll(door);
    cr_assert_gt(sim.n_submitted, before + 2); /* more than the first, though nobody has taken anything */
    cr_assert_eq(sim.n_in_flight, 0);
    before = sim.n_submitted;
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 4, NULL), 0);
    cr_assert_eq(sim.n_submitted, before); /* arrived is as good as resident */
    cache_close(cache);
}

Test(cache_fault, what_is_ready_does_not_wait_for_another_s_checksum)
{
    struct cache *cache;
    struct expert_door *door;
    struct expert_view view;
    struct err err = { 0 };
    size_t index;

    options.slot_budget *= 2;
    cache = cache_with_sums();
    door = cache_door(cache);
    sim.fault = IO_SIM_NONE;
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 1, NULL), 0);
    cr_assert_eq(door_check_ask(cache, &file, 1, others, 4, NULL), 0);
    cr_assert_eq(door_check_ask(cache, &file, 2, others, 4, NULL), 0);
    sim.fault = IO_SIM_WRONG;
    sim.fault_at = sim.n_submitted;
    sim.n_faults = UINT64_MAX - sim.fault_at;
    cr_assert_eq(door->ops->request(door, 0, ids, 2, &err), 0, "%s", err_text(&err));
    cr_assert_eq(door->ops->next(door, &index, &view, &err), 1, "%s", err_text(&err));
    cr_assert(expert_file_matches(&file, 0, ids[0], &view));
    cr_assert_eq(door->ops->try_next(door, &index, &view, &err), -EAGAIN);
    cr_assert_eq(door->ops->next(door, &index, &view, &err), ERR_CHECKSUM);
    door->ops->abandon(door);
    cache_close(cache);
}

/* ---- memory ---- */

Test(cache_fault, each_nth_allocation_fails)
{
    static const enum io_engine engines[] = { IO_ENGINE_AUTO, IO_ENGINE_PREAD };

    for (int e = 0; e < 3; e++) {
        int rc = -1;

        options.on_io_open = e == 2 ? io_sim_open : NULL;
        options.io_engine = engines[e % 2];
        for (long n = 0; rc < 0; n++) {
            struct cache *cache;
            struct err err = { 0 };

            cr_assert_lt(n, 200);
            mem_fail_after(n);
            rc = cache_open(&file.layout, &options, &cache, &err);
            mem_fail_after(-1);
            cr_assert(rc == 0 || err.text[0] != '\0');
            if (rc == 0)
                cache_close(cache);
        }
    }
}

/* Once open, nothing is allocated: not for hits, misses, evictions, rereads, failures or hints. */
Test(cache_fault, the_hot_path_allocates_nothing)
{
    struct cache *cache = cache_with_sums();
    struct expert_door *door = cache_door(cache);

    sim.n_faults = 3;
    mem_fail_after(0);
    for (uint32_t i = 0; i < 50; i++) {
        sim.fault = i & 1 ? IO_SIM_WRONG : IO_SIM_ERROR;
        sim.fault_arg = EIO;
        sim.fault_at = sim.n_submitted + i % 5;
        door->ops->hint(door, i % 3, others, 2);
        door_check_ask(cache, &file, i % 3, i & 2 ? ids : others, 4, NULL);
    }
    sim.fault = IO_SIM_NONE;
    door_check_run(cache, &file, 30, 9);
    mem_fail_after(-1);
    cache_close(cache);
}
