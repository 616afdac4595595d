/* SPDX-License-Identifier: MIT
 *
 * runtime.h: what the files of the CUDA queue share: the queue itself, and how a CUDA error becomes one of ours.
 */
#ifndef EXPERTD_GPU_CUDA_RUNTIME_H
#define EXPERTD_GPU_CUDA_RUNTIME_H

#include "gpu/queue.h"

enum {
    MAX_NODES = 512,          /* written down before they are submitted */
    PARAMS_BYTES = 1 << 20,   /* of their arguments */
    MAX_GRAPHS = 64,
    GRAPH_MIN = 3,            /* nodes from which a graph is worth it */
    SEEN_SHAPES = 256,
    MAX_COPIES = 256,         /* submitted and not known to have arrived */
    MAX_MARKS = 256,
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
    struct node *nodes; /* as they were last, arguments behind them: one allocation */
    cudaGraphNode_t *handles;
    cudaGraph_t graph; /* what exec was made from: its nodes are named by it */
    cudaGraphExec_t exec;
    uint64_t shape, last_used;
};

/* A ring of events around copies, and one of marks. */
struct copy_entry {
    cudaEvent_t begin, end;
    size_t bytes;
};

struct queue {
    struct err *err;
    int index;
    bool lost;
    char name[96];
    cudaStream_t compute, copy;

    struct node nodes[MAX_NODES];
    uint32_t n_nodes;
    char *params; /* [PARAMS_BYTES] */
    size_t params_used;

    char *stage; /* pinned */
    size_t stage_bytes, stage_used;
    bool stage_stale; /* waited for since: what comes next begins anew */

    bool no_graphs; /* the card or its driver refuses them */
    struct graph graphs[MAX_GRAPHS];
    uint32_t n_graphs;
    uint64_t seen[SEEN_SHAPES]; /* shapes that came once */
    uint64_t n_runs;

    struct copy_entry copies[MAX_COPIES];
    cudaEvent_t marks[MAX_MARKS];
    uint64_t n_tickets, n_marks;
    struct copy_progress progress;
};

/* 0 for success; else the error, with "<doing>: <CUDA's words>". One that outlives the call makes the queue lost. */
int cuda_check(struct queue *q, cudaError_t e, const char *doing);
/* Make the card the calling thread's, unless it is lost. */
int cuda_enter(struct queue *q);

/* queue_graph.cu: submit the nodes as a graph if there is one or it is time to build one. 1: done, 0: launch them one by
 * one, negative: failed. */
int graph_run(struct queue *q);
void graphs_close(struct queue *q);

/* queue_copy.cu */
int copies_open(struct queue *q);
void copies_close(struct queue *q);

#endif
