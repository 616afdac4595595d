/* SPDX-License-Identifier: MIT
 *
 * replay_svg.h: hit rates over the share of the experts that fit, as a picture.
 */
#ifndef EXPERTD_BENCH_REPLAY_SVG_H
#define EXPERTD_BENCH_REPLAY_SVG_H

#include "base/err.h"

#include <stddef.h>

#define CURVE_POINTS 16

struct replay_curve {
    const char *name;
    double percent[CURVE_POINTS];
};

/* Each curve has a point for each share (0 to 0.5). */
int replay_svg_write(const char *path, const char *title, const double *shares, size_t n_shares,
                     const struct replay_curve *curves, size_t n_curves, struct err *err);

#endif
