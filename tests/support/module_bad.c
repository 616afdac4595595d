/* SPDX-License-Identifier: MIT
 *
 * module_bad.c: a GPU module of another build: its magic is right, its interface number is not.
 */
#include "compute/gpu_module.h"

extern const struct gpu_module expertd_gpu_module;
const struct gpu_module expertd_gpu_module = {
    .magic = GPU_MODULE_MAGIC, .abi = GPU_MODULE_ABI + 1, .layout = GPU_MODULE_LAYOUT, .name = "bad", .version = "0"
};
