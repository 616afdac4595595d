/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "daemon/budget.h"
#include "daemon/machine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

/* A model of round numbers: 1 MiB of keys and values per 16 positions, 64 KiB of activations per token of a batch. */
static void measure(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs)
{
    *ret_needs = (struct budget_needs){ .dense = 1000 * MIB,
                                        .kv = (uint64_t)shape->n_ctx * shape->n_seqs * MIB / 16,
                                        .activations = shape->max_batch * MIB / 16,
                                        .device = 10 * MIB,
                                        .cache_overhead = 5 * MIB,
                                        .slots_min = 50 * MIB,
                                        .slots_max = 20000 * MIB };
    (void)ctx;
}

static struct budget_wish wish(uint64_t mib)
{
    return (struct budget_wish){
        .total = mib * MIB, .other = 100 * MIB + budget_reserve(mib * MIB), .n_ctx_train = 32768, .n_vocab = 32000
    };
}

Test(budget, everything_together_is_never_more_than_the_total)
{
    struct budget b;
    struct err err;

    for (uint64_t mib = 1; mib < 30000; mib = mib * 11 / 10 + 1) {
        struct budget_wish w = wish(mib);

        if (budget_divide(&w, measure, NULL, &b, &err) < 0)
            continue;
        cr_assert_leq(budget_sum(&b), w.total);
        cr_assert_geq(b.slots, b.needs.slots_min);
        cr_assert_leq(b.slots, b.needs.slots_max);
    }
}

Test(budget, what_is_open_takes_at_most_a_quarter_of_what_the_weights_leave)
{
    struct budget_wish w = wish(8000);
    struct budget b;

    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.n_ctx, 4096);
    cr_assert_eq(b.shape.n_seqs, 4, "%u at once", b.shape.n_seqs);
    cr_assert_eq(b.shape.batch, 512);
    cr_assert_leq((b.needs.kv + b.needs.activations + b.needs.device) * 4, (8000 - 1105) * MIB);
    cr_assert_gt(b.shape.max_batch, b.shape.batch);
    cr_assert_geq(b.shape.max_logits, b.shape.n_seqs + 4);
}

Test(budget, a_smaller_one_gives_up_company_first_then_length)
{
    struct budget_wish w = wish(2400);
    struct budget b;

    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.n_ctx, 4096);
    cr_assert_eq(b.shape.n_seqs, 1);
    w = wish(1800);
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_lt(b.shape.n_ctx, 4096);
}

Test(budget, what_is_set_is_kept)
{
    struct budget_wish w = wish(20000);
    struct budget b;

    w.n_ctx = 10000;
    w.n_seqs = 3;
    w.batch = 77;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.n_ctx, 10000);
    cr_assert_eq(b.shape.n_seqs, 3);
    cr_assert_eq(b.shape.batch, 77);
    w = wish(2000);
    w.n_ctx = 8192; /* 512 MiB of the 895 that the weights leave: more than a quarter, and kept all the same */
    w.n_seqs = 1;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.n_ctx, 8192);
}

/* As measure, with activations that experts may lie in between prompts. */
static void measure_lending(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs)
{
    measure(ctx, shape, ret_needs);
    ret_needs->batch = ret_needs->activations;
    if (ctx != NULL)
        ret_needs->slots_max = *(const uint64_t *)ctx;
}

Test(budget, one_answer_at_a_time_has_longer_chunks)
{
    struct budget_wish w = wish(4000);
    struct budget b;
    uint64_t whole;

    w.n_seqs = 1;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 512, "where activations are nobody else's");
    cr_assert_eq(budget_divide(&w, measure_lending, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 2048);
    cr_assert_eq(b.shape.max_batch, 2049);
    cr_assert_leq(budget_sum(&b), w.total);
    whole = b.slots + 1;
    cr_assert_eq(budget_divide(&w, measure_lending, &whole, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 1024, "of experts that all have slots none makes way");
    whole--;
    cr_assert_eq(budget_divide(&w, measure_lending, &whole, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 2048);
    w.n_seqs = 2;
    cr_assert_eq(budget_divide(&w, measure_lending, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 512, "another would wait");
    w.n_seqs = 1;
    w.batch = 256;
    cr_assert_eq(budget_divide(&w, measure_lending, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 256, "what the user set");
    w.batch = 0;
    w.n_ctx = 600;
    cr_assert_eq(budget_divide(&w, measure_lending, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 600);
    w = wish(1700);
    w.n_seqs = 1;
    w.n_ctx = 1500;
    cr_assert_eq(budget_divide(&w, measure_lending, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.batch, 1024, "1500 would be more than a third of what the weights leave");
}

/* As measure, with a table of embeddings of 70 MiB, of which a batch's rows take none to speak of. */
static void measure_embeddings(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs)
{
    measure(ctx, shape, ret_needs);
    ret_needs->dense -= shape->embd_on_disk ? 70 * MIB : 0;
}

Test(budget, embeddings_make_way_for_experts_where_some_are_missing)
{
    struct budget_wish w = wish(8000);
    struct budget plain, b;

    cr_assert_eq(budget_divide(&w, measure, NULL, &plain, NULL), 0);
    cr_assert(!plain.shape.embd_on_disk, "where it frees nothing it is not done");
    cr_assert_eq(budget_divide(&w, measure_embeddings, NULL, &b, NULL), 0);
    cr_assert(b.shape.embd_on_disk);
    cr_assert_eq(b.slots, plain.slots + 70 * MIB);
    cr_assert_eq(b.shape.n_seqs, plain.shape.n_seqs, "and nothing else changes");
    w = wish(30000);
    cr_assert_eq(budget_divide(&w, measure_embeddings, NULL, &b, NULL), 0);
    cr_assert(!b.shape.embd_on_disk, "with slots for all experts they stay");
    cr_assert_eq(b.slots, b.needs.slots_max);
}

Test(budget, a_model_with_a_short_context_is_not_given_a_longer_one)
{
    struct budget_wish w = wish(8000);
    struct budget b;

    w.n_ctx_train = 300;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.shape.n_ctx, 300);
    cr_assert_eq(b.shape.batch, 300, "no larger chunk than the context");
}

/* The number in "at least --memory 1234M is needed", in MiB. */
static uint64_t least_said(const struct err *err)
{
    const char *p = strstr(err->text, "at least --memory ");
    char *unit;
    double v;

    cr_assert_not_null(p, "'%s'", err->text);
    v = strtod(p + strlen("at least --memory "), &unit);
    return *unit == 'G' ? (uint64_t)(v * 1024) : (uint64_t)v;
}

Test(budget, too_little_is_refused_with_a_number_that_works)
{
    static const uint32_t contexts[] = { 0, 512, 9000 };
    struct budget b;
    struct err err = { 0 };

    for (size_t i = 0; i < 3; i++) {
        struct budget_wish w = wish(500);
        uint64_t least;

        w.n_ctx = contexts[i];
        cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), ERR_BUDGET);
        least = least_said(&err);
        w = wish(least);
        w.n_ctx = contexts[i];
        cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), 0, "%llu MiB were said to do",
                     (unsigned long long)least);
        w.total = (least - 30) * MIB;
        cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), ERR_BUDGET, "and much less does not");
    }
}

Test(budget, who_keeps_wide_keys_and_values_is_told_of_narrow_ones)
{
    struct budget_wish w = wish(500);
    struct budget b;
    struct err err;

    w.n_ctx = 8192;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), ERR_BUDGET);
    cr_expect_null(strstr(err_text(&err), "--kv-type"));
    w.kv_wide = true;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), ERR_BUDGET);
    cr_expect_not_null(strstr(err_text(&err), "a smaller --context or --parallel, or --kv-type q8_0, needs less"));
}

Test(budget, the_number_said_has_room_for_the_reserve_that_comes_with_it)
{
    for (uint64_t mib = 1; mib < 1000; mib *= 3) {
        struct budget_wish w = wish(mib);
        struct err err = { 0 };
        struct budget b;

        cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), ERR_BUDGET);
        w = wish(least_said(&err));
        cr_assert_eq(budget_divide(&w, measure, NULL, &b, &err), 0, "of %llu: %s", (unsigned long long)mib,
                     err_text(&err));
    }
}

Test(budget, totals_near_the_top_do_not_overflow)
{
    struct budget_wish w = wish(1);
    struct budget b;

    w.total = UINT64_MAX / 4;
    cr_assert_eq(budget_divide(&w, measure, NULL, &b, NULL), 0);
    cr_assert_eq(b.slots, b.needs.slots_max, "no more slots than experts");
}

Test(budget, of_what_is_free_some_is_left)
{
    cr_assert_eq(budget_of_free(10000 * MIB), 9000 * MIB);
    cr_assert_eq(budget_of_free(1000 * MIB), 744 * MIB);
    cr_assert_eq(budget_of_free(300 * MIB), 150 * MIB);
    cr_assert_eq(budget_reserve(100 * MIB), 3 * MIB);
    cr_assert_eq(budget_reserve(1024 * MIB), 16 * MIB);
    cr_assert_eq(budget_reserve(UINT64_MAX), 64 * MIB);
}

/* --- machine --- */

static void put(const char *root, const char *path, const char *text)
{
    char name[600];
    FILE *f;

    snprintf(name, sizeof(name), "mkdir -p $(dirname %s%s)", root, path);
    cr_assert_eq(system(name), 0);
    snprintf(name, sizeof(name), "%s%s", root, path);
    f = fopen(name, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static char *make_root(void)
{
    char *root = mkdtemp(strdup("/tmp/expertd-root-XXXXXX"));

    cr_assert_not_null(root);
    put(root, "/proc/meminfo", "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\n");
    return root;
}

static void remove_root(char *root)
{
    char command[300];

    snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
    free(root);
}

Test(machine, without_cgroups_only_the_machine_counts)
{
    char *root = make_root();
    struct machine_memory m;

    machine_memory(root, &m);
    cr_assert_eq(m.machine.left, 4096 * 1024);
    cr_assert_eq(m.group.left, UINT64_MAX);
    remove_root(root);
    machine_memory("/nonexistent", &m);
    cr_assert_eq(m.machine.left, UINT64_MAX);
}

Test(machine, the_tightest_group_above_us_counts)
{
    char *root = make_root();
    struct machine_memory m;

    put(root, "/proc/self/cgroup", "0::/a.slice/b.service\n");
    put(root, "/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/a.slice/b.service/memory.current", "5000\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, UINT64_MAX);
    put(root, "/sys/fs/cgroup/a.slice/memory.max", "1000000\n");
    put(root, "/sys/fs/cgroup/a.slice/memory.current", "400000\n");
    put(root, "/sys/fs/cgroup/a.slice/memory.stat", "anon 7\ninactive_file 300000\nactive_file 1\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, 900000, "what the page cache can give back is free");
    put(root, "/sys/fs/cgroup/a.slice/b.service/memory.max", "6000\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, 1000);
    put(root, "/sys/fs/cgroup/a.slice/b.service/memory.current", "7000\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, 0, "over its limit: nothing is left");
    cr_assert_eq(m.group.over, 1000);
    remove_root(root);
}

Test(machine, version_1_groups_count_too)
{
    char *root = make_root();
    struct machine_memory m;

    put(root, "/proc/self/cgroup", "5:cpu,cpuacct:/x\n7:memory:/box\n0::/\n");
    put(root, "/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2000000\n");
    put(root, "/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "500000\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, 1500000);
    remove_root(root);
}

Test(machine, a_soft_limit_counts_and_half_of_the_page_cache_in_use)
{
    char *root = make_root();
    struct machine_memory m;

    put(root, "/proc/self/cgroup", "0::/a\n");
    put(root, "/sys/fs/cgroup/a/memory.max", "9000000\n");
    put(root, "/sys/fs/cgroup/a/memory.high", "1000000\n");
    put(root, "/sys/fs/cgroup/a/memory.current", "700000\n");
    put(root, "/sys/fs/cgroup/a/memory.stat", "inactive_file 100000\nactive_file 200000\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.size, 1000000);
    cr_assert_eq(m.group.left, 1000000 - (700000 - 100000 - 100000));
    remove_root(root);
}

Test(machine, a_version_1_hierarchy_of_several_controllers)
{
    char *root = make_root();
    struct machine_memory m;

    put(root, "/proc/self/cgroup", "3:hugetlb,memory:/x/y\n");
    put(root, "/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3000\n");
    put(root, "/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1000\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, 2000, "also when our own group is not to be seen");
    put(root, "/proc/self/cgroup", "3:hugetlb,memoryless:/x/y\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.left, UINT64_MAX);
    remove_root(root);
}

Test(machine, waiting_for_memory_is_told)
{
    char *root = make_root();
    struct machine_memory m;
    int fds[MACHINE_ALARMS];

    cr_assert_eq(machine_alarms(root, fds), 0);
    machine_memory(root, &m);
    cr_assert_eq(m.machine.stall_us, UINT64_MAX);
    put(root, "/proc/pressure/memory", "some avg10=1.00 avg60=0.10 avg300=0.00 total=48535949\nfull avg10=0 total=1\n");
    put(root, "/proc/self/cgroup", "0::/a\n");
    machine_memory(root, &m);
    cr_assert_eq(m.machine.stall_us, 48535949);
    cr_assert_eq(m.group.stall_us, UINT64_MAX);
    put(root, "/sys/fs/cgroup/a/memory.pressure", "some avg10=1.00 total=77\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.stall_us, 77);
    cr_assert_eq(machine_alarms(root, fds), 2);
    close(fds[0]);
    close(fds[1]);
    put(root, "/sys/fs/cgroup/a/memory.pressure", "nonsense\n");
    machine_memory(root, &m);
    cr_assert_eq(m.group.stall_us, UINT64_MAX);
    remove_root(root);
}

Test(machine, this_process_is_resident)
{
    cr_assert_gt(machine_rss(), 100000);
    cr_assert_geq(machine_peak_rss(), machine_rss() / 2);
}
