/* SPDX-License-Identifier: MIT
 *
 * module_emu.c: the emulated card as a module, for the real daemon: the GPU device as it is, over kernels that run as
 * fibres. EXPERTD_GPU_MODULE names it.
 */
#include "emu/queue_emu.h"

#include <errno.h>

#define CARD_BYTES ((uint64_t)64 << 20)

static int module_count(struct err *err)
{
    return 1;
}

static int module_card(uint32_t index, struct gpu_card *ret_card, struct err *err)
{
    *ret_card = (struct gpu_card){ .name = "emulated", .free_bytes = CARD_BYTES, .total_bytes = CARD_BYTES };
    return 0;
}

static int module_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    emu_set_faults(&(struct emu_faults){ .fail_call = -1, .memory_bytes = CARD_BYTES });
    return emu_device_open(options, ret_device, err);
}

extern const struct gpu_module expertd_gpu_module;
const struct gpu_module expertd_gpu_module = { .magic = GPU_MODULE_MAGIC,
                                               .abi = GPU_MODULE_ABI,
                                               .layout = GPU_MODULE_LAYOUT,
                                               .name = "emu",
                                               .version = "0",
                                               .count = module_count,
                                               .card = module_card,
                                               .device_bytes = emu_device_bytes,
                                               .open = module_open };
