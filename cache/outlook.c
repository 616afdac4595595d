/* SPDX-License-Identifier: MIT */
#include "cache/outlook.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { FAST, SLOW, RATES };

static const float rate[RATES] = { [FAST] = 0.6f, [SLOW] = 0.98f };
static const float first_weight[RATES + 1] = { [FAST] = 0.57f, [SLOW] = 0.86f };
#define STEP 0.2f
#define MOST 8.0f         /* that a weight may come to */
#define LEAST_CHANCE 0.01 /* of somebody whom an earlier run has not seen: some three spreads off */

struct outlook {
    uint32_t n_layers, n_experts, n_used;
    float *average[RATES];    /* [n_layers, n_experts] of margins */
    float *chance;            /* [n_layers, n_experts] */
    float *weight[RATES];     /* [n_layers] how many margins an average is worth, at most 1 / (1 - rate) */
    float *margin;            /* [n_experts] of the row in hand */
    float *best;              /* [n_used + 1] its greatest logits, greatest first */
    float learned[RATES + 1]; /* of the averages and of 1 */
};

int outlook_open(uint32_t n_layers, uint32_t n_experts, uint32_t n_used, struct outlook **ret_outlook)
{
    uint64_t n_keys = (uint64_t)n_layers * n_experts, n = n_keys + n_layers;
    struct outlook *o = mem_zalloc(sizeof(*o) + ((RATES * n) + n_keys + n_experts + n_used + 1) * sizeof(float));
    float *at = (float *)(o + 1);

    if (o == NULL)
        return -ENOMEM;
    *o = (struct outlook){ .n_layers = n_layers, .n_experts = n_experts, .n_used = n_used };
    memcpy(o->learned, first_weight, sizeof(o->learned));
    for (int i = 0; i < RATES; i++, at += n) {
        o->average[i] = at;
        o->weight[i] = at + n_keys;
    }
    o->chance = at;
    o->margin = at + n_keys;
    o->best = o->margin + n_experts;
    for (uint64_t key = 0; key < n_keys; key++)
        o->chance[key] = OUTLOOK_UNKNOWN;
    *ret_outlook = o;
    return 0;
}

void outlook_close(struct outlook *outlook)
{
    mem_free(outlook);
}

/* Half way between the last one taken and the first one not; there must be one. */
static float border(struct outlook *o, const float *logits)
{
    uint32_t n = 0;

    for (uint32_t e = 0; e < o->n_experts; e++) {
        uint32_t at;

        if (n > o->n_used && !(logits[e] > o->best[o->n_used]))
            continue;
        for (at = n > o->n_used ? o->n_used : n++; at > 0 && logits[e] > o->best[at - 1]; at--)
            o->best[at] = o->best[at - 1];
        o->best[at] = logits[e];
    }
    return (o->best[o->n_used - 1] + o->best[o->n_used]) / 2;
}

static float spread(const float *logits, uint32_t n)
{
    double mean = 0, square = 0;

    for (uint32_t e = 0; e < n; e++)
        mean += (double)logits[e] / n;
    for (uint32_t e = 0; e < n; e++)
        square += (logits[e] - mean) * (logits[e] - mean) / n;
    return (float)sqrt(square);
}

/* o->margin of a row; with `greatest`, whichever is greater of what is there and the row's. False: it says nothing. */
static bool margins(struct outlook *o, const float *logits, bool greatest)
{
    float by = spread(logits, o->n_experts), from;

    if (!isfinite(by) || !(by > 0))
        return false;
    from = border(o, logits);
    for (uint32_t e = 0; e < o->n_experts; e++) {
        float margin = (logits[e] - from) / by;

        if (!greatest || margin > o->margin[e])
            o->margin[e] = margin;
    }
    return true;
}

static void average(struct outlook *o, uint32_t layer, const float *margin)
{
    for (int i = 0; i < RATES; i++) {
        float *at = o->average[i] + (uint64_t)layer * o->n_experts;
        float weight = o->weight[i][layer] = o->weight[i][layer] * rate[i] + 1;

        for (uint32_t e = 0; e < o->n_experts; e++)
            at[e] += (margin[e] - at[e]) / weight;
    }
}

static void chances(struct outlook *o, uint32_t layer)
{
    uint64_t first = (uint64_t)layer * o->n_experts;

    for (uint64_t key = first; key < first + o->n_experts; key++)
        o->chance[key] = 1 / (1 + expf(-(o->learned[FAST] * o->average[FAST][key] +
                                         o->learned[SLOW] * o->average[SLOW][key] + o->learned[RATES])));
}

/* o->margin has come: who has one above 0 was taken. */
static void learn(struct outlook *o, uint32_t layer)
{
    uint64_t first = (uint64_t)layer * o->n_experts;
    float gradient[RATES + 1] = { 0 };

    if (o->chance[first] < 0)
        return;
    for (uint32_t e = 0; e < o->n_experts; e++) {
        float missed = (o->margin[e] > 0 ? 1.0f : 0.0f) - o->chance[first + e];

        for (int i = 0; i < RATES; i++)
            gradient[i] += missed * o->average[i][first + e];
        gradient[RATES] += missed;
    }
    for (int i = 0; i <= RATES; i++)
        o->learned[i] = fmaxf(-MOST, fminf(o->learned[i] + STEP * gradient[i] / (float)o->n_experts, MOST));
}

void outlook_note(struct outlook *outlook, uint32_t layer_index, const float *logits, uint32_t n, bool in_turn)
{
    struct outlook *o = outlook;
    bool any = false;

    if (o->n_used >= o->n_experts)
        return;
    for (uint32_t row = n > OUTLOOK_ROWS ? n - OUTLOOK_ROWS : 0; row < n; row++) {
        bool says = margins(o, logits + (size_t)row * o->n_experts, any && !in_turn);

        any |= says;
        if (says && in_turn)
            average(o, layer_index, o->margin);
    }
    if (any && !in_turn) {
        learn(o, layer_index);
        average(o, layer_index, o->margin);
    }
    if (any)
        chances(o, layer_index);
}

/* As if it had gone on for as many tokens as the uses come to, always with the margin that makes the chance by what the
 * weights begin with. */
void outlook_recall(struct outlook *outlook, uint32_t layer_index, const uint32_t *heat)
{
    struct outlook *o = outlook;
    double total = 0;

    for (uint32_t e = 0; e < o->n_experts; e++)
        total += heat[e];
    if (total < o->n_used || o->n_used >= o->n_experts)
        return;
    for (uint32_t e = 0; e < o->n_experts; e++) {
        double chance = fmax(LEAST_CHANCE, fmin(heat[e] * (o->n_used / total), 1 - LEAST_CHANCE));

        o->margin[e] = (float)log(chance / (1 - chance)) / (first_weight[FAST] + first_weight[SLOW]);
    }
    for (int i = 0; i < RATES; i++) {
        o->weight[i][layer_index] = fminf((float)(total / o->n_used), 1 / (1 - rate[i]));
        for (uint32_t e = 0; e < o->n_experts; e++)
            o->average[i][(uint64_t)layer_index * o->n_experts + e] = o->margin[e];
    }
    chances(o, layer_index);
}

void outlook_weights(const struct outlook *outlook, float ret_weights[3])
{
    memcpy(ret_weights, outlook->learned, sizeof(outlook->learned));
}

const float *outlook_chances(const struct outlook *outlook)
{
    return outlook->chance;
}

uint64_t outlook_bytes(uint32_t n_layers, uint32_t n_experts)
{
    uint64_t n_keys = (uint64_t)n_layers * n_experts;

    return sizeof(struct outlook) + ((RATES + 1) * n_keys + (uint64_t)RATES * n_layers + 2 * n_experts + 1) * 4 + 64;
}
