/* SPDX-License-Identifier: MIT
 *
 * Reading packs: what a good one says, what bad ones are called, and that whatever becomes of one, the experts that
 * come are the model's.
 */
#include "base/mem.h"
#include "cache/pack.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"
#include "tests/support/pack_check.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static struct expert_file file;
static struct cache_options options;

static void setup(void)
{
    expert_file_init(&file,
                     &(struct expert_file_shape){ .n_layers = 3, .n_experts = 8, .n_used = 4, .rows = 40, .seed = 22 });
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
}

static void teardown(void)
{
    pack_check_remove(&file);
    expert_file_fini(&file);
}

TestSuite(pack, .init = setup, .fini = teardown);

static int open_again(struct err *err)
{
    struct pack *pack;
    int rc = pack_open(pack_check_path(&file), &file.layout, &pack, err);

    if (rc == 0)
        pack_close(pack);
    else
        cr_assert(err->code == rc && err->text[0] != '\0');
    return rc;
}

/* ---- good ones ---- */

Test(pack, holds_every_expert_in_one_piece)
{
    pack_check_write(&file);
    pack_check_whole(&file);
    cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
}

static void serve_every_way(struct expert_file *f, const struct pack *pack)
{
    for (unsigned i = 0; i < 3 * 2 * 2; i++) {
        struct io_sim sim = { .order = IO_SIM_RANDOM };
        struct cache_options o;

        cache_options_default(&o);
        o.pack = pack;
        o.slot_budget = cache_min_bytes(&f->layout) * (1 + i % 2);
        o.io_mode = i / 2 % 2 ? IO_DIRECT : IO_BUFFERED;
        o.io_engine = i / 4 == 1 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        o.on_io_open = i / 4 == 2 ? io_sim_open : NULL;
        o.io_ctx = &sim;
        o.piece_bytes = i % 3 ? 0 : 4096;
        o.read_by_part = i % 5 == 0;
        door_check_run_with(f, &o, 60);
    }
}

Test(pack, serves_every_way)
{
    struct pack *pack = pack_check_make(&file);

    serve_every_way(&file, pack);
    pack_close(pack);
}

/* Layers of different sizes, several files, experts that touch: each shape in its own file. */
Test(pack, serves_every_shape)
{
    static const struct expert_file_shape shapes[] = {
        { .n_layers = 4, .n_experts = 5, .n_used = 2, .grow = 60, .seed = 5 },
        { .n_layers = 2, .n_experts = 6, .n_used = 3, .n_files = 3, .rows = 17, .seed = 6 },
        { .n_layers = 3, .n_experts = 1, .n_used = 1, .packed = true, .seed = 7 },
        { .n_layers = 1, .n_experts = 300, .n_used = 2, .rows = 1, .first_layer = 4, .seed = 8 },
        { .n_layers = 2, .n_experts = 6, .n_used = 3, .n_files = 2, .rows = 13, .fused = true, .seed = 9 },
        { .n_layers = 2, .n_experts = 6, .n_used = 3, .n_files = 2, .rows = 13, .strewn = true, .seed = 10 },
    };

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct expert_file other;
        struct pack *pack;

        expert_file_init(&other, &shapes[i]);
        pack = pack_check_make(&other);
        pack_check_whole(&other);
        serve_every_way(&other, pack);
        pack_close(pack);
        pack_check_remove(&other);
        expert_file_fini(&other);
    }
}

/* One read per expert, and no byte but its record's. */
Test(pack, an_expert_is_one_read)
{
    struct pack *pack = pack_check_make(&file);
    struct io_sim sim = { 0 };
    struct cache_stats stats;
    struct cache *cache;

    options.pack = pack;
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 5, 2 }, 2, NULL), 0);
    cr_assert_eq(sim.n_submitted, 2);
    cache_stats(cache, &stats);
    cr_assert_eq(stats.bytes_read, 2 * pack->layers[1].record_bytes);
    cache_close(cache);
    pack_close(pack);
}

/* ---- headers that are not believed ---- */

static uint8_t *header_get(const struct pack *pack)
{
    uint8_t *header = malloc(pack->header_bytes);

    cr_assert_eq(pread(pack->fd, header, pack->header_bytes, 0), (ssize_t)pack->header_bytes);
    return header;
}

static void header_put(const struct pack *pack, uint8_t *header, bool seal)
{
    XXH128_canonical_t canonical;
    int fd = open(pack->path, O_WRONLY);

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(header, pack->header_bytes - 16));
    if (seal)
        memcpy(header + pack->header_bytes - 16, canonical.digest, 16);
    cr_assert_eq(pwrite(fd, header, pack->header_bytes, 0), (ssize_t)pack->header_bytes);
    close(fd);
}

Test(pack, any_damage_to_the_header_is_noticed)
{
    struct pack *pack = pack_check_make(&file);
    uint8_t *header = header_get(pack);

    for (uint64_t at = 0; at < pack->header_bytes; at++) {
        struct err err = { 0 };
        int fd = open(pack->path, O_WRONLY);
        uint8_t wrong = header[at] ^ (uint8_t)(1 << at % 8);

        cr_assert_eq(pwrite(fd, &wrong, 1, (off_t)at), 1);
        cr_assert_lt(open_again(&err), 0, "byte %zu", (size_t)at);
        cr_assert_not_null(strstr(err.text, "expert pack --force"), "%s", err.text);
        cr_assert_eq(pwrite(fd, &header[at], 1, (off_t)at), 1);
        close(fd);
    }
    cr_assert_eq(open_again(NULL), 0);
    free(header);
    pack_close(pack);
}

/* Sealed again, so that the checksum is right: whatever does not follow from the model is refused all the same. */
Test(pack, a_header_that_lies_is_refused)
{
    struct pack *pack = pack_check_make(&file);
    uint8_t *header = header_get(pack);

    for (uint64_t at = 0; at < pack->sums_at; at++) {
        static const uint8_t lies[] = { 0x01, 0x80, 0xff };

        for (size_t i = 0; i < sizeof(lies); i++) {
            struct err err = { 0 };

            header[at] ^= lies[i];
            header_put(pack, header, true);
            cr_assert_lt(open_again(&err), 0, "byte %zu", (size_t)at);
            header[at] ^= lies[i];
        }
    }
    header_put(pack, header, true);
    cr_assert_eq(open_again(NULL), 0);
    free(header);
    pack_close(pack);
}

static int open_changed(const struct pack *pack, uint64_t at, uint32_t value, struct err *err)
{
    uint8_t *header = header_get(pack);
    uint32_t was;
    int rc;

    memcpy(&was, header + at, 4);
    value = htole32(value);
    memcpy(header + at, &value, 4);
    header_put(pack, header, true);
    rc = open_again(err);
    memcpy(header + at, &was, 4);
    header_put(pack, header, true);
    free(header);
    return rc;
}

Test(pack, bad_ones_are_called_by_their_names)
{
    struct pack *pack = pack_check_make(&file);
    struct err err = { 0 };

    cr_assert_eq(open_changed(pack, 0, 0x46554747, &err), ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "no pack of expertd"), "%s", err.text);
    cr_assert_eq(open_changed(pack, 8, 3, &err), ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(err.text, "of version 3"), "%s", err.text);
    cr_assert_eq(open_changed(pack, 12, 0, &err), ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "not finished"), "%s", err.text);
    cr_assert_eq(open_changed(pack, 16, 99, &err), ERR_CHANGED);
    cr_assert_not_null(strstr(err.text, "another model"), "%s", err.text);
    cr_assert_eq(open_changed(pack, 40, 99, &err), ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "header is damaged"), "%s", err.text);
    file.layout.identity[5] ^= 1;
    cr_assert_eq(open_again(&err), ERR_CHANGED);
    cr_assert_not_null(strstr(err.text, pack->path), "%s", err.text);
    file.layout.identity[5] ^= 1;
    pack_close(pack);
}

Test(pack, a_pack_of_another_size_is_refused)
{
    struct pack *pack = pack_check_make(&file);
    struct err err = { 0 };
    off_t bytes = (off_t)pack->file_bytes,
          lengths[] = { bytes + 1, bytes + 4096, bytes - 1, bytes / 2, 4096, 4095, 1000, 65, 64, 63, 1, 0 };

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        cr_assert_eq(truncate(pack->path, lengths[i]), 0);
        cr_assert_eq(open_again(&err), ERR_FORMAT, "%ld: %s", (long)lengths[i], err_text(&err));
    }
    pack_close(pack);
}

Test(pack, what_is_no_file_is_refused)
{
    struct err err = { 0 };

    cr_assert_eq(open_again(&err), -ENOENT);
    cr_assert_eq(mkfifo(pack_check_path(&file), 0600), 0);
    cr_assert_eq(open_again(&err), ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "not a regular file"), "%s", err.text);
    unlink(pack_check_path(&file));
    cr_assert_eq(mkdir(pack_check_path(&file), 0700), 0);
    cr_assert_eq(open_again(&err), ERR_FORMAT);
    rmdir(pack_check_path(&file));
}

Test(pack, lack_of_memory_is_an_error)
{
    struct err err = { 0 };
    int rc = -1;

    pack_check_write(&file);
    for (long n = 0; rc != 0; n++) {
        mem_fail_after(n);
        rc = open_again(&err);
        mem_fail_after(-1);
        cr_assert(rc == 0 || (rc == -ENOMEM && n < 20) || (rc == ERR_FORMAT && n < 20), "%s", err_text(&err));
    }
}

/* ---- records that go bad ---- */

static void record_damage(const struct pack *pack, uint32_t layer, uint32_t expert, uint64_t at)
{
    uint64_t offset = pack->layers[layer].at + expert * pack->layers[layer].record_bytes + at;
    int fd = open(pack->path, O_RDWR);
    char c;

    cr_assert_eq(pread(fd, &c, 1, (off_t)offset), 1);
    c ^= 4;
    cr_assert_eq(pwrite(fd, &c, 1, (off_t)offset), 1);
    cr_assert_eq(fsync(fd), 0);
    close(fd);
}

static uint64_t bad_count(const struct cache *cache)
{
    struct cache_stats stats;

    cache_stats(cache, &stats);
    return stats.pack_bad;
}

Test(pack, a_damaged_record_is_read_from_the_model)
{
    for (int mode = IO_DIRECT; mode <= IO_BUFFERED; mode++) {
        struct pack *pack = pack_check_make(&file);
        struct cache *cache;

        record_damage(pack, 1, 6, 12345);
        record_damage(pack, 2, 0, 0);
        options.pack = pack;
        options.io_mode = (enum io_mode)mode;
        cache = door_check_open(&file, &options);
        cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 1, 2, 3 }, 3, NULL), 0);
        cr_assert(bad_count(cache) == 0 && cache_pack_note(cache) == NULL);
        cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 5, 6, 7 }, 3, NULL), 0);
        cr_assert_eq(bad_count(cache), 1);
        cr_assert_not_null(strstr(cache_pack_note(cache), "expert 6 of layer 1: its checksum differs"));
        cr_assert_not_null(strstr(cache_pack_note(cache), pack->path));
        door_check_run(cache, &file, 200, 3);
        cr_assert_eq(bad_count(cache), 2);
        cr_assert(cache_pack_is_bad(cache, 1, 6) && cache_pack_is_bad(cache, 2, 0) && !cache_pack_is_bad(cache, 2, 1));
        cr_assert_not_null(strstr(cache_pack_note(cache), "expert 6 of layer 1"));
        cache_close(cache);
        pack_close(pack);
        pack_check_remove(&file);
    }
}

/* In the pack and in the model the parts lie otherwise; an expert that moves to another slot must not mix them up. */
Test(pack, experts_of_either_kind_move_when_slots_are_given_back)
{
    struct pack *pack = pack_check_make(&file);
    struct cache_stats all;
    struct cache *cache;

    for (uint32_t e = 0; e < file.layout.n_experts; e += 2)
        record_damage(pack, e % file.layout.n_layers, e, 100);
    options.pack = pack;
    options.slot_budget = 1 << 30;
    cache = door_check_open(&file, &options);
    cache_stats(cache, &all);
    door_check_run(cache, &file, 300, 1);
    cr_assert_gt(bad_count(cache), 2);
    for (uint64_t part = 7; part > 0; part--) {
        cr_assert_eq(cache_resize(cache, all.slot_bytes * (part * 3 % 8) / 8, NULL), 0);
        door_check_run(cache, &file, 60, (uint32_t)part);
    }
    cache_close(cache);
    pack_close(pack);
}

/* A byte that belongs to no expert harms none. */
Test(pack, damage_between_the_parts_does_not_matter)
{
    struct pack *pack = pack_check_make(&file);
    struct cache *cache;

    record_damage(pack, 1, 6, pack->layers[1].record_bytes - 1);
    options.pack = pack;
    cache = door_check_open(&file, &options);
    cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 6 }, 1, NULL), 0);
    cr_assert_eq(bad_count(cache), 0);
    cache_close(cache);
    pack_close(pack);
}

static void run_with_faults(enum io_sim_fault fault, uint32_t arg, uint64_t n_faults)
{
    struct pack *pack = pack_check_make(&file);

    for (uint64_t at = 0; at < 30; at += 2) {
        struct io_sim sim = {
            .fault = fault, .fault_arg = arg, .fault_at = at, .n_faults = n_faults, .fault_files = 1 << 1
        };

        options.pack = pack;
        options.on_io_open = io_sim_open;
        options.io_ctx = &sim;
        options.io_mode = at % 4 ? IO_DIRECT : IO_BUFFERED;
        options.piece_bytes = 8192;
        door_check_run_with(&file, &options, 40);
    }
    pack_close(pack);
}

Test(pack, a_drive_that_loses_the_pack_is_borne)
{
    run_with_faults(IO_SIM_ERROR, EIO, UINT64_MAX);
    run_with_faults(IO_SIM_ERROR, EIO, 1);
}

Test(pack, short_and_wrong_reads_of_the_pack_are_borne)
{
    run_with_faults(IO_SIM_SHORT, 4096, UINT64_MAX);
    run_with_faults(IO_SIM_END, 0, UINT64_MAX);
    run_with_faults(IO_SIM_WRONG, 77, 1);
    run_with_faults(IO_SIM_WRONG, 4099, UINT64_MAX);
}

Test(pack, a_pack_cut_short_in_use_is_borne)
{
    struct pack *pack = pack_check_make(&file);
    struct cache *cache;

    options.pack = pack;
    cache = door_check_open(&file, &options);
    cr_assert_eq(truncate(pack->path, (off_t)pack->layers[1].at + 5000), 0);
    door_check_run(cache, &file, 100, 5);
    cr_assert_gt(bad_count(cache), 10);
    cr_assert_not_null(strstr(cache_pack_note(cache), "cut short"), "%s", cache_pack_note(cache));
    cache_close(cache);
    pack_close(pack);
}

/* Both damaged: the request fails, and says where in the model. */
Test(pack, damage_to_pack_and_model_is_an_error)
{
    struct pack *pack = pack_check_make(&file);
    const struct expert_part_layout *part = &file.layers[1].part[EXPERT_UP];
    struct timespec was[2] = { { .tv_nsec = UTIME_OMIT } };
    struct cache *cache;
    struct err err = { 0 };

    was[1].tv_sec = file.files[0].mtime_ns / 1000000000;
    was[1].tv_nsec = file.files[0].mtime_ns % 1000000000;
    record_damage(pack, 1, 6, 100);
    cr_assert_eq(pwrite(file.files[0].fd, "damage", 6, (off_t)(expert_part_place(part, 6).offset + 9)), 6);
    cr_assert_eq(futimens(file.files[0].fd, was), 0);
    options.pack = pack;
    cache = door_check_open(&file, &options);
    cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 6, 1 }, 2, &err), ERR_CHECKSUM, "%s", err_text(&err));
    cr_assert_not_null(strstr(err.text, "expert 6 of layer 1"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, file.files[0].path), "%s", err.text);
    cr_assert_eq(door_check_ask(cache, &file, 1, (uint16_t[]){ 1, 2 }, 2, &err), 0, "%s", err_text(&err));
    cache_close(cache);
    pack_close(pack);
}

/* What the catalog remembers of the model counts for more than what the pack says. */
Test(pack, a_pack_that_contradicts_the_catalog_is_not_used)
{
    char dir[200], path[240];
    const char *top = getenv("top_builddir");
    struct pack *pack = pack_check_make(&file);
    uint8_t *header = header_get(pack);
    struct cache *cache;
    uint64_t n_bad = 0;

    snprintf(dir, sizeof(dir), "%s/expertd-test-XXXXXX", top != NULL ? top : ".");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(cache_verify(&file.layout, dir, NULL, NULL, &n_bad, NULL), 0);
    cr_assert_eq(cache_verify_pack(&file.layout, pack, dir, NULL, NULL, NULL, &n_bad, NULL), 0);
    header[pack->sums_at + 16 * 3] ^= 1;
    header_put(pack, header, true);
    pack_close(pack);
    cr_assert_eq(pack_open(pack_check_path(&file), &file.layout, &pack, NULL), 0);
    options.pack = pack;
    options.catalog_dir = dir;
    cache = door_check_open(&file, &options);
    cr_assert(bad_count(cache) == 1 && cache_pack_is_bad(cache, 0, 3));
    cr_assert_not_null(strstr(cache_pack_note(cache), "1 of its experts are not what is recorded"));
    door_check_run(cache, &file, 100, 6);
    cr_assert_eq(bad_count(cache), 1);
    cache_close(cache);
    cr_assert_eq(cache_verify_pack(&file.layout, pack, dir, NULL, NULL, NULL, &n_bad, NULL), ERR_CHECKSUM);
    cr_assert_eq(n_bad, 1);
    snprintf(path, sizeof(path), "%s/catalog.mdb", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.lock", dir);
    unlink(path);
    rmdir(dir);
    free(header);
    pack_close(pack);
}

Test(pack, verification_names_the_bad_records)
{
    struct pack *pack = pack_check_make(&file);
    bool is_bad[24];
    struct err err = { 0 };
    uint64_t n_bad = 0;

    cr_assert_eq(cache_verify_pack(&file.layout, pack, NULL, NULL, NULL, is_bad, &n_bad, &err), 0, "%s",
                 err_text(&err));
    record_damage(pack, 0, 7, 1);
    record_damage(pack, 2, 3, 4000);
    cr_assert_eq(cache_verify_pack(&file.layout, pack, NULL, NULL, NULL, is_bad, &n_bad, &err), ERR_CHECKSUM);
    cr_assert_eq(n_bad, 2);
    for (int key = 0; key < 24; key++)
        cr_assert_eq(is_bad[key], key == 7 || key == 2 * 8 + 3);
    cr_assert_not_null(strstr(err.text, "expert 7 of layer 0"), "%s", err.text);
    pack_close(pack);
}
