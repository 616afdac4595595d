/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "tests/support/sim_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CALL_NS 1000u

/* splitmix64 */
static uint64_t random_next(struct sim_device *d)
{
    uint64_t z = d->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void sim_command_free(struct sim_command *c)
{
    for (uint32_t i = 0; c->kind == SIM_EXPERTS && i < c->n; i++) {
        mem_free((void *)c->calls[i].src);
        mem_free((void *)c->calls[i].dst);
    }
    if (c->kind == SIM_EXPERTS)
        mem_free(c->calls);
    mem_free(c);
}

static void add(struct sim_stream *s, struct sim_command *c)
{
    c->number = ++s->n_given;
    c->next = NULL;
    if (s->last != NULL)
        s->last->next = c;
    else
        s->first = c;
    s->last = c;
}

static void run_until(struct sim_device *d, struct sim_stream *s, uint64_t number);

static void run_first(struct sim_device *d, struct sim_stream *s)
{
    struct sim_command *c = s->first;

    if (c->kind == SIM_FENCE) {
        run_until(d, s == &d->copy ? &d->compute : &d->copy, c->until);
    } else if (c->kind == SIM_TRANSFER) {
        for (uint32_t i = 0; i < c->n; i++)
            memcpy(c->part[i].dst, c->part[i].src, c->part[i].bytes);
    } else {
        d->cpu->ops->experts(d->cpu, c->acts, c->calls, c->n, c->y);
    }
    s->first = c->next;
    if (s->first == NULL)
        s->last = NULL;
    s->n_run = c->number;
    sim_command_free(c);
}

static void run_until(struct sim_device *d, struct sim_stream *s, uint64_t number)
{
    if (s->running && s->n_run < number) {
        sim_misuse(d, "the streams wait for each other");
        return;
    }
    s->running = true;
    while (s->first != NULL && s->n_run < number)
        run_first(d, s);
    s->running = false;
}

static bool strikes(const struct sim *sim, uint64_t call)
{
    return sim->fault != SIM_NONE && call >= sim->fault_at && call - sim->fault_at < sim->n_faults;
}

int sim_call(struct sim_device *d)
{
    struct sim *sim = d->sim;
    uint64_t call = sim->n_calls++, dice;
    bool fault = strikes(sim, call);

    sim->now_ns += CALL_NS;
    d->lost |= fault && sim->fault == SIM_LOST;
    d->lost |= sim->lost_file != NULL && access(sim->lost_file, F_OK) == 0;
    if (d->lost)
        return err_set(&d->device.err, ERR_DEVICE, "the device is lost (simulated)");
    if (fault)
        return sim->fault == SIM_MEMORY ? err_set(&d->device.err, -ENOMEM, "out of device memory (simulated)")
                                        : err_set(&d->device.err, -EIO, "a call failed (simulated)");
    if (sim->seed == 0) {
        run_until(d, &d->copy, d->copy.n_given);
        run_until(d, &d->compute, d->compute.n_given);
        return 0;
    }
    dice = random_next(d);
    if ((dice & 3) == 0)
        run_until(d, &d->copy, d->copy.n_run + (dice >> 2) % 4);
    if ((dice & 12) == 0)
        run_until(d, &d->compute, d->compute.n_run + (dice >> 4) % 4);
    return 0;
}

void sim_compute_flush(struct sim_device *d, bool wait)
{
    run_until(d, &d->compute, d->compute.n_given);
    if (!wait)
        return;
    d->seen_compute = d->compute.n_given;
    d->sim->n_waits++;
    d->device.n_waits++;
    if (d->sim->now_ns < d->compute.clock_ns)
        d->sim->now_ns = d->compute.clock_ns;
}

static uint64_t time_of(uint64_t bytes, uint64_t rate)
{
    return rate > 0 ? (uint64_t)((double)bytes * 1e9 / (double)rate) : 0;
}

static void clock_start(struct sim_device *d, struct sim_stream *s)
{
    if (s->clock_ns < d->sim->now_ns)
        s->clock_ns = d->sim->now_ns;
}

static void race(struct sim_device *d, const char *what)
{
    if (d->sim->n_races++ == 0)
        sim_misuse(d, "%s", what);
}

/* Each copy into the pages before must be known to have arrived. */
void sim_read(struct sim_device *d, const void *p, size_t bytes)
{
    size_t from = (size_t)((const char *)p - d->space) / SIM_PAGE;
    size_t end = ((size_t)((const char *)p - d->space) + bytes + SIM_PAGE - 1) / SIM_PAGE;

    for (size_t i = from; i < end; i++) {
        if (d->page[i].written > d->compute.fenced && d->page[i].written > d->seen_ticket)
            race(d, "race: experts are computed from a place to which a copy is under way, without a fence");
        d->page[i].read = d->compute.n_given + 1;
    }
}

void sim_compute_add(struct sim_device *d, struct sim_command *c)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; c->kind == SIM_EXPERTS && i < c->n; i++)
        bytes += 3 * c->calls[i].gate.rows * quant_row_bytes(c->calls[i].gate.type, c->calls[i].gate.cols);
    clock_start(d, &d->compute);
    d->compute.clock_ns += time_of(bytes, d->sim->compute_rate);
    add(&d->compute, c);
    if (d->sim->seed == 0)
        run_until(d, &d->compute, d->compute.n_given);
}

/* ---- copies ---- */

static int copy_memory(struct device *device, uint64_t *ret_free, uint64_t *ret_total)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r < 0)
        return r;
    *ret_free = d->sim->memory_bytes - d->sim->used_bytes;
    *ret_total = d->sim->memory_bytes;
    return 0;
}

static int copy_pin(struct device *device, void *p, size_t bytes)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r == 0 && !sim_is_host(d, p, bytes))
        r = -EFAULT;
    return r;
}

static void copy_unpin(struct device *device, void *p, size_t bytes)
{
}

/* A page must not be written while experts that are computed from it may still run. */
static void write_check(struct sim_device *d, const void *p, size_t bytes, uint64_t ticket)
{
    size_t from = (size_t)((const char *)p - d->space) / SIM_PAGE;
    size_t end = ((size_t)((const char *)p - d->space) + bytes + SIM_PAGE - 1) / SIM_PAGE;

    for (size_t i = from; i < end; i++) {
        if (d->page[i].read > d->copy.fenced && d->page[i].read > d->seen_compute)
            race(d, "race: a copy goes to a place from which experts may still be computed, without a fence");
        d->page[i].written = ticket;
    }
}

static bool parts_real(struct sim_device *d, enum copy_way way, const struct device_copy *parts, uint32_t n,
                       uint64_t ticket, struct sim_command *c)
{
    bool bad = false;

    for (uint32_t i = 0; i < n && !bad; i++) {
        c->part[i] = parts[i];
        if (way == COPY_TO_DEVICE) {
            c->part[i].dst = sim_real(d, parts[i].dst, parts[i].bytes, &bad);
            bad |= !sim_is_host(d, parts[i].src, parts[i].bytes);
            if (!bad)
                write_check(d, parts[i].dst, parts[i].bytes, ticket);
        } else {
            c->part[i].src = sim_real(d, parts[i].src, parts[i].bytes, &bad);
            bad |= !sim_is_host(d, parts[i].dst, parts[i].bytes);
        }
    }
    return !bad;
}

static int copy_submit(struct device *device, enum copy_way way, const struct device_copy *parts, uint32_t n,
                       uint64_t *ret_ticket)
{
    struct sim_device *d = sim_of(device);
    struct sim_command *c;
    uint64_t ticket = d->n_tickets + 1, at = ticket % SIM_TICKETS, before = d->n_tickets % SIM_TICKETS, bytes = 0, ns;
    int r = sim_call(d);

    if (r < 0)
        return r;
    if (n == 0 || n > SIM_PARTS)
        return sim_misuse(d, "a copy of %u parts", n);
    c = mem_zalloc(sizeof(*c));
    c->kind = SIM_TRANSFER;
    c->n = n;
    if (!parts_real(d, way, parts, n, ticket, c)) {
        sim_command_free(c);
        return -EFAULT;
    }
    for (uint32_t i = 0; i < n; i++)
        bytes += parts[i].bytes;
    ns = time_of(bytes, d->sim->copy_rate);
    clock_start(d, &d->copy);
    d->copy.clock_ns += ns;
    d->n_tickets = ticket;
    d->ticket_ns[at] = d->copy.clock_ns;
    d->ticket_busy_ns[at] = d->ticket_busy_ns[before] + ns;
    d->ticket_bytes[at] = d->ticket_bytes[before] + bytes;
    add(&d->copy, c);
    d->ticket_command[at] = c->number;
    d->sim->n_copies++;
    d->sim->n_to_host += way == COPY_TO_HOST;
    d->sim->n_copy_bytes += bytes;
    if (d->sim->seed == 0)
        run_until(d, &d->copy, d->copy.n_given);
    *ret_ticket = ticket;
    return 0;
}

static int fence(struct sim_device *d, struct sim_stream *s, uint64_t until)
{
    struct sim_command *c = mem_zalloc(sizeof(*c));

    c->kind = SIM_FENCE;
    c->until = until;
    d->sim->n_fences++;
    add(s, c);
    return 0;
}

static int copy_compute_after(struct device *device, uint64_t ticket)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r < 0)
        return r;
    if (ticket == 0 || ticket > d->n_tickets || ticket + SIM_TICKETS <= d->n_tickets)
        return sim_misuse(d, "a fence for ticket %llu", (unsigned long long)ticket);
    if (ticket > d->compute.fenced)
        d->compute.fenced = ticket;
    clock_start(d, &d->compute);
    if (d->compute.clock_ns < d->ticket_ns[ticket % SIM_TICKETS])
        d->compute.clock_ns = d->ticket_ns[ticket % SIM_TICKETS];
    return fence(d, &d->compute, d->ticket_command[ticket % SIM_TICKETS]);
}

static int copy_mark(struct device *device, uint64_t *ret_mark)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r < 0)
        return r;
    d->n_marks++;
    d->sim->n_marks++;
    d->mark_command[d->n_marks % SIM_TICKETS] = d->compute.n_given;
    d->mark_ns[d->n_marks % SIM_TICKETS] = d->compute.clock_ns;
    *ret_mark = d->n_marks;
    return 0;
}

static int copy_copy_after(struct device *device, uint64_t mark)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r < 0)
        return r;
    if (mark == 0 || mark > d->n_marks)
        return sim_misuse(d, "a fence for mark %llu", (unsigned long long)mark);
    if (mark + SIM_TICKETS <= d->n_marks) /* long past */
        return 0;
    if (d->mark_command[mark % SIM_TICKETS] > d->copy.fenced)
        d->copy.fenced = d->mark_command[mark % SIM_TICKETS];
    clock_start(d, &d->copy);
    if (d->copy.clock_ns < d->mark_ns[mark % SIM_TICKETS])
        d->copy.clock_ns = d->mark_ns[mark % SIM_TICKETS];
    return fence(d, &d->copy, d->mark_command[mark % SIM_TICKETS]);
}

static int copy_poll(struct device *device, struct copy_progress *ret_progress)
{
    struct sim_device *d = sim_of(device);
    uint64_t done = d->seen_ticket;
    int r = sim_call(d);

    if (r < 0)
        return r;
    while (done < d->n_tickets && d->ticket_ns[(done + 1) % SIM_TICKETS] <= d->sim->now_ns)
        done++;
    if (done > d->seen_ticket)
        run_until(d, &d->copy, d->ticket_command[done % SIM_TICKETS]);
    d->seen_ticket = done;
    *ret_progress =
        (struct copy_progress){ done, d->ticket_busy_ns[done % SIM_TICKETS], d->ticket_bytes[done % SIM_TICKETS] };
    return 0;
}

static int copy_wait(struct device *device, uint64_t ticket)
{
    struct sim_device *d = sim_of(device);
    int r = sim_call(d);

    if (r < 0)
        return r;
    if (ticket == 0 || ticket > d->n_tickets)
        return sim_misuse(d, "waiting for ticket %llu", (unsigned long long)ticket);
    if (ticket <= d->seen_ticket)
        return 0;
    run_until(d, &d->copy, d->ticket_command[ticket % SIM_TICKETS]);
    d->seen_ticket = ticket;
    if (d->sim->now_ns < d->ticket_ns[ticket % SIM_TICKETS])
        d->sim->now_ns = d->ticket_ns[ticket % SIM_TICKETS];
    d->sim->n_waits++;
    device->n_waits++;
    return 0;
}

/* What a lost or closed device had not done is never done. */
void sim_streams_close(struct sim_device *d)
{
    struct sim_stream *both[] = { &d->compute, &d->copy };

    for (int i = 0; i < 2; i++)
        while (both[i]->first != NULL) {
            struct sim_command *c = both[i]->first;

            both[i]->first = c->next;
            sim_command_free(c);
        }
}

const struct device_copy_ops sim_copy_ops = {
    .memory = copy_memory,
    .pin = copy_pin,
    .unpin = copy_unpin,
    .submit = copy_submit,
    .compute_after = copy_compute_after,
    .mark = copy_mark,
    .copy_after = copy_copy_after,
    .poll = copy_poll,
    .wait = copy_wait,
};
