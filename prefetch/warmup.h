/* SPDX-License-Identifier: MIT
 *
 * warmup.h: after a start, fill empty slots with the experts that were used most before it.
 *
 * The cache keeps over restarts how often each expert was asked for lately. The hottest ones that fit are chosen once,
 * and hinted a few at a time in file order while the engine has nothing else to do. Hints fill free slots only and give
 * way to demand, so an answer that is asked for meanwhile waits for two pieces at most, and is the same to the bit.
 *
 * Threads: the engine thread only. Ownership: layout and cache are borrowed until warmup_close. Allocates in open only.
 */
#ifndef EXPERTD_PREFETCH_WARMUP_H
#define EXPERTD_PREFETCH_WARMUP_H

#include "base/err.h"
#include "cache/cache.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stdint.h>

struct warmup;

int warmup_open(const struct expert_layout *layout, struct cache *cache, struct warmup **ret_warmup, struct err *err);
void warmup_close(struct warmup *warmup); /* NULL is allowed */

/* Experts that were chosen. */
uint32_t warmup_count(const struct warmup *warmup);

/* Hint the next few, or read on what was hinted; waits for one read at most. Returns whether there is more to do: when
 * not, close. */
bool warmup_step(struct warmup *warmup);

#endif
