/* SPDX-License-Identifier: MIT
 *
 * gpu.h: whether there is a GPU to compute on, and how its memory and the machine's divide then.
 *
 * A module is looked for (compute/gpu_module.h) and asked for its cards. With `--gpu auto` whatever is missing is said
 * in one line and the CPU computes; with `--gpu N` it is an error. On a GPU lie the dense weights, keys and values,
 * activations and the hottest experts, within --vram; the machine's memory, within --memory, holds the next hottest.
 *
 * For the case that the GPU is lost while serving, the division for the CPU is made beforehand too, for the same
 * context and number of answers; when it does not fit in --memory, only the GPU can be opened again.
 */
#ifndef EXPERTD_DAEMON_GPU_H
#define EXPERTD_DAEMON_GPU_H

#include "base/err.h"
#include "compute/gpu_module.h"
#include "daemon/budget.h"
#include "daemon/config.h"
#include "model/forward.h"

struct service;

struct gpu {
    const struct gpu_module *module; /* NULL: the CPU computes */
    uint32_t index;
    struct gpu_card card;
    struct budget budget;   /* of --vram: total, dense, kv, activations, device, slots */
    struct budget fallback; /* of --memory, without the GPU */
    bool can_fall_back;
    char no_fallback[300]; /* why not */
};

/* Load a module and choose a card. */
int gpu_find(const struct config *config, struct gpu *ret_gpu, struct err *err);

/* Divide the card's memory, which decides the shape, and then the machine's, for which `wish` stands. */
int gpu_divide(struct service *service, const struct budget_wish *wish, struct err *err);

/* How the engine is to open the device and its helper. */
void gpu_device_options(const struct service *service, struct gpu_options *ret_options);
void gpu_helper_options(const struct service *service, struct cpu_device_options *ret_options);
void gpu_forward_options(const struct config *config, const struct budget_shape *shape,
                         struct forward_options *ret_options);

#endif
