/* SPDX-License-Identifier: MIT
 *
 * forward_internal.h: what the files of the forward pass share. See model/forward.h for the pass itself.
 *
 * forward.c evaluates a batch; forward_embed.c is how it begins; forward_layer.c is one layer; forward_moe.c runs a
 * layer's experts through the door; forward_help.c has the CPU take its part of them; forward_stay.c keeps a token on
 * the device where every expert lies there, and brings back what the host is to have; forward_predict.c looks ahead;
 * forward_open.c takes the memory and gives it back.
 */
#ifndef EXPERTD_MODEL_FORWARD_INTERNAL_H
#define EXPERTD_MODEL_FORWARD_INTERNAL_H

#include "compute/device_stay.h"
#include "model/forward.h"
#include "model/forward_arena.h"
#include "model/forward_dense.h"
#include "model/kv.h"

/* The batch being evaluated. */
struct batch {
    const struct batch_span *spans; /* borrowed */
    uint32_t n_spans;
    uint32_t n_tokens;              /* of all spans */
    uint32_t n_rows;                /* of logits */
    uint32_t asked_from, asked_end; /* tokens from the first to past the last whose logits are asked for */
    uint32_t best;                  /* so many of each row are asked for; 0: all */
};

/* Activations. B is max_batch. What holds the experts' outputs has a row per (token, rank) and, behind them, one per
 * token for the shared expert; a dense layer's block uses its first rows. */
struct buffers {
    float *x;             /* device [B, n_embd]: the residual stream */
    float *h;             /* device [B, n_embd]: normed, or an output about to be added */
    float *q, *att;       /* device [B, n_heads * head_dim] */
    float *k, *v;         /* device [B, n_kv_heads * head_dim] */
    float *router;        /* device [B, n_experts] */
    float *shared_router; /* device [B, 1] */
    float *y;             /* device [B * n_used + B, n_embd] */
    float *last;          /* device [max_logits, n_embd]: rows whose logits are asked for */
    float *logits;        /* device [max_logits, n_vocab] */

    uint32_t *pos;      /* host [B] */
    int32_t *tokens;    /* host [B] */
    float *host_router; /* host [B, n_experts]; `router` itself where the device's memory is the host's */
    float *host_logits; /* host [max_logits, n_vocab]; likewise `logits` */
    uint16_t *ids;      /* host [B, n_used]: chosen experts, best first */
    float *weights;     /* host [B, n_used] */
};

/* What a look ahead needs of its own, so as not to disturb the pass. P is predict_rows. */
struct predict {
    float *h;          /* device [P, n_embd] */
    float *router;     /* device [P, n_experts] */
    uint16_t *ids;     /* host [P, n_used] */
    float *weights;    /* host [P, n_used] */
    uint16_t *likely;  /* host [n_experts]: what a prompt's tokens are expected to choose, likeliest first */
    bool *named;       /* host [n_experts]: is among them */
    struct acts *acts; /* owned; NULL when predict_rows is 0 */
};

/* The CPU's part of a layer, beside a device with memory of its own. R is help_rows. */
struct help {
    float *h;          /* host [R, n_embd]: the rows that experts work on */
    float *y;          /* host [R * n_used, n_embd]: the outputs, in rows as of buffers.y */
    bool *written;     /* host [R * n_used]: rows of y that this layer's experts have made */
    bool has_h;        /* h holds this layer's rows */
    struct acts *acts; /* owned, the helper's; NULL without one */
};

enum { EXPERT_MATRICES = 3 };

/* What is needed where the device looks experts up by itself, and for the best of the logits. R is stay_rows, M the
 * number of layers with a router. */
struct stay {
    const void **addresses;      /* device [M, 3, n_experts] */
    const void **host_addresses; /* host, likewise */
    struct expert_table *tables; /* host [M] */
    uint64_t settled;            /* what the door said when the tables were made; 0: there are none */
    bool on;                     /* this batch stays */
    uint16_t *ids;               /* device [M, tokens of the batch (R), n_used]: chosen experts, best first */
    uint16_t *host_ids;
    int32_t *best_ids; /* device [R, best of the batch (TOP_K_MOST)] */
    float *best_values;
    int32_t *host_best_ids;
    float *host_best_values;
    struct token_logit *best; /* host, the two together */
};

/* A layer's work sorted by expert. Expert e has the pairs first[e] .. first[e + 1] - 1 of src and dst. */
struct moe {
    uint32_t *first;            /* host [n_experts + 1] */
    uint32_t *src, *dst;        /* host [B * n_used]: rows of h and of y */
    uint32_t *all, *shared_dst; /* host [B]: 0 .. B-1, and the shared expert's rows of y */
    uint16_t *wanted;           /* host [n_experts]: chosen at least once; rising, or as the door likes them */
    uint16_t *every;            /* host [n_experts]: 0 .. n_experts-1 */
    struct expert_call *calls;  /* host [n_experts]: for the device, from the front */
    struct expert_call *helped; /* host [n_experts]: for the helper, where there is one */
    uint32_t n_helped;
    struct expert_view *views; /* host [n_experts] */
};

struct forward {
    const struct model *model; /* borrowed */
    const struct arch *arch;   /* lent by the model, like hp */
    const struct hparams *hp;
    struct device *device;    /* borrowed */
    struct expert_door *door; /* borrowed */
    struct forward_options options;
    struct arena weights_arena, kv_arena, work_arena; /* device memory */
    struct arena host_arena;
    struct dense dense;
    struct kv kv;
    struct buffers b;
    struct moe moe;
    struct predict predict;
    struct help help;
    struct stay stay;
    size_t work_bytes; /* of work_arena, for the largest batch */
    size_t batch_at;   /* in work_arena: where that begins which depends on the batch */
    size_t batch_held; /* bytes of memory there, where it is on demand */
    uint32_t n_held, n_logits_held; /* tokens and rows of logits for which it is laid out */
    uint32_t best;     /* of each row of the last batch came back so many; 0: all */
    struct acts *acts; /* owned */
    int32_t *embd_ids; /* host [B]: 0 .. B-1, when rows of the embeddings are fetched from the file */
    uint32_t row;      /* of b.x: the first one that the current layer's experts work on */
};

/* Lay out what depends on the batch for so many tokens and rows of logits. */
void forward_lay_batch(struct forward *forward, uint32_t n, uint32_t n_logits);

/* ---- forward_hold.c ---- */

bool forward_on_demand(const struct forward *forward);
unsigned forward_batch_flags(const struct forward *forward); /* for arena_open of work_arena */
/* Where memory is on demand: have what does not depend on the batch, and lay out for none. */
int forward_hold_none(struct forward *forward, struct err *err);
void forward_number_rows(struct forward *forward); /* after laying out for another batch */

/* Take what the device said about its failed operation into err; returns r. */
int forward_device_error(const struct forward *forward, int r, struct err *err);

/* Rows of the table of embeddings in memory when they are fetched as they are needed; 0: all of them. */
uint32_t forward_embd_rows(const struct forward *forward);
/* b.tokens [n] to b.x. */
int forward_embed(struct forward *forward, uint32_t n, struct err *err);

/* One layer over the batch: b.x in, b.x out. Of the last layer only the keys and values are needed for all tokens; what
 * follows is done for those from asked_from to asked_end. */
int forward_layer(struct forward *forward, uint32_t layer, const struct batch *batch, struct err *err);

/* Whether the helper may take experts of a batch of n rows. */
bool forward_may_help(const struct forward *forward, uint32_t n);
/* Fetch the n rows of b.h for the helper, unless it has them. Before the layer's experts are given to the device, or it
 * is them that the host waits for. */
int forward_help_begin(struct forward *forward, uint32_t n, struct err *err);
/* Compute moe.helped, and bring the outputs to b.y. */
int forward_help_run(struct forward *forward, struct err *err);

/* The chosen experts (b.ids) and the shared one over the n rows set in acts; their outputs are added to b.x from `row`
 * on. */
int forward_moe(struct forward *forward, uint32_t layer, uint32_t n, struct err *err);

/* A layer's shared expert, if it has one, over the n rows set in acts: added to b.x from `row` on. */
int forward_shared(struct forward *forward, uint32_t layer, uint32_t n, struct err *err);

/* ---- forward_stay.c ---- */

uint32_t forward_stay_rows(const struct forward *forward); /* 0 where the device offers nothing of the kind */
void forward_stay_lay(struct forward *forward);
/* Decide whether the batch stays (stay.on), and know where the experts lie. */
int forward_stay_begin(struct forward *forward, const struct batch *batch, struct err *err);
/* In the place of route and forward_moe: b.router is to be there, and the n rows in acts. */
int forward_stay_experts(struct forward *forward, uint32_t layer, const struct batch *batch, uint32_t n,
                         struct err *err);
/* How many of each row of logits the device is to choose; 0: all are wanted. */
uint32_t forward_stay_best(const struct forward *forward, const struct batch *batch);
/* Choices and logits, or the best of them, to the host: the one wait. Returns what the device did. */
int forward_bring(struct forward *forward, const struct batch *batch);
/* Tell the door and the hook what was chosen. */
int forward_stay_end(struct forward *forward, const struct batch *batch, struct err *err);

/* Reads go on while a layer's other half is computed. */
static inline void forward_poll(const struct forward *f)
{
    if (f->door->ops->poll != NULL)
        f->door->ops->poll(f->door);
}

#endif
