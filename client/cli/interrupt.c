/* SPDX-License-Identifier: MIT */
#include "client/cli/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct expert_client *attached; /* under the lock */
static atomic_int remembered;
static int event_fd = -1;
static sigset_t waited_for;

_Noreturn void interrupt_die(int signum)
{
    sigset_t set;

    fflush(NULL);
    signal(signum, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, signum);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(signum);
    _exit(128 + signum);
}

static void take(int signum)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&lock);
    if (attached == NULL)
        interrupt_die(signum);
    atomic_store(&remembered, signum);
    if (write(event_fd, &one, sizeof(one)) < 0)
        perror("expert: eventfd");
    expert_cancel(attached);
    pthread_mutex_unlock(&lock);
}

static void *wait_for_signals(void *unused)
{
    int signum;

    for (;;)
        if (sigwait(&waited_for, &signum) == 0)
            take(signum);
    return NULL;
}

int interrupt_start(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action;
    pthread_t thread;

    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigemptyset(&waited_for);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&waited_for, signals[i]);
    if (event_fd < 0 || pthread_sigmask(SIG_BLOCK, &waited_for, NULL) != 0 ||
        pthread_create(&thread, NULL, wait_for_signals, NULL) != 0)
        return -1;
    pthread_detach(thread);
    return 0;
}

void interrupt_attach(struct expert_client *client)
{
    pthread_mutex_lock(&lock);
    attached = client;
    pthread_mutex_unlock(&lock);
}

int interrupt_signal(void)
{
    return atomic_load(&remembered);
}

void interrupt_clear(void)
{
    uint64_t count;

    pthread_mutex_lock(&lock);
    if (atomic_exchange(&remembered, 0) != 0 && read(event_fd, &count, sizeof(count)) < 0)
        perror("expert: eventfd");
    if (attached != NULL)
        expert_cancel_reset(attached);
    pthread_mutex_unlock(&lock);
}

int interrupt_fd(void)
{
    return event_fd;
}

bool interrupt_sleep(int ms)
{
    struct pollfd wait = { .fd = event_fd, .events = POLLIN };

    return poll(&wait, 1, ms) == 0;
}
