/* SPDX-License-Identifier: MIT
 *
 * runtime.h: what the files of the CUDA queue share: the queue itself, and how a CUDA error becomes one of ours.
 */
#ifndef EXPERTD_GPU_CUDA_RUNTIME_H
#define EXPERTD_GPU_CUDA_RUNTIME_H

#include "gpu/queue_common.h"

enum {
    MAX_COPIES = 256, /* submitted and not known to have arrived */
    MAX_MARKS = 256,
};

/* A ring of events around copies, and one of marks. */
struct copy_entry {
    cudaEvent_t begin, end;
    size_t bytes;
};

struct queue {
    struct queue_common common;
    int index;
    bool lost;
    char name[96];
    cudaStream_t compute, copy;
    struct copy_entry copies[MAX_COPIES];
    cudaEvent_t marks[MAX_MARKS];
    uint64_t n_tickets, n_marks;
    struct copy_progress progress;
};

/* 0 for success; else the error, with "<doing>: <CUDA's words>". One that outlives the call makes the queue lost. */
int cuda_check(struct queue *q, cudaError_t e, const char *doing);
/* queue_copy.cu */
int copies_open(struct queue *q);
void copies_close(struct queue *q);

#endif
