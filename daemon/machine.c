/* SPDX-License-Identifier: MIT */
#include "daemon/machine.h"

#include "base/arith.h"

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
    const char *limit, *usage, *reclaimable;
};

static const struct cgroup_files cgroup_v1 = { "memory.limit_in_bytes", "memory.usage_in_bytes",
                                               "total_inactive_file " };
static const struct cgroup_files cgroup_v2 = { "memory.max", "memory.current", "inactive_file " };

/* What one group leaves: its limit less what is used and cannot be given back. */
static uint64_t group_leaves(const char *dir, const struct cgroup_files *files)
{
    char stat[PATH_MAX];
    uint64_t limit = lone_number(dir, files->limit), used = lone_number(dir, files->usage), cached;

    if (limit == UINT64_MAX || used == UINT64_MAX)
        return limit;
    if (snprintf(stat, sizeof(stat), "%s/memory.stat", dir) >= (int)sizeof(stat))
        return limit > used ? limit - used : 0;
    cached = keyed_number(stat, files->reclaimable, 1);
    if (cached != UINT64_MAX)
        used -= u64_min(cached, used);
    return limit > used ? limit - used : 0;
}

/* The least that any group from `path` up to the mount leaves. */
static uint64_t groups_leave(const char *mount, const char *path, const struct cgroup_files *files)
{
    char dir[PATH_MAX];
    size_t top = strlen(mount);
    uint64_t least = UINT64_MAX;

    if (snprintf(dir, sizeof(dir), "%s%s", mount, path) >= (int)sizeof(dir))
        return UINT64_MAX;
    for (;;) {
        char *slash;

        least = u64_min(least, group_leaves(dir, files));
        slash = strrchr(dir, '/');
        if (strlen(dir) <= top || !slash || (size_t)(slash - dir) < top)
            return least;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup: "0::/path" (v2), or "7:memory:/path" (v1). */
static uint64_t cgroup_line(const char *root, char *line)
{
    char mount[PATH_MAX];
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    bool v2;

    if (!path)
        return UINT64_MAX;
    *path++ = '\0';
    controllers++;
    path[strcspn(path, "\n")] = '\0';
    if (strcmp(path, "/") == 0)
        *path = '\0';
    v2 = *controllers == '\0';
    if (!v2 && strcmp(controllers, "memory") != 0)
        return UINT64_MAX;
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root, v2 ? "" : "/memory");
    return groups_leave(mount, path, v2 ? &cgroup_v2 : &cgroup_v1);
}

void machine_memory(const char *root, struct machine_memory *ret_memory)
{
    char path[PATH_MAX], line[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    ret_memory->available = keyed_number(path, "MemAvailable:", 1024);
    ret_memory->cgroup = UINT64_MAX;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f))
        ret_memory->cgroup = u64_min(ret_memory->cgroup, cgroup_line(root, line));
    fclose(f);
}

/* Read-only segments hold nothing that is not in the file: what is needed again comes back from the page cache. */
static int give_back_segments(struct dl_phdr_info *info, size_t size, void *ctx)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;

        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
            continue;
        from &= ~(page - 1);
        to = (to + page - 1) & ~(page - 1);
        madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void machine_give_back_code(void)
{
    dl_iterate_phdr(give_back_segments, NULL);
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
