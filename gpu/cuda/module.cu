/* SPDX-License-Identifier: MIT
 *
 * module.cu: what expertd-cuda.so exports: compute/gpu_module.h on CUDA.
 *
 * CUDA's runtime is linked in; the driver's library is the machine's, and may be missing, which is an answer like any
 * other.
 */
#include "gpu/device.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse_count(cudaError_t e, struct err *err)
{
    int driver = 0;

    cudaGetLastError();
    if (e == cudaErrorNoDevice)
        return err_set(err, -ENODEV, "no CUDA device is visible");
    if (e == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the NVIDIA driver is too old: it knows CUDA %d.%d, the module was built with %d.%d; update the "
                       "driver",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return err_set(err, -ENODEV, "CUDA cannot be used: %s (%s)", cudaGetErrorString(e), cudaGetErrorName(e));
}

static int module_count(struct err *err)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    cudaError_t e;
    int n = 0;

    if (driver == NULL)
        return err_set(err, -ENODEV, "no NVIDIA driver is installed (libcuda.so.1 was not found)");
    e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess)
        return refuse_count(e, err);
    return n > 0 ? n : err_set(err, -ENODEV, "no CUDA device is visible");
}

static int module_card(uint32_t index, struct gpu_card *ret_card, struct err *err)
{
    struct cudaDeviceProp prop;
    size_t free_bytes = 0, total_bytes = 0;
    int n = module_count(err);
    cudaError_t e;

    if (n < 0)
        return n;
    if (index >= (uint32_t)n)
        return err_set(err, -ENODEV, "there is no CUDA device %u: %d %s visible", index, n, n == 1 ? "is" : "are");
    if ((e = cudaGetDeviceProperties(&prop, (int)index)) != cudaSuccess || (e = cudaSetDevice((int)index)) != cudaSuccess ||
        (e = cudaMemGetInfo(&free_bytes, &total_bytes)) != cudaSuccess) {
        cudaGetLastError();
        return err_set(err, -EIO, "CUDA device %u: %s (%s)", index, cudaGetErrorString(e), cudaGetErrorName(e));
    }
    snprintf(ret_card->name, sizeof(ret_card->name), "%.95s", prop.name);
    ret_card->free_bytes = free_bytes;
    ret_card->total_bytes = total_bytes;
    return 0;
}

static int module_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    struct gpu_card card;
    int r = module_card(options->index, &card, err);

    return r < 0 ? r : gpu_device_open(options, ret_device, err);
}

extern "C" __attribute__((visibility("default"))) const struct gpu_module expertd_gpu_module = {
    .magic = GPU_MODULE_MAGIC,
    .abi = GPU_MODULE_ABI,
    .layout = GPU_MODULE_LAYOUT,
    .name = "cuda",
    .version = EXPERTD_VERSION,
    .count = module_count,
    .card = module_card,
    .device_bytes = gpu_device_bytes,
    .open = module_open,
};
