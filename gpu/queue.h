/* SPDX-License-Identifier: MIT
 *
 * queue.h: all that the device asks of a GPU's runtime: memory, launches and copies in order, a second stream for
 * copies beside the computing, and marks between the two.
 *
 * CUDA implements it in gpu/cuda/queue.cu; tests/emu/ implements it on the host, where kernels run as fibres; what both
 * have in common stands in gpu/queue_common.cu. The device above (gpu/device.cu) is the same source for both.
 *
 * Launches and copies are written down and carried out at queue_run: a run of them can then go to the card as one
 * graph. A run whose sequence of kernels has been seen before is such a graph, whose arguments are exchanged before it
 * is launched again. What they read on the host must therefore lie in queue_stage's memory, or in pinned memory that
 * stays as it is until queue_wait.
 *
 * Errors: 0 or negative, with a sentence in the `struct err` given at open. ERR_DEVICE sticks. Threads: one at a time.
 */
#ifndef EXPERTD_GPU_QUEUE_H
#define EXPERTD_GPU_QUEUE_H

extern "C" {
#include "base/err.h"
#include "compute/device_copy.h"
#include "compute/gpu_module.h"
}

#include <stddef.h>
#include <stdint.h>

#include "dialect.h"

struct queue;

struct launch_spec {
    const void *kernel;
    void (*call)(const void *kernel, const void *params); /* for machines that call kernels themselves */
    uint32_t grid[3], n_threads;
    uint32_t shared_bytes, params_bytes;
    uint32_t used_bytes; /* of params, from the first: what lies behind is not read */
    const void *params;  /* copied */
};

enum { QUEUE_PARAMS = 4000 }; /* most bytes of a kernel's arguments */

/* stage_bytes: what queue_stage can hold at a time. `err` is lent for the queue's life. */
int queue_open(uint32_t index, size_t stage_bytes, struct err *err, struct queue **ret_queue);
void queue_close(struct queue *queue); /* also when the device is lost: waits for nothing that hangs */

int queue_launch(struct queue *queue, const struct launch_spec *spec);
/* Within the compute stream: dst and src are device memory, or staged. */
int queue_copy(struct queue *queue, void *dst, const void *src, size_t bytes);
/* Copy host bytes to where the card can read them until the next queue_wait; 16-byte aligned. Runs and waits itself
 * when there is no room left: stage everything that one launch needs before the launch, and within stage_bytes / 2. */
int queue_stage(struct queue *queue, const void *src, size_t bytes, const void **ret_p);
/* Room likewise, for kernels to write and the host to read after queue_wait, until it stages again. */
int queue_stage_room(struct queue *queue, size_t bytes, void **ret_p);
int queue_run(struct queue *queue);  /* submit what has been written down; does not wait */
int queue_wait(struct queue *queue); /* and wait until it is done */

int queue_alloc(struct queue *queue, size_t bytes, void **ret_p); /* zeroed, 256-byte aligned; waits for nothing */
void queue_free(struct queue *queue, void *p, size_t bytes);
/* Host memory, pinned or not; both have waited when they return. */
int queue_upload(struct queue *queue, void *dst, const void *src, size_t bytes);
int queue_download(struct queue *queue, void *dst, const void *src, size_t bytes);

/* compute/device_copy.h, on the copy stream. */
int queue_memory(struct queue *queue, uint64_t *ret_free, uint64_t *ret_total);
int queue_pin(struct queue *queue, void *p, size_t bytes);
void queue_unpin(struct queue *queue, void *p, size_t bytes);
int queue_submit(struct queue *queue, enum copy_way way, const struct device_copy *parts, uint32_t n,
                 uint64_t *ret_ticket);
int queue_compute_after(struct queue *queue, uint64_t ticket);
int queue_mark(struct queue *queue, uint64_t *ret_mark);
int queue_copy_after(struct queue *queue, uint64_t mark);
int queue_poll(struct queue *queue, struct copy_progress *ret_progress);
int queue_wait_copy(struct queue *queue, uint64_t ticket);

const char *queue_card_name(const struct queue *queue);

template <class P>
static inline int launch(struct queue *queue, kernel_of<P> kernel, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z,
                         uint32_t n_threads, size_t shared_bytes, const P &params, size_t used_bytes = sizeof(P))
{
    static_assert(sizeof(P) <= QUEUE_PARAMS, "more arguments than a kernel takes");
    struct launch_spec spec = { (const void *)kernel,   kernel_caller<P>(), { grid_x, grid_y, grid_z }, n_threads,
                                (uint32_t)shared_bytes, sizeof(P),          (uint32_t)used_bytes,       &params };

    return grid_x > 0 && grid_y > 0 && grid_z > 0 ? queue_launch(queue, &spec) : 0;
}

#endif
