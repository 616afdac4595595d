/* SPDX-License-Identifier: MIT
 *
 * threads.c: how many threads to compute with.
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

/* A CPU counts when it is the first usable one of its core. Unknown siblings: it counts. */
static bool first_of_core(const char *root, const cpu_set_t *usable, int cpu)
{
    char path[128], line[256];
    int first, used;

    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!file_line(root, path, line, sizeof(line)))
        return true;
    for (const char *p = line; sscanf(p, "%d%n", &first, &used) == 1; p++) {
        int last = first;

        p += used;
        if (*p == '-' && sscanf(p + 1, "%d%n", &last, &used) == 1)
            p += 1 + used;
        for (int other = first; other <= last && other < cpu; other++)
            if (other >= 0 && CPU_ISSET((size_t)other, usable))
                return false;
        if (*p != ',')
            break;
    }
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

uint32_t cpu_threads_under(const char *root, const cpu_set_t *usable)
{
    uint32_t cores = 0, quota = cgroup_cpus(root);

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, usable) && first_of_core(root, usable, cpu))
            cores++;
    cores = quota < cores ? quota : cores;
    return cores > 0 ? cores : 1;
}

uint32_t cpu_threads_detect(void)
{
    cpu_set_t usable;

    if (sched_getaffinity(0, sizeof(usable), &usable) < 0)
        return 1;
    return cpu_threads_under("", &usable);
}
