/* SPDX-License-Identifier: MIT
 *
 * sum.h: the checksum of an expert, in pieces that several threads can work on.
 *
 * Each of its parts (gate, up, down, in this order) is cut into SUM_PIECES pieces of an eighth of it, rounded up to
 * the next multiple of 64 bytes; the last ones are shorter or empty. The checksum is the XXH3-128 of the XXH3-128 of
 * all pieces, all of them canonical (big-endian). XXH3: https://github.com/Cyan4973/xxHash. Summing is bound by the
 * memory, which one thread does not exhaust; what is small is summed by the caller alone.
 *
 * Pure; allocates nothing.
 */
#ifndef EXPERTD_CACHE_SUM_H
#define EXPERTD_CACHE_SUM_H

#include "base/parallel.h"
#include "cache/catalog.h"

#include <stddef.h>
#include <stdint.h>

#define SUM_PIECES 8

/* Where an expert's parts lie in memory. */
struct expert_bytes {
    const void *data[EXPERT_PARTS];
    uint64_t bytes[EXPERT_PARTS];
};

/* `threads` may be NULL. */
void sum_expert(const struct expert_bytes *expert, const struct parallel *threads, struct catalog_sum *ret_sum);

#endif
