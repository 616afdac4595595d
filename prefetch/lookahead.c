/* SPDX-License-Identifier: MIT */
#include "prefetch/lookahead.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

/* What the router of a layer may choose. */
struct guess {
    uint32_t layer; /* the model layer that it is about */
    uint32_t n;     /* 0: there is none */
    uint16_t *ids;  /* [n_experts] named once each */
};

struct lookahead {
    const struct expert_layout *layout;
    struct expert_door *door;
    struct lookahead_options options;
    struct governor governor[LOOKAHEAD_WAYS];
    struct lookahead_stats stats;
    struct guess near;
    struct guess far[2]; /* by the layer's index, even and odd: two are open at a time */
    uint64_t *named;     /* [n_experts] number of the list that named it last */
    uint64_t naming;
};

static int guess_open(struct guess *guess, uint32_t n_experts)
{
    guess->ids = mem_calloc(n_experts, sizeof(*guess->ids));
    return guess->ids != NULL ? 0 : -ENOMEM;
}

int lookahead_open(const struct expert_layout *layout, struct expert_door *door,
                   const struct lookahead_options *options, struct lookahead **ret_lookahead, struct err *err)
{
    struct lookahead *la = mem_zalloc(sizeof(*la));

    if (la != NULL)
        la->named = mem_calloc(layout->n_experts, sizeof(*la->named));
    if (la == NULL || la->named == NULL || guess_open(&la->near, layout->n_experts) < 0 ||
        guess_open(&la->far[0], layout->n_experts) < 0 || guess_open(&la->far[1], layout->n_experts) < 0) {
        lookahead_close(la);
        return err_set(err, -ENOMEM, "no memory to look ahead");
    }
    la->layout = layout;
    la->door = door;
    la->options = *options;
    for (int way = 0; way < LOOKAHEAD_WAYS; way++) {
        bool leads = way == LOOKAHEAD_FROM_DRIVE || door->ops->lift != NULL;

        governor_init(&la->governor[way], LOOKAHEAD_ALL);
        if (options->mode != LOOKAHEAD_AUTO || !leads)
            governor_fix(&la->governor[way], options->mode == LOOKAHEAD_OFF || !leads ? LOOKAHEAD_NONE : LOOKAHEAD_FAR);
    }
    *ret_lookahead = la;
    return 0;
}

void lookahead_close(struct lookahead *la)
{
    if (la == NULL)
        return;
    mem_free(la->far[1].ids);
    mem_free(la->far[0].ids);
    mem_free(la->near.ids);
    mem_free(la->named);
    mem_free(la);
}

/* True the first time that the list in hand names e. */
static bool name_once(struct lookahead *la, uint16_t e)
{
    bool first = e < la->layout->n_experts && la->named[e] != la->naming;

    if (first)
        la->named[e] = la->naming;
    return first;
}

/* The guess meets the truth, and is done with. */
static void compare(struct lookahead *la, struct guess *guess, uint32_t layer, const uint16_t *ids, uint32_t n,
                    struct lookahead_counts *counts)
{
    if (guess->n == 0 || guess->layer != layer)
        return;
    la->naming++;
    for (size_t i = 0; i < (size_t)n * la->layout->n_used; i++)
        counts->chosen += name_once(la, ids[i]);
    for (uint32_t i = 0; i < guess->n; i++)
        counts->right += la->named[guess->ids[i]] == la->naming;
    counts->guessed += guess->n;
    guess->n = 0;
}

void lookahead_on_route(struct lookahead *la, uint32_t layer, const uint16_t *ids, uint32_t n)
{
    compare(la, &la->near, layer, ids, n, &la->stats.near);
    compare(la, &la->far[0], layer, ids, n, &la->stats.far);
    compare(la, &la->far[1], layer, ids, n, &la->stats.far);
}

/* How many of a token's guesses go each way. */
struct reach {
    uint32_t per_token[LOOKAHEAD_WAYS];
};

static uint32_t most(const struct reach *reach)
{
    uint32_t drive = reach->per_token[LOOKAHEAD_FROM_DRIVE], ram = reach->per_token[LOOKAHEAD_FROM_RAM];

    return drive > ram ? drive : ram;
}

/* Best guesses of all tokens first, then the second best, so that the likeliest are read first; ret_n says how many
 * those are that go each way. */
static void gather(struct lookahead *la, const uint16_t *ids, uint32_t n, const struct reach *reach,
                   struct guess *guess, uint32_t ret_n[LOOKAHEAD_WAYS])
{
    memset(ret_n, 0, LOOKAHEAD_WAYS * sizeof(*ret_n));
    guess->n = 0;
    la->naming++;
    for (uint32_t rank = 0; rank < most(reach); rank++) {
        for (uint32_t t = 0; t < n; t++) {
            uint16_t e = ids[(size_t)t * la->layout->n_used + rank];

            if (name_once(la, e))
                guess->ids[guess->n++] = e;
        }
        for (int way = 0; way < LOOKAHEAD_WAYS; way++)
            if (rank < reach->per_token[way])
                ret_n[way] = guess->n;
    }
}

/* `index` is the layer's in the layout. A large request comes in parts; one guess is enough. */
static void guess_make(struct lookahead *la, uint32_t index, uint32_t n, const struct reach *reach, struct guess *guess)
{
    const struct expert_door_ops *ops = la->door->ops;
    uint32_t layer, n_each[LOOKAHEAD_WAYS];
    const uint16_t *ids;

    if (index >= la->layout->n_layers || most(reach) == 0)
        return;
    layer = la->layout->layers[index].layer;
    if (guess->n > 0 && guess->layer == layer)
        return;
    if (la->options.predict(la->options.ctx, layer, n, &ids) < 0)
        return;
    gather(la, ids, n, reach, guess, n_each);
    guess->layer = layer;
    if (ops->hint != NULL && n_each[LOOKAHEAD_FROM_DRIVE] > 0)
        ops->hint(la->door, layer, guess->ids, n_each[LOOKAHEAD_FROM_DRIVE]);
    if (ops->lift != NULL && n_each[LOOKAHEAD_FROM_RAM] > 0)
        ops->lift(la->door, layer, guess->ids, n_each[LOOKAHEAD_FROM_RAM]);
}

void lookahead_on_request(struct lookahead *la, uint32_t layer, uint32_t n)
{
    int found = expert_layout_find(la->layout, layer);
    uint32_t index = (uint32_t)found, n_used = la->layout->n_used;
    struct reach near = { 0 }, far = { 0 };

    if (n > la->options.max_rows || found < 0)
        return;
    for (int way = 0; way < LOOKAHEAD_WAYS; way++) {
        uint32_t level = governor_level(&la->governor[way]);

        near.per_token[way] = level == LOOKAHEAD_NONE ? 0 : level == LOOKAHEAD_HALF ? (n_used + 1) / 2 : n_used;
        far.per_token[way] = level == LOOKAHEAD_FAR ? n_used : 0;
    }
    guess_make(la, index + 1, n, &near, &la->near);
    guess_make(la, index + 2, n, &far, &la->far[index % 2]);
}

uint32_t lookahead_guesses(const struct lookahead *la, uint32_t *ret_layer, const uint16_t **ret_ids)
{
    *ret_layer = la->near.layer;
    *ret_ids = la->near.ids;
    return la->near.n;
}

/* While one of the two tries a level, the other keeps to its best: a difference has one cause. */
void lookahead_on_pass(struct lookahead *la, uint32_t n, uint64_t ns)
{
    struct governor *drive = &la->governor[LOOKAHEAD_FROM_DRIVE], *ram = &la->governor[LOOKAHEAD_FROM_RAM];

    if (n > la->options.max_rows)
        return;
    if (!governor_trying(ram))
        governor_token(drive, ns);
    if (!governor_trying(drive))
        governor_token(ram, ns);
}

void lookahead_stats(const struct lookahead *la, struct lookahead_stats *ret_stats)
{
    *ret_stats = la->stats;
    for (int way = 0; way < LOOKAHEAD_WAYS; way++) {
        ret_stats->way[way].level = governor_level(&la->governor[way]);
        memcpy(ret_stats->way[way].token_ns, la->governor[way].token_ns, sizeof(ret_stats->way[way].token_ns));
    }
}
