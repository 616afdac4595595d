/* SPDX-License-Identifier: MIT */
#include "emu/under_test.h"

#include "emu/queue_emu.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int gpu_under_test(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    const char *card = getenv("EXPERTD_TEST_GPU"), *build = getenv("top_builddir");
    struct gpu_options o = *options;
    const struct gpu_module *module;
    char path[PATH_MAX];
    int r;

    if (card == NULL)
        return emu_device_open(&o, ret_device, err);
    snprintf(path, sizeof(path), "%s/gpu/expertd-cuda.so", build != NULL ? build : ".");
    o.index = (uint32_t)atoi(card);
    r = gpu_module_load(path, &module, err);
    return r < 0 ? r : module->open(&o, ret_device, err);
}
