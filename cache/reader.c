/* SPDX-License-Identifier: MIT */
#include "cache/reader.h"

#include "base/arith.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NONE UINT32_MAX
#define REAP_MAX 32
#define AGAIN_MAX 1000 /* EINTR and EAGAIN in a row, before they count as errors */

/* Range r of slot s is queue entry s * EXPERT_PARTS + r. */
struct entry {
    uint32_t prev, next; /* in its queue */
    uint64_t pos;        /* bytes of the range that have been cut into pieces */
    bool queued;
};

struct queue {
    uint32_t first, last;
};

struct job {
    struct extent extent;
    char *data;
    uint32_t in_flight; /* pieces */
    uint32_t n_queued;  /* entries */
    int code;
    bool active;
    bool ended; /* waits in reader.ended for on_end */
    enum reader_priority priority;
    uint64_t failed_offset; /* where, when code is an error */
    uint32_t failed_file;
};

struct piece {
    uint32_t slot, file;
    uint64_t offset; /* in the file */
    uint32_t bytes, wanted;
    char *dst;
    uint32_t n_errors, n_again;
    uint32_t drive;
};

struct reader {
    struct reader_options options;
    uint32_t depth;
    struct queue queue[READER_PRIORITIES];
    struct entry *entries; /* [n_slots * EXPERT_PARTS] */
    struct job *jobs;      /* [n_slots] */
    struct piece *pieces;  /* [depth] */
    uint32_t *free_pieces; /* stack of n_free_pieces */
    uint64_t busy_from_ns; /* 0: nothing is in flight */
    uint32_t n_free_pieces;
    uint32_t on_drive[FILES_DRIVES]; /* pieces in flight */
    struct io_read *batch;           /* [depth] */
    uint32_t *ended;                 /* [n_slots] ring of jobs that on_end has not heard of */
    uint32_t ended_head, n_ended;
    struct reader_counts counts;
};

static void queue_remove(struct reader *r, struct queue *q, uint32_t i)
{
    struct entry *e = &r->entries[i];

    *(e->prev != NONE ? &r->entries[e->prev].next : &q->first) = e->next;
    *(e->next != NONE ? &r->entries[e->next].prev : &q->last) = e->prev;
    e->queued = false;
}

/* Put behind `after`; NONE: in front. */
static void queue_insert(struct reader *r, struct queue *q, uint32_t i, uint32_t after)
{
    struct entry *e = &r->entries[i];

    e->prev = after;
    e->next = after != NONE ? r->entries[after].next : q->first;
    *(e->prev != NONE ? &r->entries[e->prev].next : &q->first) = i;
    *(e->next != NONE ? &r->entries[e->next].prev : &q->last) = i;
    e->queued = true;
}

/* By part, a range other than a job's last stands before the last ranges that wait. */
static void queue_put(struct reader *r, struct queue *q, uint32_t i)
{
    const struct job *job = &r->jobs[i / EXPERT_PARTS];
    uint32_t after = q->last;

    if (r->options.by_part && i % EXPERT_PARTS + 1 < job->extent.n_ranges)
        while (after != NONE && after % EXPERT_PARTS + 1 == r->jobs[after / EXPERT_PARTS].extent.n_ranges)
            after = r->entries[after].prev;
    queue_insert(r, q, i, after);
}

void reader_add(struct reader *reader, uint32_t slot, const struct extent *extent, void *data,
                enum reader_priority priority)
{
    struct job *job = &reader->jobs[slot];

    job->extent = *extent;
    job->data = data;
    job->in_flight = 0;
    job->n_queued = extent->n_ranges;
    job->code = 0;
    job->active = true;
    job->ended = false;
    job->priority = priority;
    for (uint32_t i = 0; i < extent->n_ranges; i++) {
        reader->entries[slot * EXPERT_PARTS + i].pos = 0;
        queue_put(reader, &reader->queue[priority], slot * EXPERT_PARTS + i);
    }
}

void reader_promote(struct reader *reader, uint32_t slot, enum reader_priority priority)
{
    struct job *job = &reader->jobs[slot];
    enum reader_priority before = job->priority;

    if (!job->active || before <= priority)
        return;
    job->priority = priority;
    for (uint32_t i = slot * EXPERT_PARTS; i < (slot + 1) * EXPERT_PARTS; i++)
        if (reader->entries[i].queued) {
            queue_remove(reader, &reader->queue[before], i);
            queue_put(reader, &reader->queue[priority], i);
        }
}

static void job_unqueue(struct reader *r, uint32_t slot)
{
    struct job *job = &r->jobs[slot];

    for (uint32_t i = slot * EXPERT_PARTS; i < (slot + 1) * EXPERT_PARTS; i++)
        if (r->entries[i].queued)
            queue_remove(r, &r->queue[job->priority], i);
    job->n_queued = 0;
}

static void job_describe(const struct reader *r, const struct job *job, struct err *err)
{
    const char *path = files_path(r->options.files, job->failed_file);

    if (job->code == ERR_CHANGED)
        err_set(err, job->code, "file '%s' ends at or before offset %" PRIu64 ": it was cut short while in use", path,
                job->failed_offset);
    else if (job->code != 0 && job->code != -ECANCELED)
        err_sys(err, -job->code, "reading '%s' at offset %" PRIu64 " failed twice", path, job->failed_offset);
}

static void job_end(struct reader *r, uint32_t slot)
{
    struct job *job = &r->jobs[slot];
    struct err err = { 0 };

    job->active = job->ended = false;
    job_describe(r, job, &err);
    r->options.on_end(r->options.ctx, slot, job->code, &err);
}

/* on_end takes its time (checksums): it is called only once the drive has been given more to do. */
static void job_end_later(struct reader *r, uint32_t slot)
{
    r->jobs[slot].ended = true;
    r->ended[(r->ended_head + r->n_ended++) % r->options.n_slots] = slot;
}

/* The first one that somebody waits for, or else the first, comes to the head: whether somebody waits for it. */
static bool ended_sort(struct reader *r)
{
    uint32_t *head = &r->ended[r->ended_head];

    for (uint32_t i = 1; i < r->n_ended && r->jobs[*head].priority != READER_DEMAND; i++) {
        uint32_t *other = &r->ended[(r->ended_head + i) % r->options.n_slots], first = *head;

        if (r->jobs[*other].priority == READER_DEMAND) {
            *head = *other;
            *other = first;
        }
    }
    return r->jobs[*head].priority == READER_DEMAND;
}

static uint32_t ended_take(struct reader *r)
{
    uint32_t slot = r->ended[r->ended_head];

    r->ended_head = (r->ended_head + 1) % r->options.n_slots;
    r->n_ended--;
    return slot;
}

void reader_drop(struct reader *reader, uint32_t slot)
{
    struct job *job = &reader->jobs[slot];

    if (!job->active)
        return;
    job->code = -ECANCELED;
    job_unqueue(reader, slot);
    if (job->in_flight == 0 && !job->ended)
        job_end(reader, slot);
}

bool reader_arrived(const struct reader *reader, uint32_t slot)
{
    return reader->jobs[slot].ended && reader->jobs[slot].code == 0;
}

/* The first failure stands; what of the job has not begun is forgotten. */
static void job_fail(struct reader *r, const struct piece *piece, int code)
{
    struct job *job = &r->jobs[piece->slot];

    job_unqueue(r, piece->slot);
    if (job->code != 0)
        return;
    job->code = code;
    job->failed_file = piece->file;
    job->failed_offset = piece->offset;
}

static void piece_send(struct reader *r, uint32_t id, size_t *n_batch)
{
    const struct piece *p = &r->pieces[id];

    r->batch[(*n_batch)++] =
        (struct io_read){ .dst = p->dst, .offset = p->offset, .bytes = p->bytes, .file = p->file, .tag = id };
}

static uint32_t drive_of(const struct reader *r, uint32_t i)
{
    return r->options.files->drive[r->jobs[i / EXPERT_PARTS].extent.range[i % EXPERT_PARTS].file];
}

/* The range to cut from next. */
static uint32_t queue_pick(const struct reader *r, const struct queue *q)
{
    uint32_t best = q->first;

    for (uint32_t i = best; i != NONE && r->options.files->n_drives > 1; i = r->entries[i].next)
        if (r->on_drive[drive_of(r, i)] < r->on_drive[drive_of(r, best)])
            best = i;
    return best;
}

static void piece_cut(struct reader *r, struct queue *q, size_t *n_batch)
{
    uint32_t i = queue_pick(r, q), slot = i / EXPERT_PARTS, id = r->free_pieces[--r->n_free_pieces];
    struct job *job = &r->jobs[slot];
    const struct extent_range *range = &job->extent.range[i % EXPERT_PARTS];
    uint64_t pos = r->entries[i].pos, bytes = u64_min(range->bytes - pos, r->options.piece_bytes);

    r->pieces[id] = (struct piece){
        .slot = slot,
        .file = range->file,
        .offset = range->offset + pos,
        .bytes = (uint32_t)bytes,
        .wanted = (uint32_t)u64_min(bytes, range->wanted - pos),
        .dst = job->data + range->at + pos,
        .drive = drive_of(r, i),
    };
    r->entries[i].pos = pos + bytes;
    if (r->entries[i].pos >= range->wanted) {
        queue_remove(r, q, i);
        job->n_queued--;
    }
    job->in_flight++;
    r->on_drive[r->pieces[id].drive]++;
    piece_send(r, id, n_batch);
}

/* Half of the depth, demand in flight counted: enough to keep the drive busy while the engine computes, and demand, in
 * flight or to come, does not share the drive with more. */
static bool hint_room(const struct reader *r)
{
    return r->depth - r->n_free_pieces < (r->depth + 1) / 2;
}

/* A range waits for a drive that has the least in flight; by part, all must be known to be put in order. */
static bool is_fed(const struct reader *r, const struct queue *q)
{
    uint32_t first = queue_pick(r, q), on_drive = first != NONE ? r->on_drive[drive_of(r, first)] : 0;

    if (first == NONE || r->options.by_part)
        return false;
    for (uint32_t d = 0; d < r->options.files->n_drives; d++)
        if (r->on_drive[d] < on_drive)
            return false;
    return true;
}

static bool has_next(struct reader *r, enum reader_priority priority)
{
    const struct queue *q = &r->queue[priority];

    while (r->options.on_room != NULL && !is_fed(r, q) && r->options.on_room(r->options.ctx, priority))
        ;
    return q->first != NONE;
}

static void submit_room(struct reader *r)
{
    size_t n = 0;

    while (r->n_free_pieces > 0 && has_next(r, READER_DEMAND))
        piece_cut(r, &r->queue[READER_DEMAND], &n);
    for (int p = READER_HINT; p <= READER_FAR; p++)
        while (hint_room(r) && has_next(r, (enum reader_priority)p))
            piece_cut(r, &r->queue[p], &n);
    if (n > 0)
        r->options.io->ops->submit(r->options.io, r->batch, n);
}

/* What to do with a piece that came back: 0 it is complete, 1 send it again, negative it failed. */
static int piece_judge(struct reader *r, struct piece *p, int32_t result)
{
    uint64_t kept;

    if ((result == -EINTR || result == -EAGAIN) && ++p->n_again < AGAIN_MAX)
        return 1;
    if (result < 0) {
        r->counts.retries += p->n_errors == 0;
        return p->n_errors++ == 0 ? 1 : result;
    }
    if ((uint32_t)result >= p->wanted)
        return 0;
    kept = u64_align_down((uint32_t)result, r->options.files->block);
    if (result == 0 || (kept == 0 && p->n_errors++ > 0))
        return ERR_CHANGED;
    p->offset += kept;
    p->dst += kept;
    p->bytes -= (uint32_t)kept;
    p->wanted -= (uint32_t)kept;
    return 1;
}

static void piece_end(struct reader *r, const struct io_done *done, size_t *n_again)
{
    struct piece *p = &r->pieces[done->tag];
    struct job *job = &r->jobs[p->slot];
    int verdict = piece_judge(r, p, done->result);
    uint32_t slot = p->slot;

    if (done->result > 0)
        r->counts.bytes[job->priority] += (uint32_t)done->result;
    if (verdict > 0 && job->code == 0) {
        piece_send(r, done->tag, n_again);
        return;
    }
    if (verdict < 0)
        job_fail(r, p, verdict);
    r->on_drive[p->drive]--;
    r->free_pieces[r->n_free_pieces++] = done->tag;
    if (--job->in_flight == 0 && job->n_queued == 0)
        job_end_later(r, slot);
}

/* Note when the drive has something to do and when it no longer has. */
static void busy_note(struct reader *r)
{
    bool busy = r->n_free_pieces < r->depth;

    if (busy && r->busy_from_ns == 0) {
        r->busy_from_ns = clock_ns();
    } else if (!busy && r->busy_from_ns != 0) {
        r->counts.busy_ns += clock_ns() - r->busy_from_ns;
        r->busy_from_ns = 0;
    }
}

/* Take what has ended and keep the drive busy; waits only with something in flight. */
static int pieces_turn(struct reader *r, bool wait, struct err *err)
{
    struct io *io = r->options.io;
    struct io_done done[REAP_MAX];
    int n;

    submit_room(r);
    busy_note(r);
    if (r->n_free_pieces == r->depth)
        return 0;
    do {
        size_t n_again = 0;

        n = io->ops->reap(io, done, REAP_MAX, wait);
        if (n < 0)
            return err_sys(err, -n, "waiting for reads (%s)", io->name);
        for (int i = 0; i < n; i++)
            piece_end(r, &done[i], &n_again);
        if (n_again > 0)
            io->ops->submit(io, r->batch, n_again);
        submit_room(r);
        wait = false;
    } while (n == REAP_MAX);
    busy_note(r);
    return 0;
}

int reader_poll(struct reader *reader, struct err *err)
{
    return pieces_turn(reader, false, err);
}

int reader_pump(struct reader *reader, bool wait, struct err *err)
{
    int rc = pieces_turn(reader, wait && reader->n_ended == 0, err);
    bool served = false;

    while (rc == 0 && reader->n_ended > 0) {
        bool wanted = ended_sort(reader);

        if (served && !wanted)
            return 0;
        served |= wanted;
        job_end(reader, ended_take(reader));
        rc = pieces_turn(reader, false, err);
    }
    return rc;
}

void reader_rebuffer(struct reader *reader, const struct iovec *buffers)
{
    struct io *io = reader->options.io;

    if (io->ops->rebuffer != NULL)
        io->ops->rebuffer(io, buffers);
}

void reader_tune(struct reader *reader, uint32_t piece_bytes, uint32_t depth)
{
    reader->options.piece_bytes = piece_bytes;
    reader->depth = reader->n_free_pieces = depth < reader->options.io->depth ? depth : reader->options.io->depth;
    for (uint32_t i = 0; i < reader->depth; i++)
        reader->free_pieces[i] = i;
}

struct io *reader_io(struct reader *reader)
{
    return reader->options.io;
}

bool reader_idle(const struct reader *reader)
{
    bool queued = false;

    for (int p = 0; p < READER_PRIORITIES; p++)
        queued |= reader->queue[p].first != NONE;
    return !queued && reader->n_free_pieces == reader->depth && reader->n_ended == 0;
}

void reader_counts(const struct reader *reader, struct reader_counts *ret_counts)
{
    *ret_counts = reader->counts;
}

int reader_open(const struct reader_options *options, struct reader **ret_reader, struct err *err)
{
    struct reader *r = mem_zalloc(sizeof(*r));

    if (r == NULL) {
        options->io->ops->close(options->io);
        return err_sys(err, ENOMEM, "reader");
    }
    r->options = *options;
    r->depth = r->n_free_pieces = options->io->depth;
    for (int p = 0; p < READER_PRIORITIES; p++)
        r->queue[p] = (struct queue){ .first = NONE, .last = NONE };
    r->entries = mem_calloc((size_t)options->n_slots * EXPERT_PARTS, sizeof(*r->entries));
    r->jobs = mem_calloc(options->n_slots, sizeof(*r->jobs));
    r->pieces = mem_calloc(r->depth, sizeof(*r->pieces));
    r->free_pieces = mem_calloc(r->depth, sizeof(*r->free_pieces));
    r->batch = mem_calloc(r->depth, sizeof(*r->batch));
    r->ended = mem_calloc(options->n_slots, sizeof(*r->ended));
    if (r->entries == NULL || r->jobs == NULL || r->pieces == NULL || r->free_pieces == NULL || r->batch == NULL ||
        r->ended == NULL) {
        reader_close(r);
        return err_sys(err, ENOMEM, "reader");
    }
    for (uint32_t i = 0; i < r->depth; i++)
        r->free_pieces[i] = i;
    *ret_reader = r;
    return 0;
}

void reader_close(struct reader *reader)
{
    if (reader == NULL)
        return;
    reader->options.io->ops->close(reader->options.io);
    mem_free(reader->ended);
    mem_free(reader->batch);
    mem_free(reader->free_pieces);
    mem_free(reader->pieces);
    mem_free(reader->jobs);
    mem_free(reader->entries);
    mem_free(reader);
}
