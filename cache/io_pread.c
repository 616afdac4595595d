/* SPDX-License-Identifier: MIT */
#include "cache/io.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define STACK_BYTES (128UL << 10)

/* Both rings hold `depth` entries, which the caller never exceeds. */
struct pread_io {
    struct io io;
    int *fds;
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct io_read *todo;
    struct io_done *done;
    uint32_t todo_head, n_todo;
    uint32_t done_head, n_done;
    bool stopping;
    pthread_t *threads;
    uint32_t n_threads;
};

static struct pread_io *of(struct io *io)
{
    return (struct pread_io *)io;
}

static void put_done(struct pread_io *p, uint32_t tag, int32_t result)
{
    p->done[(p->done_head + p->n_done++) % p->io.depth] = (struct io_done){ .tag = tag, .result = result };
    pthread_cond_signal(&p->ended);
}

static void *worker_run(void *arg)
{
    struct pread_io *p = arg;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct io_read read;
        ssize_t n;

        while (p->n_todo == 0 && !p->stopping)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->n_todo == 0)
            break;
        read = p->todo[p->todo_head];
        p->todo_head = (p->todo_head + 1) % p->io.depth;
        p->n_todo--;
        pthread_mutex_unlock(&p->lock);
        n = pread(p->fds[read.file], read.dst, read.bytes, (off_t)read.offset);
        if (n < 0)
            n = -errno;
        pthread_mutex_lock(&p->lock);
        put_done(p, read.tag, (int32_t)n);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void pread_submit(struct io *io, const struct io_read *reads, size_t n)
{
    struct pread_io *p = of(io);

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        p->todo[(p->todo_head + p->n_todo++) % io->depth] = reads[i];
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
}

static int pread_reap(struct io *io, struct io_done *ret_done, size_t max, bool wait)
{
    struct pread_io *p = of(io);
    int n = 0;

    pthread_mutex_lock(&p->lock);
    while (wait && p->n_done == 0)
        pthread_cond_wait(&p->ended, &p->lock);
    for (; p->n_done > 0 && (size_t)n < max; n++) {
        ret_done[n] = p->done[p->done_head];
        p->done_head = (p->done_head + 1) % io->depth;
        p->n_done--;
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static void pread_close(struct io *io)
{
    struct pread_io *p = of(io);

    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->ended);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->threads);
    mem_free(p->done);
    mem_free(p->todo);
    mem_free(p->fds);
    mem_free(p);
}

static const struct io_ops pread_ops = { .submit = pread_submit, .reap = pread_reap, .close = pread_close };

/* As many threads as can be had; one is enough to work. */
static int threads_start(struct pread_io *p, struct err *err)
{
    pthread_attr_t attr;
    int rc = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (; p->n_threads < p->io.depth && rc == 0; p->n_threads += rc == 0)
        rc = pthread_create(&p->threads[p->n_threads], &attr, worker_run, p);
    pthread_attr_destroy(&attr);
    return p->n_threads > 0 ? 0 : err_sys(err, rc, "cannot start a thread to read with");
}

int io_pread_open(const struct io_options *options, struct io **ret_io, struct err *err)
{
    struct pread_io *p = mem_zalloc(sizeof(*p));
    int rc;

    if (p == NULL)
        return err_sys(err, ENOMEM, "pread pool");
    p->io = (struct io){ .ops = &pread_ops, .name = "pread", .depth = options->depth };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->ended, NULL);
    p->fds = mem_calloc(options->n_fds, sizeof(*p->fds));
    p->todo = mem_calloc(options->depth, sizeof(*p->todo));
    p->done = mem_calloc(options->depth, sizeof(*p->done));
    p->threads = mem_calloc(options->depth, sizeof(*p->threads));
    if (p->fds == NULL || p->todo == NULL || p->done == NULL || p->threads == NULL) {
        rc = err_sys(err, ENOMEM, "pread pool");
        goto fail;
    }
    for (uint32_t i = 0; i < options->n_fds; i++)
        p->fds[i] = options->fds[i];
    rc = threads_start(p, err);
    if (rc < 0)
        goto fail;
    *ret_io = &p->io;
    return 0;
fail:
    pread_close(&p->io);
    return rc;
}
