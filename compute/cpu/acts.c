/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "compute/cpu/cpu_internal.h"

#include <errno.h>

size_t cpu_unpacked_bytes(uint32_t max_cols)
{
    size_t most = 0;

    for (enum act_flavour f = 0; f < ACT_FLAVOURS; f++)
        if (tile_bytes(f, max_cols) > most)
            most = tile_bytes(f, max_cols);
    return small_pad(most);
}

/* How many rows a thread gathers: those levels do that multiply rows of ACT_SUPER better where they lie side by side.
 */
static uint32_t gathered_rows(const struct cpu_device *cpu, uint32_t max_rows)
{
    if (cpu->kernels.dots_many[QUANT_Q4_K] == NULL)
        return 0;
    return max_rows < GATHER_ROWS ? max_rows : GATHER_ROWS;
}

size_t cpu_acts_bytes(struct device *device, uint32_t max_rows, uint32_t max_cols)
{
    const struct cpu_device *cpu = cpu_device_of(device);
    size_t gathered = gathered_rows(cpu, max_rows) * act_row_bytes(ACT_SUPER, max_cols);

    return small_pad(sizeof(struct acts)) + (cpu_unpacked_bytes(max_cols) + gathered) * pool_threads(cpu->pool) +
           max_rows * (act_row_bytes(ACT_SMALL, max_cols) + act_row_bytes(ACT_SUPER, max_cols));
}

int cpu_acts_open(struct device *device, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts)
{
    size_t bytes = cpu_acts_bytes(device, max_rows, max_cols);
    struct acts *acts;
    void *arena;
    int r = mem_map(bytes, MEM_HUGE | MEM_POPULATE, &arena, NULL);

    if (r < 0)
        return err_set(&device->err, r, "no memory for %u rows of %u activations (%zu bytes)", max_rows, max_cols,
                       bytes);
    acts = arena;
    acts->max_rows = max_rows;
    acts->max_cols = max_cols;
    acts->bytes = bytes;
    acts->prepared[ACT_SMALL] = (char *)arena + small_pad(sizeof(*acts));
    acts->prepared[ACT_SUPER] = acts->prepared[ACT_SMALL] + max_rows * act_row_bytes(ACT_SMALL, max_cols);
    acts->unpacked = acts->prepared[ACT_SUPER] + max_rows * act_row_bytes(ACT_SUPER, max_cols);
    acts->unpacked_bytes = cpu_unpacked_bytes(max_cols);
    acts->gathered = acts->unpacked + pool_threads(cpu_device_of(device)->pool) * acts->unpacked_bytes;
    acts->gathered_rows = gathered_rows(cpu_device_of(device), max_rows);
    acts->gathered_bytes = acts->gathered_rows * act_row_bytes(ACT_SUPER, max_cols);
    *ret_acts = acts;
    return 0;
}

void cpu_acts_close(struct device *device, struct acts *acts)
{
    if (acts != NULL)
        mem_unmap(acts, acts->bytes);
}

int cpu_acts_set(struct device *device, struct acts *acts, const float *x, uint32_t n_rows, uint32_t n_cols)
{
    if (n_rows > acts->max_rows || n_cols > acts->max_cols)
        return err_set(&device->err, -EINVAL, "%u rows of %u activations, where at most %u of %u were announced",
                       n_rows, n_cols, acts->max_rows, acts->max_cols);
    acts->x = x;
    acts->n_rows = n_rows;
    acts->n_cols = n_cols;
    acts->ready[ACT_SMALL] = acts->ready[ACT_SUPER] = false;
    return 0;
}

void cpu_act_prepare(const struct cpu_kernels *k, enum act_flavour flavour, const float *x, size_t n, void *row)
{
    if (flavour == ACT_SMALL)
        k->act_small(x, n, 0, n, row);
    else if (flavour == ACT_SUPER)
        k->act_super(x, n, 0, row);
}

struct prepare {
    struct cpu_device *cpu;
    struct acts *acts;
    enum act_flavour flavour;
};

static void prepare_row(void *arg, size_t row)
{
    const struct prepare *job = arg;
    struct acts *acts = job->acts;

    cpu_act_prepare(&job->cpu->kernels, job->flavour, acts->x + row * acts->n_cols, acts->n_cols,
                    acts->prepared[job->flavour] + row * act_row_bytes(job->flavour, acts->n_cols));
}

struct act_rows cpu_acts_ready(struct cpu_device *cpu, struct acts *acts, enum quant_type type)
{
    struct prepare job = { cpu, acts, act_flavour_of(type) };

    if (job.flavour == ACT_F32)
        return (struct act_rows){ (const char *)acts->x, acts->n_cols * sizeof(float) };
    if (!acts->ready[job.flavour]) {
        cpu_each_row(cpu, acts->n_rows, acts->n_cols, prepare_row, &job);
        acts->ready[job.flavour] = true;
    }
    return (struct act_rows){ acts->prepared[job.flavour], act_row_bytes(job.flavour, acts->n_cols) };
}
