/* SPDX-License-Identifier: MIT
 *
 * threads.c: how many threads to compute with, and where.
 *
 * Second threads of a core add nothing to kernels that fill its vector units or wait for memory, so physical cores
 * count: those of the CPUs that the process may use, by /sys/devices/system/cpu/cpuN/topology/thread_siblings_list.
 * A cgroup's quota (v2 cpu.max, v1 cpu.cfs_quota_us) bounds the number from above, rounded up.
 */
#include "compute/cpu/threads.h"

#include "compute/cpu_device.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool file_line(const char *root, const char *path, char *line, int size)
{
    char full[1024];
    FILE *f;
    bool got;

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return false;
    f = fopen(full, "re");
    if (f == NULL)
        return false;
    got = fgets(line, size, f) != NULL;
    fclose(f);
    return got;
}

/* A list of CPUs, "0-3,8", to a set; what does not look like one ends it. */
static void list_parse(const char *list, cpu_set_t *ret_set)
{
    int first, used;

    CPU_ZERO(ret_set);
    for (const char *p = list; sscanf(p, "%d%n", &first, &used) == 1; p++) {
        int last = first;

        p += used;
        if (*p == '-' && sscanf(p + 1, "%d%n", &last, &used) == 1)
            p += 1 + used;
        for (int cpu = first; cpu >= 0 && cpu <= last && cpu < CPU_SETSIZE; cpu++)
            CPU_SET((size_t)cpu, ret_set);
        if (*p != ',')
            break;
    }
}

/* The usable CPUs of a core. Unknown siblings: it has none. */
static void core_of(const char *root, const cpu_set_t *usable, int cpu, cpu_set_t *ret_core)
{
    char path[128], line[256];

    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    CPU_ZERO(ret_core);
    if (file_line(root, path, line, sizeof(line)))
        list_parse(line, ret_core);
    CPU_SET((size_t)cpu, ret_core);
    CPU_AND(ret_core, ret_core, usable);
}

/* A CPU counts when it is the first usable one of its core. */
static bool first_of_core(const char *root, const cpu_set_t *usable, int cpu)
{
    cpu_set_t core;

    core_of(root, usable, cpu, &core);
    for (int other = 0; other < cpu; other++)
        if (CPU_ISSET((size_t)other, &core))
            return false;
    return true;
}

/* Whole CPUs that quota per period gives, at least 1; UINT32_MAX when there is no limit. */
static uint32_t quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return UINT32_MAX;
    return (uint32_t)((quota + period - 1) / period);
}

/* The tightest limit from a cgroup directory up to the hierarchy's root. `dir` is shortened on the way. */
static uint32_t cgroup_v2_cpus(const char *root, char *dir)
{
    uint32_t least = UINT32_MAX;

    for (;;) {
        char path[700], line[64];
        long long quota, period;
        char *slash = strrchr(dir, '/');

        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", dir);
        if (file_line(root, path, line, sizeof(line)) && sscanf(line, "%lld %lld", &quota, &period) == 2 &&
            quota_cpus(quota, period) < least)
            least = quota_cpus(quota, period);
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

static uint32_t cgroup_v1_cpus(const char *root, char *dir)
{
    uint32_t least = UINT32_MAX;

    for (;;) {
        char path[700], line[64];
        long long quota = 0, period = 0;
        char *slash = strrchr(dir, '/');

        snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", dir);
        if (file_line(root, path, line, sizeof(line)))
            sscanf(line, "%lld", &quota);
        snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", dir);
        if (file_line(root, path, line, sizeof(line)))
            sscanf(line, "%lld", &period);
        if (quota_cpus(quota, period) < least)
            least = quota_cpus(quota, period);
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/path" (v2), "4:cpu,cpuacct:/path" (v1). */
static uint32_t cgroup_cpus(const char *root)
{
    char path[1024], line[512];
    uint32_t least = UINT32_MAX;
    FILE *f;

    if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path))
        return least;
    f = fopen(path, "re");
    if (f == NULL)
        return least;
    while (fgets(line, sizeof(line), f) != NULL) {
        char *controllers = strchr(line, ':'), *dir = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        uint32_t cpus = UINT32_MAX;

        if (dir == NULL)
            continue;
        *dir++ = '\0';
        dir[strcspn(dir, "\n")] = '\0';
        if (controllers[1] == '\0')
            cpus = cgroup_v2_cpus(root, dir);
        else if (strncmp(controllers + 1, "cpu,", 4) == 0 || strcmp(controllers + 1, "cpu") == 0)
            cpus = cgroup_v1_cpus(root, dir);
        least = cpus < least ? cpus : least;
    }
    fclose(f);
    return least;
}

static uint32_t count_cores(const char *root, const cpu_set_t *usable)
{
    uint32_t cores = 0;

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, usable) && first_of_core(root, usable, cpu))
            cores++;
    return cores;
}

uint32_t cpu_threads_under(const char *root, const cpu_set_t *usable)
{
    uint32_t cores = count_cores(root, usable), quota = cgroup_cpus(root);

    cores = quota < cores ? quota : cores;
    return cores > 0 ? cores : 1;
}

enum { MAX_NODES = 64 };

/* The usable CPUs of a memory node. */
static bool node_cpus(const char *root, const cpu_set_t *usable, int node, cpu_set_t *ret_cpus)
{
    char path[64], line[1024];

    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
    if (!file_line(root, path, line, sizeof(line)))
        return false;
    list_parse(line, ret_cpus);
    CPU_AND(ret_cpus, ret_cpus, usable);
    return CPU_COUNT(ret_cpus) > 0;
}

uint64_t cpu_nodes_under(const char *root, const cpu_set_t *usable)
{
    uint64_t nodes = 0;
    cpu_set_t cpus;

    for (int node = 0; node < MAX_NODES; node++)
        if (node_cpus(root, usable, node, &cpus))
            nodes |= (uint64_t)1 << node;
    return nodes;
}

static bool nth_core(const char *root, const cpu_set_t *usable, uint32_t n, cpu_set_t *ret_core)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, usable) || !first_of_core(root, usable, cpu) || n-- > 0)
            continue;
        core_of(root, usable, cpu, ret_core);
        return true;
    }
    return false;
}

static bool nth_node(const char *root, const cpu_set_t *usable, uint32_t n, cpu_set_t *ret_cpus)
{
    for (int node = 0; node < MAX_NODES; node++)
        if (node_cpus(root, usable, node, ret_cpus) && n-- == 0)
            return true;
    return false;
}

bool cpu_place_under(const char *root, const cpu_set_t *usable, uint32_t n_threads, uint32_t thread,
                     cpu_set_t *ret_place)
{
    uint32_t cores = count_cores(root, usable);
    uint32_t n_nodes = (uint32_t)__builtin_popcountll(cpu_nodes_under(root, usable));

    if ((uint32_t)CPU_COUNT(usable) == cores && n_nodes < 2)
        return false;
    if (n_threads == cores && cgroup_cpus(root) >= cores)
        return nth_core(root, usable, thread, ret_place);
    return n_threads < cores && n_nodes > 1 && nth_node(root, usable, thread % n_nodes, ret_place);
}

static bool usable_cpus(cpu_set_t *ret_usable)
{
    return sched_getaffinity(0, sizeof(*ret_usable), ret_usable) == 0;
}

uint32_t cpu_threads_detect(void)
{
    cpu_set_t usable;

    return usable_cpus(&usable) ? cpu_threads_under("", &usable) : 1;
}

uint64_t cpu_nodes_detect(void)
{
    cpu_set_t usable;

    return usable_cpus(&usable) ? cpu_nodes_under("", &usable) : 0;
}

bool cpu_place(uint32_t n_threads, uint32_t thread, cpu_set_t *ret_place)
{
    cpu_set_t usable;

    return usable_cpus(&usable) && cpu_place_under("", &usable, n_threads, thread, ret_place);
}
