/* SPDX-License-Identifier: MIT */
#include "prefetch/warmup.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

/* Hints in the reader's queue at a time: enough to keep it busy, few enough to be gone soon. */
#define HINTS_AT_ONCE 4
#define CLASSES 4

struct candidate {
    uint32_t heat, layer_index, expert;
    struct expert_place gate; /* for the order */
};

struct warmup {
    const struct expert_layout *layout;
    struct cache *cache;
    uint32_t n, next;
    struct candidate candidate[]; /* [n] in file order */
};

static int hotter_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->heat != y->heat)
        return x->heat < y->heat ? 1 : -1;
    if (x->layer_index != y->layer_index)
        return x->layer_index < y->layer_index ? -1 : 1;
    return (x->expert > y->expert) - (x->expert < y->expert);
}

static int file_order(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->gate.file != y->gate.file)
        return x->gate.file < y->gate.file ? -1 : 1;
    return (x->gate.offset > y->gate.offset) - (x->gate.offset < y->gate.offset);
}

static void candidates_list(struct warmup *w)
{
    for (uint32_t i = 0; i < w->layout->n_layers; i++) {
        const struct expert_part_layout *gate = &w->layout->layers[i].part[EXPERT_GATE];
        const uint32_t *heat = cache_heat(w->cache, i);

        for (uint32_t e = 0; e < w->layout->n_experts; e++)
            if (heat[e] > 0)
                w->candidate[w->n++] = (struct candidate){
                    .heat = heat[e], .layer_index = i, .expert = e, .gate = expert_part_place(gate, e)
                };
    }
}

/* Of the hottest, keep what the free slots of each class hold. */
static void candidates_keep(struct warmup *w)
{
    uint32_t n_kept = 0, taken[CLASSES] = { 0 };

    qsort(w->candidate, w->n, sizeof(*w->candidate), hotter_first);
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t class, n_free = cache_free_slots(w->cache, w->candidate[i].layer_index, &class);

        if (taken[class] < n_free) {
            taken[class]++;
            w->candidate[n_kept++] = w->candidate[i];
        }
    }
    w->n = n_kept;
    qsort(w->candidate, w->n, sizeof(*w->candidate), file_order);
}

int warmup_open(const struct expert_layout *layout, struct cache *cache, struct warmup **ret_warmup, struct err *err)
{
    uint64_t n_keys = (uint64_t)layout->n_layers * layout->n_experts;
    struct warmup *w = mem_alloc(sizeof(*w) + n_keys * sizeof(w->candidate[0]));

    if (w == NULL)
        return err_sys(err, ENOMEM, "warm-up");
    *w = (struct warmup){ .layout = layout, .cache = cache };
    candidates_list(w);
    candidates_keep(w);
    *ret_warmup = w;
    return 0;
}

void warmup_close(struct warmup *warmup)
{
    mem_free(warmup);
}

uint32_t warmup_count(const struct warmup *warmup)
{
    return warmup->n;
}

bool warmup_step(struct warmup *warmup)
{
    struct expert_door *door = cache_door(warmup->cache);

    if (cache_hinting(warmup->cache)) {
        cache_idle(warmup->cache);
        return true;
    }
    for (int i = 0; i < HINTS_AT_ONCE && warmup->next < warmup->n; i++) {
        const struct candidate *c = &warmup->candidate[warmup->next++];
        uint16_t id = (uint16_t)c->expert;
        uint32_t class;

        /* Answers given meanwhile may have filled the slots with what is hot now. */
        if (cache_free_slots(warmup->cache, c->layer_index, &class) > 0)
            door->ops->hint(door, warmup->layout->layers[c->layer_index].layer, &id, 1);
    }
    return warmup->next < warmup->n || cache_hinting(warmup->cache);
}
