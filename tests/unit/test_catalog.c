/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/mem.h"
#include "cache/catalog.h"
#include "cache/catalog_seal.h"
#include "tests/support/expert_file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct expert_file_shape shape = { .n_layers = 3, .n_experts = 40, .n_used = 2, .rows = 1, .seed = 9 };

static struct expert_file file;
static char dir[200], mdb_path[240], lock_path[240];

static void setup(void)
{
    const char *top = getenv("top_builddir");

    expert_file_init(&file, &shape);
    snprintf(dir, sizeof(dir), "%s/expertd-test-XXXXXX", top != NULL ? top : ".");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(mdb_path, sizeof(mdb_path), "%s/catalog.mdb", dir);
    snprintf(lock_path, sizeof(lock_path), "%s/catalog.lock", dir);
}

static void teardown(void)
{
    unlink(mdb_path);
    unlink(lock_path);
    rmdir(mdb_path);
    rmdir(dir);
    expert_file_fini(&file);
}

TestSuite(catalog, .init = setup, .fini = teardown);

static struct catalog *catalog_at(const char *path)
{
    struct catalog *c;
    struct err err = { 0 };

    cr_assert_eq(catalog_open(&file.layout, &(struct catalog_options){ .dir = path }, &c, &err), 0, "%s",
                 err_text(&err));
    return c;
}

static struct catalog_sum sum_of(uint32_t key)
{
    struct catalog_sum sum = { { 0 } };

    memcpy(sum.bytes, &key, sizeof(key));
    sum.bytes[15] = 0x5a;
    return sum;
}

static void put(struct catalog *c, uint32_t from, uint32_t to)
{
    for (uint32_t key = from; key < to; key++)
        catalog_put(c, key, (struct catalog_sum[]){ sum_of(key) });
}

static void assert_knows(const struct catalog *c, uint32_t from, uint32_t to)
{
    for (uint32_t key = 0; key < 120; key++) {
        struct catalog_sum sum, expected = sum_of(key);

        cr_assert_eq(catalog_sum(c, key, &sum), key >= from && key < to, "expert %u", key);
        if (key >= from && key < to)
            cr_assert_arr_eq(sum.bytes, expected.bytes, 16);
    }
}

/* A file with sums [0, 100) and some heat. */
static void make_catalog(void)
{
    struct catalog *c = catalog_at(dir);

    put(c, 0, 100);
    for (int i = 0; i < 7; i++)
        catalog_heat_add(c, 33);
    catalog_close(c);
    c = catalog_at(dir);
    assert_knows(c, 0, 100);
    cr_assert_null(catalog_note(c), "%s", catalog_note(c));
    catalog_close(c);
}

/* What is there now is of no use: said, and replaced by a sound one. */
static void assert_rebuilt(void)
{
    struct catalog *c = catalog_at(dir);

    cr_assert_not_null(catalog_note(c));
    cr_assert_not_null(strstr(catalog_note(c), "made anew"), "%s", catalog_note(c));
    assert_knows(c, 0, 0);
    put(c, 5, 50);
    catalog_close(c);
    c = catalog_at(dir);
    cr_assert_null(catalog_note(c), "%s", catalog_note(c));
    assert_knows(c, 5, 50);
    catalog_close(c);
}

static void file_overwrite(const char *path, off_t at, const void *bytes, size_t n, bool truncate)
{
    int fd = open(path, O_WRONLY | O_CREAT | (truncate ? O_TRUNC : 0), 0600);

    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

Test(catalog, is_kept)
{
    struct catalog *c;

    make_catalog();
    c = catalog_at(dir);
    cr_assert_eq(catalog_heat(c)[33], 7);
    cr_assert_eq(catalog_heat(c)[34], 0);
    put(c, 100, 110);
    cr_assert_eq(catalog_flush(c, NULL), 0);
    catalog_close(c);
    c = catalog_at(dir);
    assert_knows(c, 0, 110);
    catalog_close(c);
}

Test(catalog, without_a_directory_is_in_memory)
{
    struct catalog *c = catalog_at(NULL);

    put(c, 0, 10);
    assert_knows(c, 0, 10);
    cr_assert_eq(catalog_flush(c, NULL), 0);
    cr_assert_null(catalog_note(c));
    catalog_close(c);
}

Test(catalog, makes_its_directory)
{
    cr_assert_eq(rmdir(dir), 0);
    make_catalog();
}

Test(catalog, two_models_share_a_directory)
{
    struct catalog *c;

    make_catalog();
    file.layout.identity[3] ^= 1;
    c = catalog_at(dir);
    assert_knows(c, 0, 0);
    put(c, 20, 30);
    catalog_close(c);
    c = catalog_at(dir);
    assert_knows(c, 20, 30);
    catalog_close(c);
    file.layout.identity[3] ^= 1;
    c = catalog_at(dir);
    assert_knows(c, 0, 100);
    catalog_close(c);
}

Test(catalog, sums_of_other_extents_are_not_used)
{
    struct catalog *c;

    make_catalog();
    file.layers[1].part[EXPERT_UP].first.offset += 32;
    c = catalog_at(dir);
    for (uint32_t key = 0; key < 100; key++) {
        struct catalog_sum sum;

        cr_assert_eq(catalog_sum(c, key, &sum), key / 40 != 1);
    }
    catalog_close(c);
}

/* Where each expert has a place of its own, that one's alone. */
Test(catalog, sums_of_an_expert_elsewhere_are_not_used)
{
    struct expert_file_shape strewn = shape;
    struct catalog *c;

    strewn.strewn = true;
    expert_file_fini(&file);
    expert_file_init(&file, &strewn);
    make_catalog();
    file.places[EXPERT_PARTS * 40 + EXPERT_DOWN * 40 + 7].offset += 32;
    c = catalog_at(dir);
    for (uint32_t key = 0; key < 100; key++) {
        struct catalog_sum sum;

        cr_assert_eq(catalog_sum(c, key, &sum), key != 40 + 7);
    }
    catalog_close(c);
}

Test(catalog, garbage_is_replaced)
{
    char garbage[20000];

    make_catalog();
    memset(garbage, 0xa5, sizeof(garbage));
    file_overwrite(mdb_path, 0, garbage, sizeof(garbage), true);
    assert_rebuilt();
}

Test(catalog, a_foreign_file_is_replaced)
{
    file_overwrite(mdb_path, 0, "hello\n", 6, true);
    assert_rebuilt();
}

Test(catalog, an_empty_file_is_replaced)
{
    make_catalog();
    file_overwrite(mdb_path, 0, "", 0, true);
    assert_rebuilt();
}

Test(catalog, every_cut_is_noticed)
{
    struct stat st;

    make_catalog();
    cr_assert_eq(stat(mdb_path, &st), 0);
    for (off_t bytes = st.st_size - 1; bytes > 0; bytes -= 3001) {
        cr_assert_eq(truncate(mdb_path, bytes), 0);
        assert_rebuilt();
        unlink(mdb_path);
        make_catalog();
    }
}

Test(catalog, every_flipped_byte_is_noticed)
{
    struct stat st;

    make_catalog();
    cr_assert_eq(stat(mdb_path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += 997) {
        unsigned char byte;
        int fd = open(mdb_path, O_RDONLY);

        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        close(fd);
        byte ^= 0x40;
        file_overwrite(mdb_path, at, &byte, 1, false);
        assert_rebuilt();
        unlink(mdb_path);
        make_catalog();
    }
}

Test(catalog, a_lost_or_garbled_seal_costs_the_file)
{
    make_catalog();
    unlink(lock_path);
    assert_rebuilt();
    unlink(mdb_path);
    make_catalog();
    file_overwrite(lock_path, 8, "garbage", 7, false);
    assert_rebuilt();
}

/* As an older or newer expertd would have written it: sound, but not for us. */
Test(catalog, another_version_is_replaced)
{
    uint32_t version = 0;
    MDB_val key = { .mv_size = sizeof("schema"), .mv_data = "schema" };
    MDB_val value = { .mv_size = sizeof(version), .mv_data = &version };
    struct seal seal;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    make_catalog();
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_open(env, mdb_path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    cr_assert_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    cr_assert_eq(seal_lock(&seal, dir, 0, NULL), 0);
    cr_assert_eq(seal_write(&seal, NULL), 0);
    seal_unlock(&seal);
    assert_rebuilt();
}

static void assert_memory_only(const char *path)
{
    struct catalog *c = catalog_at(path);

    cr_assert_not_null(catalog_note(c));
    cr_assert_not_null(strstr(catalog_note(c), "memory only"), "%s", catalog_note(c));
    put(c, 0, 10);
    cr_assert_eq(catalog_flush(c, NULL), 0);
    assert_knows(c, 0, 10);
    catalog_close(c);
}

Test(catalog, a_directory_that_cannot_be_is_memory_only)
{
    char path[300];

    assert_memory_only(file.files[0].path);
    snprintf(path, sizeof(path), "%s/no/such", dir);
    assert_memory_only(path);
    cr_assert_eq(mkdir(mdb_path, 0700), 0);
    assert_memory_only(dir);
}

/* A read-only directory: what is there is used, nothing is written. */
Test(catalog, a_read_only_directory_is_read)
{
    struct catalog *c;

    make_catalog();
    cr_assert_eq(chmod(mdb_path, 0444), 0);
    cr_assert_eq(chmod(lock_path, 0444), 0);
    cr_assert_eq(chmod(dir, 0555), 0);
    if (geteuid() == 0 && seteuid(65534) != 0) {
        teardown(); /* a skipped test has no end of its own */
        cr_skip_test("skipped: cannot become an ordinary user");
    }
    if (euidaccess(lock_path, R_OK) != 0) {
        if (getuid() == 0)
            cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(chmod(dir, 0755), 0);
        teardown();
        cr_skip_test("skipped: an ordinary user cannot reach the build directory");
    }
    c = catalog_at(dir);
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
    cr_assert_not_null(catalog_note(c));
    assert_knows(c, 0, 100);
    put(c, 100, 120);
    cr_assert_eq(catalog_flush(c, NULL), 0);
    catalog_close(c);
    cr_assert_eq(chmod(dir, 0755), 0);
    c = catalog_at(dir);
    assert_knows(c, 0, 100);
    catalog_close(c);
}

Test(catalog, another_daemon_writing_is_waited_out)
{
    struct catalog *c;
    struct seal seal;

    make_catalog();
    c = catalog_at(dir);
    cr_assert_eq(seal_lock(&seal, dir, 0, NULL), 0);
    put(c, 100, 105);
    cr_assert_eq(catalog_flush(c, NULL), -EAGAIN);
    assert_knows(c, 0, 105);
    seal_unlock(&seal);
    cr_assert_eq(catalog_flush(c, NULL), 0);
    catalog_close(c);
    c = catalog_at(dir);
    assert_knows(c, 0, 105);
    catalog_close(c);
}

Test(catalog, opens_while_another_daemon_holds_it)
{
    struct catalog *c;
    struct seal seal;

    make_catalog();
    cr_assert_eq(seal_lock(&seal, dir, 0, NULL), 0);
    c = catalog_at(dir);
    cr_assert_not_null(strstr(catalog_note(c), "another daemon"), "%s", catalog_note(c));
    put(c, 100, 105);
    seal_unlock(&seal);
    catalog_close(c);
    c = catalog_at(dir);
    assert_knows(c, 0, 105);
    catalog_close(c);
}

/* Writes until it is killed; a byte down the pipe for each flush. */
static void write_for_ever(int pipe_fd)
{
    struct catalog *c = catalog_at(dir);

    for (uint32_t i = 0;; i++) {
        put(c, i % 120, i % 120 + 1);
        catalog_heat_add(c, i % 120);
        catalog_flush(c, NULL);
        if (write(pipe_fd, "", 1) != 1)
            _exit(0);
    }
}

/* What is known is right. Every writer counts one use of expert 0, then one of expert 1, and so on. Returns how many
 * sums are known. */
static uint32_t assert_right(const struct catalog *c, uint64_t most_uses)
{
    const uint32_t *heat = catalog_heat(c);
    uint32_t n_known = 0;

    for (uint32_t key = 0; key < 120; key++) {
        struct catalog_sum sum, expected = sum_of(key);

        if (catalog_sum(c, key, &sum)) {
            cr_assert_arr_eq(sum.bytes, expected.bytes, 16);
            n_known++;
        }
        cr_assert_leq(heat[key], most_uses, "expert %u: %u uses", key, heat[key]);
        cr_assert(key == 0 || heat[key] <= heat[key - 1], "expert %u: %u uses", key, heat[key]);
    }
    return n_known;
}

/* Killed at any moment, what is found afterwards is right or gone, sums and heat, and the next flush works. */
Test(catalog, a_killed_writer_leaves_what_is_right_or_nothing)
{
    uint32_t n_kept = 0;

    for (int round = 0; round < 200; round++) {
        struct catalog *c;
        int fds[2], n_bytes = 1 + round % 7;
        pid_t child;

        cr_assert_eq(pipe(fds), 0);
        child = fork();
        if (child == 0)
            write_for_ever(fds[1]);
        close(fds[1]);
        for (char byte; n_bytes > 0 && read(fds[0], &byte, 1) == 1; n_bytes--)
            ;
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, NULL, 0), child);
        close(fds[0]);
        c = catalog_at(dir);
        n_kept += assert_right(c, 120 * (uint64_t)(round + 1)) > 0;
        put(c, 119, 120);
        cr_assert_eq(catalog_flush(c, NULL), 0, "%s", catalog_note(c));
        catalog_close(c);
    }
    cr_assert_gt(n_kept, 0);
}

static struct catalog *catalog_of(size_t map_bytes)
{
    struct catalog *c;

    cr_assert_eq(catalog_open(&file.layout, &(struct catalog_options){ .dir = dir, .map_bytes = map_bytes }, &c, NULL),
                 0);
    return c;
}

/* At its limit the file forgets other models first. */
Test(catalog, a_file_at_its_limit_forgets_other_models)
{
    struct catalog *c;

    for (uint8_t model = 0; model < 10; model++) {
        file.layout.identity[0] = model;
        c = catalog_of(12 * 4096);
        put(c, 0, 60);
        cr_assert_eq(catalog_flush(c, NULL), 0, "%s", catalog_note(c));
        catalog_close(c);
        c = catalog_of(12 * 4096);
        assert_knows(c, 0, 60);
        catalog_close(c);
    }
}

Test(catalog, a_limit_too_small_is_said)
{
    struct catalog *c = catalog_of(4 * 4096);
    struct err err = { 0 };

    put(c, 0, 120);
    cr_assert_eq(catalog_flush(c, &err), ERR_BUDGET);
    cr_assert_not_null(strstr(catalog_note(c), "could not be kept"), "%s", catalog_note(c));
    assert_knows(c, 0, 120);
    catalog_close(c);
}

/* As on a full disk: nothing can grow. What was kept stays. */
Test(catalog, a_full_disk_keeps_what_was_there)
{
    struct rlimit limit = { .rlim_cur = 8192, .rlim_max = RLIM_INFINITY };
    struct catalog *c;
    struct err err = { 0 };

    make_catalog();
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    c = catalog_at(dir);
    put(c, 100, 120);
    cr_assert_lt(catalog_flush(c, &err), 0);
    cr_assert_not_null(strstr(catalog_note(c), "could not be kept"), "%s", catalog_note(c));
    assert_knows(c, 0, 120);
    catalog_close(c);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    c = catalog_at(dir);
    cr_assert_null(catalog_note(c), "%s", catalog_note(c));
    assert_knows(c, 0, 100);
    catalog_close(c);
}

Test(catalog, heat_fades)
{
    struct catalog *c = catalog_at(NULL);

    for (int i = 0; i < 120 * 64; i++)
        catalog_heat_add(c, 7);
    cr_assert_eq(catalog_heat(c)[7], 120 * 32);
    catalog_close(c);
}

Test(catalog, flushes_are_due_after_a_while)
{
    struct catalog *c = catalog_at(dir);
    uint64_t now_ns = clock_ns();

    cr_assert_not(catalog_flush_due(c, now_ns + 3600000000000ULL));
    catalog_heat_add(c, 1);
    cr_assert_not(catalog_flush_due(c, now_ns + 10000000000ULL));
    cr_assert(catalog_flush_due(c, now_ns + 70000000000ULL));
    put(c, 0, 1);
    cr_assert_not(catalog_flush_due(c, clock_ns()));
    cr_assert(catalog_flush_due(c, now_ns + 10000000000ULL));
    cr_assert_eq(catalog_flush(c, NULL), 0);
    cr_assert_not(catalog_flush_due(c, clock_ns()));
    catalog_close(c);
}

Test(catalog, no_memory_is_an_error_and_no_more)
{
    int rc = -1;

    make_catalog();
    for (long n = 0; rc < 0; n++) {
        struct catalog *c;

        cr_assert_lt(n, 100);
        mem_fail_after(n);
        rc = catalog_open(&file.layout, &(struct catalog_options){ .dir = dir }, &c, NULL);
        mem_fail_after(-1);
        cr_assert(rc == 0 || rc == -ENOMEM);
        if (rc == 0)
            catalog_close(c);
    }
}
