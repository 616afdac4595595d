/* SPDX-License-Identifier: MIT
 *
 * trace.h: recorded routing, read from files as `expertd --record-routing` writes them (expertd(8) has the format).
 *
 * Lines of turn,phase,step,layer,rank,expert[,...] under a comment that names n_layer=, n_expert= and n_expert_used=.
 * Phase 0 is a prompt's token, 1 an answer's; 2 is a guess: not a use, but what look-ahead expected of that step and
 * layer, written before the step's uses. Lines
 *
 *     turn,3,step,layer,first,n,margin,...
 *
 * say how far n experts, `first` and those behind it, were from being taken by the token whose uses follow, in hundredths
 * (cache/outlook.h). A token has all of a layer's, in order, or none. What else follows the sixth column is not read.
 */
#ifndef EXPERTD_BENCH_TRACE_H
#define EXPERTD_BENCH_TRACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACE_MAX_KEYS (1u << 16)

struct use {
    uint32_t key;        /* layer * n_experts + expert */
    uint32_t next;       /* index of the next use of the same key, or UINT32_MAX */
    uint32_t turn, step; /* one token of one sequence */
    uint8_t phase;
};

/* A layer's router was asked. */
struct weighed {
    uint32_t before; /* the index of the first use that follows */
    uint32_t layer;
};

struct trace {
    uint32_t n_layers, n_experts, n_used;
    struct use *use; /* [n], guesses among them */
    uint32_t n;
    struct weighed *weighed; /* [n_weighed] in the order of the uses */
    int16_t *margin;         /* [n_weighed, n_experts] in hundredths */
    uint32_t n_weighed;
};

enum { PHASE_PROMPT, PHASE_ANSWER, PHASE_GUESS, PHASES };

int trace_open(const char *path, struct trace *ret_trace, struct err *err);
void trace_close(struct trace *trace);

#endif
