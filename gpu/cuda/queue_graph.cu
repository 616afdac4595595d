/* SPDX-License-Identifier: MIT
 *
 * queue_graph.cu: runs of kernels as graphs.
 *
 * A run's shape is which kernels it has, in which order. A shape that comes a second time is made a graph; when it
 * comes again, the nodes whose arguments or grids differ from the last time are set anew, and the graph is launched: one
 * call for dozens of kernels. In a decode the shapes are those of the layers, so all graphs are there after two tokens.
 * A card that refuses graphs gets kernels one by one.
 */
#include "gpu/cuda/runtime.h"

extern "C" {
#include "base/mem.h"
}

#include <string.h>

static uint64_t shape_of(const struct queue *q)
{
    uint64_t h = 0xcbf29ce484222325u ^ q->n_nodes;

    for (uint32_t i = 0; i < q->n_nodes; i++)
        h = (h ^ (uint64_t)(uintptr_t)q->nodes[i].spec.kernel) * 0x100000001b3u + (h >> 29);
    return h != 0 ? h : 1;
}

static bool fits(const struct graph *g, const struct queue *q)
{
    if (g->n_nodes != q->n_nodes)
        return false;
    for (uint32_t i = 0; i < q->n_nodes; i++)
        if (g->nodes[i].spec.kernel != q->nodes[i].spec.kernel)
            return false;
    return true;
}

static struct graph *find(struct queue *q, uint64_t shape)
{
    for (uint32_t i = 0; i < q->n_graphs; i++)
        if (q->graphs[i].shape == shape && fits(&q->graphs[i], q))
            return &q->graphs[i];
    return NULL;
}

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
                       cudaGraphNode_t *ret_handle)
{
    void *args[1];
    struct cudaKernelNodeParams p;

    if (node->spec.kernel == NULL)
        return cudaGraphAddMemcpyNode1D(ret_handle, graph, before, before != NULL, node->dst, node->src, node->bytes,
                                        cudaMemcpyDefault);
    p = kernel_params(&node->spec, args);
    return cudaGraphAddKernelNode(ret_handle, graph, before, before != NULL, &p);
}

static cudaError_t set(const struct graph *g, uint32_t i)
{
    const struct node *node = &g->nodes[i];
    void *args[1];
    struct cudaKernelNodeParams p;

    if (node->spec.kernel == NULL)
        return cudaGraphExecMemcpyNodeSetParams1D(g->exec, g->handles[i], node->dst, node->src, node->bytes,
                                                  cudaMemcpyDefault);
    p = kernel_params(&node->spec, args);
    return cudaGraphExecKernelNodeSetParams(g->exec, g->handles[i], &p);
}

static bool same_spec(const struct launch_spec *a, const struct launch_spec *b)
{
    return memcmp(a->grid, b->grid, sizeof(a->grid)) == 0 && a->n_threads == b->n_threads &&
           a->shared_bytes == b->shared_bytes && a->params_bytes == b->params_bytes &&
           (a->params_bytes == 0 || memcmp(a->params, b->params, a->params_bytes) == 0);
}

/* What differs from the last time. A kernel's arguments are of one size: they have room where the last ones were. */
static cudaError_t update(struct graph *g, const struct queue *q)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        struct node *old = &g->nodes[i];
        const struct node *now = &q->nodes[i];
        void *params = (void *)old->spec.params;
        cudaError_t e;

        if (old->dst == now->dst && old->src == now->src && old->bytes == now->bytes && same_spec(&old->spec, &now->spec))
            continue;
        if (now->spec.params_bytes > 0)
            memcpy(params, now->spec.params, now->spec.params_bytes);
        *old = *now;
        old->spec.params = params;
        e = set(g, i);
        if (e != cudaSuccess)
            return e;
    }
    return cudaSuccess;
}

static void graph_close(struct graph *g)
{
    if (g->exec != NULL)
        cudaGraphExecDestroy(g->exec);
    if (g->graph != NULL)
        cudaGraphDestroy(g->graph);
    mem_free(g->nodes);
    memset(g, 0, sizeof(*g));
}

/* Nodes and arguments as they are now, and handles: one allocation, owned by g->nodes. */
static bool keep(struct graph *g, const struct queue *q)
{
    size_t nodes = q->n_nodes * sizeof(struct node), handles = q->n_nodes * sizeof(cudaGraphNode_t);
    char *p = (char *)mem_zalloc(nodes + handles + q->params_used);

    if (p == NULL)
        return false;
    g->n_nodes = q->n_nodes;
    g->nodes = (struct node *)p;
    g->handles = (cudaGraphNode_t *)(p + nodes);
    memcpy(g->nodes, q->nodes, nodes);
    memcpy(p + nodes + handles, q->params, q->params_used);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].spec.kernel != NULL)
            g->nodes[i].spec.params =
                p + nodes + handles + ((const char *)q->nodes[i].spec.params - (const char *)q->params);
    return true;
}

static cudaError_t build(struct graph *g, const struct queue *q)
{
    cudaError_t e = keep(g, q) ? cudaGraphCreate(&g->graph, 0) : cudaErrorMemoryAllocation;

    for (uint32_t i = 0; i < g->n_nodes && e == cudaSuccess; i++)
        e = add(g->graph, &g->nodes[i], i > 0 ? &g->handles[i - 1] : NULL, &g->handles[i]);
    return e == cudaSuccess ? cudaGraphInstantiate(&g->exec, g->graph, 0) : e;
}

/* Room for one more: the one that was used longest ago goes. */
static struct graph *take(struct queue *q)
{
    struct graph *oldest = &q->graphs[0];

    if (q->n_graphs < MAX_GRAPHS)
        return &q->graphs[q->n_graphs++];
    for (uint32_t i = 1; i < q->n_graphs; i++)
        if (q->graphs[i].last_used < oldest->last_used)
            oldest = &q->graphs[i];
    graph_close(oldest);
    return oldest;
}

static bool seen_before(struct queue *q, uint64_t shape)
{
    uint64_t *at = &q->seen[shape % SEEN_SHAPES];
    bool seen = *at == shape;

    *at = shape;
    return seen;
}

/* Graphs are no need: what is refused is done without them. */
static int give_up(struct queue *q, cudaError_t e)
{
    int r = cuda_check(q, e, "running a graph");

    q->no_graphs = true;
    return r == ERR_DEVICE ? r : 0;
}

int graph_run(struct queue *q)
{
    uint64_t shape;
    struct graph *g;
    cudaError_t e = cudaSuccess;

    q->n_runs++;
    if (q->no_graphs || q->n_nodes < GRAPH_MIN)
        return 0;
    shape = shape_of(q);
    g = find(q, shape);
    if (g == NULL) {
        if (!seen_before(q, shape))
            return 0;
        g = take(q);
        e = build(g, q);
        g->shape = shape;
    } else {
        e = update(g, q);
    }
    if (e == cudaSuccess)
        e = cudaGraphLaunch(g->exec, q->compute);
    if (e != cudaSuccess)
        return give_up(q, e);
    g->last_used = q->n_runs;
    return 1;
}

void graphs_close(struct queue *q)
{
    for (uint32_t i = 0; i < q->n_graphs; i++)
        graph_close(&q->graphs[i]);
    q->n_graphs = 0;
}
