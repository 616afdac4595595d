/* SPDX-License-Identifier: MIT
 *
 * oracle.h: what a cache that knew the future would have hit.
 *
 * Belady's rule (evict what is used again last) hits as often as can be, and how often can be told as uses come,
 * without
 * evicting anything: a use hits when its expert could have stayed since the use before, that is when at every use in
 * between fewer than n_slots - 1 others stayed for the sake of hits of their own (the one used there takes a slot too).
 * Uses are judged in order, and each that can hit does: that greatest set is also Belady's. How many stay at each
 * use is
 * kept for the last `window` uses; a use further back than that does not hit.
 *
 * Units: uses. Threads: one. Allocates in init only.
 * Source: A. Jain, C. Lin, "Back to the Future: Leveraging Belady's Algorithm for Improved Cache Replacement", 2016.
 */
#ifndef EXPERTD_CACHE_ORACLE_H
#define EXPERTD_CACHE_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

struct oracle {
    uint32_t n_slots, window;
    uint64_t now;      /* uses so far */
    uint16_t *staying; /* [window] at each use, by its number modulo window */
    uint64_t *last;    /* [n_keys] number of the last use, from 1; 0: none */
};

/* -ENOMEM. window is at least 1, n_slots below 65536. */
int oracle_init(struct oracle *oracle, uint32_t n_keys, uint32_t n_slots, uint32_t window);
void oracle_fini(struct oracle *oracle);
/* Whether this use would have been a hit. */
bool oracle_use(struct oracle *oracle, uint32_t key);

#endif
