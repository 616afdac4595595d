/* SPDX-License-Identifier: MIT
 *
 * neon_wholes.h: the whole numbers of eight super-blocks on their way to the lanes. Internal to the NEON files.
 *
 * Of a struct quant_super these functions read all but the weights.
 */
#ifndef EXPERTD_COMPUTE_CPU_NEON_WHOLES_H
#define EXPERTD_COMPUTE_CPU_NEON_WHOLES_H

#include "compute/cpu/neon.h"

/* What a format has besides scales. */
enum extra { OFFSET, MINS, SIGNED };

/* What eight blocks of a row give with one token. */
struct wholes {
    int32x4_t sums[LANE_BLOCKS], mins[LANE_BLOCKS];
    float d[LANE_BLOCKS], dmin[LANE_BLOCKS];
};

/* The sum over groups of number[g] * sum[g], in four lanes. */
SIMD_INLINE int32x4_t times_sums(const int16_t *number, const int16_t *sum)
{
    int32x4_t s = vdupq_n_s32(0);

    UNROLL for (int g = 0; g < QUANT_GROUPS; g += 4) s = vmlal_s16(s, vld1_s16(number + g), vld1_s16(sum + g));
    return s;
}

SIMD_INLINE void wholes_set(enum extra extra, struct wholes *wholes, size_t i, const struct quant_super *h,
                            const struct act_super *a, int32x4_t sums)
{
    if (extra == OFFSET)
        sums = vmlsq_n_s32(sums, times_sums(h->scale, a->sum), h->offset);
    wholes->sums[i] = sums;
    wholes->d[i] = h->d * a->d;
    if (extra == MINS) {
        wholes->mins[i] = times_sums(h->min, a->sum);
        wholes->dmin[i] = h->dmin * a->d;
    }
}

/* Blocks that are not there count nothing. */
SIMD_INLINE void wholes_clear(struct wholes *wholes)
{
    for (int i = 0; i < LANE_BLOCKS; i++) {
        wholes->sums[i] = wholes->mins[i] = vdupq_n_s32(0);
        wholes->d[i] = wholes->dmin[i] = 0;
    }
}

SIMD_INLINE struct lanes wholes_add(enum extra extra, const struct wholes *wholes, struct lanes lanes)
{
    lanes = lanes_add(lanes, floats_at(wholes->d, LANE_BLOCKS), sums8(wholes->sums));
    return extra == MINS ? lanes_sub(lanes, floats_at(wholes->dmin, LANE_BLOCKS), sums8(wholes->mins)) : lanes;
}

SIMD_INLINE int32x4_t group_add(int32x4_t sums, int8x16_t q, const struct act_super *a, int16_t scale, int g)
{
    return vmlaq_n_s32(sums, dot16(vdupq_n_s32(0), q, vld1q_s8(a->q + 16 * g)), scale);
}

#endif
