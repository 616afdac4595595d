/* SPDX-License-Identifier: MIT
 *
 * dialect.h: the words in which kernels are written, as CUDA means them.
 *
 * Kernels name the machine by these words only, so that the same source compiles as host C++ against the execution
 * model in tests/emu/dialect.h, which spells every one of them too. A kernel takes one structure by value.
 *
 * Arithmetic: f32 and f64 are rounded at every step (the module is compiled without contraction, flushing or
 * approximate division), so both machines compute the same bits.
 */
#ifndef EXPERTD_GPU_DIALECT_H
#define EXPERTD_GPU_DIALECT_H

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER static __device__ __forceinline__
#define KERNEL(n_threads) __global__ void __launch_bounds__(n_threads)
#define PARAMS(type) const __grid_constant__ struct type
#define UNROLL _Pragma("unroll")
#define PRAGMA_OF(words) _Pragma(#words)
#define UNROLL_BY(n) PRAGMA_OF(unroll n)

/* What launch is given: a kernel whose arguments are a P. */
template <class P> using kernel_of = void (*)(P);
template <class P> static void (*kernel_caller())(const void *, const void *)
{
    return nullptr; /* CUDA launches kernels by their address */
}

/* Where we are. A block is one-dimensional. */
#define THREAD ((uint32_t)threadIdx.x)
#define N_THREADS ((uint32_t)blockDim.x)
#define BLOCK_X ((uint32_t)blockIdx.x)
#define BLOCK_Y ((uint32_t)blockIdx.y)
#define BLOCK_Z ((uint32_t)blockIdx.z)

/* The block's shared memory, as much as the launch asked for. */
#define SHARED(type, name)                         \
    extern __shared__ __align__(16) char shared_bytes[]; \
    type *name = (type *)shared_bytes

#define block_barrier() __syncthreads()
#define warp_barrier() __syncwarp()
/* Every thread of the warp takes part. */
#define warp_shuffle(x, from) __shfl_sync(0xffffffffu, (x), (int)(from))
#define warp_shuffle_xor(x, mask) __shfl_xor_sync(0xffffffffu, (x), (int)(mask))

/* c + the four products of signed bytes. */
DEVICE int dot4(uint32_t a, uint32_t b, int c)
{
    return __dp4a((int)a, (int)b, c);
}

/* Whole-number products of tensor cores, exact: c += a b. Which thread has what: gpu/product_many.cuh; m8n8k16 has
 * half of the rows. */
DEVICE void mma_8x8x16(int &c0, int &c1, uint32_t a, uint32_t b)
{
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(c0), "+r"(c1)
        : "r"(a), "r"(b));
}

DEVICE void mma_16x8x16(int c[4], uint32_t a0, uint32_t a1, uint32_t b)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
#else
    mma_8x8x16(c[0], c[1], a0, b);
    mma_8x8x16(c[2], c[3], a1, b);
#endif
}

DEVICE void mma_16x8x32(int c[4], const uint32_t a[4], const uint32_t b[2])
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    mma_16x8x16(c, a[0], a[1], b[0]);
    mma_16x8x16(c, a[2], a[3], b[1]);
#endif
}

DEVICE uint32_t byte_permute(uint32_t low, uint32_t high, uint32_t selector)
{
    return __byte_perm(low, high, selector);
}

DEVICE float half_value(uint16_t h)
{
    return __half2float(__ushort_as_half(h));
}

DEVICE float bits_float(uint32_t bits)
{
    return __uint_as_float(bits);
}

DEVICE uint32_t float_bits(float f)
{
    return __float_as_uint(f);
}

DEVICE double bits_double(uint64_t bits)
{
    return __longlong_as_double((long long)bits);
}

DEVICE uint64_t double_bits(double d)
{
    return (uint64_t)__double_as_longlong(d);
}

#endif
