/* SPDX-License-Identifier: MIT
 *
 * device_copy.h: moving experts in and out of a device's memory while it computes.
 *
 * A device whose memory is not the host's has two streams, each in order: what struct device_ops is asked for runs on
 * the compute stream, what is submitted here on the copy stream, at the same time. Nothing orders one stream against
 * the other but the two fences below, and neither makes the host wait:
 *
 *   compute_after(ticket)  what is given to the compute stream from now on begins when that copy has arrived;
 *   copy_after(mark)       copies submitted from now on begin when the compute stream has come to that mark.
 *
 * Tickets and marks are numbers that rise by one from 1, so that "arrived up to" is one number. ops->upload and
 * ops->download belong to the compute stream.
 *
 * Host memory that a submitted copy reads or writes must stay as it is until poll or wait says that the copy has
 * arrived. Copies from and to pinned memory need no help of the CPU; others work too, more slowly.
 *
 * Errors: values, with a sentence in device->err. ERR_DEVICE means that the device is lost (error-correction, driver
 * reset, taken away): every later call says the same, close is still allowed and does not wait. Anything else failed
 * alone. Threads: as the device's. Nothing is allocated after open.
 */
#ifndef EXPERTD_COMPUTE_DEVICE_COPY_H
#define EXPERTD_COMPUTE_DEVICE_COPY_H

#include "compute/device.h"

enum copy_way { COPY_TO_DEVICE, COPY_TO_HOST };

/* What has arrived, and how fast: `busy_ns` and `bytes` are sums over the copies up to `done`, by the device's own
 * clock, the time between two copies not counted. */
struct copy_progress {
    uint64_t done; /* every ticket up to this one has arrived; 0: none */
    uint64_t busy_ns, bytes;
};

struct device_copy_ops {
    /* Free and total memory of the device, in bytes, as it says now. */
    int (*memory)(struct device *, uint64_t *ret_free, uint64_t *ret_total);
    /* Lock host memory for copies. Refused (a limit of the system's): copies from there are slower, no more. */
    int (*pin)(struct device *, void *p, size_t bytes);
    void (*unpin)(struct device *, void *p, size_t bytes);
    /* n parts, at most 8, that arrive as one. */
    int (*submit)(struct device *, enum copy_way way, const struct device_copy *parts, uint32_t n,
                  uint64_t *ret_ticket);
    int (*compute_after)(struct device *, uint64_t ticket);
    int (*mark)(struct device *, uint64_t *ret_mark); /* behind everything given to the compute stream so far */
    int (*copy_after)(struct device *, uint64_t mark);
    int (*poll)(struct device *, struct copy_progress *ret_progress); /* never waits */
    int (*wait)(struct device *, uint64_t ticket);                    /* until it has arrived */
};

#endif
