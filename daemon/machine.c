/* SPDX-License-Identifier: MIT */
#include "daemon/machine.h"

#include "base/arith.h"

#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The number behind `key` in a file of "key number" lines, times `unit`; UINT64_MAX when there is none. */
static uint64_t keyed_number(const char *path, const char *key, uint64_t unit)
{
    char line[256];
    uint64_t v = UINT64_MAX;
    size_t n = strlen(key);
    FILE *f = fopen(path, "re");

    if (!f)
        return v;
    while (v == UINT64_MAX && fgets(line, sizeof(line), f))
        if (strncmp(line, key, n) == 0)
            v = strtoull(line + n, NULL, 10) * unit;
    fclose(f);
    return v;
}

/* A file of one number; "max", a missing file and absurd limits are UINT64_MAX. */
static uint64_t lone_number(const char *dir, const char *name)
{
    char path[PATH_MAX], text[32] = "";
    uint64_t v;
    char *end;
    FILE *f;

    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) || !(f = fopen(path, "re")))
        return UINT64_MAX;
    if (!fgets(text, sizeof(text), f))
        text[0] = '\0';
    fclose(f);
    v = strtoull(text, &end, 10);
    return end == text || v > (uint64_t)1 << 60 ? UINT64_MAX : v;
}

struct cgroup_files {
    const char *limit, *soft_limit, *usage, *inactive, *active;
};

static const struct cgroup_files cgroup_v1 = { "memory.limit_in_bytes", "memory.limit_in_bytes",
                                               "memory.usage_in_bytes", "total_inactive_file ", "total_active_file " };
/* Above memory.high nobody is killed, but all are slowed down. */
static const struct cgroup_files cgroup_v2 = { "memory.max", "memory.high", "memory.current", "inactive_file ",
                                               "active_file " };

/* What one group leaves: its limit less what is used and cannot be given back. Of the page cache in use we count half,
 * as MemAvailable does. */
static void group_look(const char *dir, const struct cgroup_files *files, struct memory_scope *ret_scope)
{
    char stat[PATH_MAX];
    uint64_t limit = u64_min(lone_number(dir, files->limit), lone_number(dir, files->soft_limit));
    uint64_t used = lone_number(dir, files->usage), inactive, active;

    ret_scope->size = ret_scope->left = limit;
    ret_scope->over = 0;
    if (limit == UINT64_MAX || used == UINT64_MAX)
        return;
    if (snprintf(stat, sizeof(stat), "%s/memory.stat", dir) < (int)sizeof(stat)) {
        inactive = keyed_number(stat, files->inactive, 1);
        active = keyed_number(stat, files->active, 1);
        used -= u64_min(inactive != UINT64_MAX ? inactive : 0, used);
        used -= u64_min(active != UINT64_MAX ? active / 2 : 0, used);
    }
    ret_scope->left = limit > used ? limit - used : 0;
    ret_scope->over = used > limit ? used - limit : 0;
}

/* The group that leaves least, from `dir` up to the mount. */
static void groups_look(const char *dir, size_t mount_len, const struct cgroup_files *files, struct memory_scope *scope)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", dir);
    for (;;) {
        struct memory_scope group = *scope;
        char *slash = strrchr(path, '/');

        group_look(path, files, &group);
        if (group.left < scope->left || group.over > scope->over)
            *scope = group;
        if (strlen(path) <= mount_len || !slash || (size_t)(slash - path) < mount_len)
            return;
        *slash = '\0';
    }
}

static bool lists(const char *controllers, const char *name)
{
    size_t n = strlen(name);

    for (const char *c = controllers; c; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL)
        if (strncmp(c, name, n) == 0 && (c[n] == ',' || c[n] == '\0'))
            return true;
    return false;
}

/* A line of /proc/self/cgroup, "0::/path" (v2) or "7:memory:/path" (v1), as a directory; NULL: another hierarchy. */
static const struct cgroup_files *cgroup_line(const char *root, char *line, char dir[PATH_MAX], size_t *ret_mount_len)
{
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    bool v2;
    int n;

    if (!path)
        return NULL;
    *path++ = '\0';
    controllers++;
    path[strcspn(path, "\n")] = '\0';
    if (strcmp(path, "/") == 0)
        *path = '\0';
    v2 = *controllers == '\0';
    if (!v2 && !lists(controllers, "memory"))
        return NULL;
    *ret_mount_len = (size_t)snprintf(dir, PATH_MAX, "%s/sys/fs/cgroup%s", root, v2 ? "" : "/memory");
    if (*ret_mount_len >= PATH_MAX)
        return NULL;
    n = snprintf(dir + *ret_mount_len, PATH_MAX - *ret_mount_len, "%s", path);
    if ((size_t)n >= PATH_MAX - *ret_mount_len)
        return NULL;
    return v2 ? &cgroup_v2 : &cgroup_v1;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234" */
static uint64_t stall_read(const char *path)
{
    char line[256];
    uint64_t us = UINT64_MAX;
    FILE *f = fopen(path, "re");
    const char *total;

    if (!f)
        return us;
    if (fgets(line, sizeof(line), f) && strncmp(line, "some ", 5) == 0 && (total = strstr(line, "total=")) != NULL)
        us = strtoull(total + strlen("total="), NULL, 10);
    fclose(f);
    return us;
}

#define PRESSURE_PATH (PATH_MAX + 32)

/* The pressure files of the machine and of our group; a group's is empty where there is none. */
struct pressure_paths {
    char machine[PRESSURE_PATH], group[PRESSURE_PATH];
};

static void groups_each(const char *root, struct memory_scope *group, struct pressure_paths *ret_paths)
{
    char path[PATH_MAX], line[PATH_MAX], dir[PATH_MAX];
    FILE *f;

    snprintf(ret_paths->machine, PRESSURE_PATH, "%s/proc/pressure/memory", root);
    ret_paths->group[0] = '\0';
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        size_t mount_len;
        const struct cgroup_files *files = cgroup_line(root, line, dir, &mount_len);

        if (!files)
            continue;
        groups_look(dir, mount_len, files, group);
        if (files == &cgroup_v2)
            snprintf(ret_paths->group, PRESSURE_PATH, "%s/memory.pressure", dir);
    }
    fclose(f);
}

void machine_memory(const char *root, struct machine_memory *ret_memory)
{
    struct memory_scope unknown = { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX };
    struct pressure_paths paths;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    *ret_memory = (struct machine_memory){ unknown, unknown };
    ret_memory->machine.size = keyed_number(path, "MemTotal:", 1024);
    ret_memory->machine.left = keyed_number(path, "MemAvailable:", 1024);
    groups_each(root, &ret_memory->group, &paths);
    ret_memory->machine.stall_us = stall_read(paths.machine);
    ret_memory->group.stall_us = stall_read(paths.group);
}

/* Without CAP_SYS_RESOURCE a window must be a multiple of 2 s (Linux 6.5), and before that there is none. */
static int alarm_open(const char *path)
{
    static const char *const triggers[] = { "some 100000 1000000", "some 200000 2000000" };
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < sizeof(triggers) / sizeof(triggers[0]); i++)
        if (write(fd, triggers[i], strlen(triggers[i]) + 1) >= 0)
            return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int machine_alarms(const char *root, int ret_fds[MACHINE_ALARMS])
{
    struct memory_scope unused = { UINT64_MAX, UINT64_MAX, 0, UINT64_MAX };
    struct pressure_paths paths;
    int n = 0;

    groups_each(root, &unused, &paths);
    ret_fds[n] = alarm_open(paths.machine);
    n += ret_fds[n] >= 0;
    ret_fds[n] = paths.group[0] ? alarm_open(paths.group) : -1;
    n += ret_fds[n] >= 0;
    return n;
}

static uint64_t or_zero(uint64_t v)
{
    return v == UINT64_MAX ? 0 : v;
}

static bool file_says(const char *path, const char *words)
{
    char line[128] = "";
    FILE *f = fopen(path, "re");

    if (!f)
        return false;
    if (!fgets(line, sizeof(line), f))
        line[0] = '\0';
    fclose(f);
    return strstr(line, words) != NULL;
}

void machine_pages(const char *root, struct machine_pages *ret_pages)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/proc/self/smaps_rollup", root);
    ret_pages->anonymous = or_zero(keyed_number(path, "Anonymous:", 1024));
    ret_pages->huge = or_zero(keyed_number(path, "AnonHugePages:", 1024));
    snprintf(path, sizeof(path), "%s/sys/kernel/mm/transparent_hugepage/enabled", root);
    ret_pages->off = file_says(path, "[never]");
}

/* Read-only segments hold nothing that is not in the file: what is needed again comes back from the page cache. */
static int give_back_segments(struct dl_phdr_info *info, size_t size, void *ctx)
{
    const bool *by_page = ctx;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;

        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
            continue;
        from &= ~(page - 1);
        to = (to + page - 1) & ~(page - 1);
        madvise((void *)from, to - from, MADV_DONTNEED);
        for (uintptr_t at = from; *by_page && at < to; at += 2 * page)
            madvise((void *)at, page, MADV_RANDOM);
    }
    return 0;
}

void machine_give_back_code(bool by_page)
{
    dl_iterate_phdr(give_back_segments, &by_page);
}

uint64_t machine_rss(void)
{
    uint64_t v = keyed_number("/proc/self/status", "VmRSS:", 1024);

    return v == UINT64_MAX ? 0 : v;
}

uint64_t machine_peak_rss(void)
{
    uint64_t v = keyed_number("/proc/self/status", "VmHWM:", 1024);

    return v == UINT64_MAX ? 0 : v;
}
