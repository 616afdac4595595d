/* SPDX-License-Identifier: MIT
 *
 * Writing packs: whatever fails and wherever it is killed, there is a good pack or none, and the next run makes it
 * good.
 */
#include "base/mem.h"
#include "cache/cache.h"
#include "cache/pack_write.h"
#include "tests/support/door_check.h"
#include "tests/support/pack_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct expert_file file;

/* What the simulated kernel does to the n-th call of a kind. */
static struct fault {
    enum { WRITE, SYNC, ALLOCATE, FREE } call;
    int64_t at, n;  /* calls [at, at + n) of this kind */
    int error;      /* result, or 0: what follows */
    size_t shorten; /* write at most so much */
    bool flip;      /* write a wrong byte */
    bool kill;      /* write half, then die */
    int64_t count[4];
} fault;

static bool is_hit(int call)
{
    int64_t i = fault.count[call]++;

    return call == (int)fault.call && i >= fault.at && i < fault.at + fault.n;
}

static ssize_t sim_write(void *ctx, int fd, const void *data, size_t bytes, uint64_t offset)
{
    bool hit = is_hit(WRITE);
    ssize_t n;

    (void)ctx;
    if (hit && fault.error)
        return -fault.error;
    if (hit && fault.shorten && bytes > fault.shorten)
        bytes = fault.shorten;
    n = pwrite(fd, data, hit && fault.kill ? bytes / 2 : bytes, (off_t)offset);
    if (hit && fault.kill)
        kill(getpid(), SIGKILL);
    if (hit && fault.flip)
        cr_assert_eq(pwrite(fd, &(char){ (char)(((const char *)data)[0] ^ 1) }, 1, (off_t)offset), 1);
    return n < 0 ? -errno : n;
}

static int sim_sync(void *ctx, int fd)
{
    (void)ctx;
    if (is_hit(SYNC)) {
        if (fault.kill)
            kill(getpid(), SIGKILL);
        return -fault.error;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

static int sim_allocate(void *ctx, int fd, uint64_t bytes)
{
    (void)ctx;
    if (is_hit(ALLOCATE)) {
        if (fault.kill)
            kill(getpid(), SIGKILL);
        return -fault.error;
    }
    return ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
}

static uint64_t sim_free_bytes(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return is_hit(FREE) ? 1000 : UINT64_MAX;
}

static const struct pack_calls calls = { sim_write, sim_sync, sim_allocate, sim_free_bytes, NULL };
static struct pack_write_options options;
static struct pack_written written;

static void setup(void)
{
    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 5, .n_used = 2, .seed = 31 });
    memset(&fault, 0, sizeof(fault));
    options = (struct pack_write_options){ .path = pack_check_path(&file), .calls = &calls };
}

static void teardown(void)
{
    pack_check_remove(&file);
    expert_file_fini(&file);
}

TestSuite(pack_write, .init = setup, .fini = teardown);

static int run(struct err *err)
{
    memset(fault.count, 0, sizeof(fault.count));
    return pack_write(&file.layout, &options, &written, err);
}

/* Without faults it succeeds, and what is there is right. */
static void run_well(void)
{
    struct err err = { 0 };

    fault.n = 0;
    cr_assert_eq(run(&err), 0, "%s", err_text(&err));
    pack_check_whole(&file);
    cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
}

static int64_t calls_of_a_run(int call)
{
    run_well();
    pack_check_remove(&file);
    return fault.count[call];
}

static const char *part_path(void)
{
    static char path[700];

    snprintf(path, sizeof(path), "%s" PACK_PART_SUFFIX, options.path);
    return path;
}

/* ---- failures ---- */

/* Each call of this kind fails in turn, once and from then on; the next run makes it good. */
static void each_fails(int call, int error, const char *said)
{
    int64_t n_calls = calls_of_a_run(call);

    cr_assert_gt(n_calls, 0);
    for (int64_t at = 0; at < n_calls; at++)
        for (int forever = 0; forever < 2; forever++) {
            struct err err = { 0 };
            bool there;

            fault.call = call;
            fault.error = error;
            fault.at = at;
            fault.n = forever ? INT32_MAX : 1;
            cr_assert_eq(run(&err), -error, "call %d: %s", (int)at, err_text(&err));
            cr_assert_not_null(strstr(err.text, said), "%s", err.text);
            there = pack_check_exists(&file, "");
            if (there) /* only the directory was not brought to the drive */
                pack_check_whole(&file);
            cr_assert(!there || call == SYNC);
            cr_assert(there || !pack_check_exists(&file, PACK_PART_SUFFIX) || strstr(err.text, "goes on from there"));
            run_well();
            pack_check_remove(&file);
        }
}

Test(pack_write, a_full_disk_at_each_write)
{
    each_fails(WRITE, ENOSPC, "No space left on device");
}

Test(pack_write, an_error_at_each_write)
{
    each_fails(WRITE, EIO, "writing '");
}

Test(pack_write, an_error_at_each_sync)
{
    each_fails(SYNC, EIO, "to the drive");
}

Test(pack_write, short_and_interrupted_writes)
{
    int64_t n_calls = calls_of_a_run(WRITE);

    fault.call = WRITE;
    fault.n = INT32_MAX;
    for (fault.shorten = 1; fault.shorten < 5000; fault.shorten = fault.shorten * 3 + 1) {
        struct err err = { 0 };

        cr_assert_eq(run(&err), 0, "%s", err_text(&err));
        pack_check_whole(&file);
        pack_check_remove(&file);
    }
    fault.error = EINTR;
    fault.n = 3;
    for (fault.at = 0; fault.at < n_calls; fault.at++) {
        cr_assert_eq(run(NULL), 0);
        pack_check_whole(&file);
        pack_check_remove(&file);
    }
}

/* The drive says that it has written and has not: seen when it is read back, and written again. */
Test(pack_write, bytes_that_do_not_arrive_are_noticed)
{
    int64_t n_calls = calls_of_a_run(WRITE);
    struct err err = { 0 };

    fault.call = WRITE;
    fault.flip = true;
    fault.n = 1;
    for (fault.at = 1; fault.at < n_calls - 2; fault.at++) { /* not the headers, nor the table */
        cr_assert_eq(run(&err), 0, "%s", err_text(&err));
        cr_assert_gt(fault.count[WRITE], n_calls);
        pack_check_whole(&file);
        pack_check_remove(&file);
    }
    fault.at = 1;
    fault.n = 10000;
    cr_assert_eq(run(&err), -EIO);
    cr_assert_not_null(strstr(err.text, "read back differently"), "%s", err.text);
    cr_assert_not(pack_check_exists(&file, ""));
    run_well();
}

/* ---- kills ---- */

Test(pack_write, killed_at_any_point)
{
    static const int kinds[] = { WRITE, SYNC, ALLOCATE };
    int64_t n_writes = calls_of_a_run(WRITE), n_syncs = fault.count[SYNC], killed = 0;

    for (int round = 0; killed < 200; round++) {
        int status;
        pid_t pid;

        /* The same file is killed up to three times before it may finish. */
        fault.call = kinds[round % 7 == 6 ? 2 : round % 4 == 3];
        fault.kill = true;
        fault.at = fault.call == ALLOCATE ? 0 : (round * 5) % (fault.call == WRITE ? n_writes : n_syncs);
        fault.n = 1;
        pid = fork();
        if (pid == 0) {
            run(NULL);
            _exit(0);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        killed += WIFSIGNALED(status) != 0;
        cr_assert(!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL);
        if (pack_check_exists(&file, ""))
            pack_check_whole(&file);
        if (round % 3 != 2)
            continue;
        fault.kill = false;
        run_well();
        pack_check_remove(&file);
    }
}

/* A checkpoint is due at the end here, so a stop in the midst keeps all; nothing kept is written again. */
static bool stop_at_half(void *ctx, enum pack_phase phase, uint64_t done, uint64_t total)
{
    return ctx != NULL && phase == *(enum pack_phase *)ctx && done * 2 >= total;
}

Test(pack_write, a_stopped_run_is_gone_on_with)
{
    for (enum pack_phase phase = PACK_WRITING; phase <= PACK_CHECKING; phase++) {
        struct err err = { 0 };

        options.on_progress = stop_at_half;
        options.ctx = &phase;
        cr_assert_eq(run(&err), ERR_CANCELED);
        cr_assert_not_null(strstr(err.text, "the same command goes on from there"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, part_path()), "%s", err.text);
        cr_assert(!pack_check_exists(&file, "") && pack_check_exists(&file, PACK_PART_SUFFIX));
        options.ctx = NULL;
        run_well();
        cr_assert(phase == PACK_WRITING ? written.n_kept >= 5 && written.n_kept < 10 : written.n_kept == 10);
        pack_check_remove(&file);
    }
}

/* A run that cannot even begin takes nothing away. */
Test(pack_write, lack_of_memory_does_not_cost_what_was_written)
{
    enum pack_phase phase = PACK_CHECKING;

    options.on_progress = stop_at_half;
    options.ctx = &phase;
    cr_assert_eq(run(NULL), ERR_CANCELED);
    options.ctx = NULL;
    for (long n = 0; n < 8; n++) {
        mem_fail_after(n);
        cr_assert_eq(pack_write(&file.layout, &options, &written, NULL), -ENOMEM);
        mem_fail_after(-1);
        cr_assert(pack_check_exists(&file, PACK_PART_SUFFIX), "allocation %ld", n);
    }
    run_well();
    cr_assert_eq(written.n_kept, 10);
}

/* ---- what an earlier run left is not believed ---- */

Test(pack_write, whatever_stands_in_the_part_file)
{
    struct err err = { 0 };
    struct pack *pack;
    char *garbage;
    int fd;

    cr_assert_eq(pack_plan(options.path, &file.layout, &pack, NULL), 0);
    garbage = malloc(pack->file_bytes + 5000);
    memset(garbage, 0x5a, pack->file_bytes + 5000);
    for (uint64_t n = 1; n < pack->file_bytes + 5000; n = n * 3 + 7) {
        fd = open(part_path(), O_RDWR | O_CREAT | O_TRUNC, 0600);
        cr_assert_eq(write(fd, garbage, n), (ssize_t)n);
        close(fd);
        run_well();
        cr_assert_eq(written.n_kept, 0);
        pack_check_remove(&file);
    }
    /* A whole and right table, but other records: what was cut off by a power failure. */
    run_well();
    cr_assert_eq(rename(options.path, part_path()), 0);
    fd = open(part_path(), O_RDWR);
    cr_assert_eq(pwrite(fd, garbage, 3000, (off_t)pack->layers[1].at), 3000);
    cr_assert_eq(ftruncate(fd, (off_t)pack->file_bytes - 4096), 0);
    close(fd);
    run_well();
    cr_assert_eq(written.n_kept, 8);
    pack_check_remove(&file);
    /* Of another state of the model. */
    run_well();
    cr_assert_eq(rename(options.path, part_path()), 0);
    file.layout.identity[2] ^= 1;
    run_well();
    cr_assert_eq(written.n_kept, 0);
    cr_assert_eq(mkdir(part_path(), 0700), 0);
    options.force = true;
    cr_assert_lt(run(&err), 0);
    rmdir(part_path());
    cr_assert_eq(symlink("/dev/null", part_path()), 0);
    cr_assert_lt(run(&err), 0);
    free(garbage);
    pack_close(pack);
}

/* ---- what is there already ---- */

Test(pack_write, a_good_pack_is_left_alone)
{
    struct stat before, after;

    run_well();
    cr_assert_not(written.existed);
    cr_assert_eq(stat(options.path, &before), 0);
    run_well();
    cr_assert(written.existed);
    cr_assert_eq(stat(options.path, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
    options.force = true;
    run_well();
    cr_assert_not(written.existed);
    cr_assert_eq(stat(options.path, &after), 0);
    cr_assert_neq(before.st_ino, after.st_ino);
}

Test(pack_write, what_is_no_good_pack_needs_force)
{
    struct err err = { 0 };
    int fd;

    run_well();
    fd = open(options.path, O_WRONLY);
    cr_assert_eq(pwrite(fd, "!", 1, 100), 1);
    close(fd);
    cr_assert_eq(run(&err), -EEXIST);
    cr_assert_not_null(strstr(err.text, "--force"), "%s", err.text);
    cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
    options.force = true;
    run_well();
}

Test(pack_write, the_model_is_never_replaced)
{
    struct err err = { 0 };
    char link_path[700];

    snprintf(link_path, sizeof(link_path), "%s.link", options.path);
    cr_assert_eq(link(file.files[0].path, link_path), 0);
    options.force = true;
    for (int i = 0; i < 2; i++) {
        options.path = i ? link_path : file.files[0].path;
        cr_assert_eq(run(&err), -EEXIST);
        cr_assert_not_null(strstr(err.text, "the model itself"), "%s", err.text);
        cr_assert_neq(access(part_path(), F_OK), 0);
    }
    unlink(link_path);
    options.path = "/dev/null";
    cr_assert_lt(run(&err), 0);
    unlink(part_path());
}

/* While one writes, the other is told so; and finds the pack when it asks again. */
static int second_result;

static bool second_run(void *ctx, enum pack_phase phase, uint64_t done, uint64_t total)
{
    struct pack_write_options second = { .path = options.path };
    struct pack_written ignored;
    struct err err = { 0 };

    (void)ctx, (void)phase, (void)done, (void)total;
    second_result = pack_write(&file.layout, &second, &ignored, &err);
    cr_assert_not_null(strstr(err.text, "being written by another process"), "%s", err.text);
    return false;
}

Test(pack_write, two_at_once)
{
    options.on_progress = second_run;
    run_well();
    cr_assert_eq(second_result, ERR_BUSY);
    options.on_progress = NULL;
    run_well();
    cr_assert(written.existed);
}

/* ---- the model ---- */

static bool touch_model(void *ctx, enum pack_phase phase, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    if (phase == PACK_CHECKING)
        cr_assert_eq(futimens(file.files[0].fd, (struct timespec[]){ { .tv_sec = 5 }, { .tv_sec = 5 } }), 0);
    return false;
}

Test(pack_write, a_model_that_changes_meanwhile)
{
    struct err err = { 0 };

    options.on_progress = touch_model;
    cr_assert_eq(run(&err), ERR_CHANGED, "%s", err_text(&err));
    cr_assert_not_null(strstr(err.text, "changed while"), "%s", err.text);
    cr_assert(!pack_check_exists(&file, "") && !pack_check_exists(&file, PACK_PART_SUFFIX));
}

Test(pack_write, a_model_cut_short_meanwhile)
{
    struct err err = { 0 };

    cr_assert_eq(ftruncate(file.files[0].fd, (off_t)file.files[0].bytes / 2), 0);
    cr_assert_eq(run(&err), ERR_CHANGED, "%s", err_text(&err));
    cr_assert(!pack_check_exists(&file, "") && !pack_check_exists(&file, PACK_PART_SUFFIX));
}

/* Damage of the model is not packed. */
Test(pack_write, a_model_that_is_not_as_recorded)
{
    char dir[200], path[240];
    const char *top = getenv("top_builddir");
    const struct expert_part_layout *part = &file.layers[1].part[EXPERT_UP];
    struct timespec was[2] = { { .tv_nsec = UTIME_OMIT } };
    struct err err = { 0 };
    uint64_t n_bad;

    snprintf(dir, sizeof(dir), "%s/expertd-test-XXXXXX", top != NULL ? top : ".");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(cache_verify(&file.layout, dir, NULL, NULL, &n_bad, NULL), 0);
    was[1].tv_sec = file.files[0].mtime_ns / 1000000000;
    was[1].tv_nsec = file.files[0].mtime_ns % 1000000000;
    cr_assert_eq(pwrite(file.files[0].fd, "damage", 6, (off_t)(expert_part_place(part, 2).offset + 9)), 6);
    cr_assert_eq(futimens(file.files[0].fd, was), 0);
    options.catalog_dir = dir;
    cr_assert_eq(run(&err), ERR_CHECKSUM);
    cr_assert_not_null(strstr(err.text, "expert 2 of layer 1"), "%s", err.text);
    cr_assert_not(pack_check_exists(&file, ""));
    snprintf(path, sizeof(path), "%s/catalog.mdb", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.lock", dir);
    unlink(path);
    rmdir(dir);
}

/* ---- room ---- */

Test(pack_write, too_little_room_is_said_before_anything_is_written)
{
    struct err err = { 0 };

    fault.call = FREE;
    fault.n = 1;
    cr_assert_eq(run(&err), -ENOSPC);
    cr_assert_not_null(strstr(err.text, "needs 0.00 GB more, and there are 0.00 GB free"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "--output"), "%s", err.text);
    cr_assert_eq(fault.count[WRITE], 0);
    cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
}

Test(pack_write, room_that_cannot_be_had)
{
    static const int errors[] = { ENOSPC, EDQUOT, EFBIG, EIO };
    struct err err = { 0 };

    fault.call = ALLOCATE;
    fault.n = 1;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fault.error = errors[i];
        cr_assert_eq(run(&err), errors[i] == EDQUOT ? -ENOSPC : -errors[i]);
        cr_assert_eq(fault.count[WRITE], 0);
        cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
    }
    fault.error = EOPNOTSUPP;
    cr_assert_eq(run(&err), 0, "%s", err_text(&err));
    pack_check_whole(&file);
}

Test(pack_write, the_real_kernel)
{
    struct rlimit limit = { 8192, 8192 };
    struct err err = { 0 };

    options.calls = NULL;
    run_well();
    pack_check_remove(&file);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(run(&err), -EFBIG, "%s", err_text(&err));
    cr_assert_not(pack_check_exists(&file, PACK_PART_SUFFIX));
}

Test(pack_write, places_that_cannot_be_written)
{
    struct err err = { 0 };
    char *long_path = malloc(6000);

    options.path = "/proc/self/x.pack";
    cr_assert_lt(run(&err), 0);
    cr_assert_not_null(strstr(err.text, "--output FILE"), "%s", err.text);
    options.path = "/nowhere/at/all/x.pack";
    cr_assert_eq(run(&err), -ENOENT);
    memset(long_path, 'a', 5999);
    long_path[5999] = '\0';
    options.path = long_path;
    cr_assert_eq(run(&err), -ENAMETOOLONG);
    free(long_path);
}

Test(pack_write, lack_of_memory_is_an_error)
{
    struct err err = { 0 };
    int rc = -1;

    for (long n = 0; rc != 0; n++) {
        cr_assert_lt(n, 2000);
        memset(fault.count, 0, sizeof(fault.count));
        mem_fail_after(n);
        rc = pack_write(&file.layout, &options, &written, &err);
        mem_fail_after(-1);
        cr_assert(rc == 0 || rc == -ENOMEM, "%s", err_text(&err));
    }
    pack_check_whole(&file);
}
