/* SPDX-License-Identifier: MIT
 *
 * device_copy.cu: compute/device_copy.h, handed on to the queue.
 */
#include "gpu/device_internal.h"

static struct queue *queue_of(struct device *device)
{
    return gpu_device_of(device)->queue;
}

static int copy_memory(struct device *device, uint64_t *ret_free, uint64_t *ret_total)
{
    return queue_memory(queue_of(device), ret_free, ret_total);
}

static int copy_pin(struct device *device, void *p, size_t bytes)
{
    return queue_pin(queue_of(device), p, bytes);
}

static void copy_unpin(struct device *device, void *p, size_t bytes)
{
    queue_unpin(queue_of(device), p, bytes);
}

static int copy_submit(struct device *device, enum copy_way way, const struct device_copy *parts, uint32_t n,
                       uint64_t *ret_ticket)
{
    return queue_submit(queue_of(device), way, parts, n, ret_ticket);
}

static int copy_compute_after(struct device *device, uint64_t ticket)
{
    return queue_compute_after(queue_of(device), ticket);
}

static int copy_mark(struct device *device, uint64_t *ret_mark)
{
    return queue_mark(queue_of(device), ret_mark);
}

static int copy_copy_after(struct device *device, uint64_t mark)
{
    return queue_copy_after(queue_of(device), mark);
}

static int copy_poll(struct device *device, struct copy_progress *ret_progress)
{
    return queue_poll(queue_of(device), ret_progress);
}

static int copy_wait(struct device *device, uint64_t ticket)
{
    device->n_waits++;
    return queue_wait_copy(queue_of(device), ticket);
}

const struct device_copy_ops gpu_copy_ops = {
    .memory = copy_memory,
    .pin = copy_pin,
    .unpin = copy_unpin,
    .submit = copy_submit,
    .compute_after = copy_compute_after,
    .mark = copy_mark,
    .copy_after = copy_copy_after,
    .poll = copy_poll,
    .wait = copy_wait,
};
