/* SPDX-License-Identifier: MIT
 *
 * governor.h: how far to look ahead, decided by what it does to the time of a token.
 *
 * On a drive with idle gaps look-ahead wins, on a saturated one it loses; which it is depends on the model, the budget,
 * the drive and the text. So the governor tries. It stays with the level that it holds for the best, and now and then
 * puts another one beside it: tokens take turns, and the median of the ratios of neighbours decides, so that a drive
 * that drifts, or a stretch of text that is harder, is unfair to neither. A level that does more must be faster by a
 * margin to be chosen, one that does less need only be as fast. Each choice that holds doubles the stay, so what trying
 * costs is bounded: GOVERNOR_PAIRS tokens at another level after each GOVERNOR_LONGEST_STAY at the best.
 *
 * It decides nothing but the amount of guessing, so answers do not depend on it. Units: nanoseconds. Threads: one.
 * Caller's storage, nothing to free.
 */
#ifndef EXPERTD_PREFETCH_GOVERNOR_H
#define EXPERTD_PREFETCH_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#define GOVERNOR_LEVELS 4 /* 0 does nothing, each does more than the one before */
#define GOVERNOR_PAIRS 15
#define GOVERNOR_LONGEST_STAY 512 /* tokens */

struct governor {
    double token_ns[GOVERNOR_LEVELS]; /* faded mean of each level, 0: never tried */
    uint32_t level;                   /* for the token in hand */
    uint32_t best;
    uint32_t other;     /* tried last, or being tried */
    uint32_t left;      /* tokens to stay with the best; 0: other is being tried */
    uint32_t stay;      /* how long the next stay is */
    uint64_t beside_ns; /* of the token at the best level that the next one is compared with */
    uint32_t n_ratios;
    double ratio[GOVERNOR_PAIRS]; /* time at the other level over time at the best */
    bool fixed;
};

/* Begins with `level`. */
void governor_init(struct governor *governor, uint32_t level);
/* Always this level: a person's decision, or a measurement's. */
void governor_fix(struct governor *governor, uint32_t level);
/* The level for the next token. */
uint32_t governor_level(const struct governor *governor);
/* Whether another level is being put beside the best: then nothing else should change from token to token. */
bool governor_trying(const struct governor *governor);
/* A token at that level took so long. */
void governor_token(struct governor *governor, uint64_t ns);

#endif
