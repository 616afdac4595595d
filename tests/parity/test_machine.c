/* SPDX-License-Identifier: MIT
 *
 * The execution model in which GPU kernels are tested: what it computes, and that it sees what kernels do wrong. And
 * the emulated card's failures: every call of the runtime that fails is an error of the operation, and nothing is lost.
 */
#include "compute/gpu_module.h"
#include "emu/bad_kernels.h"
#include "emu/queue_emu.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int run(int how, const char **ret_why, int *out)
{
    struct bad_params params = { how, out };
    struct machine_launch launch = bad_launch(&params);

    return machine_run(&launch, ret_why);
}

Test(machine, threads_meet_at_barriers_and_shuffles)
{
    int *out = machine_alloc(250 * sizeof(int));
    const char *why;

    cr_assert_eq(run(GOOD, &why, out), 0, "%s", why);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(out[i], i < 32 ? 32 * 32 + 31 * 16 : 31 * 16);
    cr_assert_eq(machine_free(out), 0);
}

static void check_bad(int how, const char *says)
{
    int *out = machine_alloc(250 * sizeof(int));
    const char *why = "";

    cr_assert_eq(run(how, &why, out), -1, "kind %d", how);
    cr_assert_not_null(strstr(why, says), "kind %d: %s", how, why);
    machine_free(out);
    out = machine_alloc(250 * sizeof(int));
    cr_assert_eq(run(GOOD, &why, out), 0, "after kind %d: %s", how, why);
    machine_free(out);
}

Test(machine, divergence_in_a_warp)
{
    check_bad(WARP_SPLITS, "divergence");
    check_bad(WARP_LEAVES, "has ended");
}

Test(machine, divergence_at_a_barrier)
{
    check_bad(BARRIER_SPLITS, "divergence");
    check_bad(BARRIER_LEAVES, "has ended");
}

Test(machine, shared_memory_ends)
{
    check_bad(SHARED_OVERRUN, "behind the shared memory");
    check_bad(SHARED_TOO_MUCH, "asked for");
}

Test(machine, launches_that_no_card_takes)
{
    struct bad_params params = { GOOD, NULL };
    struct machine_launch launch = bad_launch(&params);
    const char *why;

    launch.n_threads = 33;
    cr_assert_eq(machine_run(&launch, &why), -1);
    launch.n_threads = 2048;
    cr_assert_eq(machine_run(&launch, &why), -1);
    launch.n_threads = 64;
    launch.shared_bytes = 1 << 20;
    cr_assert_eq(machine_run(&launch, &why), -1);
}

#if !defined(__SANITIZE_ADDRESS__) /* which ends the program at once */
Test(machine, buffers_end)
{
    check_bad(BUFFER_OVERRUN, "buffer");
    check_bad(BUFFER_UNDERRUN, "buffer");
}
#endif

static const struct gpu_options options = { 0, 8, 256, 8 };

/* Everything once: 0, or what failed first. */
static int use(struct device *device)
{
    static float host[256];
    struct acts *acts = NULL;
    uint16_t id;
    float weight;
    void *x = NULL, *w = NULL;
    const struct device_ops *ops = device->ops;
    int r;

    if ((r = ops->alloc(device, 4096, &x)) < 0 || (r = ops->alloc(device, 34 * 8 * 256, &w)) < 0 ||
        (r = ops->acts_open(device, 1, 256, &acts)) < 0 || (r = ops->upload(device, x, host, sizeof(host))) < 0)
        goto out;
    struct weight m = { w, QUANT_Q8_0, 256, 256 };
    struct expert_call call = { m, m, m, &(uint32_t){ 0 }, &(uint32_t){ 0 }, 1 };
    struct linear lin = { m, NULL, x };

    if ((r = ops->acts_set(device, acts, x, 1, 256)) < 0 || (r = ops->linear(device, acts, &lin, 1)) < 0 ||
        (r = ops->experts(device, acts, &call, 1, x)) < 0 ||
        (r = ops->rope(device, &(struct rope){ ROPE_NORM, 2, (float[]){ 1 }, 1 }, x, &(uint32_t){ 3 }, 1, 1, 2)) < 0 ||
        (r = ops->route(device, &(struct route){ ROUTE_SOFTMAX, false, 1, 4, 1 }, x, 1, &id, &weight)) < 0 ||
        (r = ops->combine(device, x, x, &weight, 1, 1, 8)) < 0 || (r = ops->sync(device)) < 0)
        goto out;
    r = ops->download(device, host, x, sizeof(host));
out:
    ops->acts_close(device, acts);
    ops->free(device, w, 34 * 8 * 256);
    ops->free(device, x, 4096);
    return r;
}

/* Often enough for graphs to be made, brought up to date and launched; the host then waits in between. */
static int use_graphs(struct device *device)
{
    const struct device_ops *ops = device->ops;
    float host[64];
    void *x = NULL;
    int r = ops->alloc(device, sizeof(host), &x);

    for (uint32_t i = 0; i < 4 && r >= 0; i++)
        for (uint32_t n = 0; n < 4 && r >= 0; n++) {
            r = ops->add(device, x, (const float *)x + 16 * (1 + (n + i) % 3), NULL, 1, 16);
            if (r >= 0 && n == 3)
                r = ops->download(device, host, x, sizeof(host));
        }
    ops->free(device, x, sizeof(host));
    return r;
}

/* A call about a graph may fail: then the work is done without. */
Test(emulated_card, graphs_that_fail_are_done_without)
{
    struct emu_counts before, after;
    uint32_t n_failed = 0, n_without = 0;
    struct err err = { 0 };
    int r = 0;

    for (long n = 0; n < 100; n++) {
        struct device *device;

        emu_set_faults(&(struct emu_faults){ -1, 1 << 30, false });
        cr_assert_eq(emu_device_open(&options, &device, &err), 0, "%s", err_text(&err));
        emu_get_counts(&before);
        emu_set_faults(&(struct emu_faults){ n, 1 << 30, false });
        r = use_graphs(device);
        emu_get_counts(&after);
        cr_assert(r == 0 || r == -EIO, "%s", err_text(&device->err));
        n_failed += r < 0;
        n_without += r == 0 && after.graph_runs - before.graph_runs < 3;
        emu_set_faults(&(struct emu_faults){ -1, 1 << 30, false });
        device->ops->close(device);
    }
    cr_assert_eq(r, 0, "a hundred calls are more than there are");
    cr_assert_gt(n_failed, 10);
    cr_assert_gt(n_without, 2);
}

static void fail_each_call(bool lost)
{
    struct emu_counts counts;
    struct err err = { 0 };
    int r = -1;

    for (long n = 0; r != 0; n++) {
        struct device *device;

        emu_set_faults(&(struct emu_faults){ n, 1 << 30, lost });
        r = emu_device_open(&options, &device, &err);
        cr_assert(r == 0 || err.text[0] != '\0');
        if (r < 0)
            continue;
        r = use(device);
        cr_assert(r == 0 || r == (lost ? ERR_DEVICE : -EIO), "call %ld: %s", n, err_text(&device->err));
        cr_assert(r == 0 || device->err.text[0] != '\0');
        if (r < 0 && lost)
            cr_assert_eq(device->ops->sync(device), ERR_DEVICE, "a lost card stays lost");
        device->ops->close(device);
        cr_assert_lt(n, 500);
    }
    emu_get_counts(&counts);
    cr_assert_eq(counts.overruns, 0);
    cr_assert_eq(counts.leaked_bytes, 0);
}

Test(emulated_card, every_failed_call_is_an_error)
{
    fail_each_call(false);
}

Test(emulated_card, a_lost_card_is_an_error_from_then_on)
{
    fail_each_call(true);
}

Test(emulated_card, memory_that_is_short_is_an_error)
{
    struct emu_counts counts;
    struct err err = { 0 };
    struct device *device;
    int r = -1;

    for (uint64_t bytes = 1 << 10; r != 0; bytes *= 2) {
        emu_set_faults(&(struct emu_faults){ -1, bytes, false });
        r = emu_device_open(&options, &device, &err);
        if (r == 0) {
            r = use(device);
            device->ops->close(device);
        }
        cr_assert(r == 0 || r == -ENOMEM);
        cr_assert_lt(bytes, (uint64_t)1 << 31);
    }
    emu_get_counts(&counts);
    cr_assert_eq(counts.leaked_bytes, 0);
}

Test(emulated_card, options_that_make_no_device)
{
    struct gpu_options none = options;
    struct device *device;
    struct err err = { 0 };

    none.max_ff = 0;
    cr_assert_eq(emu_device_open(&none, &device, &err), -EINVAL);
}

/* Where nvcc was found: the module loads, and says what cards there are or why none can be used. */
Test(cuda_module, of_this_build)
{
    const char *build = getenv("top_builddir");
    const struct gpu_module *module;
    struct gpu_card card;
    char path[PATH_MAX];
    struct err err = { 0 };
    int n;

    snprintf(path, sizeof(path), "%s/gpu/expertd-cuda.so", build != NULL ? build : ".");
    if (access(path, F_OK) != 0)
        cr_skip_test("no module was built");
    cr_assert_eq(gpu_module_load(path, &module, &err), 0, "%s", err_text(&err));
    cr_assert_gt(module->device_bytes(&options), sizeof(float) * options.max_expert_rows * options.max_ff);
    n = module->count(&err);
    if (n > 0) {
        cr_assert_eq(module->card(0, &card, &err), 0, "%s", err_text(&err));
        cr_assert_gt(card.total_bytes, 0);
        cr_assert_leq(card.free_bytes, card.total_bytes);
    } else {
        struct device *device;

        cr_assert_lt(n, 0);
        cr_assert_neq(err.text[0], '\0');
        cr_assert_lt(module->open(&options, &device, &err), 0);
    }
    cr_assert_lt(module->card(1000, &card, &err), 0);
}
