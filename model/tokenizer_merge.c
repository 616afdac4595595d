/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_merge.h"

#include "base/mem.h"

#include <errno.h>

void merger_fini(struct merger *merger)
{
    mem_free(merger->symbols);
    mem_free(merger->heap);
    merger->symbols = NULL;
    merger->heap = NULL;
    merger->cap = 0;
}

int merger_reserve(struct merger *merger, size_t n_symbols)
{
    size_t cap = n_symbols < 256 ? 256 : n_symbols;

    merger->n_symbols = merger->n_heap = 0;
    if (n_symbols <= merger->cap)
        return 0;
    merger_fini(merger);
    merger->symbols = mem_calloc(cap, sizeof(*merger->symbols));
    merger->heap = mem_calloc(cap, 2 * sizeof(*merger->heap));
    if (merger->symbols == NULL || merger->heap == NULL) {
        merger_fini(merger);
        return -ENOMEM;
    }
    merger->cap = cap;
    return 0;
}

static bool before(const struct merge_pair *a, const struct merge_pair *b)
{
    return a->order < b->order || (a->order == b->order && a->len < b->len);
}

void merger_push(struct merger *merger, uint64_t order, uint32_t len, int32_t id)
{
    struct merge_pair pair = { order, len, id }, *heap = merger->heap;
    size_t at = merger->n_heap++;

    merger->steps++;
    for (size_t parent; at > 0 && before(&pair, &heap[parent = (at - 1) / 2]); at = parent)
        heap[at] = heap[parent];
    heap[at] = pair;
}

bool merger_pop(struct merger *merger, struct merge_pair *ret_pair)
{
    struct merge_pair *heap = merger->heap, last;
    size_t n, at = 0;

    if (merger->n_heap == 0)
        return false;
    *ret_pair = heap[0];
    n = --merger->n_heap;
    last = heap[n];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return true;
}

void merger_join(struct merger *merger, uint32_t left, int32_t id)
{
    struct merge_symbol *l = &merger->symbols[left], *r = &merger->symbols[l->next];

    l->id = id;
    l->len += r->len;
    l->next = r->next;
    r->id = -2;
    if (r->next != MERGE_NONE)
        merger->symbols[r->next].prev = left;
}
