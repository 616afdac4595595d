/* SPDX-License-Identifier: MIT
 *
 * queue_common.h: what every implementation of gpu/queue.h has in common: launches and copies are written down, staged
 * memory is handed out, and runs that come again become graphs. What a card itself is asked for are the functions named
 * card_*, which CUDA (gpu/cuda/queue.cu) and the emulated card (tests/emu/queue.cc) have each for themselves.
 *
 * A run's shape is which kernels it has, in which order. A shape that comes a second time is made a graph; when it
 * comes again, the nodes whose arguments or grids differ from the last time are set anew, and the graph is launched:
 * one call for hundreds of kernels. In a decode the shapes are those of the layers, or of the whole token where nothing
 * has to be asked of the host in between, so all graphs are there after two tokens. A card that refuses graphs gets
 * kernels one by one.
 */
#ifndef EXPERTD_GPU_QUEUE_COMMON_H
#define EXPERTD_GPU_QUEUE_COMMON_H

#include "gpu/queue.h"

enum {
    MAX_NODES = 4096,      /* written down before they are submitted: a token of 128 layers */
    NODE_PARAMS = 4 << 20, /* bytes of their arguments */
    MAX_GRAPHS = 64,
    GRAPH_MIN = 3, /* nodes from which a graph is worth it */
    SEEN_SHAPES = 256,
};

/* A launch, or with kernel NULL a copy. */
struct node {
    struct launch_spec spec;
    void *dst;
    const void *src;
    size_t bytes;
};

/* A run of nodes as the card has it. */
struct graph {
    uint32_t n_nodes;
    struct node *nodes;      /* as they were last, arguments behind them: one allocation */
    struct card_graph *card; /* owned; NULL: not made */
    uint64_t shape, last_used;
};

/* The first member of struct queue. */
struct queue_common {
    struct err *err;
    struct node nodes[MAX_NODES];
    uint32_t n_nodes;
    char *params; /* [NODE_PARAMS] */
    size_t params_used;
    char *stage; /* the card's to take and give back: both can read it */
    size_t stage_bytes, stage_used;
    bool stage_stale; /* waited for since: what comes next begins anew */
    bool no_graphs;   /* the card or its driver refuses them */
    struct graph graphs[MAX_GRAPHS];
    uint32_t n_graphs;
    uint64_t seen[SEEN_SHAPES]; /* shapes that came once */
    uint64_t n_runs, n_graph_runs;
};

int queue_common_open(struct queue_common *common, size_t stage_bytes, struct err *err); /* `stage` is left alone */
void queue_common_close(struct queue_common *common);

/* 0, or negative with a sentence in common.err. */
int card_check(struct queue *queue); /* is it still there? at every launch: costs nothing */
int card_enter(struct queue *queue); /* the same, before the card is asked for something */
int card_submit(struct queue *queue, const struct node *node);
int card_wait(struct queue *queue);          /* for the compute stream */
void card_stage_begins(struct queue *queue); /* what was staged is no longer read by anybody */
/* A graph of g->nodes, one after the other; node i has changed; launch. */
int card_graph_make(struct queue *queue, const struct graph *g, struct card_graph **ret_card);
int card_graph_set(struct queue *queue, const struct graph *g, uint32_t i);
int card_graph_run(struct queue *queue, const struct graph *g);
void card_graph_drop(struct card_graph *card);

#endif
