/* SPDX-License-Identifier: MIT
 *
 * quant_grids.h: the lattices of the IQ formats: two bits for each of a point's eight magnitudes (IQ1, IQ2), three for
 * each of its four (IQ3). Facts of the formats. Internal to compute/ and gpu/.
 */
#ifndef EXPERTD_COMPUTE_QUANT_GRIDS_H
#define EXPERTD_COMPUTE_QUANT_GRIDS_H

#include <stdint.h>

extern const uint16_t quant_grid_iq2_xxs[256], quant_grid_iq2_xs[512], quant_grid_iq2_s[1024];
extern const uint16_t quant_grid_iq3_xxs[256], quant_grid_iq3_s[512], quant_grid_iq1[2048];

#endif
