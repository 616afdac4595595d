/* SPDX-License-Identifier: MIT */
#include "daemon/engine_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EVENT_SLOTS 128
#define EVENT_SLOTS_SMALL 32
#define REST_MS 5000
#define RESTS 24

void engine_publish(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->shown = e->totals;
    pthread_mutex_unlock(&e->lock);
}

void engine_emit(struct engine *e)
{
    struct job *job = e->event.job;
    bool last = e->event.kind == EVENT_DONE;

    /* A closed queue means that nobody listens any more. */
    if (!queue_push(&e->events, &e->event) && last)
        job_unref(job);
}

static void show_sequence(const struct engine *e, const struct sequence *seq, struct sequence_snapshot *shown)
{
    const struct writer *w = &e->writers[seq->index];

    if (!seq->job) {
        shown->id = 0;
        return;
    }
    *shown = (struct sequence_snapshot){ .id = seq->job->id,
                                         .writing = seq->state == SEQUENCE_WRITING,
                                         .paused = atomic_load(&seq->job->paused),
                                         .n_read = seq->n_held < seq->job->prompt.n ? seq->n_held
                                                                                    : (uint32_t)seq->job->prompt.n,
                                         .figures = w->figures,
                                         .started_ns = w->started_ns,
                                         .pid = seq->job->pid,
                                         .uid = seq->job->uid };
    if (w->first_ns)
        shown->figures.write_ns = clock_ns() - w->first_ns;
}

/* An expert that lies on the GPU was found as well as one in RAM. */
static void read_stats(struct engine *e, struct cache_stats *ret_cache)
{
    cache_stats(e->cache, ret_cache);
    if (!e->tier)
        return;
    tier_stats(e->tier, &e->totals.tier);
    ret_cache->hits += e->totals.tier.hits;
}

static void publish_all(struct engine *e)
{
    struct engine_snapshot *t = &e->totals;

    t->n_seqs = e->scheduler.shape.n_seqs;
    t->n_active = 0;
    t->n_waiting = e->scheduler.n_waiting;
    t->warming = e->warmup != NULL;
    t->lent_held = e->held;
    t->kv_held = engine_kv_held(e);
    read_stats(e, &t->cache);
    cache_drive(e->cache, &t->drive);
    if (t->cache.pack_bad && !e->said_pack) {
        e->said_pack = true;
        log_warning("%s", cache_pack_note(e->cache));
    }
    if (e->lookahead)
        lookahead_stats(e->lookahead, &t->lookahead);
    for (uint32_t i = 0; i < t->n_seqs; i++) {
        show_sequence(e, &e->scheduler.seqs[i], &t->seqs[i]);
        t->n_active += t->seqs[i].id != 0;
    }
    engine_publish(e);
}

/* --- a step --- */

static bool should_stop(void *ctx)
{
    struct engine *e = ctx;
    const struct scheduler *s = &e->scheduler;
    bool all = true;

    atomic_store(&e->alive_ns, clock_ns());
    engine_fit_slots(e);
    if (atomic_load(&e->stopping))
        return true;
    for (uint32_t i = 0; i < s->n_spans; i++) {
        bool cancelled = atomic_load(&s->span_seqs[i]->job->cancelled);

        /* A prompt that nobody waits for any more is not read to the end of its chunk; the others' token is done again.
         */
        if (cancelled && s->spans[i].n_tokens > 1)
            return true;
        all = all && cancelled;
    }
    return all;
}

static void fail_step(struct engine *e, int code, const struct err *err)
{
    struct scheduler *s = &e->scheduler;

    for (uint32_t i = 0; i < s->n_spans; i++) {
        struct sequence *seq = s->span_seqs[i];

        writer_done(e, seq->job, &e->writers[seq->index], FINISH_ERROR, code, err_text(err));
        scheduler_release(s, seq);
    }
}

static void share_figures(struct engine *e, const struct cache_stats *before, const struct cache_stats *after)
{
    const struct scheduler *s = &e->scheduler;

    for (uint32_t i = 0; i < s->n_spans; i++) {
        struct job_figures *f = &e->writers[s->span_seqs[i]->index].figures;

        f->hits += after->hits - before->hits;
        f->misses += after->misses - before->misses;
        f->bytes_read += after->bytes_read + after->hint_bytes - before->bytes_read - before->hint_bytes;
    }
}

/* Where a few of the greatest logits decide the next token, the others need not come back from a GPU. */
static void want_best(struct engine *e)
{
    struct scheduler *s = &e->scheduler;

    for (uint32_t i = 0; i < s->n_spans; i++) {
        const struct job *job = s->span_seqs[i]->job;

        s->spans[i].best = job->n_logprobs < 0 ? sampler_enough(job->sampler) : 0;
    }
}

static void step(struct engine *e)
{
    struct scheduler *s = &e->scheduler;
    struct cache_stats before, after;
    struct err err = { 0 };
    struct logits_rows rows;
    uint64_t start = clock_ns();
    int r;

    read_stats(e, &before);
    want_best(e);
    r = engine_hold(e, &err);
    if (r == 0)
        r = forward_eval(e->forward, s->spans, s->n_spans, should_stop, e, &rows.all, &err);
    read_stats(e, &after);
    share_figures(e, &before, &after);
    if (r == ERR_CANCELED || (r == -ENOMEM && engine_give_vram_back(e, &err)))
        return;
    if (r < 0) {
        fail_step(e, r, &err);
        if (r == ERR_DEVICE)
            engine_recover(e, &err);
        return;
    }
    if (e->lookahead)
        lookahead_on_pass(e->lookahead, s->n_tokens, clock_ns() - start);
    e->n_rests = 0;
    e->totals.steps++;
    e->totals.step_ns += clock_ns() - start;
    scheduler_commit(s, clock_ns() - start);
    rows.best = forward_best(e->forward, &rows.n_best);
    rows.n_vocab = model_hparams(e->service->model)->n_vocab;
    for (uint32_t i = 0; i < s->n_spans; i++) {
        writer_take(e, s->span_seqs[i], &s->spans[i], &rows);
        rows = rows_from(&rows, scheduler_span_rows(&s->spans[i]));
    }
}

/* --- the thread --- */

static void drop_cancelled(struct engine *e)
{
    struct scheduler *s = &e->scheduler;

    for (uint32_t i = 0; i < s->n_waiting;) {
        struct job *job = s->waiting[(s->first_waiting + i) % s->max_waiting];

        if (atomic_load(&job->cancelled))
            writer_done(e, scheduler_withdraw(s, i), NULL, FINISH_ERROR, ERR_CANCELED, "canceled");
        else
            i++;
    }
    for (uint32_t i = 0; i < s->shape.n_seqs; i++) {
        struct sequence *seq = &s->seqs[i];

        if (!seq->job || !atomic_load(&seq->job->cancelled))
            continue;
        writer_done(e, seq->job, &e->writers[i], FINISH_ERROR, ERR_CANCELED, "canceled");
        scheduler_release(s, seq);
    }
}

/* The drive's curve has come to be known. */
static void measured(struct engine *e)
{
    bool was_measuring = e->totals.drive.measuring;

    cache_drive(e->cache, &e->totals.drive);
    if (was_measuring && !e->totals.drive.measuring)
        service_say_drive(&e->totals.drive);
}

/* What happened to the catalog is said when it happens, and once. */
static void tell_note(struct engine *e)
{
    const char *note = cache_note(e->cache);

    if (!note || strncmp(note, e->noted, sizeof(e->noted) - 1) == 0)
        return;
    snprintf(e->noted, sizeof(e->noted), "%s", note);
    log_warning("catalog: %s", note);
}

/* Nothing is asked for: read what may be asked for soon, write what is to be kept. Whether there is more of it. */
static bool idle(struct engine *e)
{
    bool more;

    if (e->warmup && warmup_step(e->warmup))
        return true;
    warmup_close(e->warmup);
    e->warmup = NULL;
    if (e->tier && tier_idle(e->tier))
        return true;
    more = cache_idle(e->cache);
    measured(e);
    tell_note(e);
    return more;
}

static void take_job(struct engine *e, struct job *job)
{
    if (!scheduler_enqueue(&e->scheduler, job))
        writer_done(e, job, NULL, FINISH_ERROR, ERR_BUSY, "too many requests are waiting; try again later");
}

static void work(struct engine *e)
{
    struct sequence *seq;
    struct job *job;

    while (!atomic_load(&e->stopping)) {
        while (queue_try_pop(&e->jobs, &job))
            take_job(e, job);
        drop_cancelled(e);
        engine_fit_slots(e);
        while ((seq = scheduler_admit(&e->scheduler)))
            writer_start(e, seq);
        publish_all(e);
        if (e->down[0] && scheduler_plan(&e->scheduler) && !engine_try_again(e)) {
            struct err why = { 0 };

            fail_step(e, err_set(&why, ERR_DEVICE, "%s", e->down), &why);
            continue;
        }
        if (scheduler_plan(&e->scheduler)) {
            atomic_store(&e->alive_ns, clock_ns());
            step(e);
            continue;
        }
        atomic_store(&e->alive_ns, clock_ns());
        if (idle(e))
            continue;
        publish_all(e);
        atomic_store(&e->alive_ns, 0);
        /* After the last step the cache comes to have things to keep; then there is nothing to wake up for. */
        if (queue_pop(&e->jobs, &job, e->n_rests < RESTS ? REST_MS : 0))
            take_job(e, job);
        else
            e->n_rests++;
    }
}

static void drop_everything(struct engine *e)
{
    struct scheduler *s = &e->scheduler;
    struct job *job;

    for (uint32_t i = 0; s->seqs && i < s->shape.n_seqs; i++)
        if (s->seqs[i].job)
            job_unref(s->seqs[i].job);
    while (s->n_waiting)
        job_unref(scheduler_withdraw(s, 0));
    while (queue_try_pop(&e->jobs, &job))
        job_unref(job);
}

static void *engine_thread(void *arg)
{
    struct engine *e = arg;
    struct err err = { 0 };
    int r;

    atomic_store(&e->alive_ns, clock_ns());
    r = engine_load(e, &err);
    e->event = (struct engine_event){ .kind = r < 0 ? EVENT_LOAD_FAILED : EVENT_READY, .code = r };
    snprintf(e->event.text, sizeof(e->event.text), "%s", r < 0 ? err_text(&err) : "");
    e->totals.state = r < 0 ? ENGINE_FAILED : ENGINE_READY;
    if (r == 0)
        publish_all(e);
    else
        engine_publish(e);
    engine_emit(e);
    if (r == 0)
        work(e);
    drop_everything(e);
    engine_unload(e);
    atomic_store(&e->alive_ns, 0);
    return NULL;
}

int engine_start(const struct service *service, void (*on_events)(void *ctx), void *ctx, struct engine **ret_engine,
                 struct err *err)
{
    const struct budget_shape *shape = &service->budget.shape;
    struct engine *e = mem_zalloc(sizeof(*e));
    uint32_t n_events = budget_is_small(service->budget.total) ? EVENT_SLOTS_SMALL : EVENT_SLOTS;
    int r = e ? 0 : -ENOMEM;

    if (r == 0)
        r = queue_init(&e->jobs, sizeof(struct job *), shape->n_seqs + service->config->queue, NULL, NULL);
    if (r == 0)
        r = queue_init(&e->events, sizeof(struct engine_event), n_events, on_events, ctx);
    if (r == 0) {
        e->service = service;
        pthread_mutex_init(&e->lock, NULL);
        r = -pthread_create(&e->thread, NULL, engine_thread, e);
    }
    if (r < 0) {
        if (e) {
            queue_fini(&e->events);
            queue_fini(&e->jobs);
        }
        mem_free(e);
        return err_sys(err, -r, "engine");
    }
    pthread_setname_np(e->thread, "engine");
    *ret_engine = e;
    return 0;
}

void engine_stop(struct engine *e)
{
    struct engine_event *event = &e->event;

    atomic_store(&e->stopping, true);
    queue_close(&e->jobs);
    queue_close(&e->events);
    pthread_join(e->thread, NULL);
    while (queue_try_pop(&e->events, event))
        if (event->kind == EVENT_DONE)
            job_unref(event->job);
    queue_fini(&e->events);
    queue_fini(&e->jobs);
    pthread_mutex_destroy(&e->lock);
    mem_free(e);
}

int engine_submit(struct engine *e, struct job *job)
{
    job->submitted_ns = clock_ns();
    job_ref(job);
    if (queue_try_push(&e->jobs, &job))
        return 0;
    job_unref(job);
    return ERR_BUSY;
}

void engine_wake(struct engine *e)
{
    queue_wake(&e->jobs);
}

void engine_resize(struct engine *e, uint64_t slot_bytes)
{
    atomic_store(&e->slot_bytes_wanted, slot_bytes);
    queue_wake(&e->jobs);
}

bool engine_next_event(struct engine *e, struct engine_event *ret_event)
{
    return queue_try_pop(&e->events, ret_event);
}

void engine_snapshot(struct engine *e, struct engine_snapshot *ret_snapshot)
{
    pthread_mutex_lock(&e->lock);
    *ret_snapshot = e->shown;
    pthread_mutex_unlock(&e->lock);
}

uint64_t engine_silent_ns(struct engine *e)
{
    uint64_t alive = atomic_load(&e->alive_ns), now = clock_ns();

    return alive && now > alive ? now - alive : 0;
}
