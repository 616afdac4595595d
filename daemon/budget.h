/* SPDX-License-Identifier: MIT
 *
 * budget.h: --memory divided. The budget is the whole process: what the model's dense weights, keys and values,
 * activations, the device's scratch, the cache's tables and everything else take; the rest is expert slots.
 *
 * What the user left open (context, parallel, batch) is chosen so that keys, values and activations take at most a
 * quarter of what the dense weights leave (a third with the longer chunks of who answers one at a time), and otherwise
 * as small as still works; the last thing to be given up is the table of embeddings. What the user set is kept, or
 * refused with the least budget that would do.
 *
 * Pure arithmetic over a measuring function: no model, no allocation. Bytes everywhere. Thread-safe.
 */
#ifndef EXPERTD_DAEMON_BUDGET_H
#define EXPERTD_DAEMON_BUDGET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What decides how much a model needs besides its slots. */
struct budget_shape {
    uint32_t n_ctx, n_seqs;
    uint32_t batch;      /* tokens of one prompt chunk */
    uint32_t max_batch;  /* tokens of one eval: a chunk and a token of every sequence */
    uint32_t max_logits; /* rows of logits of one eval */
    bool embd_on_disk;   /* the table of embeddings stays on disk, a row is read when its token comes */
};

struct budget_needs {
    uint64_t dense, kv, activations;
    uint64_t batch;          /* of the activations: what only prompts and scoring need */
    uint64_t device;         /* the device's scratch */
    uint64_t cache_overhead; /* tables, ring, catalog */
    uint64_t slots_min;      /* least that the cache can work with */
    uint64_t slots_max;      /* every expert at once */
};

struct budget_wish {
    uint64_t total;
    uint64_t other;                /* binary, libraries, tokenizer, HTTP: measured, plus budget_reserve(total) */
    uint32_t n_ctx, n_seqs, batch; /* 0: choose */
    uint32_t n_ctx_train;
    uint32_t n_vocab;
    bool kv_wide;       /* keys and values would take less as q8_0: the refusal says so */
    const char *option; /* what bounds the total, for the refusal; NULL: "--memory" */
};

struct budget {
    uint64_t total, other;
    struct budget_shape shape;
    struct budget_needs needs;
    uint64_t slots; /* at most slots_max */
};

typedef void (*budget_measure)(const void *ctx, const struct budget_shape *shape, struct budget_needs *ret_needs);

/* Fails with ERR_BUDGET and the least number that works. */
int budget_divide(const struct budget_wish *wish, budget_measure measure, const void *ctx, struct budget *ret_budget,
                  struct err *err);

/* Everything that the division hands out; never above total. */
uint64_t budget_sum(const struct budget *budget);

/* What "other" is beside the memory measured: bodies, streams and stacks not touched yet. */
uint64_t budget_reserve(uint64_t total);

/* So little that the program itself must take less, where that costs some speed. */
bool budget_is_small(uint64_t total);

/* The budget when none was given: of `free` bytes, less a reserve for the rest of the machine. */
uint64_t budget_of_free(uint64_t free_bytes);

#endif
