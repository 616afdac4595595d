/* SPDX-License-Identifier: MIT
 *
 * queue.cc: gpu/queue.h on the host. Launches and copies are carried out at queue_run and not before, as far as the
 * order allows, so that a host array that is read too late shows. See queue_emu.h for what tests may ask for.
 */
#include "gpu/device.h"
#include "gpu/queue_common.h"

extern "C" {
#include "base/mem.h"
#include "emu/queue_emu.h"
}

#include <errno.h>
#include <string.h>

struct queue {
    struct queue_common common;
    uint64_t memory_used;
    uint64_t tickets, marks;
    struct copy_progress progress;
    bool lost;
};

static struct emu_faults faults = { .fail_call = -1, .memory_bytes = (uint64_t)1 << 40, .lost = false };
static struct emu_counts counts;

void emu_set_faults(const struct emu_faults *f)
{
    faults = *f;
}

void emu_get_counts(struct emu_counts *ret_counts)
{
    *ret_counts = counts;
}

/* Every call of the runtime, of which a test may have the n-th fail. */
static int call(struct queue *q)
{
    counts.calls++;
    if (q->lost)
        return err_set(q->common.err, ERR_DEVICE, "the emulated card is lost");
    if (faults.fail_call < 0 || faults.fail_call-- > 0)
        return 0;
    q->lost = faults.lost;
    return faults.lost ? err_set(q->common.err, ERR_DEVICE, "the emulated card is lost")
                       : err_set(q->common.err, -EIO, "a call that a test made fail");
}

int queue_open(uint32_t index, size_t stage_bytes, struct err *err, struct queue **ret_queue)
{
    struct queue *q = (struct queue *)mem_zalloc(sizeof(*q));
    int r;

    if (q == NULL)
        return err_set(err, -ENOMEM, "no memory for a queue");
    r = queue_common_open(&q->common, stage_bytes, err);
    q->common.stage = (char *)machine_alloc(stage_bytes);
    if (r >= 0)
        r = q->common.stage == NULL ? err_set(err, -ENOMEM, "no memory to stage %zu bytes", stage_bytes) : call(q);
    if (r < 0) {
        queue_close(q);
        return r;
    }
    *ret_queue = q;
    return 0;
}

void queue_close(struct queue *q)
{
    queue_common_close(&q->common);
    if (q->common.stage != NULL)
        machine_free(q->common.stage);
    counts.leaked_bytes += q->memory_used;
    mem_free(q);
}

int card_check(struct queue *q)
{
    return call(q);
}

int card_enter(struct queue *q)
{
    return call(q);
}

void card_stage_begins(struct queue *q)
{
    memset(q->common.stage, 0xff, q->common.stage_used); /* whoever still reads it shows */
}

static int node_run(struct queue *q, const struct node *node)
{
    const struct launch_spec *s = &node->spec;
    struct machine_launch launch = { s->kernel, s->params,     s->call, { s->grid[0], s->grid[1], s->grid[2] },
                                     s->n_threads, s->shared_bytes };
    const char *why;

    if (s->kernel == NULL) {
        memcpy(node->dst, node->src, node->bytes);
        return 0;
    }
    counts.kernels++;
    if (machine_run(&launch, &why) < 0) {
        q->lost = true;
        return err_set(q->common.err, ERR_DEVICE, "a kernel failed: %s", why);
    }
    return 0;
}

int card_submit(struct queue *q, const struct node *node)
{
    counts.alone++;
    return node_run(q, node);
}

static int node_keep(struct queue *q, struct node *kept, const struct node *node)
{
    void *params = (void *)kept->spec.params;

    if (params == NULL && node->spec.kernel != NULL && (params = mem_alloc(node->spec.params_bytes)) == NULL)
        return err_set(q->common.err, -ENOMEM, "no memory for a graph");
    if (params != NULL)
        memcpy(params, node->spec.params, node->spec.used_bytes);
    *kept = *node;
    kept->spec.params = params;
    return 0;
}

int card_wait(struct queue *)
{
    counts.waits++;
    return 0;
}

/* Its own copy of the nodes' arguments, as a card has: what is not set anew stays as it was. */
struct card_graph {
    uint32_t n_nodes;
    struct node *nodes;
};

int card_graph_make(struct queue *q, const struct graph *g, struct card_graph **ret_card)
{
    struct card_graph *card = (struct card_graph *)mem_zalloc(sizeof(*card));
    int r = call(q);

    if (r < 0 || card == NULL || (card->nodes = (struct node *)mem_calloc(g->n_nodes, sizeof(*g->nodes))) == NULL) {
        mem_free(card);
        return r < 0 ? r : err_set(q->common.err, -ENOMEM, "no memory for a graph");
    }
    *ret_card = card;
    counts.graphs++;
    for (card->n_nodes = 0; card->n_nodes < g->n_nodes && r >= 0; card->n_nodes++)
        r = node_keep(q, &card->nodes[card->n_nodes], &g->nodes[card->n_nodes]);
    return r;
}

int card_graph_set(struct queue *q, const struct graph *g, uint32_t i)
{
    int r = call(q);

    return r < 0 ? r : node_keep(q, &g->card->nodes[i], &g->nodes[i]);
}

int card_graph_run(struct queue *q, const struct graph *g)
{
    int r = call(q);

    for (uint32_t i = 0; i < g->card->n_nodes && r >= 0; i++)
        r = node_run(q, &g->card->nodes[i]);
    counts.graph_runs++;
    return r;
}

void card_graph_drop(struct card_graph *card)
{
    for (uint32_t i = 0; i < card->n_nodes; i++)
        mem_free((void *)card->nodes[i].spec.params);
    mem_free(card->nodes);
    mem_free(card);
}

int queue_alloc(struct queue *q, size_t bytes, void **ret_p)
{
    int r = call(q);
    void *p;

    if (r < 0)
        return r;
    if (bytes > faults.memory_bytes || q->memory_used > faults.memory_bytes - bytes ||
        (p = machine_alloc(bytes > 0 ? bytes : 1)) == NULL)
        return err_set(q->common.err, -ENOMEM, "no memory for %zu bytes on the card", bytes);
    q->memory_used += bytes;
    *ret_p = p;
    return 0;
}

void queue_free(struct queue *q, void *p, size_t bytes)
{
    queue_run(q);
    if (machine_free(p) < 0)
        counts.overruns++;
    q->memory_used -= bytes;
}

int queue_upload(struct queue *q, void *dst, const void *src, size_t bytes)
{
    int r = queue_run(q);

    if (r >= 0)
        memcpy(dst, src, bytes);
    return r;
}

int queue_download(struct queue *q, void *dst, const void *src, size_t bytes)
{
    int r = queue_wait(q);

    if (r >= 0)
        memcpy(dst, src, bytes);
    return r;
}

int queue_memory(struct queue *q, uint64_t *ret_free, uint64_t *ret_total)
{
    int r = call(q);

    *ret_total = faults.memory_bytes;
    *ret_free = faults.memory_bytes - q->memory_used;
    return r;
}

int queue_pin(struct queue *q, void *, size_t)
{
    return call(q);
}

void queue_unpin(struct queue *, void *, size_t)
{
}

int queue_submit(struct queue *q, enum copy_way, const struct device_copy *parts, uint32_t n, uint64_t *ret_ticket)
{
    int r = queue_run(q);

    for (uint32_t i = 0; i < n && r >= 0; i++) {
        memcpy(parts[i].dst, parts[i].src, parts[i].bytes);
        q->progress.bytes += parts[i].bytes;
    }
    if (r >= 0)
        *ret_ticket = q->progress.done = ++q->tickets;
    return r;
}

int queue_compute_after(struct queue *q, uint64_t ticket)
{
    return ticket > q->tickets ? err_set(q->common.err, -EINVAL, "no such copy") : call(q);
}

int queue_mark(struct queue *q, uint64_t *ret_mark)
{
    int r = queue_run(q);

    if (r >= 0)
        *ret_mark = ++q->marks;
    return r;
}

int queue_copy_after(struct queue *q, uint64_t mark)
{
    return mark > q->marks ? err_set(q->common.err, -EINVAL, "no such mark") : call(q);
}

int queue_poll(struct queue *q, struct copy_progress *ret_progress)
{
    int r = call(q);

    if (r >= 0)
        *ret_progress = q->progress;
    return r;
}

int queue_wait_copy(struct queue *q, uint64_t ticket)
{
    return ticket > q->tickets ? err_set(q->common.err, -EINVAL, "no such copy") : call(q);
}

const char *queue_card_name(const struct queue *)
{
    return "emulated";
}

extern "C" int emu_device_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    return gpu_device_open(options, ret_device, err);
}

extern "C" size_t emu_device_bytes(const struct gpu_options *options)
{
    return gpu_device_bytes(options);
}
