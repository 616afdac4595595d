/* SPDX-License-Identifier: MIT
 *
 * under_test.h: the GPU device that a test is about: the emulated one, or with EXPERTD_TEST_GPU=N in the environment
 * card N through the module of this build (make check-gpu).
 */
#ifndef EXPERTD_TESTS_EMU_UNDER_TEST_H
#define EXPERTD_TESTS_EMU_UNDER_TEST_H

#include "compute/gpu_module.h"

int gpu_under_test(const struct gpu_options *options, struct device **ret_device, struct err *err);

#endif
