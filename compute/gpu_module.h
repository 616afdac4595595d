/* SPDX-License-Identifier: MIT
 *
 * gpu_module.h: the door between expertd and a device module, a shared object that is loaded at run time.
 *
 * The same expertd runs where there is no GPU: it links nothing of a module's. A module (gpu/: expertd-cuda.so)
 * exports one symbol, GPU_MODULE_SYMBOL, a const struct gpu_module. It is used only when `magic`, `abi` and
 * `layout` are what this build was compiled with: a module of another build is refused, never tried.
 *
 * A module is code that runs in the daemon with the daemon's rights: it is loaded only from where a file belongs to
 * root or to the user who runs the daemon, and nobody else can write it.
 *
 * Threads: each function of a module may be called from any thread, one at a time; a device that it opened is then
 * used as compute/device.h says. A module stays loaded until the process ends, since drivers start threads.
 */
#ifndef EXPERTD_COMPUTE_GPU_MODULE_H
#define EXPERTD_COMPUTE_GPU_MODULE_H

#include "compute/device.h"
#include "compute/device_copy.h"
#include "compute/device_stay.h"

#define GPU_MODULE_SYMBOL "expertd_gpu_module"
#define GPU_MODULE_MAGIC 0x6470783167707521ull
#define GPU_MODULE_ABI 2u /* raised whenever a structure or the meaning of an operation changes */

/* What a differing compiler or header would change. */
#define GPU_MODULE_LAYOUT                                                                                      \
    ((uint32_t)(sizeof(struct device_ops) * 31 + sizeof(struct device_copy_ops) * 37 + sizeof(struct device) + \
                sizeof(struct expert_call) * 41 + sizeof(struct attention) * 43 + sizeof(struct err) * 47 +    \
                sizeof(struct device_stay_ops) * 53 + sizeof(struct routed) * 59))

/* As cpu_device_options, and which card. */
struct gpu_options {
    uint32_t index;
    uint32_t max_rows;        /* most activation rows of one call */
    uint32_t max_ff;          /* widest hidden row of an expert or dense block: sizes the scratch */
    uint32_t max_expert_rows; /* most (token, expert) pairs of one `experts` call; a longer one is cut */
};

struct gpu_card {
    char name[96];
    uint64_t free_bytes, total_bytes;
};

struct gpu_module {
    uint64_t magic;
    uint32_t abi, layout;
    const char *name;    /* "cuda" */
    const char *version; /* of expertd, as built */
    /* Devices that can be used, at least 1; or negative, with what is missing in err: no driver, no device, too old. */
    int (*count)(struct err *err);
    int (*card)(uint32_t index, struct gpu_card *ret_card, struct err *err);
    /* Device memory that open takes for scratch, for the budget. */
    size_t (*device_bytes)(const struct gpu_options *options);
    int (*open)(const struct gpu_options *options, struct device **ret_device, struct err *err);
};

/* Find and load a module. `path`: that file alone; NULL: $EXPERTD_GPU_MODULE, then the directory where expertd's
 * modules are installed, then gpu/ beside the running program (the build tree). Fails with -ENOENT when there is none,
 * with -ENODEV when one is found but not the driver that it needs (loading it would only cost memory), and by the
 * file's name when it is not to be trusted, cannot be loaded, or is not of this build. */
int gpu_module_load(const char *path, const struct gpu_module **ret_module, struct err *err);

#endif
