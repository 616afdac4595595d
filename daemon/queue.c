/* SPDX-License-Identifier: MIT */
#include "daemon/queue.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int queue_init(struct queue *q, size_t elem_bytes, uint32_t cap, void (*on_push)(void *ctx), void *ctx)
{
    pthread_condattr_t attr;

    *q = (struct queue){ .elem_bytes = elem_bytes, .cap = cap, .on_push = on_push, .ctx = ctx };
    q->slots = mem_calloc(cap, elem_bytes);
    if (!q->slots)
        return -ENOMEM;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_empty, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&q->not_full, NULL);
    return 0;
}

void queue_fini(struct queue *q)
{
    if (!q->slots)
        return;
    pthread_cond_destroy(&q->not_full);
    pthread_cond_destroy(&q->not_empty);
    pthread_mutex_destroy(&q->lock);
    mem_free(q->slots);
    q->slots = NULL;
}

/* With the lock held and room; returns whether the queue was empty. */
static bool put(struct queue *q, const void *elem)
{
    uint32_t at = (q->head + q->count) % q->cap;

    memcpy(q->slots + (size_t)at * q->elem_bytes, elem, q->elem_bytes);
    pthread_cond_signal(&q->not_empty);
    return q->count++ == 0;
}

static bool take(struct queue *q, void *ret_elem)
{
    if (!q->count)
        return false;
    memcpy(ret_elem, q->slots + (size_t)q->head * q->elem_bytes, q->elem_bytes);
    q->head = (q->head + 1) % q->cap;
    q->count--;
    pthread_cond_signal(&q->not_full);
    return true;
}

static bool push(struct queue *q, const void *elem, bool wait)
{
    bool done, first = false;

    pthread_mutex_lock(&q->lock);
    while (wait && q->count == q->cap && !q->closed)
        pthread_cond_wait(&q->not_full, &q->lock);
    done = q->count < q->cap && !q->closed;
    if (done)
        first = put(q, elem);
    pthread_mutex_unlock(&q->lock);
    if (first && q->on_push)
        q->on_push(q->ctx);
    return done;
}

bool queue_try_push(struct queue *q, const void *elem)
{
    return push(q, elem, false);
}

bool queue_push(struct queue *q, const void *elem)
{
    return push(q, elem, true);
}

bool queue_try_pop(struct queue *q, void *ret_elem)
{
    bool got;

    pthread_mutex_lock(&q->lock);
    got = take(q, ret_elem);
    pthread_mutex_unlock(&q->lock);
    return got;
}

/* False when the time is up. `until` NULL: there is all the time. */
static bool wait_not_empty(struct queue *q, const struct timespec *until)
{
    if (until)
        return pthread_cond_timedwait(&q->not_empty, &q->lock, until) != ETIMEDOUT;
    pthread_cond_wait(&q->not_empty, &q->lock);
    return true;
}

bool queue_pop(struct queue *q, void *ret_elem, uint32_t timeout_ms)
{
    struct timespec until;
    bool got, in_time = true;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&q->lock);
    while (!q->count && !q->closed && !q->woken && in_time)
        in_time = wait_not_empty(q, timeout_ms ? &until : NULL);
    got = take(q, ret_elem);
    if (!got)
        q->woken = false;
    pthread_mutex_unlock(&q->lock);
    return got;
}

void queue_wake(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->woken = true;
    pthread_cond_signal(&q->not_empty);
    pthread_mutex_unlock(&q->lock);
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}
