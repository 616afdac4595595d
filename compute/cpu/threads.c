/* SPDX-License-Identifier: MIT */
#include "compute/cpu_device.h"

#include <sched.h>

uint32_t cpu_threads_detect(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}
