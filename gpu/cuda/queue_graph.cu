/* SPDX-License-Identifier: MIT
 *
 * queue_graph.cu: a run of nodes as a CUDA graph; which runs these are, gpu/queue_common.cu decides.
 */
#include "gpu/cuda/runtime.h"

extern "C" {
#include "base/mem.h"
}

#include <errno.h>

struct card_graph {
    cudaGraph_t graph; /* what exec was made from: its nodes are named by it */
    cudaGraphExec_t exec;
    cudaGraphNode_t nodes[]; /* as many as the run has */
};

static struct cudaKernelNodeParams kernel_params(const struct launch_spec *s, void *args[1])
{
    struct cudaKernelNodeParams p = {};

    args[0] = (void *)s->params;
    p.func = (void *)s->kernel;
    p.gridDim = dim3(s->grid[0], s->grid[1], s->grid[2]);
    p.blockDim = dim3(s->n_threads);
    p.sharedMemBytes = s->shared_bytes;
    p.kernelParams = args;
    return p;
}

static cudaError_t add(cudaGraph_t graph, const struct node *node, const cudaGraphNode_t *before,
                       cudaGraphNode_t *ret_node)
{
    void *args[1];
    struct cudaKernelNodeParams p;

    if (node->spec.kernel == NULL)
        return cudaGraphAddMemcpyNode1D(ret_node, graph, before, before != NULL, node->dst, node->src, node->bytes,
                                        cudaMemcpyDefault);
    p = kernel_params(&node->spec, args);
    return cudaGraphAddKernelNode(ret_node, graph, before, before != NULL, &p);
}

int card_graph_make(struct queue *q, const struct graph *g, struct card_graph **ret_card)
{
    struct card_graph *card = (struct card_graph *)mem_zalloc(sizeof(*card) + g->n_nodes * sizeof(card->nodes[0]));
    cudaError_t e;

    if (card == NULL)
        return err_set(q->common.err, -ENOMEM, "no memory for a graph");
    *ret_card = card;
    e = cudaGraphCreate(&card->graph, 0);
    for (uint32_t i = 0; i < g->n_nodes && e == cudaSuccess; i++)
        e = add(card->graph, &g->nodes[i], i > 0 ? &card->nodes[i - 1] : NULL, &card->nodes[i]);
    if (e == cudaSuccess)
        e = cudaGraphInstantiate(&card->exec, card->graph, 0);
    return cuda_check(q, e, "making a graph");
}

int card_graph_set(struct queue *q, const struct graph *g, uint32_t i)
{
    const struct node *node = &g->nodes[i];
    void *args[1];
    struct cudaKernelNodeParams p;
    cudaError_t e;

    if (node->spec.kernel == NULL) {
        e = cudaGraphExecMemcpyNodeSetParams1D(g->card->exec, g->card->nodes[i], node->dst, node->src, node->bytes,
                                               cudaMemcpyDefault);
    } else {
        p = kernel_params(&node->spec, args);
        e = cudaGraphExecKernelNodeSetParams(g->card->exec, g->card->nodes[i], &p);
    }
    return cuda_check(q, e, "changing a graph");
}

int card_graph_run(struct queue *q, const struct graph *g)
{
    return cuda_check(q, cudaGraphLaunch(g->card->exec, q->compute), "running a graph");
}

void card_graph_drop(struct card_graph *card)
{
    if (card->exec != NULL)
        cudaGraphExecDestroy(card->exec);
    if (card->graph != NULL)
        cudaGraphDestroy(card->graph);
    mem_free(card);
}
