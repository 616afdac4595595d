/* SPDX-License-Identifier: MIT
 *
 * iq_points.h: the lattices of quant_iq.h with each point unfolded to bytes, for kernels that load whole points.
 *
 * Bytes are magnitudes, the first weight lowest; in IQ1 they are 8 * (g + 1) for g = -1, 0, 1. Signs and shifts come
 * from the block. The tables are 33 KiB and do not change once they are there.
 */
#ifndef EXPERTD_COMPUTE_CPU_IQ_POINTS_H
#define EXPERTD_COMPUTE_CPU_IQ_POINTS_H

#include <stdint.h>

struct iq_points {
    uint64_t iq2_xxs[256], iq2_xs[512], iq2_s[1024], iq1[2048];
    uint32_t iq3_xxs[256], iq3_s[512];
};

extern struct iq_points iq_points;

/* Unfold them; cpu_kernels_get calls it before any kernel can run. Thread-safe. */
void iq_points_init(void);

#endif
