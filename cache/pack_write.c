/* SPDX-License-Identifier: MIT */
#include "cache/pack_write.h"

#include "base/arith.h"
#include "base/mem.h"
#include "cache/cache.h"
#include "cache/pack.h"
#include "cache/pack_file.h"
#include "cache/sum.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BATCH 8 /* experts asked for at once: enough to keep a drive busy */
#define CHECKPOINT_BYTES (64UL << 20)
#define ROUNDS 2 /* of writing what did not read back */

struct pack_writer {
    const struct expert_layout *layout;
    const struct pack_write_options *options;
    struct pack *pack;           /* as it will be; its sums are of the model's bytes, read by this run */
    struct pack_file file;       /* PATH.part */
    struct catalog_sum *in_part; /* [n_keys] what PATH.part says of its records */
    bool *todo;                  /* [n_keys] */
    uint8_t *record;             /* one being put together */
    uint64_t unsynced;           /* bytes written since the last checkpoint */
    uint64_t done, total;
    uint32_t n_kept;
    bool begun; /* in_part is what the file says */
};

static uint32_t n_keys(const struct pack_writer *w)
{
    return w->layout->n_layers * w->layout->n_experts;
}

static bool stop_asked(const struct pack_writer *w, enum pack_phase phase, uint64_t done, uint64_t total)
{
    return w->options->on_progress != NULL && w->options->on_progress(w->options->ctx, phase, done, total);
}

/* ---- from the model ---- */

/* The record in memory as it will stand in the file, and its checksum. */
static void record_make(struct pack_writer *w, const struct pack_layer *layer, const struct expert_layer_layout *from,
                        const struct expert_view *view, struct catalog_sum *ret_sum)
{
    const struct weight *weight[EXPERT_PARTS] = { &view->gate, &view->up, &view->down };
    struct expert_bytes expert;

    memset(w->record, 0, layer->record_bytes);
    for (int p = 0; p < EXPERT_PARTS; p++) {
        memcpy(w->record + layer->part_at[p], weight[p]->data, from->part[p].part_bytes);
        expert.data[p] = w->record + layer->part_at[p];
        expert.bytes[p] = from->part[p].part_bytes;
    }
    sum_expert(&expert, NULL, ret_sum);
}

/* First the records, then the table that names them. */
static int checkpoint(struct pack_writer *w, struct err *err)
{
    int rc = pack_file_sync(&w->file, err);

    if (rc == 0)
        rc = pack_file_write(&w->file, w->in_part, n_keys(w) * sizeof(*w->in_part), w->pack->sums_at, err);
    if (rc == 0)
        w->unsynced = 0;
    return rc;
}

static int expert_take(struct pack_writer *w, uint32_t layer_index, const struct expert_view *view, struct err *err)
{
    uint32_t key = layer_index * w->layout->n_experts + view->expert;
    const struct pack_layer *layer = &w->pack->layers[layer_index];
    struct extent extent;
    int rc;

    record_make(w, layer, &w->layout->layers[layer_index], view, &w->pack->sums[key]);
    w->done += layer->record_bytes;
    if (memcmp(&w->in_part[key], &w->pack->sums[key], sizeof(w->in_part[key])) == 0) {
        w->n_kept++;
        return 0;
    }
    pack_extent(w->pack, key, 0, &extent);
    rc = pack_file_write(&w->file, w->record, layer->record_bytes, extent.range[0].offset, err);
    if (rc < 0)
        return rc;
    w->in_part[key] = w->pack->sums[key];
    w->unsynced += layer->record_bytes;
    return w->unsynced >= CHECKPOINT_BYTES ? checkpoint(w, err) : 0;
}

/* Reading of the next ones goes on while these are written. */
struct batch {
    uint16_t ids[BATCH], next[BATCH];
    size_t n, n_next;
};

static int batch_take(struct pack_writer *w, struct expert_door *door, uint32_t layer_index, const struct batch *batch,
                      struct err *err)
{
    uint32_t layer = w->layout->layers[layer_index].layer;
    struct expert_view view;
    size_t index;
    int rc = door->ops->request(door, layer, batch->ids, batch->n, err), taken = 0;

    if (rc < 0)
        return rc;
    door->ops->hint(door, layer, batch->next, batch->n_next);
    while (taken == 0 && (rc = door->ops->next(door, &index, &view, err)) > 0) {
        taken = expert_take(w, layer_index, &view, err);
        door->ops->release(door, &view);
    }
    if (rc < 0 || taken < 0)
        door->ops->abandon(door);
    return taken < 0 ? taken : rc;
}

/* The next experts of a layer that are to be done. */
static size_t ids_find(const struct pack_writer *w, uint32_t layer_index, uint32_t *expert, uint16_t *ids, size_t max)
{
    size_t n = 0;

    for (; *expert < w->layout->n_experts && n < max; ++*expert)
        if (w->todo[(size_t)layer_index * w->layout->n_experts + *expert])
            ids[n++] = (uint16_t)*expert;
    return n;
}

static int records_write(struct pack_writer *w, struct cache *cache, struct err *err)
{
    struct expert_door *door = cache_door(cache);
    size_t max = u64_max(u64_min(BATCH, door->max_request / 2), 1); /* the other half: the next ones */

    for (uint32_t i = 0; i < w->layout->n_layers; i++)
        for (uint32_t expert = 0, ahead; expert < w->layout->n_experts;) {
            struct batch batch;
            int rc;

            batch.n = ids_find(w, i, &expert, batch.ids, max);
            ahead = expert;
            batch.n_next = ids_find(w, i, &ahead, batch.next, max);
            rc = batch.n > 0 ? batch_take(w, door, i, &batch, err) : 0;
            if (rc < 0)
                return rc;
            if (stop_asked(w, PACK_WRITING, w->done, w->total))
                return err_set(err, ERR_CANCELED, "stopped");
        }
    return 0;
}

static int model_copy(struct pack_writer *w, struct err *err)
{
    struct cache_options options;
    struct cache *cache;
    int rc;

    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(w->layout) * 2;
    options.catalog_dir = w->options->catalog_dir;
    options.io_mode = IO_DIRECT;
    rc = cache_open(w->layout, &options, &cache, err);
    if (rc < 0)
        return rc;
    rc = records_write(w, cache, err);
    cache_close(cache);
    if (rc == 0)
        return checkpoint(w, err);
    if (w->unsynced > 0)
        checkpoint(w, NULL); /* whatever ended it, the next run may use what is there */
    return rc;
}

/* ---- from the pack ---- */

static bool on_checked(void *ctx, uint64_t done, uint64_t total)
{
    return stop_asked(ctx, PACK_CHECKING, done, total);
}

/* Read back from the drive what was written there; what differs is to be done again. Their number, or an error. */
static int records_check(struct pack_writer *w, struct err *err)
{
    uint64_t n_bad = 0;
    int rc;

    w->pack->fd = w->file.fd; /* lent for the time */
    rc = cache_verify_pack(w->layout, w->pack, w->options->catalog_dir, on_checked, w, w->todo, &n_bad, err);
    w->pack->fd = -1;
    if (rc != ERR_CHECKSUM || n_bad == 0)
        return rc;
    for (uint32_t key = 0; key < n_keys(w); key++)
        if (w->todo[key])
            memset(&w->in_part[key], 0, sizeof(w->in_part[key]));
    return (int)u64_min(n_bad, INT32_MAX);
}

static uint64_t todo_bytes(const struct pack_writer *w)
{
    uint64_t bytes = 0;

    for (uint32_t key = 0; key < n_keys(w); key++)
        bytes += w->todo[key] ? w->pack->layers[key / w->layout->n_experts].record_bytes : 0;
    return bytes;
}

static int records_complete(struct pack_writer *w, struct err *err)
{
    int rc = 0;

    for (uint32_t key = 0; key < n_keys(w); key++)
        w->todo[key] = true;
    for (int round = 0; round < ROUNDS; round++) {
        w->done = 0;
        w->total = todo_bytes(w);
        rc = model_copy(w, err);
        if (rc == 0)
            rc = records_check(w, err);
        if (rc <= 0)
            return rc;
        w->n_kept -= u64_min(w->n_kept, (uint64_t)rc);
    }
    return err_set(err, -EIO,
                   "'%.250s': %d experts read back differently from what was written, twice: the drive is "
                   "damaged",
                   w->file.part, rc);
}

static int header_complete(struct pack_writer *w, struct err *err)
{
    uint8_t *header = mem_alloc(w->pack->header_bytes);
    int rc;

    if (header == NULL)
        return err_sys(err, ENOMEM, "header");
    pack_header(w->pack, true, header);
    rc = pack_file_write(&w->file, header, w->pack->header_bytes, 0, err);
    mem_free(header);
    return rc < 0 ? rc : pack_file_sync(&w->file, err);
}

/* ---- the whole ---- */

static int writer_alloc(struct pack_writer *w, struct err *err)
{
    uint64_t record_max = 0;

    for (uint32_t i = 0; i < w->layout->n_layers; i++)
        record_max = u64_max(record_max, w->pack->layers[i].record_bytes);
    w->in_part = mem_calloc(n_keys(w), sizeof(*w->in_part));
    w->todo = mem_calloc(n_keys(w), sizeof(*w->todo));
    w->record = mem_alloc(record_max);
    return w->in_part == NULL || w->todo == NULL || w->record == NULL ? err_sys(err, ENOMEM, "pack") : 0;
}

/* Take over what an earlier run wrote, or begin: a header that names nothing yet. */
static int part_begin(struct pack_writer *w, struct err *err)
{
    uint64_t bytes = w->pack->header_bytes;
    uint8_t *header = mem_zalloc(bytes);
    int rc = 0;

    if (header == NULL)
        return err_sys(err, ENOMEM, "header");
    w->begun = true;
    if (pack_file_read(&w->file, header, bytes, 0) && pack_resume(w->pack, header)) {
        memcpy(w->in_part, w->pack->sums, n_keys(w) * sizeof(*w->in_part));
        rc = pack_file_allocate(&w->file, w->pack->file_bytes, err);
    } else {
        rc = pack_file_empty(&w->file, err);
        if (rc == 0)
            rc = pack_file_allocate(&w->file, w->pack->file_bytes, err);
        pack_header(w->pack, false, header);
        if (rc == 0)
            rc = pack_file_write(&w->file, header, bytes, 0, err);
    }
    mem_free(header);
    return rc;
}

static int write_all(struct pack_writer *w, struct err *err)
{
    int rc = part_begin(w, err);

    if (rc == 0)
        rc = records_complete(w, err);
    if (rc == 0)
        rc = header_complete(w, err);
    if (rc == 0)
        rc = pack_model_unchanged(w->layout, err);
    return rc == 0 ? pack_file_publish(&w->file, err) : rc;
}

/* What becomes of PATH.part after a failure, and what the user may do. */
static int end_badly(struct pack_writer *w, int rc, struct err *err)
{
    bool useful = false;

    if (!w->begun) /* nothing of it was looked at or touched */
        return rc;
    for (uint32_t key = 0; key < n_keys(w); key++)
        useful = useful || memcmp(&w->in_part[key], &(struct catalog_sum){ 0 }, sizeof(struct catalog_sum)) != 0;
    if (!useful || rc == ERR_CHANGED) {
        pack_file_remove(&w->file);
        return rc;
    }
    if (err != NULL && !w->file.published) {
        struct err why = *err;

        err_set(err, rc, "%.300s; what is written is kept in '%.120s': the same command goes on from there", why.text,
                w->file.part);
    }
    return rc;
}

static int write_locked(struct pack_writer *w, struct err *err)
{
    int rc = writer_alloc(w, err);

    if (rc == 0)
        rc = write_all(w, err);
    if (rc < 0)
        end_badly(w, rc, err);
    return rc;
}

int pack_write(const struct expert_layout *layout, const struct pack_write_options *options,
               struct pack_written *ret_written, struct err *err)
{
    struct pack_writer w = { .layout = layout, .options = options };
    struct pack_written written = { .n_experts = layout->n_layers * layout->n_experts };
    int rc = pack_plan(options->path, layout, &w.pack, err);

    if (rc == 0)
        rc = pack_file_open(&w.file, layout, options, &written.existed, err);
    if (rc == 0 && !written.existed) {
        rc = write_locked(&w, err);
        pack_file_close(&w.file);
    }
    if (rc == 0) {
        written.n_kept = w.n_kept;
        written.file_bytes = w.pack->file_bytes;
        *ret_written = written;
    }
    pack_close(w.pack);
    mem_free(w.record);
    mem_free(w.todo);
    mem_free(w.in_part);
    return rc;
}
