/* SPDX-License-Identifier: MIT
 *
 * machine.h: what this machine and this process have to do with memory, read from /proc and the cgroups. All in bytes.
 */
#ifndef EXPERTD_DAEMON_MACHINE_H
#define EXPERTD_DAEMON_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* Who shares memory. Unknown values are UINT64_MAX, and so are those of a group without a limit. */
struct memory_scope {
    uint64_t size;     /* what there is to share */
    uint64_t left;     /* of which so much can still be taken: unused, or a page cache that can be given back */
    uint64_t over;     /* or so much more is taken than there is: the limit was lowered; 0 otherwise, always known */
    uint64_t stall_us; /* how long somebody here has waited for memory, ever (PSI, "some") */
};

struct machine_memory {
    struct memory_scope machine;
    struct memory_scope group; /* the control group above us whose limit leaves the least; stall_us is our own's */
};

/* `root` is put in front of /proc and /sys; "" but in tests. */
void machine_memory(const char *root, struct machine_memory *ret_memory);

/* Descriptors that poll with POLLPRI when somebody waits for memory for more than a tenth of the time; returns how many
 * there are: the machine's and our group's, where the kernel has them and lets us. To be closed. */
#define MACHINE_ALARMS 2
int machine_alarms(const char *root, int ret_fds[MACHINE_ALARMS]);

/* This process's own pages, and how many of them are huge. */
struct machine_pages {
    uint64_t anonymous, huge;
    bool off; /* the kernel is told never to make huge ones */
};

/* 0 where unknown. Walks the page tables: some milliseconds per GiB of small pages. */
void machine_pages(const char *root, struct machine_pages *ret_pages);

/* Drop the pages of the program and its libraries that were touched only to load them; what runs comes back by itself.
 * Worth two or three MiB of a small budget. Page by page, it is worth two more: where a page is touched, the kernel
 * maps the 64 KiB around it, too, but not beyond the ends of a mapping, and advice for every other page makes mappings
 * of one page each. They cost the kernel some hundred KiB that are not the process's, and code that runs for the first
 * time a fault per page: for small budgets only. */
void machine_give_back_code(bool by_page);

/* Resident memory of this process now, and at its peak. 0 when unknown. */
uint64_t machine_rss(void);
uint64_t machine_peak_rss(void);

#endif
