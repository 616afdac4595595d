/* SPDX-License-Identifier: MIT */
#include "daemon/budget.h"

#include "base/arith.h"
#include "daemon/config.h"

#include <stdbool.h>

#define MIB ((uint64_t)1 << 20)
#define STEP ((uint64_t)64 << 10) /* of the least that is said */

static const uint32_t seqs_tried[] = { 4, 2, 1 };
static const uint32_t batches_tried[] = { 512, 256, 128, 64, 32, 16 };
static const uint32_t batches_alone[] = { 2048, 1024 };
#define CTX_FIRST 4096u
#define CTX_GOOD 512u  /* what we choose ourselves is not shorter, */
#define CTX_LEAST 256u /* but where nothing else would do */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What comes and goes does so beside some 2 MiB of program that stay. */
uint64_t budget_reserve(uint64_t total)
{
    uint64_t small = u64_max(u64_min((total - u64_min(total, 2 * MIB)) / 16, 3 * MIB), 256 << 10);

    return u64_min(u64_max(total / 64, small), 64 * MIB);
}

bool budget_is_small(uint64_t total)
{
    return total < 32 * MIB;
}

uint64_t budget_of_free(uint64_t free_bytes)
{
    uint64_t reserve = u64_max(free_bytes / 10, 256 * MIB);

    return free_bytes > 2 * reserve ? free_bytes - reserve : free_bytes / 2;
}

/* Rows of logits: one per sequence, and some more so that scoring a prompt does not go token by token. */
static uint32_t rows_of_logits(const struct budget_wish *wish, uint32_t n_seqs, uint32_t batch)
{
    uint64_t rows = wish->total / 128 / ((uint64_t)wish->n_vocab * sizeof(float) + 1);

    rows = u64_max(u64_min(rows, 128), 4);
    return n_seqs + (uint32_t)u64_min(rows, batch);
}

static struct budget_shape shape_of(const struct budget_wish *wish, uint32_t n_ctx, uint32_t n_seqs, uint32_t batch)
{
    struct budget_shape shape = { .n_ctx = n_ctx, .n_seqs = n_seqs };

    shape.batch = batch < n_ctx ? batch : n_ctx;
    shape.max_batch = shape.batch + n_seqs;
    shape.max_logits = rows_of_logits(wish, n_seqs, shape.batch);
    return shape;
}

/* Everything but slots. */
static uint64_t fixed_bytes(const struct budget_wish *wish, const struct budget_needs *needs)
{
    return wish->other + needs->dense + needs->kv + needs->activations + needs->device + needs->cache_overhead;
}

static bool fits(const struct budget_wish *wish, const struct budget_needs *needs)
{
    uint64_t fixed = fixed_bytes(wish, needs);

    return fixed <= wish->total && wish->total - fixed >= needs->slots_min;
}

/* Keys, values and activations take at most such a part of what could be slots. */
static bool takes_at_most(const struct budget_wish *wish, const struct budget_needs *needs, uint64_t part)
{
    uint64_t rest = wish->other + needs->dense + needs->cache_overhead;
    uint64_t working = needs->kv + needs->activations + needs->device;

    return fits(wish, needs) && working <= (wish->total - rest) / part;
}

static void settle(const struct budget_wish *wish, const struct budget_shape *shape, const struct budget_needs *needs,
                   struct budget *ret_budget)
{
    uint64_t rest = wish->total - fixed_bytes(wish, needs);

    *ret_budget = (struct budget){ .total = wish->total,
                                   .other = wish->other,
                                   .shape = *shape,
                                   .needs = *needs,
                                   .slots = u64_min(rest, u64_max(needs->slots_max, needs->slots_min)) };
}

/* The values to try of one dimension, best first: the one the user set, or ours. */
struct ladder {
    uint32_t v[16];
    uint32_t n;
};

static struct ladder ladder_of(uint32_t set, const uint32_t *tried, size_t n)
{
    struct ladder l = { { set }, 1 };

    if (set)
        return l;
    for (l.n = 0; l.n < n; l.n++)
        l.v[l.n] = tried[l.n];
    return l;
}

static struct ladder contexts(const struct budget_wish *wish)
{
    struct ladder l = { { wish->n_ctx }, 1 };
    uint32_t top = wish->n_ctx_train && wish->n_ctx_train < CTX_FIRST ? wish->n_ctx_train : CTX_FIRST;

    if (wish->n_ctx)
        return l;
    l.v[0] = top;
    for (uint32_t v = CTX_FIRST / 2; v >= CTX_GOOD; v /= 2)
        if (v < top)
            l.v[l.n++] = v;
    return l;
}

/* Where experts are missing, the table of embeddings, of which a token reads one row, makes way for some of them. */
static void trade_embeddings(const struct budget_wish *wish, budget_measure measure, const void *ctx,
                             struct budget *budget)
{
    struct budget_shape shape = budget->shape;
    struct budget_needs needs;

    if (budget->slots >= budget->needs.slots_max)
        return;
    shape.embd_on_disk = true;
    measure(ctx, &shape, &needs);
    if (fixed_bytes(wish, &needs) < fixed_bytes(wish, &budget->needs))
        settle(wish, &shape, &needs, budget);
}

/* Whether chunks of so many tokens fit as well; then they are taken. */
static bool lengthen_to(const struct budget_wish *wish, uint32_t batch, budget_measure measure, const void *ctx,
                        struct budget *budget)
{
    struct budget_shape shape = shape_of(wish, budget->shape.n_ctx, budget->shape.n_seqs, batch);
    bool has_all = budget->slots >= budget->needs.slots_max;
    struct budget_needs needs;

    shape.embd_on_disk = budget->shape.embd_on_disk;
    measure(ctx, &shape, &needs);
    if (!takes_at_most(wish, &needs, 3) || (has_all && wish->total - fixed_bytes(wish, &needs) < needs.slots_max))
        return false;
    settle(wish, &shape, &needs, budget);
    return true;
}

/* With one answer at a time longer chunks of a prompt let nobody else wait, and each expert is read once per chunk.
 * Their activations are slots' between prompts, so they may take a third; but not the place of experts that all have
 * one. */
static void lengthen_chunks(const struct budget_wish *wish, budget_measure measure, const void *ctx,
                            struct budget *budget)
{
    if (wish->batch || budget->shape.n_seqs > 1 || budget->shape.batch < batches_tried[0] || budget->needs.batch == 0)
        return;
    for (size_t i = 0; i < COUNT(batches_alone); i++)
        if (lengthen_to(wish, batches_alone[i], measure, ctx, budget))
            return;
}

/* Which of two equally small steps down comes first: fewer answers at once, then shorter ones, then smaller chunks. */
static bool choose(const struct budget_wish *wish, budget_measure measure, const void *ctx, struct budget *ret_budget)
{
    struct ladder ctxs = contexts(wish), seqs = ladder_of(wish->n_seqs, seqs_tried, COUNT(seqs_tried));
    struct ladder batches = ladder_of(wish->batch, batches_tried, COUNT(batches_tried));
    struct budget_needs needs;

    for (uint32_t b = 0; b < batches.n; b++)
        for (uint32_t c = 0; c < ctxs.n; c++)
            for (uint32_t s = 0; s < seqs.n; s++) {
                struct budget_shape shape = shape_of(wish, ctxs.v[c], seqs.v[s], batches.v[b]);

                measure(ctx, &shape, &needs);
                if (!takes_at_most(wish, &needs, 4))
                    continue;
                settle(wish, &shape, &needs, ret_budget);
                trade_embeddings(wish, measure, ctx, ret_budget);
                lengthen_chunks(wish, measure, ctx, ret_budget);
                return true;
            }
    return false;
}

/* What the process itself takes varies by some pages from one start to the next: a number that was said must do. */
static uint64_t least_said(uint64_t least)
{
    return budget_is_small(least) ? least + STEP : least;
}

static int refuse(const struct budget_wish *wish, uint64_t least, const struct budget_shape *shape, struct err *err)
{
    char total[24], need[24], hint[80] = "";

    if (wish->n_ctx > CTX_LEAST || wish->n_seqs > 1)
        snprintf(hint, sizeof(hint), "; a smaller --context or --parallel%s needs less",
                 wish->kv_wide ? ", or --kv-type q8_0," : "");
    size_format(wish->total, total);
    if (least < 64 * MIB)
        snprintf(need, sizeof(need), "%lluK", (unsigned long long)(least / 1024));
    else if (least < 1024 * MIB)
        snprintf(need, sizeof(need), "%lluM", (unsigned long long)((least + MIB - 1) / MIB));
    else
        snprintf(need, sizeof(need), "%.2fG", (double)(least + (10 * MIB)) / (1024.0 * (double)MIB));
    return err_set(
        err, ERR_BUDGET,
        "a memory budget of %s is too small for this model: at least %s %s is needed (with --context %u "
        "--parallel %u --batch %u)%s",
        total, wish->option != NULL ? wish->option : "--memory", need, shape->n_ctx, shape->n_seqs, shape->batch, hint);
}

/* The last resorts, in the order in which they are tried. */
static const struct resort {
    uint32_t n_ctx, batch;
    bool embd_on_disk;
} resorts[] = { { CTX_GOOD, 16, false }, { CTX_GOOD, 16, true }, { CTX_LEAST, 16, true }, { CTX_LEAST, 8, true } };

static struct budget_shape shape_least(const struct budget_wish *wish, const struct resort *resort)
{
    uint32_t n_ctx = resort->n_ctx, n_seqs = wish->n_seqs ? wish->n_seqs : 1;
    struct budget_shape shape;

    if (wish->n_ctx || (wish->n_ctx_train && wish->n_ctx_train < n_ctx))
        n_ctx = wish->n_ctx ? wish->n_ctx : wish->n_ctx_train;
    shape = shape_of(wish, n_ctx, n_seqs, wish->batch ? wish->batch : resort->batch);
    shape.max_logits = n_seqs + 1;
    shape.embd_on_disk = resort->embd_on_disk;
    return shape;
}

/* The reserve grows with the total, so that the first sum need not be one that works. */
static uint64_t least_total(const struct budget_wish *wish, const struct budget_shape *shape, budget_measure measure,
                            const void *ctx)
{
    struct budget_wish more = *wish;
    struct budget_needs needs;

    measure(ctx, shape, &needs);
    while (!fits(&more, &needs)) {
        uint64_t sum;

        more.other -= budget_reserve(more.total);
        sum = fixed_bytes(&more, &needs) + budget_reserve(more.total) + needs.slots_min;
        more.total = (sum + STEP - 1) / STEP * STEP;
        more.other += budget_reserve(more.total);
    }
    return more.total;
}

int budget_divide(const struct budget_wish *wish, budget_measure measure, const void *ctx, struct budget *ret_budget,
                  struct err *err)
{
    struct budget_shape shape = { 0 };
    struct budget_needs needs;

    if (choose(wish, measure, ctx, ret_budget))
        return 0;
    for (uint32_t i = 0; i < COUNT(resorts); i++) {
        shape = shape_least(wish, &resorts[i]);
        measure(ctx, &shape, &needs);
        if (!fits(wish, &needs))
            continue;
        settle(wish, &shape, &needs, ret_budget);
        return 0;
    }
    return refuse(wish, least_said(least_total(wish, &shape, measure, ctx)), &shape, err);
}

uint64_t budget_sum(const struct budget *budget)
{
    const struct budget_needs *n = &budget->needs;

    return budget->other + n->dense + n->kv + n->activations + n->device + n->cache_overhead + budget->slots;
}
