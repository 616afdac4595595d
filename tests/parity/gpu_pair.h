/* SPDX-License-Identifier: MIT
 *
 * gpu_pair.h: what the tests of the GPU device share: the device under test beside the C level of the CPU device, and
 * ways to bring numbers there and hold them against each other.
 */
#ifndef EXPERTD_TESTS_GPU_PAIR_H
#define EXPERTD_TESTS_GPU_PAIR_H

#include "compute/device.h"
#include "parity/parity.h"

enum { MAX_ROWS = 80, MAX_COLS = 2304 }; /* of activations */
enum { EXPERTS = 5, EMBD = 512 };        /* of a layer with experts */

/* Both devices, their activations, and random numbers. */
struct pair {
    struct device *cpu, *gpu;
    struct acts *cpu_acts, *gpu_acts;
    struct random r;
};

void pair_init(struct pair *p, uint64_t seed);
void pair_fini(struct pair *p);

/* Fails the test, with what the device says, unless r is 0. */
void ok(struct device *device, int r);
/* A copy of host bytes where the device can read it. */
void *put(struct device *device, const void *src, size_t bytes);
struct weight weight_put(struct device *device, struct weight w);
/* What the device has must be what the CPU has. */
void same(struct device *device, const void *p, const float *want, size_t n, const char *what);
/* n random numbers up to `scale`; guard_free them. */
float *floats(struct pair *p, size_t n, float scale);

#endif
