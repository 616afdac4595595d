/* SPDX-License-Identifier: MIT */
#include "daemon/engine_impl.h"

#include "base/arith.h"
#include "base/log.h"

#include <errno.h>

#define TOKENS_LEAST 16u /* of a batch; so many take next to nothing */
#define DECODES_LEAST 8u

/* Between requests to the door: also between the layers of a long step, which may take its time. 0, or -EBUSY: later.
 */
static int fit_slots(struct engine *e)
{
    uint64_t wanted = u64_min(atomic_load(&e->slot_bytes_wanted), e->slots_most + e->lent - e->held);
    struct err err = { 0 };
    int r;

    if (wanted == e->slot_bytes_set)
        return 0;
    if (e->tier)
        tier_hold(e->tier, NULL); /* what goes wrong there is said by the next step */
    r = cache_resize(e->cache, wanted, &err);
    if (e->tier)
        tier_go_on(e->tier);
    if (r == -EBUSY)
        return r;
    e->slot_bytes_set = wanted;
    if (r < 0)
        log_warning("memory: %s", err_text(&err));
    return 0;
}

void engine_fit_slots(struct engine *e)
{
    fit_slots(e);
}

static uint32_t positions_of(const struct engine *e, uint32_t seq)
{
    return scheduler_positions(&e->scheduler, &e->scheduler.seqs[seq]);
}

uint64_t engine_kv_held(const struct engine *e)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < e->scheduler.shape.n_seqs; i++)
        bytes += forward_kv_held(e->forward, i);
    return bytes;
}

/* ---- what the step needs ---- */

struct need {
    uint32_t n_tokens, n_logits; /* of the batch */
    uint64_t batch_bytes, bytes; /* of the batch, of everything */
};

/* Powers of two, so that chunks of several lengths do not come and go one by one. */
static uint32_t round_up(uint32_t n, uint32_t least, uint32_t most)
{
    while (least < n)
        least *= 2;
    return least < most ? least : most;
}

static uint32_t rows_of_logits(const struct scheduler *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_spans; i++)
        n += scheduler_span_rows(&s->spans[i]);
    return n <= s->shape.n_seqs ? s->shape.n_seqs : s->shape.max_logits;
}

/* After a prompt its memory is kept for some steps, since experts have to be read before slots are worth anything. */
static struct need need_of(const struct engine *e)
{
    const struct scheduler *s = &e->scheduler;
    const struct budget_shape *shape = &s->shape;
    uint32_t few = round_up(shape->n_seqs, TOKENS_LEAST, shape->max_batch);
    struct need need = { round_up(s->n_tokens, few, shape->max_batch), rows_of_logits(s), 0, 0 };

    if (e->n_decodes < DECODES_LEAST) {
        need.n_tokens = (uint32_t)u64_max(need.n_tokens, e->batch_tokens);
        need.n_logits = (uint32_t)u64_max(need.n_logits, e->batch_logits);
    }
    need.batch_bytes = need.bytes = forward_batch_bytes(e->forward, need.n_tokens, need.n_logits);
    for (uint32_t i = 0; i < shape->n_seqs; i++)
        need.bytes += forward_kv_bytes(e->forward, positions_of(e, i));
    return need;
}

/* ---- holding it ---- */

static int hold_positions(struct engine *e, bool only_less, struct err *err)
{
    for (uint32_t i = 0; i < e->scheduler.shape.n_seqs; i++) {
        uint32_t n = positions_of(e, i);
        bool is_less = forward_kv_bytes(e->forward, n) < forward_kv_held(e->forward, i);
        int r = is_less || !only_less ? forward_hold(e->forward, i, n, err) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int hold_batch(struct engine *e, const struct need *need, bool only_less, struct err *err)
{
    int r;

    if ((need->n_tokens == e->batch_tokens && need->n_logits == e->batch_logits) ||
        (only_less && need->batch_bytes >= forward_batch_held(e->forward)))
        return 0;
    r = forward_hold_batch(e->forward, need->n_tokens, need->n_logits, err);
    if (r < 0)
        return r;
    e->batch_tokens = need->n_tokens;
    e->batch_logits = need->n_logits;
    return 0;
}

static int hold(struct engine *e, const struct need *need, bool only_less, struct err *err)
{
    int r = hold_positions(e, only_less, err);

    return r < 0 ? r : hold_batch(e, need, only_less, err);
}

/* At no moment do slots and what they lend have more than the budget gives them: first goes what is not needed, then
 * the slots follow, and only then is taken what is. */
int engine_hold(struct engine *e, struct err *err)
{
    uint64_t before = e->held;
    struct need need;
    int r;

    if (e->lent == 0)
        return 0;
    e->n_decodes = e->scheduler.n_tokens > e->scheduler.shape.n_seqs ? 0 : e->n_decodes + 1;
    need = need_of(e);
    if ((r = hold(e, &need, true, err)) < 0)
        return r;
    e->held = need.bytes;
    r = fit_slots(e);
    if (r == 0)
        return hold(e, &need, false, err);
    e->held = before;
    return err_set(err, r, "experts are still being read where keys and values are to lie");
}
