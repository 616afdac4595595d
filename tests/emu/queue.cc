/* SPDX-License-Identifier: MIT
 *
 * queue.cc: gpu/queue.h on the host. Launches and copies are carried out at queue_run and not before, as far as the
 * order allows, so that a host array that is read too late shows. See queue_emu.h for what tests may ask for.
 */
#include "gpu/device.h"

extern "C" {
#include "base/mem.h"
#include "emu/queue_emu.h"
}

#include <errno.h>
#include <string.h>

enum { MAX_NODES = 4096, PARAM_BYTES = 4 << 20 };

struct node {
    struct launch_spec spec; /* kernel NULL: a copy */
    void *dst;
    const void *src;
    size_t bytes;
};

struct queue {
    struct err *err;
    struct node nodes[MAX_NODES];
    uint32_t n_nodes;
    alignas(16) char params[PARAM_BYTES];
    size_t params_used;
    char *stage;
    size_t stage_bytes, stage_used;
    bool stage_stale; /* waited for since: what comes next begins anew */
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
        return err_set(q->err, ERR_DEVICE, "the emulated card is lost");
    if (faults.fail_call < 0 || faults.fail_call-- > 0)
        return 0;
    q->lost = faults.lost;
    return faults.lost ? err_set(q->err, ERR_DEVICE, "the emulated card is lost")
                       : err_set(q->err, -EIO, "a call that a test made fail");
}

int queue_open(uint32_t index, size_t stage_bytes, struct err *err, struct queue **ret_queue)
{
    struct queue *q = (struct queue *)mem_zalloc(sizeof(*q));
    int r;

    if (q == NULL)
        return err_set(err, -ENOMEM, "no memory for a queue");
    q->err = err;
    q->stage_bytes = stage_bytes;
    q->stage = (char *)machine_alloc(stage_bytes);
    r = q->stage == NULL ? err_set(err, -ENOMEM, "no memory to stage %zu bytes", stage_bytes) : call(q);
    if (r < 0) {
        queue_close(q);
        return r;
    }
    *ret_queue = q;
    return 0;
}

void queue_close(struct queue *q)
{
    if (q->stage != NULL)
        machine_free(q->stage);
    counts.leaked_bytes += q->memory_used;
    mem_free(q);
}

static struct node *node_add(struct queue *q, int *ret_r)
{
    *ret_r = q->n_nodes == MAX_NODES ? queue_run(q) : call(q);
    if (*ret_r < 0)
        return NULL;
    memset(&q->nodes[q->n_nodes], 0, sizeof(q->nodes[0]));
    return &q->nodes[q->n_nodes++];
}

int queue_launch(struct queue *q, const struct launch_spec *spec)
{
    struct node *node;
    int r = 0;

    if (q->params_used + spec->params_bytes + 16 > PARAM_BYTES)
        r = queue_run(q);
    if (r < 0 || (node = node_add(q, &r)) == NULL)
        return r;
    node->spec = *spec;
    node->spec.params = memcpy(q->params + q->params_used, spec->params, spec->params_bytes);
    q->params_used += (spec->params_bytes + 15) / 16 * 16;
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
    size_t room = (bytes + 15) / 16 * 16;
    int r;

    if (room > q->stage_bytes)
        return err_set(q->err, -EINVAL, "%zu bytes to stage, where %zu fit", bytes, q->stage_bytes);
    if (room > q->stage_bytes - q->stage_used && (r = queue_wait(q)) < 0)
        return r;
    if (q->stage_stale) {
        memset(q->stage, 0xff, q->stage_used); /* whoever still reads it shows */
        q->stage_used = 0;
        q->stage_stale = false;
    }
    *ret_p = q->stage + q->stage_used;
    q->stage_used += room;
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
        return err_set(q->err, ERR_DEVICE, "a kernel failed: %s", why);
    }
    return 0;
}

int queue_run(struct queue *q)
{
    int r = call(q);

    for (uint32_t i = 0; i < q->n_nodes && r >= 0; i++)
        r = node_run(q, &q->nodes[i]);
    q->n_nodes = 0;
    q->params_used = 0;
    return r;
}

int queue_wait(struct queue *q)
{
    int r = queue_run(q);

    counts.waits++;
    q->stage_stale = true;
    return r;
}

int queue_alloc(struct queue *q, size_t bytes, void **ret_p)
{
    int r = call(q);
    void *p;

    if (r < 0)
        return r;
    if (bytes > faults.memory_bytes || q->memory_used > faults.memory_bytes - bytes ||
        (p = machine_alloc(bytes > 0 ? bytes : 1)) == NULL)
        return err_set(q->err, -ENOMEM, "no memory for %zu bytes on the card", bytes);
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
    return ticket > q->tickets ? err_set(q->err, -EINVAL, "no such copy") : call(q);
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
    return mark > q->marks ? err_set(q->err, -EINVAL, "no such mark") : call(q);
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
    return ticket > q->tickets ? err_set(q->err, -EINVAL, "no such copy") : call(q);
}

const char *queue_card_name(const struct queue *)
{
    return "emulated";
}

extern "C" int emu_device_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    return gpu_device_open(options, ret_device, err);
}
