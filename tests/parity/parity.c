/* SPDX-License-Identifier: MIT */
#include "parity/parity.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_BYTES = 64, GUARD = 0xa5 };

struct guard {
    size_t bytes;
};

uint32_t random_u32(struct random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(r->state >> 32 ^ r->state >> 19);
}

float random_float(struct random *r)
{
    return (float)(int32_t)random_u32(r) * 0x1p-31f;
}

void random_floats(struct random *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(r);
}

/* Layout: size, padded to a line; guard; the bytes; guard. */
void *guard_alloc(size_t bytes)
{
    size_t total = (bytes + 3 * GUARD_BYTES + 63) / 64 * 64;
    unsigned char *base = aligned_alloc(64, total);

    cr_assert_not_null(base);
    memset(base, GUARD, total);
    ((struct guard *)base)->bytes = bytes;
    return base + 2 * GUARD_BYTES;
}

void guard_free(void *p)
{
    unsigned char *data = p, *base = data - 2 * GUARD_BYTES;
    size_t bytes = ((struct guard *)base)->bytes;

    for (size_t i = 0; i < GUARD_BYTES; i++) {
        cr_assert_eq(data[-1 - (ptrdiff_t)i], GUARD, "byte %zu before a buffer was written", i + 1);
        cr_assert_eq(data[bytes + i], GUARD, "byte %zu behind a buffer was written", i);
    }
    free(base);
}

static size_t edge_bytes(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page - 1) / page * page;
}

void *edge_copy(const void *src, size_t bytes)
{
    size_t whole = edge_bytes(bytes), page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(base != MAP_FAILED);
    cr_assert_eq(mprotect(base + whole, page, PROT_NONE), 0);
    return memcpy(base + whole - bytes, src, bytes);
}

void edge_free(void *p, size_t bytes)
{
    size_t whole = edge_bytes(bytes);

    munmap((char *)p + bytes - whole, whole + (size_t)sysconf(_SC_PAGESIZE));
}

/* Finite, and small enough that sums are too: MXFP4 has scales up to 2^127. */
static bool finite_block(enum quant_type type, const void *block, size_t n)
{
    float w[256];

    quant_decode(type, block, w, n);
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(w[i]) < 1e30f))
            return false;
    return true;
}

void *random_weights(struct random *r, enum quant_type type, size_t n)
{
    const struct quant_info *info = quant_info(type);
    unsigned char *data = guard_alloc(quant_row_bytes(type, n)), *p = data;

    for (size_t b = 0; b < n / info->block_len; b++, p += info->block_bytes)
        do {
            if (type == QUANT_F32)
                *(float *)p = random_float(r); /* any bits would overflow in sums */
            else
                for (uint32_t i = 0; i < info->block_bytes; i++)
                    p[i] = (unsigned char)(random_u32(r) & (type == QUANT_BF16 ? 0xbf : 0xff));
        } while (!finite_block(type, p, info->block_len));
    return data;
}

void same_floats(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        cr_assert(isfinite(a[i]), "%s: value %zu is %g", what, i, (double)a[i]);
        cr_assert(memcmp(&a[i], &b[i], sizeof(float)) == 0, "%s: value %zu of %zu is %.9g and %.9g", what, i, n,
                  (double)a[i], (double)b[i]);
    }
}
