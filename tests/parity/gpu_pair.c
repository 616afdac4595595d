/* SPDX-License-Identifier: MIT */
#include "parity/gpu_pair.h"

#include "compute/cpu_device.h"
#include "emu/queue_emu.h"
#include "emu/under_test.h"

#include <criterion/criterion.h>

enum { MAX_FF = 768, MAX_EXPERT_ROWS = 24 };

static const struct gpu_options gpu_options = { 0, MAX_ROWS, MAX_FF, MAX_EXPERT_ROWS };

static struct device *gpu_device(void)
{
    struct device *device;
    struct err err = { 0 };

    cr_assert_eq(gpu_under_test(&gpu_options, &device, &err), 0, "%s", err_text(&err));
    return device;
}

static struct device *cpu_device(void)
{
    struct cpu_device_options options = {
        .n_threads = 1, .max_level = CPU_C, .max_rows = MAX_ROWS, .max_ff = MAX_FF, .max_expert_rows = MAX_EXPERT_ROWS
    };
    struct device *device;
    struct err err = { 0 };

    cr_assert_eq(cpu_device_open(&options, &device, &err), 0, "%s", err_text(&err));
    return device;
}

void ok(struct device *device, int r)
{
    cr_assert_eq(r, 0, "%s", err_text(&device->err));
}

void *put(struct device *device, const void *src, size_t bytes)
{
    void *p;

    ok(device, device->ops->alloc(device, bytes, &p));
    ok(device, device->ops->upload(device, p, src, bytes));
    return p;
}

void same(struct device *device, const void *p, const float *want, size_t n, const char *what)
{
    float *got = guard_alloc(n * sizeof(float));

    ok(device, device->ops->download(device, got, p, n * sizeof(float)));
    same_floats(got, want, n, what);
    guard_free(got);
}

void pair_init(struct pair *p, uint64_t seed)
{
    *p = (struct pair){ .cpu = cpu_device(), .gpu = gpu_device(), .r = { seed } };
    ok(p->cpu, p->cpu->ops->acts_open(p->cpu, MAX_ROWS, MAX_COLS, &p->cpu_acts));
    ok(p->gpu, p->gpu->ops->acts_open(p->gpu, MAX_ROWS, MAX_COLS, &p->gpu_acts));
}

void pair_fini(struct pair *p)
{
    struct emu_counts counts;

    p->cpu->ops->acts_close(p->cpu, p->cpu_acts);
    p->gpu->ops->acts_close(p->gpu, p->gpu_acts);
    p->cpu->ops->close(p->cpu);
    p->gpu->ops->close(p->gpu);
    emu_get_counts(&counts);
    cr_assert_eq(counts.overruns, 0);
}

float *floats(struct pair *p, size_t n, float scale)
{
    float *x = guard_alloc(n * sizeof(float));

    random_floats(&p->r, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
    return x;
}

struct weight weight_put(struct device *device, struct weight w)
{
    w.data = put(device, w.data, quant_row_bytes(w.type, (size_t)w.rows * w.cols));
    return w;
}
