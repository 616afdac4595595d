/* SPDX-License-Identifier: MIT */
#include "daemon/engine_impl.h"

#include "base/arith.h"
#include "base/log.h"

#include <errno.h>

/* What keys and values are not held for, where it is lent to the slots. */
static uint64_t kv_idle(const struct engine *e)
{
    return e->kv_lent - e->kv_held;
}

/* Between requests to the door: also between the layers of a long step, which may take its time. 0, or -EBUSY: later.
 */
static int fit_slots(struct engine *e)
{
    uint64_t wanted = u64_min(atomic_load(&e->slot_bytes_wanted), e->slots_most + kv_idle(e));
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

static uint64_t kv_wanted(const struct engine *e)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < e->scheduler.shape.n_seqs; i++)
        bytes += forward_kv_bytes(e->forward, positions_of(e, i));
    return bytes;
}

/* Those that hold more than they want, or else all. */
static int hold(struct engine *e, bool only_less, struct err *err)
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

/* At no moment do slots, keys and values together have more than the budget gives them: first goes what is not needed,
 * then the slots follow, and only then is taken what is. */
int engine_hold_positions(struct engine *e, struct err *err)
{
    uint64_t wanted, held = e->kv_held;
    int r;

    if (e->kv_lent == 0)
        return 0;
    wanted = kv_wanted(e);
    if ((r = hold(e, true, err)) < 0)
        return r;
    e->kv_held = wanted;
    r = fit_slots(e);
    if (r == 0)
        return hold(e, false, err);
    e->kv_held = held;
    return err_set(err, r, "experts are still being read where keys and values are to lie");
}
