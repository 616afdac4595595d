/* SPDX-License-Identifier: MIT
 *
 * bad_kernels.h: kernels that do what kernels must not, to see that the machine says so.
 */
#ifndef EXPERTD_TESTS_EMU_BAD_KERNELS_H
#define EXPERTD_TESTS_EMU_BAD_KERNELS_H

#include "emu/machine.h"

struct bad_params {
    int how;
    int *out; /* [250], machine_alloc */
};

enum {
    GOOD,
    WARP_SPLITS,         /* half of a warp shuffles elsewhere */
    WARP_LEAVES,         /* some threads end before a shuffle */
    BARRIER_SPLITS,      /* two barriers, a warp each */
    BARRIER_LEAVES,      /* a warp ends before a barrier */
    SHARED_OVERRUN,      /* a byte behind the shared memory */
    SHARED_TOO_MUCH,     /* more than the launch asked for */
    BUFFER_OVERRUN,      /* a byte behind a buffer */
    BUFFER_UNDERRUN,     /* a byte before it */
    BAD_KINDS
};

/* A launch of 64 threads in one block. */
#ifdef __cplusplus
extern "C"
#endif
    struct machine_launch
    bad_launch(const struct bad_params *params);

#endif
