/* SPDX-License-Identifier: MIT
 *
 * machine.h: a small execution model of a GPU, on the host: enough to run kernels and to see what they do wrong.
 *
 * Blocks run one after the other. A block's threads are fibres that run until they meet: at a barrier of the block, or
 * where the threads of a warp exchange values. A launch fails, naming the place in the source, when
 * - threads of a warp meet at different places, or some have ended where others wait (divergence);
 * - threads of a block wait at different barriers, or some have ended before one;
 * - bytes behind the shared memory, or before or behind any buffer of machine_alloc, were written;
 * - a fibre ran out of its stack.
 * Shared memory is filled with ones at the start of each block, which are no numbers and no addresses. Buffers lie
 * against a page that nobody may touch; the bytes between their end and that page are checked, and poisoned where
 * AddressSanitizer is there to see reads of them.
 *
 * Not modelled: races between threads that do not meet, memory order, warps that run at different speeds.
 * Threads: one at a time uses the machine.
 */
#ifndef EXPERTD_TESTS_EMU_MACHINE_H
#define EXPERTD_TESTS_EMU_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum meeting { MEET_BARRIER, MEET_SHUFFLE, MEET_PRODUCT };

/* A thread's part of a product of 16 by 8 by `depth` (16 or 32), as tensor cores want it: gpu/product_many.cuh. */
struct machine_fragments {
    int *c; /* [4], added to */
    uint32_t a[4], b[2];
    int depth;
};

/* For kernels, through dialect.h. */
uint32_t machine_thread(void);
uint32_t machine_n_threads(void);
uint32_t machine_block(int axis);
void *machine_shared(size_t bytes); /* fails the launch when it asked for less */
void machine_barrier(const char *file, int line);
/* given: a value of 64 bits for MEET_SHUFFLE, of which that of the warp's thread `from` is got; fragments for
 * MEET_PRODUCT. */
void machine_meet(enum meeting meeting, const char *file, int line, const void *given, uint64_t *ret_got,
                  uint32_t from);

struct machine_launch {
    const void *kernel, *params;
    void (*call)(const void *kernel, const void *params);
    uint32_t grid[3], n_threads, shared_bytes;
};

/* 0, or -1 with a sentence in *ret_why (static storage). */
int machine_run(const struct machine_launch *launch, const char **ret_why);

/* Zeroed, at a multiple of 256; NULL when there is none. */
void *machine_alloc(size_t bytes);
int machine_free(void *p); /* -1 when bytes around it were written */
int machine_check(void);   /* 0, or -1 when bytes around any buffer were */

#ifdef __cplusplus
}
#endif
#endif
