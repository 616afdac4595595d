/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_merge.h"

#include "base/mem.h"

#include <errno.h>

_Static_assert(VOCAB_MAX_TOKEN - 1 <= UINT16_MAX, "a symbol's span is kept in 16 bits");

void merger_fini(struct merger *merger)
{
    mem_free(merger->symbols);
    mem_free(merger->spans);
    mem_free(merger->heap);
    mem_free(merger->spelled);
    *merger = (struct merger){ .steps = merger->steps };
}

int merger_reserve(struct merger *merger, size_t len)
{
    size_t cap = len < 256 ? 256 : len;

    merger->n_heap = 0;
    if (len > merger->cap) {
        merger_fini(merger);
        merger->symbols = mem_alloc(cap * sizeof(*merger->symbols));
        merger->spans = mem_alloc(cap * sizeof(*merger->spans));
        merger->heap = mem_alloc(cap * sizeof(*merger->heap));
        if (merger->symbols == NULL || merger->spans == NULL || merger->heap == NULL) {
            merger_fini(merger);
            return -ENOMEM;
        }
        merger->cap = cap;
    }
    merger->len = (uint32_t)len;
    return 0;
}

static void set_span(struct merger *merger, uint32_t at, uint32_t len)
{
    merger->spans[at] = merger->spans[at + len - 1] = (uint16_t)(len - 1);
}

void merger_put(struct merger *merger, uint32_t at, uint32_t len, int32_t id)
{
    merger->symbols[at] = (struct merge_symbol){ id, MERGE_NONE };
    set_span(merger, at, len);
}

static void put_pair(struct merger *merger, uint32_t spot, uint64_t pair)
{
    merger->heap[spot] = pair;
    merger->symbols[(uint32_t)pair].spot = spot;
}

/* Put a pair where another was, or at the end: up or down from there. */
static void settle(struct merger *merger, uint32_t spot, uint64_t pair)
{
    const uint64_t *heap = merger->heap;

    for (uint32_t parent; spot > 0 && pair < heap[parent = (spot - 1) / 2]; spot = parent)
        put_pair(merger, spot, heap[parent]);
    for (uint32_t child; (child = 2 * spot + 1) < merger->n_heap; spot = child) {
        child += child + 1 < merger->n_heap && heap[child + 1] < heap[child];
        if (pair < heap[child])
            break;
        put_pair(merger, spot, heap[child]);
    }
    put_pair(merger, spot, pair);
}

static void take_out(struct merger *merger, uint32_t left)
{
    uint32_t spot = merger->symbols[left].spot;

    if (spot == MERGE_NONE)
        return;
    merger->symbols[left].spot = MERGE_NONE;
    if (spot < --merger->n_heap)
        settle(merger, spot, merger->heap[merger->n_heap]);
}

void merger_set(struct merger *merger, uint32_t left, uint32_t order)
{
    uint32_t spot = merger->symbols[left].spot;

    if (order == MERGE_NONE) {
        take_out(merger, left);
        return;
    }
    merger->steps++;
    settle(merger, spot != MERGE_NONE ? spot : merger->n_heap++, (uint64_t)order << 32 | left);
}

void merger_join(struct merger *merger, uint32_t left)
{
    uint32_t right = merger_next(merger, left);

    take_out(merger, right);
    set_span(merger, left, merger_len(merger, left) + merger_len(merger, right));
}
