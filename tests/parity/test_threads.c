/* SPDX-License-Identifier: MIT
 *
 * How many compute threads there are and where they stay, on machines of files.
 */
#include "base/clock.h"
#include "compute/cpu/threads.h"
#include "compute/cpu_device.h"
#include "compute/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A machine of files: what is written under a directory of our own. */
static char machine[64];

static void machine_write(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof(full), "%s%s", machine, path);
    for (char *p = full + strlen(machine) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(full, 0700);
        *p = '/';
    }
    f = fopen(full, "w");
    cr_assert_not_null(f, "%s", full);
    fputs(text, f);
    fclose(f);
}

static void machine_init(void)
{
    char path[128], siblings[16];

    snprintf(machine, sizeof(machine), "/tmp/expertd-threads-XXXXXX");
    cr_assert_not_null(mkdtemp(machine));
    for (int cpu = 0; cpu < 8; cpu++) { /* four cores of two threads, numbered 0-3 and 4-7 */
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        snprintf(siblings, sizeof(siblings), "%d,%d\n", cpu % 4, cpu % 4 + 4);
        machine_write(path, siblings);
    }
}

static void machine_fini(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", machine);
    cr_assert_eq(system(command), 0);
}

static cpu_set_t cpus(int first, int last)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int cpu = first; cpu <= last; cpu++)
        CPU_SET((size_t)cpu, &set);
    return set;
}

static uint32_t threads_on(int first, int last)
{
    cpu_set_t usable = cpus(first, last);

    return cpu_threads_under(machine, &usable);
}

/* Where a thread stays, as bits; 0: anywhere. */
static unsigned place_on(int first, int last, uint32_t n_threads, uint32_t thread)
{
    cpu_set_t usable = cpus(first, last), place;
    unsigned bits = 0;

    if (!cpu_place_under(machine, &usable, n_threads, thread, &place))
        return 0;
    for (int cpu = 0; cpu < 32; cpu++)
        bits |= CPU_ISSET((size_t)cpu, &place) ? 1u << cpu : 0;
    return bits;
}

Test(threads, cores_within_the_affinity, .init = machine_init, .fini = machine_fini)
{
    cr_assert_eq(threads_on(0, 7), 4);
    cr_assert_eq(threads_on(2, 4), 3);
    cr_assert_eq(threads_on(3, 7), 4);
    cr_assert_eq(threads_on(20, 22), 3, "cores that nothing is known about");
    machine_write("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1\n");
    cr_assert_eq(threads_on(0, 1), 1);
}

Test(threads, quota_of_cgroup_v2, .init = machine_init, .fini = machine_fini)
{
    machine_write("/proc/self/cgroup", "0::/a/b\n");
    machine_write("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    machine_write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    cr_assert_eq(threads_on(0, 7), 3, "the parent's limit holds, rounded up");
    machine_write("/sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    cr_assert_eq(threads_on(0, 7), 1);
}

Test(threads, quota_of_cgroup_v1, .init = machine_init, .fini = machine_fini)
{
    machine_write("/proc/self/cgroup", "3:memory:/x\n2:cpu,cpuacct:/x\n");
    machine_write("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000\n");
    machine_write("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(threads_on(0, 7), 2);
    machine_write("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
    cr_assert_eq(threads_on(0, 7), 4);
}

Test(threads, one_for_each_core_has_its_core, .init = machine_init, .fini = machine_fini)
{
    for (uint32_t thread = 0; thread < 4; thread++)
        cr_assert_eq(place_on(0, 7, 4, thread), 0x11u << thread);
    cr_assert_eq(place_on(2, 6, 4, 0), 1u << 2 | 1u << 6, "only what is usable");
    cr_assert_eq(place_on(2, 6, 4, 1), 1u << 3);
    cr_assert_eq(place_on(2, 6, 4, 3), 1u << 5);
    cr_assert_eq(place_on(0, 3, 4, 1), 0, "no core has a second CPU");
    cr_assert_eq(place_on(20, 22, 3, 1), 0, "cores that nothing is known about");
}

Test(threads, fewer_or_more_than_cores_run_anywhere, .init = machine_init, .fini = machine_fini)
{
    cr_assert_eq(place_on(0, 7, 3, 1), 0);
    cr_assert_eq(place_on(0, 7, 8, 1), 0);
    machine_write("/proc/self/cgroup", "0::/a\n");
    machine_write("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    cr_assert_eq(place_on(0, 7, 4, 1), 0, "a quota: others use these cores too");
}

Test(threads, fewer_than_cores_are_dealt_out_to_memory_nodes, .init = machine_init, .fini = machine_fini)
{
    cpu_set_t usable = cpus(0, 7), first = cpus(0, 1);

    cr_assert_eq(cpu_nodes_under(machine, &usable), 0, "nothing known");
    machine_write("/sys/devices/system/node/node0/cpulist", "0-1,4-5\n");
    machine_write("/sys/devices/system/node/node2/cpulist", "2-3,6-7\n");
    machine_write("/sys/devices/system/node/node3/cpulist", "\n"); /* memory without CPUs */
    cr_assert_eq(cpu_nodes_under(machine, &usable), 1u << 0 | 1u << 2);
    cr_assert_eq(cpu_nodes_under(machine, &first), 1u << 0);
    cr_assert_eq(place_on(0, 7, 2, 0), 0x33);
    cr_assert_eq(place_on(0, 7, 2, 1), 0xcc);
    cr_assert_eq(place_on(0, 7, 3, 2), 0x33);
    cr_assert_eq(place_on(0, 7, 4, 1), 0x22, "a core is better than a node");
    cr_assert_eq(place_on(0, 3, 4, 2), 1u << 2, "several nodes, no second CPUs");
    cr_assert_eq(place_on(0, 1, 1, 0), 0, "one node is usable");
}

/* A worker stays where it is put, and the caller is not touched. */
static void place_note(void *arg, uint32_t thread)
{
    cpu_set_t *places = arg;

    sched_getaffinity(0, sizeof(*places), &places[thread]);
}

Test(threads, a_pool_places_its_workers)
{
    cpu_set_t before, places[2], place;
    struct pool *pool;
    int cpu = 0;

    sched_getaffinity(0, sizeof(before), &before);
    while (!CPU_ISSET((size_t)cpu, &before))
        cpu++;
    place = cpus(cpu, cpu);
    cr_assert_eq(pool_open(2, &pool, NULL), 0);
    pool_place(pool, 1, &place);
    pool_run(pool, place_note, places);
    pool_close(pool);
    cr_assert(CPU_EQUAL(&places[0], &before));
    cr_assert(CPU_EQUAL(&places[1], &place));
}

/* What is to be done meanwhile is done on the caller's thread, some time apart, and no result knows of it. */
struct meanwhile {
    pthread_t caller;
    uint32_t n_calls, n_elsewhere;
    uint64_t last_ns, least_ns;
};

static void meanwhile_note(void *ctx)
{
    struct meanwhile *m = ctx;
    uint64_t now_ns = clock_ns();

    m->n_elsewhere += !pthread_equal(pthread_self(), m->caller);
    if (m->n_calls++ > 0 && now_ns - m->last_ns < m->least_ns)
        m->least_ns = now_ns - m->last_ns;
    m->last_ns = now_ns;
}

Test(threads, what_is_done_meanwhile_is_on_the_callers_thread)
{
    enum { COLS = 1024, ROWS = 16384 };
    struct cpu_device_options options = { .n_threads = 2, .max_rows = 1, .max_ff = 64, .max_expert_rows = 1 };
    struct meanwhile meanwhile = { .caller = pthread_self(), .least_ns = UINT64_MAX };
    float *w = calloc((size_t)COLS * ROWS, sizeof(*w)), *x = calloc(COLS, sizeof(*x)),
          *y = calloc(2 * ROWS, sizeof(*y));
    struct linear lin = { .w = { w, QUANT_F32, ROWS, COLS }, .y = y };
    struct device *device;
    struct acts *acts;

    for (size_t i = 0; i < (size_t)COLS * ROWS; i++)
        w[i] = (float)(i % 251) - 125;
    for (size_t i = 0; i < COLS; i++)
        x[i] = (float)(i % 13) - 6;
    cr_assert_eq(cpu_device_open(&options, &device, NULL), 0);
    cr_assert_eq(device->ops->acts_open(device, 1, COLS, &acts), 0);
    cr_assert_eq(device->ops->acts_set(device, acts, x, 1, COLS), 0);
    device->ops->linear(device, acts, &lin, 1);
    device->meanwhile = meanwhile_note;
    device->meanwhile_ctx = &meanwhile;
    lin.y = y + ROWS;
    while (meanwhile.n_calls < 50)
        device->ops->linear(device, acts, &lin, 1);
    device->ops->acts_close(device, acts);
    device->ops->close(device);
    cr_assert_eq(meanwhile.n_elsewhere, 0);
    cr_assert_geq(meanwhile.least_ns, DEVICE_MEANWHILE_NS);
    cr_assert_eq(memcmp(y, y + ROWS, ROWS * sizeof(*y)), 0);
    free(w);
    free(x);
    free(y);
}

Test(threads, of_this_machine)
{
    cr_assert_geq(cpu_threads_detect(), 1);
}
