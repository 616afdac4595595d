/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/mem.h"
#include "compute/cpu/cpu_internal.h"
#include "compute/cpu/threads.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Below this many elements a pool takes longer to wake than the work takes. */
enum { SERIAL_WORK = 1 << 14 };

struct each_row {
    struct cpu_device *cpu;
    void (*fn)(void *arg, size_t row);
    void *arg;
    uint32_t n_rows;
};

static void each_row_on_thread(void *arg, uint32_t thread)
{
    const struct each_row *each = arg;

    for (uint32_t row = thread; row < each->n_rows; row = cpu_take_unit(each->cpu, 0))
        each->fn(each->arg, row);
}

void cpu_each_row(struct cpu_device *cpu, uint32_t n_rows, size_t row_work, void (*fn)(void *arg, size_t row),
                  void *arg)
{
    struct each_row each = { cpu, fn, arg, n_rows };

    if (n_rows > 1 && n_rows * row_work >= SERIAL_WORK)
        cpu_run(cpu, each_row_on_thread, &each);
    else
        for (uint32_t row = 0; row < n_rows; row++)
            fn(arg, row);
}

static void run_for_others(void *ctx, uint32_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    struct each_row each = { ctx, fn, arg, n };

    cpu_run(each.cpu, each_row_on_thread, &each);
}

const struct parallel *cpu_device_threads(struct device *device)
{
    return &cpu_device_of(device)->threads;
}

void cpu_meanwhile(struct cpu_device *cpu, uint32_t thread)
{
    uint64_t now_ns;

    if (thread != 0 || cpu->device.meanwhile == NULL)
        return;
    now_ns = clock_ns();
    if (now_ns - cpu->meanwhile_ns < DEVICE_MEANWHILE_NS)
        return;
    cpu->device.meanwhile(cpu->device.meanwhile_ctx);
    cpu->meanwhile_ns = clock_ns();
}

static int device_alloc(struct device *device, size_t bytes, void **ret_p)
{
    int r = mem_map(bytes, MEM_HUGE | MEM_POPULATE, ret_p, NULL);

    return r < 0 ? err_set(&device->err, r, "no memory for %zu bytes", bytes) : 0;
}

static void device_free(struct device *device, void *p, size_t bytes)
{
    mem_unmap(p, bytes);
}

static int device_copy(struct device *device, void *dst, const void *src, size_t bytes)
{
    memmove(dst, src, bytes);
    return 0;
}

static int device_sync(struct device *device)
{
    return 0;
}

static void device_close(struct device *device)
{
    struct cpu_device *cpu = cpu_device_of(device);

    pool_close(cpu->pool);
    mem_unmap(cpu->arena, cpu->arena_bytes);
    mem_unmap(cpu, sizeof(*cpu));
}

static const struct device_ops cpu_ops = {
    .alloc = device_alloc,
    .free = device_free,
    .upload = device_copy,
    .download = device_copy,
    .sync = device_sync,
    .acts_open = cpu_acts_open,
    .acts_close = cpu_acts_close,
    .acts_bytes = cpu_acts_bytes,
    .acts_set = cpu_acts_set,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .linear = cpu_linear,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attention = cpu_attention,
    .route = cpu_route,
    .experts = cpu_experts,
    .combine = cpu_combine,
    .add = cpu_add,
    .close = device_close,
};

/* Lay the scratch out behind `base`; returns its size. With base NULL only the size counts. */
static size_t scratch_lay(struct cpu_device *cpu, char *base, uint32_t n_threads)
{
    const struct cpu_device_options *o = &cpu->options;
    size_t at = 0;

    cpu->hidden_stride = small_pad(act_row_bytes(ACT_SMALL, o->max_ff));
    if (cpu->hidden_stride < act_row_bytes(ACT_SUPER, o->max_ff))
        cpu->hidden_stride = act_row_bytes(ACT_SUPER, o->max_ff);
    cpu->unpacked_bytes = cpu_unpacked_bytes(o->max_ff);
    cpu->hidden = (float *)(base + at);
    at += small_pad((size_t)o->max_expert_rows * o->max_ff * sizeof(float));
    cpu->hidden_acts = base + at;
    at += o->max_expert_rows * cpu->hidden_stride;
    cpu->unpacked = base + at;
    at += n_threads * cpu->unpacked_bytes;
    cpu->shares = (struct unit_share *)(base + at);
    at += CPU_SHARED_PHASES * n_threads * sizeof(*cpu->shares);
    cpu->parts = (struct expert_part *)(base + at);
    return at + o->max_expert_rows * sizeof(*cpu->parts);
}

static uint32_t threads_of(const struct cpu_device_options *options)
{
    return options->n_threads > 0 ? options->n_threads : cpu_threads_detect();
}

size_t cpu_device_bytes(const struct cpu_device_options *options)
{
    struct cpu_device cpu = { .options = *options };

    return sizeof(cpu) + scratch_lay(&cpu, NULL, threads_of(options));
}

static void place_threads(const struct cpu_device *cpu)
{
    cpu_set_t place;

    for (uint32_t thread = 1; thread < cpu->options.n_threads; thread++)
        if (cpu_place(cpu->options.n_threads, thread, &place))
            pool_place(cpu->pool, thread, &place);
}

int cpu_device_open(const struct cpu_device_options *options, struct device **ret_device, struct err *err)
{
    struct cpu_device *cpu;
    void *p;
    int r;

    if (options->max_expert_rows == 0 || options->max_ff == 0)
        return err_set(err, -EINVAL, "a CPU device needs room for at least one expert row");
    r = mem_map(sizeof(*cpu), MEM_POPULATE, &p, NULL);
    if (r < 0)
        return err_set(err, r, "no memory for the CPU device");
    cpu = p;
    cpu->options = *options;
    cpu->options.n_threads = threads_of(options);
    cpu_kernels_get(cpu_level_within(options->max_level), &cpu->kernels);
    snprintf(cpu->name, sizeof(cpu->name), "cpu %s", cpu_level_name(cpu->kernels.level));
    cpu->threads = (struct parallel){ run_for_others, cpu };
    cpu->device = (struct device){ .ops = &cpu_ops, .name = cpu->name, .host_visible = true };
    cpu->arena_bytes = scratch_lay(cpu, NULL, cpu->options.n_threads);
    r = mem_map(cpu->arena_bytes, MEM_HUGE | MEM_POPULATE, &cpu->arena, NULL);
    if (r < 0) {
        err_set(err, r, "no memory for %zu bytes of compute scratch", cpu->arena_bytes);
        cpu->arena = NULL;
        device_close(&cpu->device);
        return r;
    }
    scratch_lay(cpu, cpu->arena, cpu->options.n_threads);
    r = pool_open(cpu->options.n_threads, &cpu->pool, err);
    if (r < 0) {
        device_close(&cpu->device);
        return r;
    }
    place_threads(cpu);
    *ret_device = &cpu->device;
    return 0;
}
