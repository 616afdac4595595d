/* SPDX-License-Identifier: MIT
 *
 * neon.h: what the NEON files share. They are compiled three times: for ASIMD alone, with dot products, and with I8MM;
 * the innermost step is the instruction that there is. Internal to those levels.
 */
#ifndef EXPERTD_COMPUTE_CPU_NEON_H
#define EXPERTD_COMPUTE_CPU_NEON_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/tile_rows.h"
#include "compute/half.h"

#include <arm_neon.h>
#include <string.h>

#define SIMD_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define NEON_FILL(name) i8mm_##name##_fill
#elif defined(__ARM_FEATURE_DOTPROD)
#define NEON_FILL(name) dotprod_##name##_fill
#else
#define NEON_FILL(name) neon_##name##_fill
#endif

/* Sixteen products added to the four lanes, somehow: only the sum of the lanes means something. */
SIMD_INLINE int32x4_t dot16(int32x4_t sums, int8x16_t w, int8x16_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sums, w, x);
#else
    /* two products fit into 16 bits, since activations are never -128 */
    return vpadalq_s16(sums, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
#endif
}

/* Eight blocks go to the eight lanes at once; the last few of a row to the first few. */
enum { LANE_BLOCKS = 8 };

struct lanes {
    float32x4_t low, high;
};

SIMD_INLINE struct lanes lanes_zero(void)
{
    return (struct lanes){ vdupq_n_f32(0), vdupq_n_f32(0) };
}

/* n <= 8 numbers, 0 behind them. */
SIMD_INLINE struct lanes floats_at(const float *p, size_t n)
{
    float some[LANE_BLOCKS] = { 0 };

    if (n < LANE_BLOCKS) {
        memcpy(some, p, n * sizeof(*p));
        p = some;
    }
    return (struct lanes){ vld1q_f32(p), vld1q_f32(p + 4) };
}

SIMD_INLINE struct lanes products_of(struct lanes a, struct lanes b)
{
    return (struct lanes){ vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high) };
}

/* The sums of the lanes of eight, as f32: lane i is the sum of s[i]. */
SIMD_INLINE struct lanes sums8(const int32x4_t s[LANE_BLOCKS])
{
    return (struct lanes){ vcvtq_f32_s32(vpaddq_s32(vpaddq_s32(s[0], s[1]), vpaddq_s32(s[2], s[3]))),
                           vcvtq_f32_s32(vpaddq_s32(vpaddq_s32(s[4], s[5]), vpaddq_s32(s[6], s[7]))) };
}

/* What kernels.h says happens with a block's whole number, for eight blocks. */
SIMD_INLINE struct lanes lanes_add(struct lanes lanes, struct lanes d, struct lanes whole)
{
    struct lanes p = products_of(d, whole);

    return (struct lanes){ vaddq_f32(lanes.low, p.low), vaddq_f32(lanes.high, p.high) };
}

SIMD_INLINE struct lanes lanes_sub(struct lanes lanes, struct lanes d, struct lanes whole)
{
    struct lanes p = products_of(d, whole);

    return (struct lanes){ vsubq_f32(lanes.low, p.low), vsubq_f32(lanes.high, p.high) };
}

/* The order of vec_sum. */
SIMD_INLINE float lanes_sum(struct lanes lanes)
{
    float32x4_t q = vaddq_f32(lanes.low, lanes.high);

    return vpadds_f32(vadd_f32(vget_low_f32(q), vget_high_f32(q)));
}

SIMD_INLINE uint8x16_t bits_of(uint8x16_t v, int shift, int mask)
{
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)-shift)), vdupq_n_u8((uint8_t)mask));
}

void NEON_FILL(iq)(struct cpu_kernels *k);
void NEON_FILL(small)(struct cpu_kernels *k);
void NEON_FILL(super)(struct cpu_kernels *k);

#endif
