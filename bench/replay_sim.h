/* SPDX-License-Identifier: MIT
 *
 * replay_sim.h: what a cache would have hit on a recorded trace, and what a predictor would have foretold.
 *
 * Uses are taken one by one in the order of the file, from one pool of slots for all layers; a prompt's warm, an
 * answer's
 * count. Beside the policies as they serve there are two to hold them against: lfu by the book, which takes no account
 * of the layer that the pass is at (where a policy that serves protects what that layer has named), and Belady, who
 * knows the future.
 */
#ifndef EXPERTD_BENCH_REPLAY_SIM_H
#define EXPERTD_BENCH_REPLAY_SIM_H

#include "bench/trace.h"
#include "cache/policy.h"

enum { REPLAY_LFU_BOOK = POLICIES, REPLAY_BELADY, REPLAYS };

const char *replay_name(int which);
/* Percent of the answers' uses that hit; negative without memory. `ret_hit` [trace->n] (may be NULL): each use. */
double replay_run(const struct trace *trace, int which, uint32_t n_slots, bool *ret_hit);

enum predictor { PREDICT_PREVIOUS, PREDICT_HEAT, PREDICT_LOOKAHEAD, PREDICTORS };

struct foretold {
    double all, misses; /* percent of the answers' uses, and of those that missed; negative: nothing to judge by */
};

const char *predictor_name(enum predictor which);
/* The previous token's experts of the layer; the layer's most used so far, as many; the guesses in the trace. `hit`
 * from
 * replay_run. */
struct foretold replay_predict(const struct trace *trace, enum predictor which, const bool *hit);

#endif
