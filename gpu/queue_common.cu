/* SPDX-License-Identifier: MIT */
#include "gpu/queue_common.h"

extern "C" {
#include "base/mem.h"
}

#include <errno.h>
#include <string.h>

static struct queue_common *of(struct queue *q)
{
    return (struct queue_common *)q; /* its first member */
}

int queue_common_open(struct queue_common *c, size_t stage_bytes, struct err *err)
{
    c->err = err;
    c->stage_bytes = stage_bytes;
    c->params = (char *)mem_alloc(NODE_PARAMS);
    return c->params != NULL ? 0 : err_set(err, -ENOMEM, "no memory for the GPU's queue");
}

static void graph_close(struct graph *g)
{
    if (g->card != NULL)
        card_graph_drop(g->card);
    mem_free(g->nodes);
    memset(g, 0, sizeof(*g));
}

void queue_common_close(struct queue_common *c)
{
    for (uint32_t i = 0; i < c->n_graphs; i++)
        graph_close(&c->graphs[i]);
    mem_free(c->params);
}

/* ---- writing down ---- */

static struct node *node_add(struct queue *q, int *ret_r)
{
    struct queue_common *c = of(q);

    *ret_r = card_check(q);
    if (*ret_r >= 0 && c->n_nodes == MAX_NODES)
        *ret_r = queue_run(q);
    if (*ret_r < 0)
        return NULL;
    memset(&c->nodes[c->n_nodes], 0, sizeof(c->nodes[0]));
    return &c->nodes[c->n_nodes++];
}

int queue_launch(struct queue *q, const struct launch_spec *spec)
{
    struct queue_common *c = of(q);
    struct node *node;
    int r = 0;

    if (c->params_used + spec->params_bytes + 16 > NODE_PARAMS)
        r = queue_run(q);
    if (r < 0 || (node = node_add(q, &r)) == NULL)
        return r;
    node->spec = *spec;
    node->spec.params = memcpy(c->params + c->params_used, spec->params, spec->used_bytes);
    c->params_used += (spec->params_bytes + 15) / 16 * 16;
    return 0;
}

int queue_copy(struct queue *q, void *dst, const void *src, size_t bytes)
{
    int r;
    struct node *node = node_add(q, &r);

    if (node == NULL)
        return r;
    node->dst = dst;
    node->src = src;
    node->bytes = bytes;
    return 0;
}

int queue_stage_room(struct queue *q, size_t bytes, void **ret_p)
{
    struct queue_common *c = of(q);
    size_t room = (bytes + 15) / 16 * 16;
    int r;

    if (room > c->stage_bytes)
        return err_set(c->err, -EINVAL, "%zu bytes to stage, where %zu fit", bytes, c->stage_bytes);
    if (!c->stage_stale && room > c->stage_bytes - c->stage_used && (r = queue_wait(q)) < 0)
        return r;
    if (c->stage_stale) {
        card_stage_begins(q);
        c->stage_used = 0;
        c->stage_stale = false;
    }
    *ret_p = c->stage + c->stage_used;
    c->stage_used += room;
    return 0;
}

int queue_stage(struct queue *q, const void *src, size_t bytes, const void **ret_p)
{
    void *p;
    int r = queue_stage_room(q, bytes, &p);

    if (r >= 0)
        *ret_p = memcpy(p, src, bytes);
    return r;
}

/* ---- graphs ---- */

static uint64_t shape_of(const struct queue_common *c)
{
    uint64_t h = 0xcbf29ce484222325u ^ c->n_nodes;

    for (uint32_t i = 0; i < c->n_nodes; i++)
        h = (h ^ (uint64_t)(uintptr_t)c->nodes[i].spec.kernel) * 0x100000001b3u + (h >> 29);
    return h != 0 ? h : 1;
}

static bool fits(const struct graph *g, const struct queue_common *c)
{
    if (g->n_nodes != c->n_nodes)
        return false;
    for (uint32_t i = 0; i < c->n_nodes; i++)
        if (g->nodes[i].spec.kernel != c->nodes[i].spec.kernel)
            return false;
    return true;
}

static struct graph *find(struct queue_common *c, uint64_t shape)
{
    for (uint32_t i = 0; i < c->n_graphs; i++)
        if (c->graphs[i].shape == shape && fits(&c->graphs[i], c))
            return &c->graphs[i];
    return NULL;
}

static bool same_spec(const struct launch_spec *a, const struct launch_spec *b)
{
    return memcmp(a->grid, b->grid, sizeof(a->grid)) == 0 && a->n_threads == b->n_threads &&
           a->shared_bytes == b->shared_bytes && a->used_bytes == b->used_bytes &&
           (a->used_bytes == 0 || memcmp(a->params, b->params, a->used_bytes) == 0);
}

/* What differs from the last time. A kernel's arguments are of one size: they have room where the last ones were. */
static int update(struct queue *q, struct graph *g)
{
    const struct queue_common *c = of(q);

    for (uint32_t i = 0; i < g->n_nodes; i++) {
        struct node *old = &g->nodes[i];
        const struct node *now = &c->nodes[i];
        void *params = (void *)old->spec.params;
        int r;

        if (old->dst == now->dst && old->src == now->src && old->bytes == now->bytes && same_spec(&old->spec, &now->spec))
            continue;
        if (now->spec.used_bytes > 0)
            memcpy(params, now->spec.params, now->spec.used_bytes);
        *old = *now;
        old->spec.params = params;
        r = card_graph_set(q, g, i);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Nodes and arguments as they are now: one allocation, owned by g->nodes. */
static int keep(struct graph *g, const struct queue_common *c)
{
    size_t nodes = c->n_nodes * sizeof(struct node);
    char *p = (char *)mem_zalloc(nodes + c->params_used);

    if (p == NULL)
        return err_set(c->err, -ENOMEM, "no memory for a graph");
    g->n_nodes = c->n_nodes;
    g->nodes = (struct node *)p;
    memcpy(g->nodes, c->nodes, nodes);
    memcpy(p + nodes, c->params, c->params_used);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].spec.kernel != NULL)
            g->nodes[i].spec.params = p + nodes + ((const char *)c->nodes[i].spec.params - (const char *)c->params);
    return 0;
}

/* Room for one more: the one that was used longest ago goes. */
static struct graph *take(struct queue_common *c)
{
    struct graph *oldest = &c->graphs[0];

    if (c->n_graphs < MAX_GRAPHS)
        return &c->graphs[c->n_graphs++];
    for (uint32_t i = 1; i < c->n_graphs; i++)
        if (c->graphs[i].last_used < oldest->last_used)
            oldest = &c->graphs[i];
    graph_close(oldest);
    return oldest;
}

static bool seen_before(struct queue_common *c, uint64_t shape)
{
    uint64_t *at = &c->seen[shape % SEEN_SHAPES];
    bool seen = *at == shape;

    *at = shape;
    return seen;
}

/* The graph of the nodes, new or brought up to date; NULL when they are to go one by one. */
static struct graph *graph_of(struct queue *q, int *ret_r)
{
    struct queue_common *c = of(q);
    uint64_t shape = shape_of(c);
    struct graph *g = find(c, shape);

    if (g != NULL) {
        *ret_r = update(q, g);
        if (*ret_r >= 0 || *ret_r == ERR_DEVICE)
            return g;
        graph_close(g); /* what cannot be brought up to date is made anew, if it comes again */
        *ret_r = 0;
        return NULL;
    }
    if (!seen_before(c, shape))
        return NULL;
    g = take(c);
    *ret_r = keep(g, c);
    if (*ret_r >= 0)
        *ret_r = card_graph_make(q, g, &g->card);
    g->shape = shape;
    return g;
}

/* 1: done, 0: launch them one by one, negative: failed. Graphs are no need: what is refused is done without them. */
static int graph_run(struct queue *q)
{
    struct queue_common *c = of(q);
    struct graph *g;
    int r = 0;

    if (c->no_graphs || c->n_nodes < GRAPH_MIN)
        return 0;
    g = graph_of(q, &r);
    if (g == NULL)
        return 0;
    if (r >= 0)
        r = card_graph_run(q, g);
    g->last_used = c->n_runs;
    if (r < 0) {
        c->no_graphs = true;
        return r == ERR_DEVICE ? r : 0;
    }
    c->n_graph_runs++;
    return 1;
}

/* ---- carrying out ---- */

int queue_run(struct queue *q)
{
    struct queue_common *c = of(q);
    int r = card_enter(q), by_graph = 0;

    if (r >= 0 && c->n_nodes > 0) {
        c->n_runs++;
        r = by_graph = graph_run(q);
    }
    for (uint32_t i = 0; i < c->n_nodes && r >= 0 && by_graph == 0; i++)
        r = card_submit(q, &c->nodes[i]);
    c->n_nodes = 0;
    c->params_used = 0;
    return r < 0 ? r : 0;
}

int queue_wait(struct queue *q)
{
    int r = queue_run(q);

    if (r >= 0)
        r = card_wait(q);
    of(q)->stage_stale = true;
    return r;
}
