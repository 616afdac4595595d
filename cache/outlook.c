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
    float *row, *margin;      /* [n_experts] of the row in hand, of the rows side by side */
    float *best;              /* [n_used + 1] its greatest logits, greatest first */
    float learned[RATES + 1]; /* of the averages and of 1 */
};

int outlook_open(uint32_t n_layers, uint32_t n_experts, uint32_t n_used, struct outlook **ret_outlook)
{
    uint64_t n_keys = (uint64_t)n_layers * n_experts, n = n_keys + n_layers;
    struct outlook *o = mem_zalloc(sizeof(*o) + ((RATES * n) + n_keys + 2 * n_experts + n_used + 1) * sizeof(float));
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
    o->row = at + n_keys;
    o->margin = o->row + n_experts;
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

/* Half way between the last one taken and the first one not. */
static float border(const float *logits, uint32_t n_experts, uint32_t n_used, float *best)
{
    uint32_t n = 0;

    for (uint32_t e = 0; e < n_experts; e++) {
        uint32_t at;

        if (n > n_used && !(logits[e] > best[n_used]))
            continue;
        for (at = n > n_used ? n_used : n++; at > 0 && logits[e] > best[at - 1]; at--)
            best[at] = best[at - 1];
        best[at] = logits[e];
    }
    return best[n_used - 1] / 2 + best[n_used] / 2;
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

bool outlook_margins(const float *logits, uint32_t n_experts, uint32_t n_used, float *best, float *ret_margin)
{
    float by = spread(logits, n_experts), from;

    if (!isfinite(by) || !(by > 0))
        return false;
    from = border(logits, n_experts, n_used, best);
    for (uint32_t e = 0; e < n_experts; e++)
        ret_margin[e] = fmaxf(-OUTLOOK_MOST, fminf((logits[e] - from) / by, OUTLOOK_MOST));
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

/* Who has a margin above 0 was taken. */
static void learn(struct outlook *o, uint32_t layer, const float *margin)
{
    uint64_t first = (uint64_t)layer * o->n_experts;
    float gradient[RATES + 1] = { 0 };

    if (o->chance[first] < 0)
        return;
    for (uint32_t e = 0; e < o->n_experts; e++) {
        float missed = (margin[e] > 0 ? 1.0f : 0.0f) - o->chance[first + e];

        for (int i = 0; i < RATES; i++)
            gradient[i] += missed * o->average[i][first + e];
        gradient[RATES] += missed;
    }
    for (int i = 0; i <= RATES; i++)
        o->learned[i] = fmaxf(-MOST, fminf(o->learned[i] + STEP * gradient[i] / (float)o->n_experts, MOST));
}

void outlook_take(struct outlook *outlook, uint32_t layer_index, const float *margin, bool learns)
{
    if (learns)
        learn(outlook, layer_index, margin);
    average(outlook, layer_index, margin);
    chances(outlook, layer_index);
}

static void rows_in_turn(struct outlook *o, uint32_t layer, const float *logits, uint32_t n)
{
    bool any = false;

    for (uint32_t row = n > OUTLOOK_ROWS ? n - OUTLOOK_ROWS : 0; row < n; row++)
        if (outlook_margins(logits + (size_t)row * o->n_experts, o->n_experts, o->n_used, o->best, o->row)) {
            average(o, layer, o->row);
            any = true;
        }
    if (any)
        chances(o, layer);
}

static void rows_side_by_side(struct outlook *o, uint32_t layer, const float *logits, uint32_t n)
{
    bool any = false;

    for (uint32_t row = 0; row < n; row++) {
        if (!outlook_margins(logits + (size_t)row * o->n_experts, o->n_experts, o->n_used, o->best, o->row))
            continue;
        for (uint32_t e = 0; e < o->n_experts; e++)
            o->margin[e] = any ? fmaxf(o->margin[e], o->row[e]) : o->row[e];
        any = true;
    }
    if (any)
        outlook_take(o, layer, o->margin, true);
}

void outlook_note(struct outlook *outlook, uint32_t layer_index, const float *logits, uint32_t n, bool in_turn)
{
    if (outlook->n_used >= outlook->n_experts)
        return;
    if (in_turn)
        rows_in_turn(outlook, layer_index, logits, n);
    else
        rows_side_by_side(outlook, layer_index, logits, n);
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

    return sizeof(struct outlook) + ((RATES + 1) * n_keys + (uint64_t)RATES * n_layers + 3 * n_experts + 1) * 4 + 64;
}
