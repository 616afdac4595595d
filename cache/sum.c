/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cache/sum.h"

#include "base/arith.h"

#include <string.h>
#include <xxhash.h>
#ifdef HAVE_XXH3_128BITS_DISPATCH
#include <xxh_x86dispatch.h> /* XXH3_128bits is the fastest for this CPU, to the same result */
#endif

#define PIECES ((size_t)EXPERT_PARTS * SUM_PIECES)
#define ALIGN 64
#define ALONE_BYTES (256U << 10) /* up to here other threads would take longer to hear of it than it takes */

struct sums {
    const struct expert_bytes *expert;
    struct catalog_sum piece[PIECES];
};

static void sum_memory(const void *data, size_t bytes, struct catalog_sum *ret_sum)
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(ret_sum->bytes, canonical.digest, sizeof(ret_sum->bytes));
}

static void sum_piece(void *arg, size_t i)
{
    struct sums *s = arg;
    size_t part = i / SUM_PIECES;
    uint64_t all = s->expert->bytes[part], each = (all / SUM_PIECES + ALIGN) / ALIGN * ALIGN;
    uint64_t first = u64_min(all, i % SUM_PIECES * each), end = u64_min(all, first + each);

    sum_memory((const char *)s->expert->data[part] + first, end - first, &s->piece[i]);
}

void sum_expert(const struct expert_bytes *expert, const struct parallel *threads, struct catalog_sum *ret_sum)
{
    struct sums sums = { .expert = expert };
    uint64_t bytes = 0;

    for (int p = 0; p < EXPERT_PARTS; p++)
        bytes += expert->bytes[p];
    parallel_run(bytes > ALONE_BYTES ? threads : NULL, PIECES, sum_piece, &sums);
    sum_memory(sums.piece, sizeof(sums.piece), ret_sum);
}
