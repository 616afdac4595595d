/* SPDX-License-Identifier: MIT
 *
 * bench/gpu_rates: what the card gives: GB/s of a large copy within VRAM, read and write counted, and the rate in
 * Tops/s of a large product of f16 matrices with f32 sums, by cuBLAS. Prints the two numbers.
 */
#include <cublas_v2.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 20, N = 8192 };

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "gpu_rates: %s: %s\n", what, cudaGetErrorString(cudaGetLastError()));
    exit(1);
}

/* Best milliseconds of a round. */
template <class F> static float best_ms(F round)
{
    cudaEvent_t from, to;
    float best = 1e30f, ms;

    must(cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess, "events");
    for (int i = 0; i < ROUNDS; i++) {
        must(cudaEventRecord(from) == cudaSuccess, "event");
        round();
        must(cudaEventRecord(to) == cudaSuccess && cudaEventSynchronize(to) == cudaSuccess, "round");
        must(cudaEventElapsedTime(&ms, from, to) == cudaSuccess, "time");
        best = ms < best ? ms : best;
    }
    return best;
}

/* Numbers between 1 and 2: zeros would be multiplied faster than real ones. */
static __global__ void fill_kernel(__half *x, size_t n)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

    if (i < n)
        x[i] = __ushort_as_half((unsigned short)(0x3c00 | (i * 2654435761u >> 13 & 0x3ff)));
}

int main(void)
{
    const size_t bytes = (size_t)1 << 30, n = (size_t)N * (size_t)N;
    const float one = 1, zero = 0;
    cublasHandle_t blas;
    char *a, *b;
    __half *x, *y, *z;
    float copy_ms, product_ms;

    must(cudaMalloc(&a, bytes) == cudaSuccess && cudaMalloc(&b, bytes) == cudaSuccess, "memory");
    copy_ms = best_ms([&] { must(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice) == cudaSuccess, "copy"); });
    must(cudaFree(a) == cudaSuccess && cudaFree(b) == cudaSuccess, "memory");
    must(cudaMalloc(&x, 2 * n) == cudaSuccess && cudaMalloc(&y, 2 * n) == cudaSuccess &&
             cudaMalloc(&z, 2 * n) == cudaSuccess,
         "memory");
    fill_kernel<<<(unsigned)((n + 255) / 256), 256>>>(x, n);
    fill_kernel<<<(unsigned)((n + 255) / 256), 256>>>(y, n);
    must(cublasCreate(&blas) == CUBLAS_STATUS_SUCCESS, "cuBLAS");
    product_ms = best_ms([&] {
        must(cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, N, N, N, &one, x, CUDA_R_16F, N, y, CUDA_R_16F, N, &zero, z,
                          CUDA_R_16F, N, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS,
             "a product");
    });
    printf("%.1f %.1f\n", 2.0 * (double)bytes / copy_ms / 1e6, 2.0 * (double)n * (double)N / product_ms / 1e9);
    return 0;
}
