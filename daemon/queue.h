/* SPDX-License-Identifier: MIT
 *
 * queue.h: a bounded queue of fixed-size elements between two threads.
 *
 * Elements are copied in and out. A full queue refuses (queue_try_push) or lets the pusher wait (queue_push): the loop
 * only ever uses the first, so that it never waits for the engine. `on_push`, when given, is called after each push
 * that found the queue empty, on the pushing thread and without the lock: the loop's wake-up.
 *
 * Threads: any number on either side. Storage is the caller's; the slots are taken at init.
 */
#ifndef EXPERTD_DAEMON_QUEUE_H
#define EXPERTD_DAEMON_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    unsigned char *slots;
    size_t elem_bytes;
    uint32_t cap, head, count;
    bool closed, woken;
    void (*on_push)(void *ctx);
    void *ctx;
};

int queue_init(struct queue *q, size_t elem_bytes, uint32_t cap, void (*on_push)(void *ctx), void *ctx);
void queue_fini(struct queue *q);

bool queue_try_push(struct queue *q, const void *elem); /* false: full or closed */
bool queue_push(struct queue *q, const void *elem);     /* waits for room; false: closed */
bool queue_try_pop(struct queue *q, void *ret_elem);    /* false: empty */

/* Wait for an element, queue_wake, queue_close or the end of `timeout_ms` (0: for ever); true with an element. Elements
 * pushed before the close still come. */
bool queue_pop(struct queue *q, void *ret_elem, uint32_t timeout_ms);

void queue_wake(struct queue *q);  /* lets one waiting (or the next) queue_pop return without an element */
void queue_close(struct queue *q); /* no more pushes; every waiter returns */

#endif
