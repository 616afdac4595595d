/* SPDX-License-Identifier: MIT
 *
 * policy_nextuse.c: give up the expert whose next use lies furthest ahead, as far as its past can tell.
 *
 * A forward pass visits the layers in a fixed cycle, so the wait until an expert can be used again is known: the layers
 * between here and its own. Whether it will be used then is a guess from two averages of its past uses that fade per
 * pass, a fast one and a slow one:
 *
 *     p = MIX (1 - FAST) sum FAST^age + (1 - MIX) (1 - SLOW) sum SLOW^age        over its uses, ages in passes
 *     expected wait = layers until its own + (1 / p - 1) * layers in the cycle   (the mean of a geometric distribution)
 *
 * and the victim is the one that waits longest: Belady's rule with an estimate in the place of foresight. Where the
 * router's logits are to be had, TRUST of p is what they tell instead (cache/outlook.h). The constants lie in a broad
 * optimum over real routing traces, a layer's experts asked for at once (docs/experiments.md).
 */
#include "cache/policy_scored.h"

#include <stddef.h>

#define FAST (0.6f)
#define SLOW (0.98f)
#define MIX (0.3f)
#define LEAST_CHANCE (1e-6f)
#define TRUST (0.75f)

static float expected_wait(const struct scored *s, const struct past *past, uint32_t key)
{
    uint32_t layer = key / s->n_experts;
    uint32_t distance = layer > s->layer ? layer - s->layer : layer + s->n_layers - s->layer;
    float chance = LEAST_CHANCE + MIX * (1 - FAST) * scored_sum(s, past, 0) +
                   (1 - MIX) * (1 - SLOW) * scored_sum(s, past, 1);

    if (s->policy.chance != NULL && s->policy.chance[key] >= 0)
        chance += TRUST * (s->policy.chance[key] - chance);
    return (float)distance + (1 / chance - 1) * (float)s->n_layers;
}

const struct scored_kind policy_nextuse = {
    .name = "next-use", .rate = { FAST, SLOW }, .once_per_pass = true, .score = expected_wait
};
