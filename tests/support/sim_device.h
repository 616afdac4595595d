/* SPDX-License-Identifier: MIT
 *
 * sim_device.h: a device that is none: CPU mathematics in a memory of its own, with time, limits and misfortune.
 *
 * Memory. What `alloc` hands out are addresses that nobody may touch: a host that reads or writes one gets a
 * segmentation fault. Operations check that what they are given as device memory lies in one live allocation, and that
 * what they are given as host memory does not.
 *
 * Streams. The two of compute/device_copy.h, for which `seed` chooses an order of execution that the fences allow: a
 * copy may happen at once or at the last moment, and so may experts' products. Independently of what is executed when,
 * every copy into a place that is still to be read, and every read of a place to which a copy may be under way, without
 * a fence between them counts as a race.
 *
 * Time is virtual: copies take bytes / rate, experts their weights' bytes / rate, a call of the host a microsecond; the
 * host's clock moves on when it waits.
 *
 * Faults come at the n-th call of a device's operations, counted from 0 at sim_device_open.
 */
#ifndef EXPERTD_TESTS_SUPPORT_SIM_DEVICE_H
#define EXPERTD_TESTS_SUPPORT_SIM_DEVICE_H

#include "compute/cpu_device.h"
#include "compute/device_copy.h"
#include "compute/gpu_module.h"

enum sim_fault {
    SIM_NONE,
    SIM_MEMORY, /* -ENOMEM, that call alone */
    SIM_COPY,   /* -EIO, that call alone */
    SIM_LOST,   /* ERR_DEVICE, from then on */
};

/* The test's; outlives the devices opened with it. */
struct sim {
    uint64_t memory_bytes; /* limit of all allocations; 0: 1 GiB */
    uint64_t copy_rate;    /* bytes per second of the bus, 0: no time at all */
    uint64_t compute_rate; /* bytes of experts' weights per second, 0: no time at all */
    uint64_t seed;         /* 0: everything is executed when it is asked for */
    uint32_t n_threads;    /* 0: 2 */
    enum cpu_level max_level;
    enum sim_fault fault;
    uint64_t fault_at, n_faults; /* calls [fault_at, fault_at + n_faults) */
    uint32_t n_failing_opens;    /* so many opens fail */
    const char *lost_file;       /* while there is such a file, the device is lost; NULL: never */

    /* Counts, over all devices opened with it. */
    uint64_t n_calls;
    uint64_t n_copies, n_copy_bytes, n_to_host, n_marks, n_fences;
    uint64_t n_uploads, n_downloads, n_syncs, n_routes, n_waits;
    uint64_t n_routed, n_fetched_bytes;
    uint64_t n_misuse, n_races;
    uint64_t used_bytes, most_bytes; /* of memory */
    uint64_t now_ns;                 /* the host's clock */
    char complaint[200];             /* the first misuse or race */
};

/* max_rows and what follows as in struct cpu_device_options. */
int sim_device_open(struct sim *sim, const struct gpu_options *options, struct device **ret_device, struct err *err);
/* What the device keeps of its memory for itself. */
size_t sim_device_bytes(const struct gpu_options *options);

#endif
