/* SPDX-License-Identifier: MIT
 *
 * dialect.h: the words in which kernels are written (gpu/cuda/dialect.h), for the execution model in machine.h.
 *
 * Every word that makes threads meet names its place in the source, so that the machine sees when threads of a warp or
 * a block meet at different places.
 */
#ifndef EXPERTD_GPU_DIALECT_H
#define EXPERTD_GPU_DIALECT_H

#include "emu/machine.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define DEVICE static inline
#define DEVICE_MEMBER static inline
#define KERNEL(n_threads) void
#define PARAMS(type) const struct type &
#define UNROLL
#define UNROLL_BY(n)

template <class P> using kernel_of = void (*)(const P &);

template <class P> static void call_kernel(const void *kernel, const void *params)
{
    ((kernel_of<P>)kernel)(*(const P *)params);
}

template <class P> static void (*kernel_caller())(const void *, const void *)
{
    return call_kernel<P>;
}

#define THREAD (machine_thread())
#define N_THREADS (machine_n_threads())
#define BLOCK_X (machine_block(0))
#define BLOCK_Y (machine_block(1))
#define BLOCK_Z (machine_block(2))
#define SHARED(type, name) type *name = (type *)machine_shared(sizeof(type))

#define block_barrier() machine_barrier(__FILE__, __LINE__)
#define warp_barrier() machine_meet(MEET_BARRIER, __FILE__, __LINE__, NULL, NULL, 0)
#define warp_shuffle(x, from) shuffle_bits(__FILE__, __LINE__, (x), (uint32_t)(from) % 32)
#define warp_shuffle_xor(x, mask) shuffle_bits(__FILE__, __LINE__, (x), (machine_thread() ^ (uint32_t)(mask)) % 32)

template <class T> static inline T shuffle_bits(const char *file, int line, T x, uint32_t from)
{
    uint64_t bits = 0, got = 0;
    T y;

    memcpy(&bits, &x, sizeof(x));
    machine_meet(MEET_SHUFFLE, file, line, &bits, &got, from);
    memcpy(&y, &got, sizeof(y));
    return y;
}

#define mma_16x8x16(c, a0, a1, b0) product_of_fragments(__FILE__, __LINE__, (c), 16, (a0), (a1), 0, 0, (b0), 0)
#define mma_16x8x32(c, a, b) \
    product_of_fragments(__FILE__, __LINE__, (c), 32, (a)[0], (a)[1], (a)[2], (a)[3], (b)[0], (b)[1])

static inline void product_of_fragments(const char *file, int line, int *c, int depth, uint32_t a0, uint32_t a1,
                                        uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1)
{
    struct machine_fragments own = { c, { a0, a1, a2, a3 }, { b0, b1 }, depth };

    machine_meet(MEET_PRODUCT, file, line, &own, NULL, 0);
}

DEVICE int dot4(uint32_t a, uint32_t b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return c;
}

DEVICE uint32_t byte_permute(uint32_t low, uint32_t high, uint32_t selector)
{
    uint64_t bytes = low | (uint64_t)high << 32;
    uint32_t r = 0;

    for (int i = 0; i < 4; i++)
        r |= (uint32_t)(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
    return r;
}

DEVICE float bits_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

DEVICE uint32_t float_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

DEVICE float half_value(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7fff) << 13;

    if (magnitude >= 0x0f800000)
        return bits_float(sign | 0x7f800000 | (magnitude & 0x007fffff));
    return bits_float(sign | float_bits(bits_float(magnitude) * 5192296858534827628530496329220096.0f));
}

#endif
