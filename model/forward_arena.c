/* SPDX-License-Identifier: MIT */
#include "model/forward_arena.h"

#include "base/arith.h"

#include <errno.h>

enum { PART_ALIGN = 64 };

static bool on_host(const struct arena *arena)
{
    return arena->device == NULL || arena->device->host_visible;
}

void *arena_take(struct arena *arena, size_t n, size_t each)
{
    uint64_t at, bytes, end;

    if (!u64_align_up(arena->used, PART_ALIGN, &at) || !u64_mul(n, each, &bytes) || !u64_add(at, bytes, &end)) {
        arena->used = SIZE_MAX;
        return NULL;
    }
    arena->used = end;
    return arena->base != NULL ? arena->base + at : NULL;
}

size_t arena_bytes(const struct arena *arena)
{
    size_t mapped = mem_map_bytes(arena->used);

    if (arena->used == 0)
        return 0;
    if (!on_host(arena))
        return arena->used;
    return mapped > 0 ? mapped : SIZE_MAX;
}

int arena_open(struct arena *arena, unsigned flags, const char *what, struct err *err)
{
    size_t bytes = arena->used;
    void *p;
    int r;

    if (bytes == 0)
        return 0;
    r = on_host(arena) ? mem_map(bytes, flags, &p, NULL) : arena->device->ops->alloc(arena->device, bytes, &p);
    if (r < 0 && !on_host(arena))
        return err_set(err, r, "no memory for %s (%zu bytes): %s: %s", what, bytes, arena->device->name,
                       err_text(&arena->device->err));
    if (r < 0)
        return err_set(err, r, "no memory for %s (%zu bytes)", what, bytes);
    arena->base = p;
    arena->bytes = bytes;
    arena->used = 0;
    return 0;
}

void arena_close(struct arena *arena)
{
    if (arena->base == NULL)
        return;
    if (on_host(arena))
        mem_unmap(arena->base, arena->bytes);
    else
        arena->device->ops->free(arena->device, arena->base, arena->bytes);
    arena->base = NULL;
}
