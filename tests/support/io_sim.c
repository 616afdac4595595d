/* SPDX-License-Identifier: MIT */
#include "tests/support/io_sim.h"

#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

struct waiting {
    struct io_read read;
    uint64_t number;
};

struct sim_io {
    struct io io;
    struct io_sim *sim;
    int fds[16];
    struct waiting waiting[IO_MAX_DEPTH];
    uint32_t random;
};

static void sim_submit(struct io *io, const struct io_read *reads, size_t n)
{
    struct sim_io *s = (struct sim_io *)io;

    for (size_t i = 0; i < n; i++) {
        if (s->sim->n_submitted + i < sizeof(s->sim->offsets) / sizeof(s->sim->offsets[0]))
            s->sim->offsets[s->sim->n_submitted + i] = reads[i].offset;
        s->sim->in_flight_of[reads[i].file]++;
    }
    for (size_t i = 0; i < n; i++)
        s->waiting[s->sim->n_in_flight++] = (struct waiting){ .read = reads[i], .number = s->sim->n_submitted++ };
    if (s->sim->n_in_flight > s->sim->most_in_flight)
        s->sim->most_in_flight = s->sim->n_in_flight;
}

static struct waiting take(struct sim_io *s)
{
    uint32_t n = s->sim->n_in_flight--, pick = 0;
    struct waiting w;

    s->random = s->random * 1664525u + 1013904223u;
    if (s->sim->order == IO_SIM_LIFO)
        pick = n - 1;
    else if (s->sim->order == IO_SIM_RANDOM)
        pick = (s->random >> 8) % n;
    w = s->waiting[pick];
    s->sim->in_flight_of[w.read.file]--;
    for (uint32_t i = pick; i + 1 < n; i++)
        s->waiting[i] = s->waiting[i + 1];
    return w;
}

static int32_t perform(const struct sim_io *s, const struct waiting *w)
{
    const struct io_sim *sim = s->sim;
    bool faulty = sim->fault != IO_SIM_NONE && w->number - sim->fault_at < sim->n_faults &&
                  (sim->fault_files == 0 || (sim->fault_files >> w->read.file & 1));
    size_t bytes = w->read.bytes;
    ssize_t n;

    if (faulty && sim->fault == IO_SIM_ERROR)
        return -(int32_t)sim->fault_arg;
    if (faulty && sim->fault == IO_SIM_END)
        return 0;
    n = pread(s->fds[w->read.file], w->read.dst, bytes, (off_t)w->read.offset);
    if (n < 0)
        return -errno;
    if (faulty && sim->fault == IO_SIM_SHORT && n > (ssize_t)sim->fault_arg)
        n = sim->fault_arg;
    if (faulty && sim->fault == IO_SIM_WRONG && n > 0)
        ((char *)w->read.dst)[sim->fault_arg % (size_t)n] ^= 0x10;
    return (int32_t)n;
}

static int sim_reap(struct io *io, struct io_done *ret_done, size_t max, bool wait)
{
    struct sim_io *s = (struct sim_io *)io;
    int n = 0;

    if (s->sim->n_failing_reaps > 0) {
        s->sim->n_failing_reaps--;
        return -EIO;
    }
    while (s->sim->n_in_flight > 0 && (size_t)n < max && (!s->sim->hold || (wait && n == 0))) {
        struct waiting w = take(s);

        ret_done[n++] = (struct io_done){ .tag = w.read.tag, .result = perform(s, &w) };
    }
    return n;
}

static void sim_close(struct io *io)
{
    ((struct sim_io *)io)->sim->n_in_flight = 0;
    mem_free(io);
}

static const struct io_ops sim_ops = { .submit = sim_submit, .reap = sim_reap, .close = sim_close };

int io_sim_open(void *sim, const struct io_options *options, struct io **ret_io, struct err *err)
{
    struct sim_io *s = mem_zalloc(sizeof(*s));

    if (s == NULL)
        return err_sys(err, ENOMEM, "simulated engine");
    s->io = (struct io){ .ops = &sim_ops, .name = "simulated", .depth = options->depth };
    s->sim = sim;
    s->sim->n_in_flight = 0;
    for (uint32_t i = 0; i < options->n_fds; i++)
        s->fds[i] = options->fds[i];
    *ret_io = &s->io;
    return 0;
}
