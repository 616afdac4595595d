/* SPDX-License-Identifier: MIT
 *
 * forward.h: the forward pass: tokens in, logits out, experts through the door.
 *
 * A forward owns the dense weights (resident, locked if permitted), the KV cache of n_seqs sequences of n_ctx
 * positions, and all activations for max_batch tokens; everything is taken at open, nothing on the way of a token. A
 * batch may mix sequences (decode of several clients) and hold many tokens of one (prefill); logits of a token depend
 * on its own sequence alone, bit for bit.
 *
 * Threads: the engine thread only. Errors: a failed eval leaves the KV cache of the positions it was asked to
 * write undefined and everything else as it was; the same positions may be evaluated again.
 */
#ifndef EXPERTD_MODEL_FORWARD_H
#define EXPERTD_MODEL_FORWARD_H

#include "base/err.h"
#include "compute/cpu_device.h"
#include "compute/device.h"
#include "model/experts.h"
#include "model/model.h"
#include "model/sampler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct forward;

/* Called on the engine thread on the way through a layer. For look-ahead, heat, tests. n rows, in the order of the
 * batch's tokens: all of them, but in the last layer only those from the first to the last whose logits are asked for,
 * since nothing depends on the others (none: no call). on_route comes when the router has spoken, before its experts
 * run; where the batch stays on the device (stay_rows), for all layers in order at the end, and there is no on_request.
 */
struct forward_hooks {
    void (*on_route)(void *ctx, uint32_t layer, const float *logits /* host [n, n_experts] f32 */,
                     const uint16_t *ids /* host [n, n_used] */, uint32_t n);
    /* After a layer's missing experts have been asked for and before any expert runs: the moment to look ahead. */
    void (*on_request)(void *ctx, uint32_t layer, uint32_t n);
    void (*on_layer)(void *ctx, uint32_t layer, const float *x /* device [n, n_embd] f32, residual after it */,
                     uint32_t n);
    void *ctx;      /* any hook may be NULL */
    bool no_logits; /* on_route does without (NULL) on a device with memory of its own: that saves a way back */
};

struct forward_options {
    uint32_t n_ctx;      /* positions per sequence */
    uint32_t n_seqs;     /* sequences held at once */
    uint32_t max_batch;  /* most tokens of one eval */
    uint32_t max_logits; /* most rows of logits of one eval */
    enum kv_type kv_type;
    /* On the host: have no memory for keys, values and activations but what forward_hold and forward_hold_batch ask
     * for. Otherwise all of it is there from the start. */
    bool on_demand;
    bool lock; /* mlock the dense weights */
    /* Keep no table of embeddings, but read the rows of a batch's tokens from the file: a read per token, for memory
     * that is scarce. Does nothing where the table is the output, too, or where the device has a memory of its own. */
    bool embd_on_disk;
    /* Most tokens of a batch that stays on the device where that offers it (compute/device_stay.h) and the door says
     * that every expert lies there: then the host waits once for the whole of it. Also most rows of logits of which
     * only the best come back. Changes no bit. 0: never. */
    uint32_t stay_rows;
    uint32_t predict_rows; /* most tokens of a batch for which forward_predict is asked; 0: never */
    /* A CPU device that computes what the door hands out on the host, for batches of at most help_rows tokens, while
     * `device`, whose memory is its own, computes the rest. NULL: everything is computed on `device`. Borrowed. */
    struct device *helper;
    uint32_t help_rows;
    struct forward_hooks hooks;
};

/* Fill in what a CPU device must be opened with to serve this model and these options (max_rows, max_ff and
 * max_expert_rows); the rest is left alone. */
void forward_cpu_options(const struct model *model, const struct forward_options *options,
                         struct cpu_device_options *cpu_options);
/* The same for the helper. */
void forward_helper_options(const struct model *model, const struct forward_options *options,
                            struct cpu_device_options *cpu_options);

/* How a forward's memory divides; bytes, exactly what forward_open takes on this device. `host` is the host's memory
 * beside a device that has its own, and 0 otherwise. */
struct forward_bytes {
    uint64_t dense, kv, activations, host;
    uint64_t batch; /* of the activations: what comes and goes with forward_hold_batch */
};
void forward_measure(const struct model *model, struct device *device, const struct forward_options *options,
                     struct forward_bytes *ret_bytes);

/* Loads dense weights. `on_progress` (may be NULL) hears bytes done of total. model, device and door are borrowed. */
int forward_open(const struct model *model, struct device *device, struct expert_door *door,
                 const struct forward_options *options, void (*on_progress)(void *ctx, uint64_t done, uint64_t total),
                 void *progress_ctx, struct forward **ret_forward, struct err *err);
void forward_close(struct forward *forward);

/* With on_demand: have memory for the keys and values of a sequence's first n positions, at most n_ctx, and for no
 * others, which are forgotten. -ENOMEM when it is not to be had; then as before. Without, there is nothing to do. */
int forward_hold(struct forward *forward, uint32_t seq, uint32_t n_positions, struct err *err);
/* The memory of a sequence for which so many positions are held, bytes. */
uint64_t forward_kv_bytes(const struct forward *forward, uint32_t n_positions);
uint64_t forward_kv_held(const struct forward *forward, uint32_t seq); /* as it is now */
/* With on_demand: have memory for the activations of batches of at most so many tokens with so many rows of logits, and
 * for no larger ones. What forward_eval has lent is gone. -ENOMEM: as before. Without, there is nothing to do. */
int forward_hold_batch(struct forward *forward, uint32_t n_tokens, uint32_t n_logits, struct err *err);
/* Its memory, bytes. */
uint64_t forward_batch_bytes(const struct forward *forward, uint32_t n_tokens, uint32_t n_logits);
uint64_t forward_batch_held(const struct forward *forward); /* as it is now */

/* Consecutive positions of one sequence. */
struct batch_span {
    uint32_t seq;  /* < n_seqs */
    uint32_t pos0; /* positions 0 .. pos0-1 have been evaluated */
    uint32_t n_tokens;
    const int32_t *tokens; /* [n_tokens], each < n_vocab */
    bool all_logits;       /* logits of every token (scoring); otherwise of the last one only */
    bool no_logits;        /* of none (a prompt's inner chunks) */
    uint32_t best;         /* so many of the greatest logits will do; 0: all are wanted */
};

/* Evaluate the spans, at most max_batch tokens together. `ret_logits` lends host memory, valid until the next eval:
 * [rows asked for, in span order] x [n_vocab] f32. `should_stop` (may be NULL) is polled between layers: true ends the
 * eval with ERR_CANCELED. When it is NULL, no rows were asked for, or forward_best has them. */
int forward_eval(struct forward *forward, const struct batch_span *spans, uint32_t n_spans,
                 bool (*should_stop)(void *ctx), void *stop_ctx, const float **ret_logits, struct err *err);

/* Where every row asked for was content with the best and the device could choose them: as many of each, greatest
 * first, the lower token first among equals, [rows, *ret_n], lent until the next eval. Otherwise NULL, and forward_eval
 * has lent all. Whether it can be so is the device's to say: who sets `best` must be prepared for both. */
const struct token_logit *forward_best(const struct forward *forward, uint32_t *ret_n);

/* From on_request alone: the experts that `layer`'s router would choose for the residual stream as it is now, that is
 * without what the layers from the current one on will add. For the current layer the answer is exact. Changes nothing
 * that the pass computes. n at most predict_rows; `ret_ids` lends host [n, n_used], best first, until the next call. */
int forward_predict(struct forward *forward, uint32_t layer, uint32_t n, const uint16_t **ret_ids, struct err *err);

#endif
