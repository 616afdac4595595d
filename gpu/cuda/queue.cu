/* SPDX-License-Identifier: MIT
 *
 * queue.cu: gpu/queue.h on CUDA's runtime.
 */
#include "gpu/cuda/runtime.h"

extern "C" {
#include "base/mem.h"
}

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Errors that say no more than that this call was not to be. All others last: the context is gone. */
static bool passes(cudaError_t e)
{
    switch (e) {
    case cudaErrorMemoryAllocation:
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorNotSupported:
    case cudaErrorNotPermitted:
    case cudaErrorNotReady:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorHostMemoryAlreadyRegistered:
    case cudaErrorHostMemoryNotRegistered:
    case cudaErrorGraphExecUpdateFailure:
    case cudaErrorInvalidResourceHandle:
        return true;
    default:
        return false;
    }
}

static int code_of(cudaError_t e)
{
    switch (e) {
    case cudaErrorMemoryAllocation:
        return -ENOMEM;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
        return ERR_UNSUPPORTED;
    case cudaErrorHostMemoryAlreadyRegistered:
        return -EEXIST;
    default:
        return passes(e) ? -EIO : ERR_DEVICE;
    }
}

int cuda_check(struct queue *q, cudaError_t e, const char *doing)
{
    if (e == cudaSuccess)
        return 0;
    cudaGetLastError(); /* so that the next call does not report it again */
    if (!passes(e))
        q->lost = true;
    return err_set(q->common.err, code_of(e), "%s: %s (%s)%s", doing, cudaGetErrorString(e), cudaGetErrorName(e),
                   passes(e) ? "" : "; the GPU is lost to this process");
}

int card_check(struct queue *q)
{
    return q->lost ? err_set(q->common.err, ERR_DEVICE, "the GPU was lost to this process by an earlier failure") : 0;
}

/* Make the card the calling thread's. */
int card_enter(struct queue *q)
{
    int r = card_check(q);

    return r < 0 ? r : cuda_check(q, cudaSetDevice(q->index), "taking the GPU");
}

static int card_is_usable(struct queue *q)
{
    struct cudaDeviceProp prop;
    int r = cuda_check(q, cudaGetDeviceProperties(&prop, q->index), "asking the GPU what it is");

    if (r < 0)
        return r;
    snprintf(q->name, sizeof(q->name), "%.95s", prop.name);
    if (prop.major * 10 + prop.minor < 75)
        return err_set(q->common.err, ERR_UNSUPPORTED, "%s has compute capability %d.%d; 7.5 or later is needed", prop.name,
                       prop.major, prop.minor);
    if (!prop.unifiedAddressing || !prop.canMapHostMemory)
        return err_set(q->common.err, ERR_UNSUPPORTED, "%s shares no addresses with the host", prop.name);
    return 0;
}

int queue_open(uint32_t index, size_t stage_bytes, struct err *err, struct queue **ret_queue)
{
    struct queue *q = (struct queue *)mem_zalloc(sizeof(*q));
    int r;

    if (q == NULL)
        return err_set(err, -ENOMEM, "no memory for the GPU's queue");
    q->index = (int)index;
    r = queue_common_open(&q->common, stage_bytes, err);
    if (r >= 0)
        r = card_enter(q);
    if (r >= 0)
        r = card_is_usable(q);
    if (r >= 0)
        r = cuda_check(q, cudaStreamCreateWithFlags(&q->compute, cudaStreamNonBlocking), "making a stream");
    if (r >= 0)
        r = cuda_check(q, cudaStreamCreateWithFlags(&q->copy, cudaStreamNonBlocking), "making a stream");
    if (r >= 0)
        r = cuda_check(q, cudaHostAlloc((void **)&q->common.stage, stage_bytes,
                                        cudaHostAllocPortable | cudaHostAllocMapped),
                       "pinning memory to stage through");
    if (r >= 0)
        r = copies_open(q);
    if (r < 0) {
        queue_close(q);
        return r;
    }
    *ret_queue = q;
    return 0;
}

/* On a card that is lost every call fails at once, so nothing here waits for it. */
void queue_close(struct queue *q)
{
    cudaSetDevice(q->index);
    queue_common_close(&q->common);
    copies_close(q);
    if (q->common.stage != NULL)
        cudaFreeHost(q->common.stage);
    if (q->copy != NULL)
        cudaStreamDestroy(q->copy);
    if (q->compute != NULL)
        cudaStreamDestroy(q->compute);
    cudaGetLastError();
    mem_free(q);
}

int card_submit(struct queue *q, const struct node *node)
{
    const struct launch_spec *s = &node->spec;
    void *args[1] = { (void *)s->params };

    if (s->kernel == NULL)
        return cuda_check(q, cudaMemcpyAsync(node->dst, node->src, node->bytes, cudaMemcpyDefault, q->compute),
                          "submitting a copy");
    return cuda_check(q, cudaLaunchKernel(s->kernel, dim3(s->grid[0], s->grid[1], s->grid[2]), dim3(s->n_threads), args,
                                          s->shared_bytes, q->compute),
                      "launching a kernel");
}

int card_wait(struct queue *q)
{
    return cuda_check(q, cudaStreamSynchronize(q->compute), "computing on the GPU");
}

void card_stage_begins(struct queue *)
{
}

int queue_alloc(struct queue *q, size_t bytes, void **ret_p)
{
    int r = card_enter(q);
    size_t free_bytes = 0, total_bytes = 0;
    void *p;

    if (r < 0)
        return r;
    r = cuda_check(q, cudaMalloc(&p, bytes > 0 ? bytes : 1), "taking VRAM");
    if (r == -ENOMEM && cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess)
        return err_set(q->common.err, r, "no VRAM for %zu bytes: %zu of %zu are free", bytes, free_bytes, total_bytes);
    if (r < 0)
        return r;
    /* waits, so that no stream meets it before it is zero */
    if ((r = cuda_check(q, cudaMemsetAsync(p, 0, bytes, q->compute), "clearing VRAM")) < 0 ||
        (r = cuda_check(q, cudaStreamSynchronize(q->compute), "clearing VRAM")) < 0) {
        cudaFree(p);
        return r;
    }
    *ret_p = p;
    return 0;
}

void queue_free(struct queue *q, void *p, size_t)
{
    if (!q->lost)
        queue_wait(q);
    cudaFree(p);
    cudaGetLastError();
}

int queue_upload(struct queue *q, void *dst, const void *src, size_t bytes)
{
    int r = queue_run(q);

    if (r >= 0)
        r = cuda_check(q, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, q->compute), "copying to VRAM");
    return r < 0 ? r : cuda_check(q, cudaStreamSynchronize(q->compute), "copying to VRAM");
}

int queue_download(struct queue *q, void *dst, const void *src, size_t bytes)
{
    int r = queue_run(q);

    if (r >= 0)
        r = cuda_check(q, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, q->compute), "copying from VRAM");
    if (r >= 0)
        r = card_wait(q);
    q->common.stage_stale = true;
    return r;
}

const char *queue_card_name(const struct queue *q)
{
    return q->name;
}
