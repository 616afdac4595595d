/* SPDX-License-Identifier: MIT
 *
 * governor.h: how far to look ahead, decided by what it does to the time of a token.
 *
 * On a drive with idle gaps look-ahead wins, on a saturated one it loses; which it is depends on the model, the budget,
 * the drive and the text. So the governor tries: windows of a few tokens at each level (0 is off), the median time of a
 * token in each, faded over windows; then it stays with the best and tries the others now and then, more rarely the
 * longer the choice holds. A level must beat off by a margin to be chosen. What trying costs is bounded:
 * one window per other level after at most GOVERNOR_LONGEST_STAY windows of the best.
 *
 * It decides nothing but the amount of guessing, so answers do not depend on it. Units: nanoseconds. Threads: one.
 * Caller's storage, nothing to free.
 */
#ifndef EXPERTD_PREFETCH_GOVERNOR_H
#define EXPERTD_PREFETCH_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#define GOVERNOR_LEVELS 4
#define GOVERNOR_WINDOW 8        /* tokens; the first of a window is not counted, it still lives off the level before */
#define GOVERNOR_LONGEST_STAY 64 /* windows */

struct governor {
    double token_ns[GOVERNOR_LEVELS]; /* faded median of each level, 0: never tried */
    uint32_t level;                   /* of the window in hand */
    uint32_t best;
    uint32_t n_tokens;                /* of the window in hand */
    uint64_t window_ns[GOVERNOR_WINDOW];
    uint32_t windows_left;            /* to stay with the best */
    uint32_t stay;                    /* how long the next stay is */
    bool fixed;
};

void governor_init(struct governor *governor);
/* Always this level: a person's decision, or a measurement's. */
void governor_fix(struct governor *governor, uint32_t level);
/* The level for the next token. */
uint32_t governor_level(const struct governor *governor);
/* A token at that level took so long. */
void governor_token(struct governor *governor, uint64_t ns);

#endif
