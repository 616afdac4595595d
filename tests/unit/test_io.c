/* SPDX-License-Identifier: MIT */
#include "cache/io.h"
#include "tests/support/door_check.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct expert_file file;
static int direct_fd;

static void setup(void)
{
    expert_file_init(&file, &(struct expert_file_shape){ .n_layers = 2, .n_experts = 8, .n_used = 2, .seed = 5 });
    direct_fd = open(file.files[0].path, O_RDONLY | O_DIRECT);
}

static void teardown(void)
{
    if (direct_fd >= 0)
        close(direct_fd);
    expert_file_fini(&file);
}

TestSuite(io, .init = setup, .fini = teardown);

static const struct {
    const char *name;
    int (*open)(const struct io_options *options, struct io **ret_io, struct err *err);
} engines[] = { { "io_uring", io_uring_open }, { "pread", io_pread_open } };

/* NULL where this machine forbids it. */
static struct io *engine_open(size_t which, const struct io_options *options)
{
    struct io *io = NULL;
    struct err err = { 0 };
    int rc = engines[which].open(options, &io, &err);

    cr_assert(rc == 0 || which == 0, "%s", err_text(&err));
    return io;
}

/* Many reads of all sizes, more than fit in flight; each must bring its bytes or what the file still has of them. */
static void read_all_over(size_t which, int fd, uint32_t unit, char *memory, uint32_t depth, bool buffers)
{
    struct iovec iov[2] = { { .iov_base = memory, .iov_len = 1 << 20 },
                            { .iov_base = memory + (1 << 20), .iov_len = 1 << 20 } };
    struct io_options options = {
        .fds = &fd, .n_fds = 1, .depth = depth, .buffers = iov, .n_buffers = buffers ? 2 : 0
    };
    struct io *io = engine_open(which, &options);
    struct io_read sent[64];
    uint32_t n_sent = 0, n_done = 0, state = 3;

    if (io == NULL)
        return;
    cr_assert_str_eq(io->name, engines[which].name);
    while (n_done < 64) {
        struct io_done done[4];
        int n;

        for (; n_sent < 64 && n_sent - n_done < depth; n_sent++) {
            sent[n_sent] = (struct io_read){
                .dst = memory + ((uint64_t)n_sent << 15),
                .tag = n_sent,
                .offset = door_check_random(&state) % (file.files[0].bytes + 2 * unit) / unit * unit,
                .bytes = (1 + door_check_random(&state) % (32768 / unit)) * unit,
            };
            io->ops->submit(io, &sent[n_sent], 1);
        }
        n = io->ops->reap(io, done, 4, n_sent - n_done == depth || n_sent == 64);
        cr_assert(n >= 0 && n <= 4);
        for (int i = 0; i < n; i++, n_done++) {
            const struct io_read *r = &sent[done[i].tag];
            uint64_t left = r->offset < file.files[0].bytes ? file.files[0].bytes - r->offset : 0;

            cr_assert_eq(done[i].result, (int32_t)(left < r->bytes ? left : r->bytes));
            cr_assert_arr_eq(r->dst, file.bytes[0] + r->offset, (size_t)done[i].result);
        }
    }
    cr_assert_eq(io->ops->reap(io, &(struct io_done){ 0 }, 1, false), 0);
    io->ops->close(io);
}

Test(io, reads_what_is_there)
{
    char *memory = aligned_alloc(4096, 2 << 20);

    for (size_t which = 0; which < 2; which++)
        for (uint32_t depth = 1; depth <= 64; depth *= 4)
            for (int buffers = 0; buffers < 2; buffers++) {
                read_all_over(which, file.files[0].fd, 1, memory, depth, buffers);
                if (direct_fd >= 0)
                    read_all_over(which, direct_fd, 4096, memory, depth, buffers);
            }
    free(memory);
}

Test(io, a_read_that_fails_says_so)
{
    for (size_t which = 0; which < 2; which++) {
        int fds[2] = { file.files[0].fd, open("/", O_RDONLY | O_DIRECTORY) };
        struct io *io = engine_open(which, &(struct io_options){ .fds = fds, .n_fds = 2, .depth = 4 });
        struct io_done done[2];
        char byte[2];

        if (io == NULL)
            continue;
        io->ops->submit(io, (struct io_read[]){ { .dst = &byte[0], .bytes = 1, .file = 1, .tag = 7 } }, 1);
        cr_assert_eq(io->ops->reap(io, done, 2, true), 1);
        cr_assert_eq(done[0].tag, 7);
        cr_assert_eq(done[0].result, -EISDIR);
        io->ops->submit(io, (struct io_read[]){ { .dst = &byte[1], .bytes = 1, .tag = 8 } }, 1);
        cr_assert_eq(io->ops->reap(io, done, 2, true), 1);
        cr_assert(done[0].tag == 8 && done[0].result == 1);
        io->ops->close(io);
        close(fds[1]);
    }
}

Test(io, closes_with_reads_in_flight)
{
    char *memory = malloc(1 << 20);

    for (size_t which = 0; which < 2; which++)
        for (int round = 0; round < 20; round++) {
            struct io *io =
                engine_open(which, &(struct io_options){ .fds = &file.files[0].fd, .n_fds = 1, .depth = 16 });

            if (io == NULL)
                continue;
            for (uint32_t i = 0; i < 16; i++)
                io->ops->submit(io, (struct io_read[]){ { .dst = memory + (i << 16), .bytes = 1 << 16, .tag = i } }, 1);
            io->ops->close(io);
        }
    free(memory);
}

/* ---- where io_uring is refused ---- */

static void forbid_io_uring(int errnum)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)errnum),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = 4, .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        cr_skip_test("skipped: no seccomp here");
}

static void assert_falls_back(int errnum, const char *said)
{
    struct cache_options options;
    struct cache *cache;
    struct err err = { 0 };

    forbid_io_uring(errnum);
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    cache = door_check_open(&file, &options);
    cr_assert_eq(strncmp(cache_describe(cache), "pread (io_uring ", 16), 0, "%s", cache_describe(cache));
    cr_assert_not_null(strstr(cache_describe(cache), said), "%s", cache_describe(cache));
    door_check_run(cache, &file, 20, 1);
    cache_close(cache);
    options.io_engine = IO_ENGINE_URING;
    cr_assert_eq(cache_open(&file.layout, &options, &cache, &err), -errnum);
    cr_assert_not_null(strstr(err.text, "pread"), "%s", err.text);
}

Test(io, not_permitted)
{
    assert_falls_back(EPERM, "not permitted");
}

Test(io, not_in_this_kernel)
{
    assert_falls_back(ENOSYS, "not in this kernel");
}

Test(io, no_memory_to_lock)
{
    assert_falls_back(ENOMEM, "RLIMIT_MEMLOCK");
}

/* Slots that may not be pinned are read into all the same. */
Test(io, buffers_that_cannot_be_registered)
{
    struct rlimit none = { 0 };
    struct cache_options options;
    struct cache *cache;

    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    if (geteuid() == 0 && seteuid(65534) != 0) {
        teardown(); /* a skipped test has no end of its own */
        cr_skip_test("skipped: cannot become an ordinary user");
    }
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    cache = door_check_open(&file, &options);
    /* Nor may this user open root's file again: then the descriptor that is lent must do. */
    if (getuid() == 0)
        cr_assert_not_null(strstr(cache_describe(cache), "buffered (direct reads refused: Permission denied)"), "%s",
                           cache_describe(cache));
    door_check_run(cache, &file, 20, 1);
    cache_close(cache);
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
}

/* ---- buffers that come and go ---- */

static uint64_t pinned_kib(void)
{
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];

    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "VmPin: %llu", &kib) == 1)
            break;
    fclose(f);
    return kib;
}

static void read_into(struct io *io, char *dst)
{
    struct io_read read = { .dst = dst, .offset = 64, .bytes = 4096 };
    struct io_done done;

    memset(dst, 0, 4096);
    io->ops->submit(io, &read, 1);
    cr_assert_eq(io->ops->reap(io, &done, 1, true), 1);
    cr_assert_eq(done.result, 4096);
    cr_assert_eq(memcmp(dst, file.bytes[0] + 64, 4096), 0);
}

/* What is let go is pinned no longer; and wherever a read goes, in a buffer or beside them, it arrives. */
Test(io, buffers_shrink_and_grow_again)
{
    int fd = open(file.files[0].path, O_RDONLY);
    char *memory = aligned_alloc(4096, 8 << 20);
    struct iovec whole[2] = { { memory, 4 << 20 }, { memory + (4 << 20), 4 << 20 } };
    struct iovec less[2] = { { memory, 1 << 20 }, { 0 } };

    memset(memory, 0, 8 << 20);
    for (size_t which = 0; which < 2; which++) {
        struct io_options options = { .fds = &fd, .n_fds = 1, .depth = 4, .buffers = whole, .n_buffers = 2 };
        uint64_t before = pinned_kib(), all;
        struct io *io = engine_open(which, &options);

        if (io == NULL || io->ops->rebuffer == NULL)
            continue;
        all = pinned_kib() - before;
        cr_assert(all == 0 || all == 8 << 10, "%lu KiB", (unsigned long)all); /* 0: RLIMIT_MEMLOCK forbids it */
        read_into(io, memory + (7 << 20));
        io->ops->rebuffer(io, less);
        if (all > 0)
            cr_assert_eq(pinned_kib() - before, 1 << 10);
        read_into(io, memory);
        read_into(io, memory + (7 << 20));
        io->ops->rebuffer(io, whole);
        cr_assert_eq(pinned_kib() - before, all);
        read_into(io, memory + (7 << 20));
        io->ops->close(io);
    }
    free(memory);
    close(fd);
}
