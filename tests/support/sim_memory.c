/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "tests/support/sim_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int sim_misuse(struct sim_device *d, const char *fmt, ...)
{
    va_list args;

    if (d->sim->complaint[0] == '\0') {
        va_start(args, fmt);
        vsnprintf(d->sim->complaint, sizeof(d->sim->complaint), fmt, args);
        va_end(args);
    }
    d->sim->n_misuse++;
    return err_set(&d->device.err, -EFAULT, "%s", d->sim->complaint);
}

int sim_memory_open(struct sim_device *d, uint64_t bytes)
{
    /* Room for holes between allocations. */
    d->space_bytes = (bytes + bytes / 2 + (8 << 20)) & ~(size_t)(SIM_PAGE - 1);
    d->space = mmap(NULL, d->space_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->real = mmap(NULL, d->space_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->page = mmap(NULL, d->space_bytes / SIM_PAGE * sizeof(*d->page), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return d->space == MAP_FAILED || d->real == MAP_FAILED || d->page == MAP_FAILED ? -ENOMEM : 0;
}

void sim_memory_close(struct sim_device *d)
{
    for (uint32_t i = 0; i < d->n_allocations; i++)
        d->sim->used_bytes -= d->allocation[i].bytes;
    if (d->space != NULL && d->space != MAP_FAILED)
        munmap(d->space, d->space_bytes);
    if (d->real != NULL && d->real != MAP_FAILED)
        munmap(d->real, d->space_bytes);
    if (d->page != NULL && d->page != MAP_FAILED)
        munmap(d->page, d->space_bytes / SIM_PAGE * sizeof(*d->page));
}

static size_t page_up(size_t bytes)
{
    return (bytes + SIM_PAGE - 1) & ~(size_t)(SIM_PAGE - 1);
}

/* First fit, a page left free behind each. The table is in order of address. */
static uint32_t place_find(const struct sim_device *d, size_t bytes, char **ret_at)
{
    char *at = d->space;

    for (uint32_t i = 0; i < d->n_allocations; i++) {
        if ((size_t)(d->allocation[i].at - at) >= bytes + SIM_PAGE) {
            *ret_at = at;
            return i;
        }
        at = d->allocation[i].at + page_up(d->allocation[i].bytes) + SIM_PAGE;
    }
    *ret_at = (size_t)(d->space + d->space_bytes - at) >= bytes ? at : NULL;
    return d->n_allocations;
}

int sim_alloc(struct device *device, size_t bytes, void **ret_p)
{
    struct sim_device *d = sim_of(device);
    uint32_t index;
    char *at;
    int r = sim_call(d);

    if (r < 0)
        return r;
    index = place_find(d, page_up(bytes), &at);
    if (bytes == 0 || at == NULL || d->n_allocations == SIM_ALLOCATIONS ||
        d->sim->used_bytes + bytes > d->sim->memory_bytes)
        return err_set(&device->err, -ENOMEM, "out of device memory: %zu bytes asked for, %llu are free", bytes,
                       (unsigned long long)(d->sim->memory_bytes - d->sim->used_bytes));
    memmove(&d->allocation[index + 1], &d->allocation[index], (d->n_allocations - index) * sizeof(d->allocation[0]));
    d->allocation[index] = (struct sim_allocation){ at, bytes };
    d->n_allocations++;
    d->sim->used_bytes += bytes;
    if (d->sim->used_bytes > d->sim->most_bytes)
        d->sim->most_bytes = d->sim->used_bytes;
    *ret_p = at;
    return 0;
}

/* Allowed on a lost device. */
void sim_free(struct device *device, void *p, size_t bytes)
{
    struct sim_device *d = sim_of(device);

    sim_compute_flush(d, false);
    for (uint32_t i = 0; i < d->n_allocations; i++) {
        if (d->allocation[i].at != p)
            continue;
        if (d->allocation[i].bytes != bytes)
            sim_misuse(d, "%zu bytes freed of an allocation of %zu", bytes, d->allocation[i].bytes);
        d->sim->used_bytes -= d->allocation[i].bytes;
        madvise(d->real + ((char *)p - d->space), page_up(bytes), MADV_DONTNEED);
        d->n_allocations--;
        memmove(&d->allocation[i], &d->allocation[i + 1], (d->n_allocations - i) * sizeof(d->allocation[0]));
        return;
    }
    if (p != NULL)
        sim_misuse(d, "%p freed, which is no allocation", p);
}

bool sim_is_host(struct sim_device *d, const void *p, size_t bytes)
{
    const char *at = p;

    if (at + bytes <= d->space || at >= d->space + d->space_bytes)
        return true;
    sim_misuse(d, "device memory given where the host's is asked for");
    return false;
}

void *sim_real(struct sim_device *d, const void *p, size_t bytes, bool *bad)
{
    const char *at = p;

    if (p == NULL)
        return NULL;
    for (uint32_t i = 0; i < d->n_allocations; i++) {
        const struct sim_allocation *a = &d->allocation[i];

        if (at >= a->at && at < a->at + a->bytes && bytes <= (size_t)(a->at + a->bytes - at))
            return d->real + (at - d->space);
    }
    sim_misuse(d, "%zu bytes at %p are not in one allocation of the device", bytes, p);
    *bad = true;
    return NULL;
}
