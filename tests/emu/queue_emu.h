/* SPDX-License-Identifier: MIT
 *
 * queue_emu.h: what tests may ask of the emulated card, and the card as a device.
 */
#ifndef EXPERTD_TESTS_EMU_QUEUE_EMU_H
#define EXPERTD_TESTS_EMU_QUEUE_EMU_H

#include "compute/gpu_module.h"

struct emu_faults {
    long fail_call;        /* this many more calls of the runtime succeed, the next one fails; negative: none does */
    uint64_t memory_bytes; /* of the card */
    bool lost;             /* a call that fails takes the card with it */
};
void emu_set_faults(const struct emu_faults *faults);

struct emu_counts {
    uint64_t calls, kernels, waits;
    uint64_t alone;              /* launches and copies that were not part of a graph */
    uint64_t graphs, graph_runs; /* made, and runs that were one */
    uint64_t overruns;           /* buffers around which bytes were written */
    uint64_t leaked_bytes;       /* of cards that have been closed */
};
void emu_get_counts(struct emu_counts *ret_counts);

/* gpu_device_open and gpu_device_bytes of gpu/device.h, over the emulated card. */
int emu_device_open(const struct gpu_options *options, struct device **ret_device, struct err *err);
size_t emu_device_bytes(const struct gpu_options *options);

#endif
