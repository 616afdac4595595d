/* SPDX-License-Identifier: MIT */
#include "prefetch/lookahead.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

struct lookahead {
    const struct expert_layout *layout;
    struct expert_door *door;
    struct lookahead_options options;
    struct governor governor;
    struct lookahead_stats stats;
    uint32_t guess_layer;  /* the model layer that the guess is about */
    uint32_t n_guess;      /* 0: there is none */
    uint16_t *guess;       /* [n_experts] named once each */
    uint64_t *named;       /* [n_experts] number of the list that named it last */
    uint64_t naming;
};

int lookahead_open(const struct expert_layout *layout, struct expert_door *door,
                   const struct lookahead_options *options, struct lookahead **ret_lookahead, struct err *err)
{
    struct lookahead *la = mem_zalloc(sizeof(*la));

    if (la != NULL) {
        la->guess = mem_calloc(layout->n_experts, sizeof(*la->guess));
        la->named = mem_calloc(layout->n_experts, sizeof(*la->named));
    }
    if (la == NULL || la->guess == NULL || la->named == NULL) {
        lookahead_close(la);
        return err_set(err, -ENOMEM, "no memory to look ahead");
    }
    la->layout = layout;
    la->door = door;
    la->options = *options;
    governor_init(&la->governor);
    if (options->mode != LOOKAHEAD_AUTO)
        governor_fix(&la->governor, options->mode == LOOKAHEAD_ON ? GOVERNOR_LEVELS - 1 : 0);
    *ret_lookahead = la;
    return 0;
}

void lookahead_close(struct lookahead *la)
{
    if (la == NULL)
        return;
    mem_free(la->named);
    mem_free(la->guess);
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

/* The guess about this layer meets the truth. */
static void compare(struct lookahead *la, const uint16_t *ids, uint32_t n)
{
    la->naming++;
    for (size_t i = 0; i < (size_t)n * la->layout->n_used; i++)
        la->stats.chosen += name_once(la, ids[i]);
    for (uint32_t i = 0; i < la->n_guess; i++)
        la->stats.right += la->named[la->guess[i]] == la->naming;
    la->stats.guessed += la->n_guess;
}

void lookahead_on_route(struct lookahead *la, uint32_t layer, const uint16_t *ids, uint32_t n)
{
    if (la->n_guess == 0 || la->guess_layer != layer)
        return;
    compare(la, ids, n);
    la->n_guess = 0;
}

/* How many of a token's best guesses a level hints. */
static uint32_t guesses_of_level(const struct lookahead *la, uint32_t level)
{
    return level == 0 ? 0 : level == 1 ? (la->layout->n_used + 1) / 2 : la->layout->n_used;
}

/* Best guesses of all tokens first, then the second best, so that the likeliest are read first. */
static void gather(struct lookahead *la, const uint16_t *ids, uint32_t n, uint32_t per_token)
{
    la->n_guess = 0;
    la->naming++;
    for (uint32_t rank = 0; rank < per_token; rank++)
        for (uint32_t t = 0; t < n; t++) {
            uint16_t e = ids[(size_t)t * la->layout->n_used + rank];

            if (name_once(la, e))
                la->guess[la->n_guess++] = e;
        }
}

void lookahead_on_request(struct lookahead *la, uint32_t layer, uint32_t n)
{
    uint32_t per_token = guesses_of_level(la, governor_level(&la->governor));
    int index = expert_layout_find(la->layout, layer);
    const uint16_t *ids;

    if (per_token == 0 || n > la->options.max_rows || index < 0 ||
        (uint32_t)index + la->options.distance >= la->layout->n_layers)
        return;
    layer = la->layout->layers[(uint32_t)index + la->options.distance].layer;
    if (la->n_guess > 0 && la->guess_layer == layer)
        return; /* a large request comes in parts; one guess is enough */
    if (la->options.predict(la->options.ctx, layer, n, &ids) < 0)
        return;
    gather(la, ids, n, per_token);
    la->guess_layer = layer;
    if (la->door->ops->hint != NULL)
        la->door->ops->hint(la->door, layer, la->guess, la->n_guess);
}

uint32_t lookahead_guesses(const struct lookahead *la, uint32_t *ret_layer, const uint16_t **ret_ids)
{
    *ret_layer = la->guess_layer;
    *ret_ids = la->guess;
    return la->n_guess;
}

void lookahead_on_pass(struct lookahead *la, uint32_t n, uint64_t ns)
{
    if (n <= la->options.max_rows)
        governor_token(&la->governor, ns);
}

void lookahead_stats(const struct lookahead *la, struct lookahead_stats *ret_stats)
{
    *ret_stats = la->stats;
    ret_stats->level = governor_level(&la->governor);
    memcpy(ret_stats->token_ns, la->governor.token_ns, sizeof(ret_stats->token_ns));
}
