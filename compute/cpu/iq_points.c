/* SPDX-License-Identifier: MIT */
#include "compute/cpu/iq_points.h"

#include "compute/quant_iq.h"

#include <pthread.h>

struct iq_points iq_points __attribute__((aligned(64)));

static void eights(const uint16_t *grid, size_t n, uint64_t *points)
{
    for (size_t i = 0; i < n; i++)
        iq2_point(grid[i], 0, (int8_t *)&points[i]);
}

static void unfold(void)
{
    eights(quant_grid_iq2_xxs, 256, iq_points.iq2_xxs);
    eights(quant_grid_iq2_xs, 512, iq_points.iq2_xs);
    eights(quant_grid_iq2_s, 1024, iq_points.iq2_s);
    for (size_t i = 0; i < 2048; i++)
        iq_points.iq1[i] = iq_spread_pairs(quant_grid_iq1[i]) * 8;
    for (size_t i = 0; i < 256; i++)
        iq3_xxs_point(quant_grid_iq3_xxs[i], 0, (int8_t *)&iq_points.iq3_xxs[i]);
    for (size_t i = 0; i < 512; i++)
        iq3_s_point(quant_grid_iq3_s[i], 0, (int8_t *)&iq_points.iq3_s[i]);
}

void iq_points_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, unfold);
}
