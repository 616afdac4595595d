/* SPDX-License-Identifier: MIT
 *
 * machine.h: what this machine and this process have to do with memory, read from /proc and the cgroups. All in bytes.
 */
#ifndef EXPERTD_DAEMON_MACHINE_H
#define EXPERTD_DAEMON_MACHINE_H

#include <stdint.h>

struct machine_memory {
    uint64_t available; /* MemAvailable */
    uint64_t cgroup;    /* what the tightest memory limit above us still leaves; UINT64_MAX without one */
};

/* `root` is put in front of /proc and /sys; "" but in tests. Unknown values are UINT64_MAX. */
void machine_memory(const char *root, struct machine_memory *ret_memory);

/* Drop the pages of the program and its libraries that were touched only to load them; what runs comes back by itself.
 * Worth two or three MiB of a small budget. */
void machine_give_back_code(void);

/* Resident memory of this process now, and at its peak. 0 when unknown. */
uint64_t machine_rss(void);
uint64_t machine_peak_rss(void);

#endif
