/* SPDX-License-Identifier: MIT
 *
 * device_stay.h: what lets a whole token stay on a device whose memory is its own, so that the host waits once.
 *
 * Without these the host learns from `route` which experts a layer wants, and gets every logit. With them, where all
 * experts lie in the device's memory, the device looks up those that it chose itself, and of the logits only the best
 * come back. The bits are those of route, experts and combine, and of the same choice made on the host.
 *
 * Nothing here waits but `fetch`, which is one wait however much it brings. Errors and threads: as the device's. An
 * index that the device chose is always one that exists, whatever the numbers were.
 */
#ifndef EXPERTD_COMPUTE_DEVICE_STAY_H
#define EXPERTD_COMPUTE_DEVICE_STAY_H

#include "compute/device.h"

/* The experts of one layer, all of one shape, for the device to look up. */
struct expert_table {
    struct weight gate, up, down; /* types and shapes; `data` says nothing */
    /* device [3, n_experts]: where the gates begin, the ups, the downs, each at a multiple of 16 bytes */
    const void *const *addresses;
};

/* A layer's choice and its experts, for few tokens. */
struct routed {
    const struct route *route;        /* host */
    const struct expert_table *table; /* host; n_experts as in `route` */
    const float *logits;              /* device [n, n_experts] f32 */
    uint32_t n;                       /* n * n_used at most what `experts` takes at once (max_expert_rows) */
    uint16_t *ids;                    /* device [n, n_used]: the chosen, best first */
    float *y;                         /* device [n * n_used, n_embd] f32: their outputs */
    float *x;                         /* device [n, n_embd] f32: += the outputs times their weights, in that order */
};

enum { TOP_K_MOST = 128 };

struct device_stay_ops {
    /* `acts` holds the n rows that the experts work on. */
    int (*routed)(struct device *, struct acts *, const struct routed *);
    /* The k greatest of each row, greatest first, the lower index first among equals; k at most TOP_K_MOST and n_cols.
     * What is not finite comes before everything else, so that whoever looks at the first one sees it. */
    int (*top_k)(struct device *, const float *x /* device [n_rows, n_cols] f32 */, uint32_t n_rows, uint32_t n_cols,
                 uint32_t k, int32_t *ret_ids /* device [n_rows, k] */, float *ret_values /* device [n_rows, k] */);
    /* n downloads, at most 8, that are there together when this returns; parts of no bytes are left out. */
    int (*fetch)(struct device *, const struct device_copy *parts, uint32_t n);
};

#endif
