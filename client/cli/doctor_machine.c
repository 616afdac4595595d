/* SPDX-License-Identifier: MIT */
#include "client/cli/doctor.h"
#include "client/cli/units.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The first line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *buffer, int buffer_bytes)
{
    FILE *file = fopen(path, "re");
    bool good = file != NULL && fgets(buffer, buffer_bytes, file) != NULL;

    if (file != NULL)
        fclose(file);
    if (good)
        buffer[strcspn(buffer, "\n")] = '\0';
    return good;
}

void doctor_check_io(struct doctor *doctor, const struct expert_props *props)
{
    char line[32];

    if (strstr(props->io, "uring") != NULL)
        doctor_say(doctor, DOCTOR_GOOD, "reads", NULL, "%s", props->io);
    else if (strstr(props->io, "pread") == NULL)
        doctor_say(doctor, DOCTOR_NOTE, "reads", NULL, "'%s'", props->io);
    else if (read_line("/proc/sys/kernel/io_uring_disabled", line, sizeof(line)) && strcmp(line, "0") != 0)
        doctor_say(doctor, DOCTOR_NOTE, "reads",
                   "allow it with: sysctl kernel.io_uring_disabled=0; then restart expertd",
                   "%s: this kernel does not allow io_uring, which reads faster", props->io);
    else
        doctor_say(doctor, DOCTOR_NOTE, "reads",
                   "containers often forbid io_uring: allow it in the seccomp profile, or set io_engine = auto",
                   "%s, and not io_uring, which reads faster", props->io);
}

void doctor_check_huge_pages(struct doctor *doctor, const struct expert_props *props, const struct expert_stats *stats)
{
    char line[128] = "", a[UNITS_TEXT], b[UNITS_TEXT];

    read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line));
    if (stats->huge_bytes > 0)
        doctor_say(doctor, DOCTOR_GOOD, "huge pages", NULL, "%s of %s expert slots",
                   units_byte_count(a, stats->huge_bytes), units_byte_count(b, props->slots_bytes));
    else if (strstr(line, "[never]") != NULL)
        doctor_say(doctor, DOCTOR_NOTE, "huge pages",
                   "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; then restart expertd",
                   "switched off in this kernel: expert slots lie in small pages");
    else
        doctor_say(doctor, DOCTOR_NOTE, "huge pages",
                   "memory may be too fragmented: they come by at the next start, or reserve "
                   "some with vm.nr_hugepages",
                   "none in use: expert slots lie in small pages");
}

/* What the daemon has measured of the drive, and follows. */
void doctor_check_curve(struct doctor *doctor, const struct expert_props *props)
{
    char piece[UNITS_TEXT], depth[UNITS_TEXT], rate[UNITS_TEXT], date[32] = "";
    time_t measured = (time_t)props->drive_measured_s;
    struct tm tm;

    if (props->read_bytes == EXPERT_UNSET || props->read_depth == EXPERT_UNSET)
        return;
    units_byte_count(piece, props->read_bytes);
    units_count(depth, props->read_depth);
    if (props->drive_measured_s > 0 && localtime_r(&measured, &tm) != NULL)
        strftime(date, sizeof(date), ", measured on %Y-%m-%d", &tm);
    if (props->drive_rate > 0)
        doctor_say(doctor, DOCTOR_GOOD, "drive curve", NULL, "reads of %s, up to %s at once: %s/s%s", piece, depth,
                   units_byte_count(rate, props->drive_rate), date);
    else
        doctor_say(doctor, DOCTOR_NOTE, "drive curve",
                   "it is measured when the daemon has nothing to do, if the model is large; or: expertd "
                   "--measure-drive, then restart it",
                   "reads of %s, up to %s at once, as for any drive: this one's curve is not known", piece, depth);
}

/* The process that listens on a Unix socket; -1 when it cannot be told. */
static pid_t peer_pid(const char *socket_path)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct ucred peer = { .pid = -1 };
    socklen_t n = sizeof(peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    snprintf(name.sun_path, sizeof(name.sun_path), "%s", socket_path);
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        peer.pid = -1;
    close(fd);
    return peer.pid > 0 ? peer.pid : -1;
}

/* The soft limit of a process in bytes, EXPERT_UNSET when unknown, INT64_MAX when unlimited. */
static int64_t memlock_limit(pid_t pid)
{
    static const char wanted[] = "Max locked memory";
    char path[64], line[256];
    int64_t limit = EXPERT_UNSET;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *value = line + sizeof(wanted) - 1;

        if (strncmp(line, wanted, sizeof(wanted) - 1) != 0)
            continue;
        value += strspn(value, " ");
        limit = strncmp(value, "unlimited", 9) == 0 ? INT64_MAX : strtoll(value, NULL, 10);
    }
    if (file != NULL)
        fclose(file);
    return limit;
}

void doctor_check_memlock(struct doctor *doctor, const char *socket_path, const struct expert_props *props)
{
    pid_t pid = peer_pid(socket_path);
    int64_t limit = pid > 0 ? memlock_limit(pid) : EXPERT_UNSET;
    char a[UNITS_TEXT], b[UNITS_TEXT];

    if (limit == EXPERT_UNSET || props->memory_bytes == EXPERT_UNSET)
        doctor_say(doctor, DOCTOR_NOTE, "locking", "run 'expert doctor' as root or as the daemon's user",
                   "whether the daemon may lock its memory cannot be told from here");
    else if (limit == INT64_MAX)
        doctor_say(doctor, DOCTOR_GOOD, "locking", NULL, "the daemon may lock all of its memory");
    else if (limit >= props->memory_bytes)
        doctor_say(doctor, DOCTOR_GOOD, "locking", NULL, "the daemon may lock %s", units_byte_count(a, limit));
    else
        doctor_say(doctor, DOCTOR_NOTE, "locking",
                   "in the unit: LimitMEMLOCK=infinity; in a shell: ulimit -l unlimited; then restart expertd",
                   "the daemon may lock %s of its %s: under pressure the rest can be swapped out",
                   units_byte_count(a, limit), units_byte_count(b, props->memory_bytes));
}

/* The name of the block device that holds a file ("nvme0n1p2"), and whether it is a spinning one. */
static bool drive_of(const char *path, char *name, size_t name_bytes, bool *ret_spins)
{
    char link[PATH_MAX], file[PATH_MAX + 64], line[8], *target;
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    target = realpath(link, NULL);
    if (target == NULL)
        return false;
    snprintf(name, name_bytes, "%s", strrchr(target, '/') + 1);
    snprintf(file, sizeof(file), "%s/queue/rotational", target);
    if (!read_line(file, line, sizeof(line))) { /* a partition: its drive is the directory above */
        snprintf(file, sizeof(file), "%s/../queue/rotational", target);
        if (!read_line(file, line, sizeof(line)))
            line[0] = '\0';
    }
    free(target);
    *ret_spins = line[0] == '1';
    return true;
}

void doctor_check_drive(struct doctor *doctor, const char *model_path)
{
    char name[256];
    bool spins;

    if (!drive_of(model_path, name, sizeof(name), &spins))
        doctor_say(doctor, DOCTOR_NOTE, "drive", NULL, "what drive '%s' is on cannot be told from here", model_path);
    else if (strncmp(name, "nvme", 4) == 0 || strncmp(name, "dm-", 3) == 0 || strncmp(name, "md", 2) == 0)
        doctor_say(doctor, spins ? DOCTOR_NOTE : DOCTOR_GOOD, "drive", NULL, "the model is on %s", name);
    else if (spins)
        doctor_say(doctor, DOCTOR_NOTE, "drive", "move the model to an NVMe drive",
                   "the model is on %s, which the kernel takes for a spinning disk: reading experts will be slow",
                   name);
    else
        doctor_say(doctor, DOCTOR_GOOD, "drive", NULL, "the model is on %s", name);
}
