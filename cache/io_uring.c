/* SPDX-License-Identifier: MIT */
#include "cache/io.h"

#include "base/mem.h"

#include <errno.h>
#include <liburing.h>

/* Files and buffers are registered where the kernel lets us: it then need not look up the file and pin the pages for
 * each read. Both are optional, since RLIMIT_MEMLOCK may forbid pinning the slots. */
struct uring_io {
    struct io io;
    struct io_uring ring;
    int *fds;
    bool files_registered;
    struct iovec *buffers;
    uint32_t n_buffers; /* 0 when not registered */
    uint32_t in_flight;
};

static struct uring_io *of(struct io *io)
{
    return (struct uring_io *)io;
}

static int buffer_find(const struct uring_io *u, const struct io_read *read)
{
    const char *dst = read->dst;

    for (uint32_t i = 0; i < u->n_buffers; i++) {
        const char *base = u->buffers[i].iov_base;

        if (dst >= base && dst + read->bytes <= base + u->buffers[i].iov_len)
            return (int)i;
    }
    return -1;
}

static void sqe_fill(struct uring_io *u, struct io_uring_sqe *sqe, const struct io_read *read)
{
    int fd = u->files_registered ? (int)read->file : u->fds[read->file];
    int buffer = buffer_find(u, read);

    if (buffer >= 0)
        io_uring_prep_read_fixed(sqe, fd, read->dst, read->bytes, read->offset, buffer);
    else
        io_uring_prep_read(sqe, fd, read->dst, read->bytes, read->offset);
    if (u->files_registered)
        sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = read->tag;
}

/* The ring has room for `depth` reads, and no more are ever in flight: io_uring_get_sqe cannot fail. Reads that the
 * kernel does not take now (-EAGAIN) stay in the ring and go with the next io_uring_submit. */
static void uring_submit(struct io *io, const struct io_read *reads, size_t n)
{
    struct uring_io *u = of(io);

    for (size_t i = 0; i < n; i++)
        sqe_fill(u, io_uring_get_sqe(&u->ring), &reads[i]);
    u->in_flight += (uint32_t)n;
    io_uring_submit(&u->ring);
}

static int uring_reap(struct io *io, struct io_done *ret_done, size_t max, bool wait)
{
    struct uring_io *u = of(io);
    struct io_uring_cqe *cqe;
    int n = 0;

    if (io_uring_sq_ready(&u->ring) > 0)
        io_uring_submit(&u->ring);
    if (wait) {
        int rc;

        do
            rc = io_uring_submit_and_wait(&u->ring, 1);
        while (rc == -EINTR);
        /* Short of memory for requests, the kernel still lets those in flight end. */
        if (rc < 0 && !((rc == -EAGAIN || rc == -EBUSY) && io_uring_cq_ready(&u->ring) > 0))
            return rc;
    }
    while ((size_t)n < max && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        ret_done[n].tag = (uint32_t)cqe->user_data;
        ret_done[n++].result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
    }
    u->in_flight -= (uint32_t)n;
    return n;
}

static void uring_close(struct io *io)
{
    struct uring_io *u = of(io);
    struct io_done done[16];

    while (u->in_flight > 0 && uring_reap(io, done, 16, true) >= 0)
        ;
    io_uring_queue_exit(&u->ring);
    mem_free(u->buffers);
    mem_free(u->fds);
    mem_free(u);
}

static int buffer_update(struct uring_io *u, uint32_t i, const struct iovec *buffer)
{
    return io_uring_register_buffers_update_tag(&u->ring, i, buffer, NULL, 1) == 1 ? 0 : -1;
}

/* First let go, then take: the pages that stay must not count twice against RLIMIT_MEMLOCK. What cannot be registered
 * again is read without; what cannot be let go must be, so then all are. */
static void uring_rebuffer(struct io *io, const struct iovec *buffers)
{
    static const struct iovec none;
    struct uring_io *u = of(io);

    for (uint32_t i = 0; i < u->n_buffers; i++) {
        if (u->buffers[i].iov_base == buffers[i].iov_base && u->buffers[i].iov_len == buffers[i].iov_len)
            continue;
        if (u->buffers[i].iov_len > 0 && buffer_update(u, i, &none) < 0) {
            io_uring_unregister_buffers(&u->ring);
            u->n_buffers = 0;
            return;
        }
        u->buffers[i] = buffers[i].iov_len > 0 && buffer_update(u, i, &buffers[i]) == 0 ? buffers[i] : none;
    }
}

static const struct io_ops uring_ops = {
    .submit = uring_submit, .reap = uring_reap, .rebuffer = uring_rebuffer, .close = uring_close
};

/* Completions are posted when we enter the kernel anyway, not by interrupting the computation (since Linux 5.19). */
static int ring_init(struct io_uring *ring, uint32_t depth)
{
    int rc = io_uring_queue_init(depth, ring, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);

    return rc == -EINVAL ? io_uring_queue_init(depth, ring, 0) : rc;
}

static void ring_register(struct uring_io *u, const struct io_options *options)
{
    u->files_registered = io_uring_register_files(&u->ring, u->fds, options->n_fds) == 0;
    if (options->n_buffers == 0 || io_uring_register_buffers(&u->ring, options->buffers, options->n_buffers) != 0)
        return;
    u->n_buffers = options->n_buffers;
}

static const char *registered_text(const struct uring_io *u)
{
    if (u->n_buffers > 0)
        return u->files_registered ? "files and slots registered" : "slots registered, files not";
    return u->files_registered ? "files registered, slots not: RLIMIT_MEMLOCK is too small" : "nothing registered";
}

/* Each kernel and container forbids io_uring in its own way; the number says which. */
static int refused(struct err *err, int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        return err_set(err, -errnum, "io_uring not permitted (kernel.io_uring_disabled, or a seccomp filter)");
    case ENOSYS:
        return err_set(err, -errnum, "io_uring not in this kernel, or hidden by a seccomp filter");
    case ENOMEM:
        return err_set(err, -errnum, "io_uring refused: no memory, or RLIMIT_MEMLOCK too small for the ring");
    default:
        return err_sys(err, errnum, "io_uring refused");
    }
}

int io_uring_open(const struct io_options *options, struct io **ret_io, struct err *err)
{
    struct uring_io *u = mem_zalloc(sizeof(*u));
    int rc = -ENOMEM;

    if (u == NULL)
        return err_sys(err, ENOMEM, "io_uring");
    u->io = (struct io){ .ops = &uring_ops, .name = "io_uring", .depth = options->depth };
    u->fds = mem_calloc(options->n_fds, sizeof(*u->fds));
    u->buffers = mem_calloc(options->n_buffers, sizeof(*u->buffers));
    if (u->fds == NULL || u->buffers == NULL) {
        err_sys(err, ENOMEM, "io_uring");
        goto fail;
    }
    for (uint32_t i = 0; i < options->n_fds; i++)
        u->fds[i] = options->fds[i];
    for (uint32_t i = 0; i < options->n_buffers; i++)
        u->buffers[i] = options->buffers[i];
    rc = ring_init(&u->ring, options->depth);
    if (rc < 0) {
        refused(err, -rc);
        goto fail;
    }
    ring_register(u, options);
    u->io.detail = registered_text(u);
    *ret_io = &u->io;
    return 0;
fail:
    mem_free(u->buffers);
    mem_free(u->fds);
    mem_free(u);
    return rc;
}
