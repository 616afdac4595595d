/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "cache/cache.h"
#include "cache/lend.h"
#include "cache/slots.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const struct expert_file_shape small = { .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 40, .seed = 1 };

/* Every engine, mode, depth, piece size and order of reading brings the same bytes, into few slots and many. */
Test(cache, brings_every_expert_however_it_reads)
{
    static const uint32_t depths[] = { 1, 3, 8, 64 }, pieces[] = { 4096, 12288, 256 << 10 };
    struct expert_file file;
    struct cache_options options;

    expert_file_init(&file, &small);
    for (unsigned i = 0; i < 2 * 2 * 4 * 3 * 2; i++) {
        cache_options_default(&options);
        options.io_engine = i % 2 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        options.io_mode = i / 2 % 2 ? IO_DIRECT : IO_BUFFERED;
        options.queue_depth = depths[i / 4 % 4];
        options.piece_bytes = pieces[i / 16 % 3];
        options.read_by_part = i / 48;
        options.policy = (enum policy_kind)(i % POLICIES);
        options.slot_budget = cache_min_bytes(&file.layout) * (1 + i % 3);
        door_check_run_with(&file, &options, 30);
    }
    expert_file_fini(&file);
}

Test(cache, layers_of_other_sizes_and_several_files)
{
    struct expert_file file;
    struct cache_options options;

    expert_file_init(
        &file, &(struct expert_file_shape){
                   .n_layers = 6, .n_experts = 8, .n_used = 2, .n_files = 3, .grow = 60, .first_layer = 5, .seed = 3 });
    cache_options_default(&options);
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        options.io_mode = (enum io_mode)mode;
        options.slot_budget = cache_min_bytes(&file.layout);
        door_check_run_with(&file, &options, 60);
        options.slot_budget *= 3;
        door_check_run_with(&file, &options, 60);
    }
    expert_file_fini(&file);
}

Test(cache, experts_of_every_form)
{
    static const struct expert_file_shape forms[] = {
        { .n_layers = 4, .n_experts = 8, .n_used = 2, .n_files = 2, .rows = 21, .fused = true, .seed = 5 },
        { .n_layers = 4, .n_experts = 8, .n_used = 2, .rows = 21, .strewn = true, .seed = 6 },
        { .n_layers = 4, .n_experts = 8, .n_used = 2, .n_files = 3, .rows = 9, .strewn = true, .seed = 7 },
    };

    for (size_t i = 0; i < 4 * sizeof(forms) / sizeof(forms[0]); i++) {
        struct expert_file file;
        struct cache_options options;

        expert_file_init(&file, &forms[i / 4]);
        cache_options_default(&options);
        options.io_mode = i % 2 ? IO_DIRECT : IO_BUFFERED;
        options.read_by_part = i / 2 % 2;
        options.slot_budget = cache_min_bytes(&file.layout);
        door_check_run_with(&file, &options, 60);
        expert_file_fini(&file);
    }
}

/* Layers whose sizes differ by hardly more or less than what makes another class of slots, as blocks round them. */
Test(cache, the_least_budget_works_whatever_the_alignment)
{
    for (uint32_t grow = 1; grow < 40; grow += 3) {
        struct expert_file file;
        struct cache_options options;

        expert_file_init(&file, &(struct expert_file_shape){
                                    .n_layers = 4, .n_experts = 4, .n_used = 2, .rows = 21, .grow = grow, .seed = 8 });
        cache_options_default(&options);
        options.slot_budget = cache_min_bytes(&file.layout);
        for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
            options.io_mode = (enum io_mode)mode;
            cache_close(door_check_open(&file, &options));
        }
        expert_file_fini(&file);
    }
}

Test(cache, parts_that_touch_are_one_read)
{
    struct expert_file file;
    struct cache_options options;

    expert_file_init(
        &file, &(struct expert_file_shape){ .n_layers = 4, .n_experts = 1, .n_used = 1, .packed = true, .seed = 4 });
    cache_options_default(&options);
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        options.io_mode = (enum io_mode)mode;
        options.slot_budget = cache_min_bytes(&file.layout);
        door_check_run_with(&file, &options, 20);
    }
    expert_file_fini(&file);
}

/* ---- the protocol ---- */

static struct cache *open_small(struct expert_file *file, uint64_t times, struct cache_options *options)
{
    expert_file_init(file, &small);
    cache_options_default(options);
    options->slot_budget = cache_min_bytes(&file->layout) * times;
    return door_check_open(file, options);
}

/* A model of two files on two drives: as soon as a layer's experts are asked for both have the same to do, though one
 * expert's gate alone would keep one of them busy. */
Test(cache, two_drives_read_at_once)
{
    struct expert_file_shape shape = {
        .n_layers = 2, .n_experts = 4, .n_used = 3, .n_files = 2, .rows = 150, .odd_dir = "/dev/shm", .seed = 12
    };
    const char *top = getenv("top_builddir");
    struct io_sim sim = { .hold = true };
    struct cache_options options;
    struct expert_file file;
    struct stat one, other;
    struct cache *cache;
    struct expert_door *door;
    struct expert_view view;
    size_t index;

    if (stat("/dev/shm", &other) != 0 || stat(top != NULL ? top : ".", &one) != 0 || one.st_dev == other.st_dev)
        cr_skip_test("skipped: no second file system");
    expert_file_init(&file, &shape);
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    options.io_mode = IO_BUFFERED;
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    options.queue_depth = 8;
    options.piece_bytes = 4096;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    for (uint32_t layer = 0; layer < 2; layer++) {
        cr_assert_eq(door->ops->request(door, layer, (uint16_t[]){ 0, 1, 3 }, 3, NULL), 0);
        cr_assert(sim.in_flight_of[0] == 4 && sim.in_flight_of[1] == 4, "%u and %u in flight", sim.in_flight_of[0],
                  sim.in_flight_of[1]);
        for (int i = 0; i < 3; i++) {
            cr_assert_eq(door->ops->next(door, &index, &view, NULL), 1);
            door->ops->release(door, &view);
        }
        cr_assert_eq(door->ops->next(door, &index, &view, NULL), 0);
    }
    sim.hold = false;
    door_check_run(cache, &file, 40, 9);
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache, hits_and_misses_are_counted)
{
    static const uint16_t first[] = { 3, 1, 2 }, second[] = { 2, 9, 3, 1 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 4, &options);
    struct cache_stats stats;

    door_check_ask(cache, &file, 1, first, 3, NULL);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 0 && stats.misses == 3 && stats.slots_used == 3);
    cr_assert_geq(stats.bytes_read, 3 * file.layers[1].expert_bytes);
    door_check_ask(cache, &file, 1, second, 4, NULL);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 3 && stats.misses == 4 && stats.slots_used == 4 && stats.evictions == 0);
    cache_close(cache);
    expert_file_fini(&file);
}

/* Waiting, work and the drive's time are parts of what passed outside, and the first two share none of it. */
Test(cache, its_time_is_divided)
{
    static const uint16_t ids[] = { 3, 1, 2 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 4, &options);
    struct cache_stats stats;
    uint64_t start_ns = clock_ns(), all_ns, door_ns;

    door_check_ask(cache, &file, 1, ids, 3, NULL);
    all_ns = clock_ns() - start_ns;
    cache_stats(cache, &stats);
    cr_assert(stats.door_ns > 0 && stats.busy_ns > 0);
    cr_assert_leq(stats.door_ns + stats.wait_ns, all_ns);
    cr_assert_leq(stats.busy_ns, all_ns);
    door_ns = stats.door_ns;
    start_ns = stats.busy_ns;
    door_check_ask(cache, &file, 1, ids, 3, NULL);
    cache_stats(cache, &stats);
    cr_assert_gt(stats.door_ns, door_ns);
    cr_assert_eq(stats.busy_ns, start_ns, "nothing was read");
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache, a_wrong_request_changes_nothing)
{
    static const uint16_t good[] = { 0, 1 }, beyond[] = { 0, 16 }, twice[] = { 5, 5 };
    uint16_t all[16];
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct expert_door *door = cache_door(cache);
    struct cache_stats stats;
    struct err err = { 0 };

    for (uint16_t i = 0; i < 16; i++)
        all[i] = i;
    cr_assert_lt(door->max_request, 16);
    cr_assert_eq(door->ops->request(door, 0, beyond, 2, &err), -EINVAL);
    cr_assert_eq(door->ops->request(door, 0, twice, 2, &err), -EINVAL);
    cr_assert_eq(door->ops->request(door, 3, good, 2, &err), -EINVAL);
    cr_assert_eq(door->ops->request(door, 0, good, 0, &err), -EINVAL);
    cr_assert_eq(door->ops->request(door, 0, all, door->max_request + 1, &err), -EINVAL);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 0 && stats.misses == 0 && stats.slots_used == 0);
    cr_assert_eq(door->ops->request(door, 0, good, 2, &err), 0);
    cr_assert_eq(door->ops->request(door, 0, good, 2, &err), -EBUSY);
    door->ops->abandon(door);
    cr_assert_eq(door_check_ask(cache, &file, 0, good, 2, &err), 0, "%s", err_text(&err));
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache, pinned_experts_stay)
{
    static const uint16_t pinned[] = { 0, 1, 2 }, others[] = { 4, 5, 6, 7, 8 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct expert_door *door = cache_door(cache);
    struct expert_view view[3];
    size_t index[3];
    struct cache_stats stats;
    struct err err = { 0 };

    cr_assert_eq(door->ops->request(door, 0, pinned, 3, &err), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(door->ops->next(door, &index[i], &view[i], &err), 1);
    cache_stats(cache, &stats);
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(door_check_ask(cache, &file, i % 3, others + i % 5, stats.slots - 3 < 1, &err),
                     stats.slots - 3 < 1 ? 0 : -EINVAL);
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(door_check_ask(cache, &file, i % 3, others + i % 5, 1, &err), 0, "%s", err_text(&err));
    cr_assert_eq(door->ops->request(door, 1, others, stats.slots - 2, &err), -EBUSY);
    for (int i = 0; i < 3; i++) {
        cr_assert(expert_file_matches(&file, 0, pinned[index[i]], &view[i]));
        door->ops->release(door, &view[i]);
    }
    cr_assert_eq(door_check_ask(cache, &file, 1, others, stats.slots < 5 ? stats.slots : 5, &err), 0, "%s",
                 err_text(&err));
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache, least_recently_used_goes_first)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct cache_stats before, after;
    uint16_t id;

    cache_stats(cache, &before);
    cr_assert_lt(before.slots, 16);
    for (id = 0; id < before.slots; id++)
        door_check_ask(cache, &file, 0, &id, 1, NULL);
    id = 0;
    door_check_ask(cache, &file, 0, &id, 1, NULL); /* now 1 is the oldest */
    id = 15;
    door_check_ask(cache, &file, 0, &id, 1, NULL);
    cache_stats(cache, &before);
    id = 0;
    door_check_ask(cache, &file, 0, &id, 1, NULL);
    cache_stats(cache, &after);
    cr_assert_eq(after.misses, before.misses);
    id = 1;
    door_check_ask(cache, &file, 0, &id, 1, NULL);
    cache_stats(cache, &after);
    cr_assert_eq(after.misses, before.misses + 1);
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache, too_small_a_budget_says_the_least_that_works)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache;
    struct err err = { 0 };

    expert_file_init(&file, &small);
    cache_options_default(&options);
    options.io_mode = IO_DIRECT;
    options.slot_budget = file.layers[0].expert_bytes * 4 - 1;
    cr_assert_eq(cache_open(&file.layout, &options, &cache, &err), ERR_BUDGET);
    cr_assert_not_null(strstr(err.text, "too few"), "%s", err.text);
    options.slot_budget = cache_min_bytes(&file.layout);
    door_check_run_with(&file, &options, 10);
    expert_file_fini(&file);
}

/* Experts asked for by hint arrive while nothing else is done, and then hit. */
Test(cache, hints_are_read_when_idle)
{
    static const uint16_t ids[] = { 2, 4, 6 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 4, &options);
    struct expert_door *door = cache_door(cache);
    struct cache_stats stats;

    door->ops->hint(door, 1, ids, 3);
    while (cache_idle(cache))
        ;
    cr_assert_not(cache_hinting(cache));
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 3, NULL), 0);
    cache_stats(cache, &stats);
    cr_assert(stats.hits == 3 && stats.misses == 0 && stats.bytes_read == 0);
    cr_assert_geq(stats.hint_bytes, 3 * file.layers[1].expert_bytes);
    cache_close(cache);
    expert_file_fini(&file);
}

/* With no slot to spare, hints give way to what is needed, and wrong ones are ignored. */
Test(cache, hints_give_way)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct expert_door *door = cache_door(cache);
    struct cache_stats stats;
    uint32_t state = 5;

    for (uint32_t i = 0; i < 200; i++) {
        uint16_t hinted[6], ids[16];
        size_t n = 1 + i % door->max_request;

        door_check_ids(hinted, 6, 20, &state);
        door_check_ids(ids, n, 16, &state);
        door->ops->hint(door, i % 4, hinted, 6);
        cr_assert_eq(door_check_ask(cache, &file, i % 3, ids, n, NULL), 0);
    }
    while (cache_idle(cache))
        ;
    cache_stats(cache, &stats);
    cr_assert_gt(stats.hint_reads, 0);
    cr_assert_leq(stats.hint_hits + stats.hint_late + stats.hint_wasted, stats.hint_reads);
    cr_assert_geq(stats.hint_hits + stats.hint_late + stats.hint_wasted + stats.slots, stats.hint_reads);
    cache_close(cache);
    expert_file_fini(&file);
}

/* Every expert a hint brought is told apart once: in time, too late, or for nothing. */
Test(cache, hints_are_accounted_for)
{
    static const uint16_t right[] = { 2, 4 }, wrong[] = { 7 }, other[] = { 1, 3 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 4, &options);
    struct expert_door *door = cache_door(cache);
    struct cache_stats stats;

    door->ops->hint(door, 1, right, 2);
    while (cache_idle(cache))
        ;
    cr_assert_eq(door_check_ask(cache, &file, 1, right, 2, NULL), 0);
    cache_stats(cache, &stats);
    cr_assert(stats.hint_reads == 2 && stats.hint_hits == 2 && stats.hint_wasted == 0);

    door->ops->hint(door, 2, wrong, 1);
    while (cache_idle(cache))
        ;
    cr_assert_eq(door_check_ask(cache, &file, 2, other, 2, NULL), 0);
    for (uint16_t e = 8; e < 16; e++) /* until it is evicted */
        for (uint32_t layer = 0; layer < 3; layer++)
            cr_assert_eq(door_check_ask(cache, &file, layer, &e, 1, NULL), 0);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.hint_reads, 3);
    cr_assert_eq(stats.hint_hits, 2);
    cr_assert_eq(stats.hint_wasted, 1);
    cache_close(cache);
    expert_file_fini(&file);
}

/* What a hint expects is no victim of the same hint, nor of what else is read before the next request. */
Test(cache, the_expected_stay)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct expert_door *door = cache_door(cache);
    uint16_t ids[16], hinted[16];
    size_t n = door->max_request;
    struct cache_stats before, after;

    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)i;
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n, NULL), 0);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 1, NULL), 0); /* its expert 0 has taken a slot */
    hinted[0] = 9;
    hinted[1] = 10;
    hinted[2] = 0;
    door->ops->hint(door, 1, hinted, 3);
    while (cache_idle(cache))
        ;
    cache_stats(cache, &before);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, 1, NULL), 0);
    cache_stats(cache, &after);
    cr_assert_eq(after.hits, before.hits + 1);
    cache_close(cache);
    expert_file_fini(&file);
}

/* A guess of two layers ahead stays over the request between. */
Test(cache, the_expected_of_the_layer_after_stay)
{
    static const uint16_t hinted[] = { 9, 10 };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    struct expert_door *door = cache_door(cache);
    uint16_t ids[16];
    size_t n = door->max_request;
    struct cache_stats before, after;

    for (size_t i = 0; i < n; i++)
        ids[i] = (uint16_t)i;
    cr_assert_gt(n, 2);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n, NULL), 0);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 1, NULL), 0); /* the others may go now */
    door->ops->hint(door, 2, hinted, 2);
    while (cache_idle(cache))
        ;
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, n - 2, NULL), 0);
    cache_stats(cache, &before);
    cr_assert_eq(door_check_ask(cache, &file, 2, hinted, 2, NULL), 0);
    cache_stats(cache, &after);
    cr_assert_eq(after.hits, before.hits + 2);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 1, NULL), 0);
    door->ops->hint(door, 2, ids, 2); /* and gives way where there is no other room */
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, n, NULL), 0);
    cache_close(cache);
    expert_file_fini(&file);
}

/* Pages of a file that are in the page cache. */
static size_t pages_cached(int fd, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (bytes + page - 1) / page, cached = 0;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *is_in = malloc(n);

    cr_assert(map != MAP_FAILED && is_in != NULL);
    cr_assert_eq(mincore(map, bytes, is_in), 0);
    for (size_t i = 0; i < n; i++)
        cached += is_in[i] & 1;
    munmap(map, bytes);
    free(is_in);
    return cached;
}

/* A model that has just been copied lies in memory a second time, where it is in the way of slots. */
Test(cache, direct_reads_leave_nothing_in_the_page_cache)
{
    struct cache_options options;
    struct expert_file file;
    struct cache *cache;
    struct err err = { 0 };
    struct statfs fs;
    bool direct;
    char *bytes;

    expert_file_init(&file, &small);
    cr_assert_eq(fstatfs(file.layout.files[0].fd, &fs), 0);
    if (fs.f_type == TMPFS_MAGIC) { /* takes O_DIRECT and is nothing but page cache */
        expert_file_fini(&file);
        cr_skip_test("skipped: its files lie in memory");
    }
    bytes = malloc(file.layout.files[0].bytes);
    cr_assert_eq(fsync(file.layout.files[0].fd), 0);
    for (int mode = IO_BUFFERED; mode >= IO_DIRECT; mode--) {
        cr_assert_gt(pread(file.layout.files[0].fd, bytes, file.layout.files[0].bytes, 0), 0);
        cr_assert_gt(pages_cached(file.layout.files[0].fd, file.layout.files[0].bytes), 0);
        cache_options_default(&options);
        options.io_mode = (enum io_mode)mode;
        options.slot_budget = cache_min_bytes(&file.layout);
        cr_assert_eq(cache_open(&file.layout, &options, &cache, &err), 0, "%s", err_text(&err));
        direct = strstr(cache_describe(cache), "direct") != NULL && strstr(cache_describe(cache), "refused") == NULL;
        cr_expect_eq(pages_cached(file.layout.files[0].fd, file.layout.files[0].bytes) == 0, direct);
        cache_close(cache);
    }
    free(bytes);
    expert_file_fini(&file);
}

Test(cache, auto_is_direct_unless_the_page_cache_holds_it)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 1, &options);
    bool can_direct = strstr(cache_describe(cache), "direct") != NULL;

    cache_close(cache);
    options.ram_free_bytes = 1 << 30;
    cache = door_check_open(&file, &options);
    cr_assert_not_null(strstr(cache_describe(cache), "buffered"), "%s", cache_describe(cache));
    cache_close(cache);
    options.slot_budget = 1 << 30; /* everything fits in slots: a page cache would be a second copy */
    cache = door_check_open(&file, &options);
    cr_assert_eq(strstr(cache_describe(cache), "direct") != NULL, can_direct, "%s", cache_describe(cache));
    cache_close(cache);
    expert_file_fini(&file);
}

/* ---- giving back ---- */

/* Slots for everything, then ever fewer and more of them, between requests that must bring what is in the file. */
Test(cache_resize, between_requests_changes_nothing)
{
    static const enum io_engine engines[] = { IO_ENGINE_AUTO, IO_ENGINE_PREAD };
    struct expert_file file;

    expert_file_init(&file, &(struct expert_file_shape){
                                .n_layers = 4, .n_experts = 32, .n_used = 4, .rows = 60, .grow = 40, .n_files = 2 });
    for (unsigned i = 0; i < 8; i++) {
        struct io_sim sim = { .order = IO_SIM_RANDOM };
        struct cache_options options;
        struct cache_stats all, now;
        struct cache *cache;

        cache_options_default(&options);
        options.slot_budget = 1 << 30;
        options.io_engine = engines[i % 2];
        options.io_mode = i / 2 % 2 ? IO_DIRECT : IO_BUFFERED;
        options.on_io_open = i / 4 ? io_sim_open : NULL;
        options.io_ctx = &sim;
        cache = door_check_open(&file, &options);
        cache_stats(cache, &all);
        for (uint64_t part = 8; part > 0; part--) {
            uint64_t budget = all.slot_bytes * (part * 3 % 8) / 8;

            door_check_run(cache, &file, 40, (uint32_t)part);
            cr_assert_eq(cache_resize(cache, budget, NULL), 0);
            cache_stats(cache, &now);
            cr_assert_leq(now.slots_used, now.slots);
            if (budget < cache_min_bytes(&file.layout) + SLOT_CLASSES * (2 << 20)) /* rounded up to huge pages */
                budget = cache_min_bytes(&file.layout) + SLOT_CLASSES * (2 << 20);
            cr_assert_leq(now.slot_bytes, budget);
        }
        cr_assert_eq(cache_resize(cache, UINT64_MAX, NULL), 0);
        cache_stats(cache, &now);
        cr_assert_eq(now.slot_bytes, all.slot_bytes);
        cr_assert_eq(now.slots, all.slots);
        door_check_run(cache, &file, 200, 9);
        cache_close(cache);
    }
    expert_file_fini(&file);
}

Test(cache_resize, not_in_the_midst_of_a_request)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 2, &options);
    struct expert_door *door = cache_door(cache);
    struct expert_view view[2];
    uint16_t ids[2] = { 1, 2 };
    struct err err = { 0 };
    size_t index;

    cr_assert_eq(door->ops->request(door, 0, ids, 2, &err), 0);
    cr_assert_eq(cache_resize(cache, 0, &err), -EBUSY);
    cr_assert_eq(door->ops->next(door, &index, &view[0], &err), 1);
    cr_assert_eq(door->ops->next(door, &index, &view[1], &err), 1);
    cr_assert_eq(cache_resize(cache, 0, &err), -EBUSY);
    cr_assert_not_null(strstr(err.text, "2 slots are pinned"), "%s", err.text);
    cr_assert(expert_file_matches(&file, 0, ids[index], &view[1]));
    door->ops->release(door, &view[0]);
    door->ops->release(door, &view[1]);
    cr_assert_eq(cache_resize(cache, 0, &err), 0);
    cr_assert_eq(door->max_request, file.layout.n_used);
    cache_close(cache);
    expert_file_fini(&file);
}

Test(cache_resize, not_while_others_have_a_hand_in_it)
{
    struct expert_file file;
    struct cache_options options;
    struct cache *cache = open_small(&file, 2, &options);
    struct iovec pieces[256];
    struct expert_view view;
    uint32_t slot;

    cr_assert(cache_make_room(cache, 0, &slot, &view));
    cr_assert_eq(cache_resize(cache, 0, NULL), -EBUSY);
    cache_adopt(cache, 0, slot, false);
    cr_assert_eq(cache_resize(cache, 0, NULL), 0);
    cr_assert_gt(cache_slot_memory(cache, pieces), 0);
    cache_hold_memory(cache, true);
    cr_assert_eq(cache_resize(cache, UINT64_MAX, NULL), -ENOTSUP, "a device has pinned it");
    cache_hold_memory(cache, false);
    cr_assert_eq(cache_resize(cache, UINT64_MAX, NULL), 0);
    cache_close(cache);
    expert_file_fini(&file);
}

/* Reads that a hint began are waited for, and what they brought may stay. */
Test(cache_resize, with_reads_in_flight)
{
    struct io_sim sim = { .hold = true };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache;
    struct expert_door *door;
    uint16_t ids[3] = { 4, 5, 6 };

    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 20 });
    cache_options_default(&options);
    options.slot_budget = 1 << 30;
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    door->ops->hint(door, 1, ids, 3);
    cr_assert_gt(sim.n_in_flight, 0);
    cr_assert_eq(cache_resize(cache, 0, NULL), 0);
    cr_assert_eq(sim.n_in_flight, 0);
    door_check_run(cache, &file, 60, 1);
    cache_close(cache);
    expert_file_fini(&file);
}

/* The router has spoken: what is missing is being read before anything that is there has been given out. */
Test(cache, missing_ones_are_read_before_any_resident_one_is_computed)
{
    struct io_sim sim = { .hold = true };
    struct expert_file file;
    struct cache_options options;
    struct cache *cache;
    struct expert_door *door;
    struct expert_view view;
    size_t index;

    expert_file_init(&file, &small);
    cache_options_default(&options);
    options.slot_budget = 1 << 30;
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 3 }, 1, NULL), 0);
    cr_assert_eq(sim.n_in_flight, 0);
    cr_assert_eq(door->ops->request(door, 1, (uint16_t[]){ 9, 3, 7 }, 3, NULL), 0);
    cr_assert_gt(sim.n_in_flight, 0);
    cr_assert_eq(door->ops->next(door, &index, &view, NULL), 1);
    cr_assert_eq(index, 1, "the resident one first");
    cr_assert_gt(sim.n_in_flight, 0);
    door->ops->release(door, &view);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(door->ops->next(door, &index, &view, NULL), 1);
        cr_assert(expert_file_matches(&file, 1, index == 0 ? 9 : 7, &view));
        door->ops->release(door, &view);
    }
    cache_close(cache);
    expert_file_fini(&file);
}
