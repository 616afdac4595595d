/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "daemon/queue.h"

#include <criterion/criterion.h>
#include <errno.h>

static void count_push(void *ctx)
{
    ++*(int *)ctx;
}

Test(queue, keeps_order_and_refuses_when_full)
{
    struct queue q;
    int v;

    cr_assert_eq(queue_init(&q, sizeof(int), 3, NULL, NULL), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            cr_assert(queue_try_push(&q, &i));
        cr_assert_not(queue_try_push(&q, &(int){ 9 }), "a fourth does not fit");
        for (int i = 0; i < 3; i++) {
            cr_assert(queue_try_pop(&q, &v));
            cr_assert_eq(v, i);
        }
        cr_assert_not(queue_try_pop(&q, &v));
        cr_assert(queue_try_push(&q, &(int){ 7 })); /* move the head, so that the ring wraps */
        cr_assert(queue_try_pop(&q, &v));
    }
    queue_fini(&q);
}

Test(queue, tells_of_the_first_push_only)
{
    struct queue q;
    int told = 0, v = 0;

    cr_assert_eq(queue_init(&q, sizeof(int), 4, count_push, &told), 0);
    queue_try_push(&q, &v);
    queue_try_push(&q, &v);
    cr_assert_eq(told, 1);
    queue_try_pop(&q, &v);
    queue_try_pop(&q, &v);
    queue_try_push(&q, &v);
    cr_assert_eq(told, 2);
    queue_fini(&q);
}

Test(queue, close_lets_waiters_go_after_the_last_element)
{
    struct queue q;
    int v = 5;

    cr_assert_eq(queue_init(&q, sizeof(int), 1, NULL, NULL), 0);
    queue_try_push(&q, &v);
    queue_close(&q);
    cr_assert_not(queue_push(&q, &v), "closed: nothing more goes in, and nobody waits");
    v = 0;
    cr_assert(queue_pop(&q, &v, 0));
    cr_assert_eq(v, 5);
    cr_assert_not(queue_pop(&q, &v, 0));
    queue_fini(&q);
}

Test(queue, a_wake_ends_one_wait_even_when_it_comes_first)
{
    struct queue q;
    int v;

    cr_assert_eq(queue_init(&q, sizeof(int), 1, NULL, NULL), 0);
    queue_wake(&q);
    cr_assert_not(queue_pop(&q, &v, 0));
    queue_fini(&q);
}

Test(queue, a_wait_may_have_an_end)
{
    struct queue q;
    int v = 3;

    cr_assert_eq(queue_init(&q, sizeof(int), 1, NULL, NULL), 0);
    cr_assert_not(queue_pop(&q, &v, 1));
    queue_try_push(&q, &v);
    cr_assert(queue_pop(&q, &v, 1));
    queue_fini(&q);
}

#define N_SENT 100000

static void *send_all(void *arg)
{
    for (int i = 0; i < N_SENT; i++)
        queue_push(arg, &i);
    return NULL;
}

Test(queue, two_threads_lose_and_reorder_nothing)
{
    struct queue q;
    pthread_t sender;
    int v;

    cr_assert_eq(queue_init(&q, sizeof(int), 8, NULL, NULL), 0);
    pthread_create(&sender, NULL, send_all, &q);
    for (int i = 0; i < N_SENT; i++) {
        cr_assert(queue_pop(&q, &v, 0));
        cr_assert_eq(v, i);
    }
    pthread_join(sender, NULL);
    cr_assert_not(queue_try_pop(&q, &v));
    queue_fini(&q);
}

Test(queue, no_memory_is_an_error)
{
    struct queue q;

    mem_fail_after(0);
    cr_assert_eq(queue_init(&q, 16, 16, NULL, NULL), -ENOMEM);
    mem_fail_after(-1);
    queue_fini(&q);
}
