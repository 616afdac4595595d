/* SPDX-License-Identifier: MIT
 *
 * parity.h: what the kernel tests share: random numbers, guarded buffers, weights that decode to finite numbers.
 */
#ifndef EXPERTD_TESTS_PARITY_H
#define EXPERTD_TESTS_PARITY_H

#include "compute/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A sequence that is the same on every machine. */
struct random {
    uint64_t state;
};
uint32_t random_u32(struct random *r);
float random_float(struct random *r); /* -1 .. 1 */
void random_floats(struct random *r, float *x, size_t n);

/* A heap buffer with `bytes` usable bytes at a 64-byte boundary, and bytes on both sides that nobody may touch.
 * guard_free fails the test if somebody did. */
void *guard_alloc(size_t bytes);
void guard_free(void *p);

/* A copy that ends where the next page cannot be read: a kernel that looks further ends the test. */
void *edge_copy(const void *src, size_t bytes);
void edge_free(void *p, size_t bytes);

/* n weights of a format in random blocks that all decode to finite numbers. guard_free it. */
void *random_weights(struct random *r, enum quant_type type, size_t n);

/* Fails the test, naming `what`, unless the two are the same bits and all finite. */
void same_floats(const float *a, const float *b, size_t n, const char *what);

#endif
