/* SPDX-License-Identifier: MIT */
#include "bench/replay_sim.h"

#include "base/mem.h"
#include "cache/outlook.h"

#include <string.h>

struct replay {
    const struct trace *trace;
    struct policy *policy;   /* NULL: by the book */
    struct outlook *outlook; /* what the policy is told of the routers; NULL: the trace has no margins */
    float *margin;           /* [n_experts] */
    uint32_t n_weighed;      /* so far */
    int which;
    uint32_t n_slots, n_held;
    uint32_t slot_of[TRACE_MAX_KEYS], key_of[TRACE_MAX_KEYS];
    uint32_t next_of[TRACE_MAX_KEYS];                            /* per key, for Belady */
    uint32_t n_uses_of[TRACE_MAX_KEYS], last_of[TRACE_MAX_KEYS]; /* per key, for lfu */
};

const char *replay_name(int which)
{
    return which == REPLAY_BELADY     ? "belady"
           : which == REPLAY_LFU_BOOK ? "lfu by the book"
                                      : policy_name((enum policy_kind)which);
}

static bool may_go(const void *ctx, uint32_t slot)
{
    return true;
}

static bool goes_before(const struct replay *r, uint32_t a, uint32_t b)
{
    if (r->which == REPLAY_BELADY)
        return r->next_of[a] > r->next_of[b];
    return r->n_uses_of[a] != r->n_uses_of[b] ? r->n_uses_of[a] < r->n_uses_of[b] : r->last_of[a] < r->last_of[b];
}

static uint32_t book_victim(const struct replay *r)
{
    uint32_t best = 0;

    for (uint32_t slot = 1; slot < r->n_held; slot++)
        if (goes_before(r, r->key_of[slot], r->key_of[best]))
            best = slot;
    return best;
}

static uint32_t take_slot(struct replay *r, uint32_t key)
{
    uint32_t slot;

    if (r->n_held < r->n_slots) {
        slot = r->n_held++;
    } else {
        slot = r->policy != NULL ? r->policy->ops->victim(r->policy, 0, may_go, r) : book_victim(r);
        r->slot_of[r->key_of[slot]] = SLOT_NONE;
        if (r->policy != NULL)
            r->policy->ops->drop(r->policy, slot);
    }
    r->slot_of[key] = slot;
    r->key_of[slot] = key;
    return slot;
}

/* Whatever the routers made of their experts before a use. */
static void replay_weigh(struct replay *r, uint32_t i)
{
    const struct trace *t = r->trace;

    for (; r->n_weighed < t->n_weighed && t->weighed[r->n_weighed].before <= i; r->n_weighed++) {
        const int16_t *margin = t->margin + (size_t)r->n_weighed * t->n_experts;

        for (uint32_t e = 0; e < t->n_experts; e++)
            r->margin[e] = (float)margin[e] / 100;
        outlook_take(r->outlook, t->weighed[r->n_weighed].layer, r->margin, t->use[i].phase == PHASE_ANSWER);
    }
}

static bool replay_use(struct replay *r, uint32_t i)
{
    const struct use *use = &r->trace->use[i];
    uint32_t slot = r->slot_of[use->key];
    bool hit = slot != SLOT_NONE;

    if (!hit)
        slot = take_slot(r, use->key);
    r->next_of[use->key] = use->next;
    r->n_uses_of[use->key]++;
    r->last_of[use->key] = i;
    if (r->policy != NULL)
        r->policy->ops->use(r->policy, slot, use->key);
    return hit;
}

static double replay_all(struct replay *r, bool *ret_hit)
{
    uint64_t hits = 0, total = 0;

    memset(r->slot_of, 0xff, sizeof(r->slot_of));
    for (uint32_t i = 0; i < r->trace->n; i++) {
        bool counts = r->trace->use[i].phase == PHASE_ANSWER, hit;

        if (r->trace->use[i].phase == PHASE_GUESS)
            continue;
        if (r->outlook != NULL)
            replay_weigh(r, i);
        hit = replay_use(r, i);
        if (ret_hit != NULL)
            ret_hit[i] = hit;
        hits += hit && counts;
        total += counts;
    }
    return total > 0 ? 100.0 * (double)hits / (double)total : 0;
}

/* False: no memory. */
static bool outlook_init(struct replay *r)
{
    const struct trace *t = r->trace;

    if (r->policy == NULL || t->n_weighed == 0 || t->n_used >= t->n_experts)
        return true;
    r->margin = mem_calloc(t->n_experts, sizeof(*r->margin));
    if (r->margin == NULL || outlook_open(t->n_layers, t->n_experts, t->n_used, &r->outlook) < 0)
        return false;
    r->policy->chance = outlook_chances(r->outlook);
    return true;
}

double replay_run(const struct trace *trace, int which, uint32_t n_slots, bool *ret_hit)
{
    struct replay *r = mem_zalloc(sizeof(*r));
    uint8_t *class_of = mem_zalloc(n_slots + 1);
    double percent = -1;

    if (r != NULL && class_of != NULL) {
        r->trace = trace;
        r->which = which;
        r->n_slots = n_slots;
        if (which < POLICIES)
            r->policy = policy_open((enum policy_kind)which, n_slots, class_of, 1, trace->n_layers, trace->n_experts);
        if (n_slots > 0 && (which >= POLICIES || r->policy != NULL) && outlook_init(r))
            percent = replay_all(r, ret_hit);
        if (r->policy != NULL)
            r->policy->ops->close(r->policy);
        outlook_close(r->outlook);
        mem_free(r->margin);
    }
    mem_free(class_of);
    mem_free(r);
    return percent;
}

/* ---- predictors ---- */

/* Per key: the token (by its number in the trace) that named it last, and the one before which it was guessed. */
struct foresight {
    uint32_t n_uses[TRACE_MAX_KEYS];
    uint32_t named[TRACE_MAX_KEYS], guessed[TRACE_MAX_KEYS];
    uint32_t before_of_layer[TRACE_MAX_KEYS], guess_of_layer[TRACE_MAX_KEYS];
};

const char *predictor_name(enum predictor which)
{
    static const char *const names[] = { "the token before", "the most used", "look-ahead, recorded" };

    return names[which];
}

/* Among the layer's n_used most used. */
static bool is_hot(const struct foresight *f, const struct trace *t, uint32_t key)
{
    uint32_t first = key / t->n_experts * t->n_experts, n_hotter = 0;

    for (uint32_t k = first; k < first + t->n_experts; k++)
        n_hotter += f->n_uses[k] > f->n_uses[key] || (f->n_uses[k] == f->n_uses[key] && k < key);
    return n_hotter < t->n_used && f->n_uses[key] > 0;
}

static bool is_foretold(const struct foresight *f, const struct trace *t, enum predictor which, uint32_t key,
                        uint32_t token)
{
    uint32_t layer = key / t->n_experts;

    if (which == PREDICT_HEAT)
        return is_hot(f, t, key);
    if (which == PREDICT_PREVIOUS)
        return f->before_of_layer[layer] > 0 && f->named[key] == f->before_of_layer[layer];
    return f->guessed[key] == token;
}

/* What is foretold stands before a token begins: the counts of its own uses come after. */
static void token_end(struct foresight *f, const struct trace *t, uint32_t from, uint32_t to, uint32_t token)
{
    for (uint32_t i = from; i < to; i++) {
        uint32_t key = t->use[i].key;

        if (t->use[i].phase == PHASE_GUESS)
            continue;
        f->n_uses[key]++;
        f->named[key] = token;
        f->before_of_layer[key / t->n_experts] = token;
    }
}

static uint32_t token_after(const struct trace *t, uint32_t from)
{
    uint32_t i = from;

    while (i < t->n && t->use[i].turn == t->use[from].turn && t->use[i].step == t->use[from].step &&
           (t->use[i].phase == PHASE_PROMPT) == (t->use[from].phase == PHASE_PROMPT))
        i++;
    return i;
}

struct foretold replay_predict(const struct trace *trace, enum predictor which, const bool *hit)
{
    struct foresight *f = mem_zalloc(sizeof(*f));
    uint64_t n[2] = { 0 }, right[2] = { 0 };
    uint32_t token = 1;

    for (uint32_t from = 0, to; f != NULL && from < trace->n; from = to, token++) {
        to = token_after(trace, from);
        for (uint32_t i = from; i < to; i++) {
            const struct use *use = &trace->use[i];
            bool judged = which != PREDICT_LOOKAHEAD || f->guess_of_layer[use->key / trace->n_experts] == token, good;

            if (use->phase == PHASE_GUESS) {
                f->guessed[use->key] = f->guess_of_layer[use->key / trace->n_experts] = token;
                continue;
            }
            if (use->phase != PHASE_ANSWER || !judged)
                continue;
            good = is_foretold(f, trace, which, use->key, token);
            n[0]++;
            right[0] += good;
            n[1] += !hit[i];
            right[1] += good && !hit[i];
        }
        token_end(f, trace, from, to, token);
    }
    mem_free(f);
    return (struct foretold){ .all = n[0] > 0 ? 100.0 * (double)right[0] / (double)n[0] : -1,
                              .misses = n[1] > 0 ? 100.0 * (double)right[1] / (double)n[1] : -1 };
}
