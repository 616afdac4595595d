/* SPDX-License-Identifier: MIT
 *
 * sim_internal.h: what the files of the simulated device share: sim_device.c (operations), sim_memory.c (addresses),
 * sim_stream.c (queues, fences, time), sim_stay.c (compute/device_stay.h).
 */
#ifndef EXPERTD_TESTS_SUPPORT_SIM_INTERNAL_H
#define EXPERTD_TESTS_SUPPORT_SIM_INTERNAL_H

#include "tests/support/sim_device.h"

enum { SIM_PAGE = 4096, SIM_ALLOCATIONS = 512, SIM_PARTS = 8, SIM_TICKETS = 8192 };

struct sim_allocation {
    char *at; /* as the host sees it */
    size_t bytes;
};

/* Who touched a page last. */
struct sim_page {
    uint64_t written; /* ticket of the copy */
    uint64_t read;    /* number of the compute command */
};

enum sim_kind { SIM_EXPERTS, SIM_TRANSFER, SIM_FENCE };

struct sim_command {
    enum sim_kind kind;
    struct sim_command *next;
    uint64_t number; /* on its stream */
    uint64_t until;  /* SIM_FENCE: number on the other stream */
    /* SIM_TRANSFER, in real addresses */
    struct device_copy part[SIM_PARTS];
    uint32_t n;
    /* SIM_EXPERTS, in real addresses; owns the calls and their rows */
    struct acts *acts;
    struct expert_call *calls;
    float *y;
};

/* One of the two streams. */
struct sim_stream {
    struct sim_command *first, *last;
    uint64_t n_given, n_run; /* commands, by number */
    uint64_t clock_ns;
    uint64_t fenced; /* commands of the other stream that are known to precede what comes next */
    bool running;    /* to notice fences that wait for each other */
};

struct sim_device {
    struct device device;
    struct sim *sim;
    struct device *cpu;
    char name[64];
    bool lost;
    char *space, *real; /* the same memory: as handed out, and as it can be used */
    size_t space_bytes;
    struct sim_allocation allocation[SIM_ALLOCATIONS];
    uint32_t n_allocations;
    struct sim_page *page; /* [space_bytes / SIM_PAGE] */
    struct sim_stream compute, copy;
    uint64_t random;
    uint64_t n_tickets, n_marks;
    uint64_t ticket_command[SIM_TICKETS], ticket_ns[SIM_TICKETS], ticket_busy_ns[SIM_TICKETS];
    uint64_t ticket_bytes[SIM_TICKETS];                       /* sums up to the ticket, at ticket % SIM_TICKETS */
    uint64_t mark_command[SIM_TICKETS], mark_ns[SIM_TICKETS]; /* at mark % SIM_TICKETS */
    uint64_t seen_ticket, seen_compute;                       /* what the host has seen to be done */
    size_t scratch_bytes;
};

static inline struct sim_device *sim_of(struct device *device)
{
    return (struct sim_device *)device;
}

/* sim_memory.c */
int sim_memory_open(struct sim_device *d, uint64_t bytes);
void sim_memory_close(struct sim_device *d);
int sim_alloc(struct device *device, size_t bytes, void **ret_p);
void sim_free(struct device *device, void *p, size_t bytes);
/* Where device memory really lies; NULL, and a complaint, when it is none. NULL stays NULL. */
void *sim_real(struct sim_device *d, const void *p, size_t bytes, bool *bad);
bool sim_is_host(struct sim_device *d, const void *p, size_t bytes);
int sim_misuse(struct sim_device *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* sim_device.c */
/* A compute operation: everything before it is done, since it is done at once. */
int sim_compute_begin(struct sim_device *d);
int sim_bad_call(struct sim_device *d, const char *what);
int sim_ended(struct sim_device *d, int r);
/* Experts are computed from it now: seen to be there, and its data where it really lies. */
void sim_weight_read(struct sim_device *d, struct weight *w, bool *bad);

extern const struct device_stay_ops sim_stay_ops;

/* sim_stream.c */
extern const struct device_copy_ops sim_copy_ops;
/* At the beginning of every operation: counts, faults, and some of what waits is run. */
int sim_call(struct sim_device *d);
/* Everything given to the compute stream is run; `wait`: the host has waited for it. */
void sim_compute_flush(struct sim_device *d, bool wait);
void sim_compute_add(struct sim_device *d, struct sim_command *command);
void sim_command_free(struct sim_command *command);
void sim_streams_close(struct sim_device *d);
void sim_read(struct sim_device *d, const void *device_p, size_t bytes);

#endif
