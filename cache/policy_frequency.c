/* SPDX-License-Identifier: MIT
 *
 * policy_frequency.c: policies that count uses. lfu never forgets; aged forgets a tenth per pass; lfru divides a
 * slowly fading count by the passes since the last use, so that what was hot and has stopped being used gives way.
 */
#include "cache/policy_scored.h"

static float fewest_uses(const struct scored *s, const struct past *past, uint32_t key)
{
    return -scored_sum(s, past, 0);
}

static float least_per_age(const struct scored *s, const struct past *past, uint32_t key)
{
    return -scored_sum(s, past, 0) / (float)(1 + s->pass - past->last);
}

const struct scored_kind policy_lfu = { .name = "lfu", .rate = { 1, 1 }, .score = fewest_uses };
const struct scored_kind policy_aged = {
    .name = "aged", .rate = { 0.9f, 1 }, .once_per_pass = true, .score = fewest_uses
};
const struct scored_kind policy_lfru = {
    .name = "lfru", .rate = { 0.98f, 1 }, .once_per_pass = true, .score = least_per_age
};
