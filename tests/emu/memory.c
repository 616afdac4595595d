/* SPDX-License-Identifier: MIT */
#include "emu/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { PAGE = 4096, ALIGN = 256, GUARD = 0xa5 };

/* Pages: what is before the buffer, the buffer, what is left of its last page, and a page that cannot be touched. */
struct buffer {
    unsigned char *map, *data;
    size_t bytes, map_bytes; /* the untouchable page not counted */
    struct buffer *next;
};

static struct buffer *buffers;

/* As much in front as behind, at most. */
static unsigned char *guard_begin(const struct buffer *b)
{
    return b->data - ALIGN;
}

static unsigned char *data_end(const struct buffer *b)
{
    return b->data + b->bytes;
}

static unsigned char *guard_end(const struct buffer *b)
{
    return b->map + b->map_bytes;
}

static void guard_poison(const struct buffer *b)
{
    ASAN_POISON_MEMORY_REGION(guard_begin(b), ALIGN);
    ASAN_POISON_MEMORY_REGION(data_end(b), (size_t)(guard_end(b) - data_end(b)));
}

static void guard_fill(const struct buffer *b)
{
    memset(guard_begin(b), GUARD, ALIGN);
    memset(data_end(b), GUARD, (size_t)(guard_end(b) - data_end(b)));
    guard_poison(b);
}

static int guard_check(const struct buffer *b)
{
    int r = 0;

    ASAN_UNPOISON_MEMORY_REGION(b->map, b->map_bytes);
    for (const unsigned char *p = guard_begin(b); p < b->data; p++)
        if (*p != GUARD)
            r = -1;
    for (const unsigned char *p = data_end(b); p < guard_end(b); p++)
        if (*p != GUARD)
            r = -1;
    guard_poison(b);
    return r;
}

void *machine_alloc(size_t bytes)
{
    struct buffer *b;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN, pages = (room + PAGE - 1) / PAGE * PAGE + PAGE;
    unsigned char *map;

    if (bytes == 0 || bytes > (size_t)1 << 40)
        return NULL;
    b = calloc(1, sizeof(*b));
    if (b == NULL)
        return NULL;
    map = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map + pages, PAGE, PROT_NONE) < 0) {
        free(b);
        return NULL;
    }
    *b = (struct buffer){ map, map + pages - room, bytes, pages, buffers };
    guard_fill(b);
    buffers = b;
    return b->data;
}

int machine_free(void *p)
{
    for (struct buffer **at = &buffers; *at != NULL; at = &(*at)->next) {
        struct buffer *b = *at;
        int r;

        if (b->data != p)
            continue;
        r = guard_check(b);
        ASAN_UNPOISON_MEMORY_REGION(b->map, b->map_bytes);
        munmap(b->map, b->map_bytes + PAGE);
        *at = b->next;
        free(b);
        return r;
    }
    return -1;
}

int machine_check(void)
{
    for (const struct buffer *b = buffers; b != NULL; b = b->next)
        if (guard_check(b) < 0)
            return -1;
    return 0;
}
