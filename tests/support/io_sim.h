/* SPDX-License-Identifier: MIT
 *
 * io_sim.h: a read engine without threads that reads in any order and fails as told.
 *
 * A read is done when it is reaped; which one is next follows `order`. Reads are counted from 0 in the order of their
 * submission; faults name these numbers. A reap that waits always ends at least one read, held ones if there are no
 * others.
 */
#ifndef EXPERTD_TESTS_SUPPORT_IO_SIM_H
#define EXPERTD_TESTS_SUPPORT_IO_SIM_H

#include "cache/io.h"

enum io_sim_order { IO_SIM_FIFO, IO_SIM_LIFO, IO_SIM_RANDOM };

enum io_sim_fault {
    IO_SIM_NONE,
    IO_SIM_ERROR, /* result -arg */
    IO_SIM_SHORT, /* only the first `arg` bytes, at least 1; more than asked for: all */
    IO_SIM_WRONG, /* byte `arg` (modulo what was read) is flipped */
    IO_SIM_END,   /* result 0, as at the end of a file */
};

/* The test's; outlives the engine. */
struct io_sim {
    enum io_sim_order order;
    enum io_sim_fault fault;
    uint64_t fault_at, n_faults; /* reads [fault_at, fault_at + n_faults) */
    uint32_t fault_arg;
    uint32_t fault_files;     /* a bit for each file whose reads may fail; 0: all */
    uint64_t n_failing_reaps; /* so many reaps in a row return -EIO */
    bool hold;                /* end nothing unless waited for */
    uint64_t n_submitted;     /* so far */
    uint64_t offsets[64];     /* of the first ones, in their files */
    uint32_t n_in_flight;
    uint32_t in_flight_of[16]; /* each file */
    uint64_t most_in_flight;
};

/* cache_options.on_io_open, with io_ctx a struct io_sim. */
int io_sim_open(void *sim, const struct io_options *options, struct io **ret_io, struct err *err);

#endif
