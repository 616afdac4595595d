/* SPDX-License-Identifier: MIT
 *
 * queue_copy.cu: the copy stream, and the fences between it and the compute stream: events in two rings, made at open.
 */
#include "gpu/cuda/runtime.h"

#include <errno.h>

int copies_open(struct queue *q)
{
    int r = 0;

    for (uint32_t i = 0; i < MAX_COPIES && r >= 0; i++) {
        r = cuda_check(q, cudaEventCreate(&q->copies[i].begin), "making an event");
        if (r >= 0)
            r = cuda_check(q, cudaEventCreate(&q->copies[i].end), "making an event");
    }
    for (uint32_t i = 0; i < MAX_MARKS && r >= 0; i++)
        r = cuda_check(q, cudaEventCreateWithFlags(&q->marks[i], cudaEventDisableTiming), "making an event");
    return r;
}

void copies_close(struct queue *q)
{
    for (uint32_t i = 0; i < MAX_COPIES; i++) {
        if (q->copies[i].begin != NULL)
            cudaEventDestroy(q->copies[i].begin);
        if (q->copies[i].end != NULL)
            cudaEventDestroy(q->copies[i].end);
    }
    for (uint32_t i = 0; i < MAX_MARKS; i++)
        if (q->marks[i] != NULL)
            cudaEventDestroy(q->marks[i]);
}

static struct copy_entry *entry_of(struct queue *q, uint64_t ticket)
{
    return &q->copies[ticket % MAX_COPIES];
}

/* Count the oldest copy that was not known to have arrived. */
static int arrived(struct queue *q)
{
    struct copy_entry *c = entry_of(q, q->progress.done + 1);
    float ms = 0;
    int r = cuda_check(q, cudaEventElapsedTime(&ms, c->begin, c->end), "timing a copy");

    if (r < 0)
        return r;
    q->progress.done++;
    q->progress.busy_ns += (uint64_t)((double)ms * 1e6);
    q->progress.bytes += c->bytes;
    return 0;
}

/* Up to `ticket`, waiting where it must. */
static int wait_until(struct queue *q, uint64_t ticket)
{
    int r = 0;

    while (q->progress.done < ticket && r >= 0) {
        r = cuda_check(q, cudaEventSynchronize(entry_of(q, q->progress.done + 1)->end), "waiting for a copy");
        if (r >= 0)
            r = arrived(q);
    }
    return r;
}

int queue_submit(struct queue *q, enum copy_way way, const struct device_copy *parts, uint32_t n, uint64_t *ret_ticket)
{
    enum cudaMemcpyKind kind = way == COPY_TO_DEVICE ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    uint64_t ticket = q->n_tickets + 1;
    struct copy_entry *c = entry_of(q, ticket);
    int r = card_enter(q);

    if (r >= 0 && ticket > MAX_COPIES)
        r = wait_until(q, ticket - MAX_COPIES);
    if (r >= 0)
        r = cuda_check(q, cudaEventRecord(c->begin, q->copy), "submitting a copy");
    c->bytes = 0;
    for (uint32_t i = 0; i < n && r >= 0; i++) {
        r = cuda_check(q, cudaMemcpyAsync(parts[i].dst, parts[i].src, parts[i].bytes, kind, q->copy),
                       "submitting a copy");
        c->bytes += parts[i].bytes;
    }
    if (r >= 0)
        r = cuda_check(q, cudaEventRecord(c->end, q->copy), "submitting a copy");
    if (r < 0)
        return r;
    *ret_ticket = q->n_tickets = ticket;
    return 0;
}

/* What has been written down was given before, and must not wait. */
int queue_compute_after(struct queue *q, uint64_t ticket)
{
    int r;

    if (ticket > q->n_tickets)
        return err_set(q->common.err, -EINVAL, "no copy has the ticket %llu", (unsigned long long)ticket);
    if (ticket <= q->progress.done)
        return 0;
    r = queue_run(q);
    return r < 0 ? r : cuda_check(q, cudaStreamWaitEvent(q->compute, entry_of(q, ticket)->end, 0), "ordering streams");
}

/* A mark that 256 others have followed is the latest of those in its place: later, and so as good. */
int queue_mark(struct queue *q, uint64_t *ret_mark)
{
    int r = queue_run(q);

    if (r >= 0)
        r = cuda_check(q, cudaEventRecord(q->marks[(q->n_marks + 1) % MAX_MARKS], q->compute), "marking a stream");
    if (r >= 0)
        *ret_mark = ++q->n_marks;
    return r;
}

int queue_copy_after(struct queue *q, uint64_t mark)
{
    int r = card_enter(q);

    if (r < 0)
        return r;
    if (mark > q->n_marks)
        return err_set(q->common.err, -EINVAL, "there is no mark %llu", (unsigned long long)mark);
    return mark == 0 ? 0
                     : cuda_check(q, cudaStreamWaitEvent(q->copy, q->marks[mark % MAX_MARKS], 0), "ordering streams");
}

int queue_poll(struct queue *q, struct copy_progress *ret_progress)
{
    int r = card_enter(q);

    while (r >= 0 && q->progress.done < q->n_tickets) {
        cudaError_t e = cudaEventQuery(entry_of(q, q->progress.done + 1)->end);

        if (e == cudaErrorNotReady)
            break;
        r = cuda_check(q, e, "copying");
        if (r >= 0)
            r = arrived(q);
    }
    if (r >= 0)
        *ret_progress = q->progress;
    return r;
}

int queue_wait_copy(struct queue *q, uint64_t ticket)
{
    int r = card_enter(q);

    if (r < 0)
        return r;
    if (ticket > q->n_tickets)
        return err_set(q->common.err, -EINVAL, "no copy has the ticket %llu", (unsigned long long)ticket);
    return wait_until(q, ticket);
}

int queue_memory(struct queue *q, uint64_t *ret_free, uint64_t *ret_total)
{
    size_t free_bytes = 0, total_bytes = 0;
    int r = card_enter(q);

    if (r >= 0)
        r = cuda_check(q, cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free VRAM");
    if (r < 0)
        return r;
    *ret_free = free_bytes;
    *ret_total = total_bytes;
    return 0;
}

int queue_pin(struct queue *q, void *p, size_t bytes)
{
    int r = card_enter(q);

    return r < 0 ? r : cuda_check(q, cudaHostRegister(p, bytes, cudaHostRegisterPortable), "pinning memory");
}

void queue_unpin(struct queue *q, void *p, size_t)
{
    if (!q->lost) {
        cudaSetDevice(q->index);
        cudaHostUnregister(p);
        cudaGetLastError();
    }
}
