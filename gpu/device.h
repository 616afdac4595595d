/* SPDX-License-Identifier: MIT
 *
 * device.h: a GPU as a device (compute/device.h), above a queue.
 *
 * The operations write kernels into the queue; the queue hands them to the card when something must come back to the
 * host: a layer's routing, logits, a sync. Everything in between is one run, which the queue may launch as a graph. So a
 * token of a decode costs one hand-off per layer with a router and one for its logits, and as many graphs.
 *
 * Angles of rotary embeddings are computed on the host, once per batch: the card's own sine and cosine would differ
 * from the CPU's in their last bit.
 */
#ifndef EXPERTD_GPU_DEVICE_H
#define EXPERTD_GPU_DEVICE_H

#include "gpu/queue.h"

/* Device memory that gpu_device_open takes. */
size_t gpu_device_bytes(const struct gpu_options *options);

/* The card is options->index. */
int gpu_device_open(const struct gpu_options *options, struct device **ret_device, struct err *err);

#endif
