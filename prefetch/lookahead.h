/* SPDX-License-Identifier: MIT
 *
 * lookahead.h: asking for the next layer's experts before its router has spoken.
 *
 * Right after a layer's missing experts have been asked for, the next layer's router is applied to the residual stream
 * as it is; the experts it would choose are hinted at the door, which reads them at low priority while the layer at
 * hand computes; behind them, with what the drive has left, those of the layer after. The truth, when it comes, is
 * compared. How far this goes is a governor's decision (enum lookahead_level), and where experts lie on a device, in
 * RAM and on the drive, that of two: reading ahead may lose on a busy drive while copying ahead wins on an idle bus,
 * and the other way round. They try levels by turns.
 *
 * Only small batches (decode) look ahead: a prompt's chunk wants most experts anyway, in file order.
 *
 * Threads: the engine thread only. Allocates in open only. The layout and the door are borrowed.
 */
#ifndef EXPERTD_PREFETCH_LOOKAHEAD_H
#define EXPERTD_PREFETCH_LOOKAHEAD_H

#include "base/err.h"
#include "model/experts.h"
#include "model/layout.h"
#include "prefetch/governor.h"

#include <stdint.h>

enum lookahead_mode { LOOKAHEAD_AUTO, LOOKAHEAD_ON, LOOKAHEAD_OFF };

struct lookahead_options {
    enum lookahead_mode mode;
    uint32_t max_rows; /* tokens of a batch up to which to look ahead */
    /* The experts that a layer's router would choose for the residual of the n tokens at hand: lends [n, n_used], best
     * first. forward_predict, or a test's. Negative: no guess. */
    int (*predict)(void *ctx, uint32_t layer, uint32_t n, const uint16_t **ret_ids);
    void *ctx;
};

/* The governor's levels: nothing; the better half of the next layer's guesses; all of them; the layer after, too. */
enum lookahead_level { LOOKAHEAD_NONE, LOOKAHEAD_HALF, LOOKAHEAD_ALL, LOOKAHEAD_FAR };

/* Where an expert is brought from: from the drive to RAM, from RAM to a device with memory of its own. */
enum lookahead_way { LOOKAHEAD_FROM_DRIVE, LOOKAHEAD_FROM_RAM, LOOKAHEAD_WAYS };

struct lookahead_counts {
    uint64_t guessed; /* experts named by guesses that have met the truth */
    uint64_t right;   /* of which the router then chose */
    uint64_t chosen;  /* experts that the router chose in layers that had been guessed */
};

struct lookahead_stats {
    struct lookahead_counts near, far; /* guesses of the next layer, and of the one after */
    struct {
        uint32_t level; /* in force */
        double token_ns[GOVERNOR_LEVELS];
    } way[LOOKAHEAD_WAYS];
};

struct lookahead;

int lookahead_open(const struct expert_layout *layout, struct expert_door *door,
                   const struct lookahead_options *options, struct lookahead **ret_lookahead, struct err *err);
void lookahead_close(struct lookahead *lookahead);

/* A layer's router has chosen ids [n, n_used] (forward_hooks.on_route). */
void lookahead_on_route(struct lookahead *lookahead, uint32_t layer, const uint16_t *ids, uint32_t n);
/* Its missing experts have been asked for (forward_hooks.on_request): guess, and hint. */
void lookahead_on_request(struct lookahead *lookahead, uint32_t layer, uint32_t n);
/* What is guessed at the moment, and of which layer; lent until the next call. Returns how many. */
uint32_t lookahead_guesses(const struct lookahead *lookahead, uint32_t *ret_layer, const uint16_t **ret_ids);
/* A pass over n tokens has taken so long; only small ones count. */
void lookahead_on_pass(struct lookahead *lookahead, uint32_t n, uint64_t ns);

void lookahead_stats(const struct lookahead *lookahead, struct lookahead_stats *ret_stats);

#endif
