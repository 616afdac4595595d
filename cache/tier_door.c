/* SPDX-License-Identifier: MIT */
#include "cache/tier_state.h"

#include <errno.h>
#include <string.h>

static struct tier *of(struct expert_door *door)
{
    return (struct tier *)door;
}

static uint32_t key_of(const struct tier *t, uint32_t expert)
{
    return t->request.layer_index * t->layout->n_experts + expert;
}

static void ready_push(struct tier *t, size_t index)
{
    t->request.ready[t->request.n_ready++] = (uint16_t)index;
}

/* ---- asking ---- */

static int ids_check(struct tier *t, const uint16_t *ids, size_t n, struct err *err)
{
    t->naming++;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= t->layout->n_experts)
            return err_set(err, -EINVAL, "expert %u asked for, but a layer has %u", ids[i], t->layout->n_experts);
        if (t->named[ids[i]] == t->naming)
            return err_set(err, -EINVAL, "expert %u is named twice in one request", ids[i]);
        t->named[ids[i]] = t->naming;
        t->index_of[ids[i]] = (uint16_t)i;
    }
    return 0;
}

static int request_check(struct tier *t, uint32_t layer, const uint16_t *ids, size_t n, uint32_t *ret_index,
                         struct err *err)
{
    int index = expert_layout_find(t->layout, layer);

    if (index < 0)
        return err_set(err, -EINVAL, "layer %u has no experts", layer);
    if (n == 0 || n > t->door.max_request)
        return err_set(err, -EINVAL, "%zu experts asked for at once, but 1 to %zu can be", n, t->door.max_request);
    if (t->request.n_given < t->request.n)
        return err_set(err, -EBUSY, "the previous request has not been taken to its end");
    *ret_index = (uint32_t)index;
    return ids_check(t, ids, n, err);
}

static void slot_want(struct tier *t, uint32_t slot, size_t index)
{
    t->stats.guess_hits += t->slot[slot].guessed;
    t->slot[slot].guessed = false;
    t->slot[slot].owed = true;
    t->request.slot[index] = slot;
}

/* Those in slots: what is there first, then what is on its way. */
static void request_hits(struct tier *t, const uint16_t *ids, size_t n)
{
    struct tier_request *r = &t->request;

    for (int filling = 0; filling < 2; filling++)
        for (size_t i = 0; i < n; i++) {
            uint32_t slot = t->slot_of[key_of(t, ids[i])];

            if (slot == SLOT_NONE || (t->slot[slot].state == TIER_FILLING) != filling)
                continue;
            slot_want(t, slot, i);
            ready_push(t, i);
            cache_heat_add(t->cache, key_of(t, ids[i]));
        }
    t->stats.hits += r->n_ready;
    for (size_t i = 0; i < n; i++) {
        tier_heat_use(t, key_of(t, ids[i]));
        if (t->slot_of[key_of(t, ids[i])] == SLOT_NONE)
            r->missing[r->n_missing++] = ids[i];
    }
}

/* Ask the cache for as many of the missing as it takes at once; half of that when they are more, so that one half is
 * copied and computed while the other is read. Copies under way, whose slots in RAM are pinned or lent, may stand in
 * the way: then these are waited for. */
static int ask_wave(struct tier *t, struct err *err)
{
    struct tier_request *r = &t->request;
    size_t left = r->n_missing - r->asked, most = t->inner->max_request;
    size_t n = left <= most ? left : (most + 1) / 2;
    uint32_t layer = t->layout->layers[r->layer_index].layer;
    int rc = t->inner->ops->request(t->inner, layer, r->missing + r->asked, n, err);

    while (rc == -EBUSY && t->n_copies > 0) {
        rc = tier_wait(t, t->copies[t->copies_head].ticket, err);
        if (rc == 0)
            rc = t->inner->ops->request(t->inner, layer, r->missing + r->asked, n, err);
    }
    if (rc < 0)
        return rc;
    r->n_asked = n;
    r->n_taken = 0;
    if (left > n && t->inner->ops->hint != NULL)
        t->inner->ops->hint(t->inner, layer, r->missing + r->asked + n, left - n < n ? left - n : n);
    return 0;
}

static void door_abandon(struct expert_door *door);

/* Layers come round in order: from the last to the first a pass has ended. */
static void layer_begin(struct tier *t, uint32_t index)
{
    if (t->request_number > 0 && index <= t->request.layer_index)
        tier_heat_pass(t);
    t->request_number++;
    t->request.layer_index = index;
}

static int door_request(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    struct tier *t = of(door);
    struct tier_request *r = &t->request;
    uint32_t index = 0;
    int rc = request_check(t, layer, ids, n, &index, err);

    if (rc == 0)
        rc = tier_reap(t, err);
    if (rc < 0)
        return rc;
    layer_begin(t, index);
    t->inner->burst = door->burst;
    r->n = n;
    r->n_given = r->n_ready = r->ready_head = r->n_missing = r->asked = r->n_asked = r->n_taken = 0;
    request_hits(t, ids, n);
    if (r->n_missing == 0)
        return 0;
    if (t->inner->ops->arrange != NULL)
        t->inner->ops->arrange(t->inner, layer, r->missing, r->n_missing);
    rc = ask_wave(t, err);
    if (rc < 0)
        door_abandon(door);
    return rc;
}

/* ---- from RAM upwards ---- */

/* Room for the held view, and its copy started; 0 when it has to wait for a slot. */
static int held_copy(struct tier *t, enum tier_need need, struct err *err)
{
    struct tier_request *r = &t->request;
    size_t index = t->index_of[r->held.expert];
    uint32_t swapped, slot = tier_slot_take(t, key_of(t, r->held.expert), need, &swapped);
    int rc;

    if (slot == SLOT_NONE)
        return 0;
    rc = tier_copy_in(t, slot, &r->held, swapped, err);
    if (rc < 0) {
        tier_slot_free(t, slot);
        return rc;
    }
    r->holding = false;
    t->stats.copied++;
    slot_want(t, slot, index);
    ready_push(t, index);
    return 1;
}

/* The next of the cache's experts into `held`. 1, 0 when there are none left, -EAGAIN when none is there yet. */
static int inner_take(struct tier *t, bool may_wait, struct err *err)
{
    struct tier_request *r = &t->request;
    size_t index;
    int rc;

    if (r->asked == r->n_missing)
        return 0;
    rc = may_wait ? t->inner->ops->next(t->inner, &index, &r->held, err)
                  : t->inner->ops->try_next(t->inner, &index, &r->held, err);
    if (rc == 1) {
        r->holding = true;
        r->n_taken++;
        return 1;
    }
    if (rc != 0)
        return rc;
    r->asked += r->n_asked;
    r->n_asked = 0;
    if (r->asked == r->n_missing)
        return 0;
    rc = ask_wave(t, err);
    return rc < 0 ? rc : inner_take(t, may_wait, err);
}

/* The CPU is to have it: handed out as it lies in RAM. */
static int give_host(struct tier *t, size_t *ret_index, struct expert_view *ret_view)
{
    struct tier_request *r = &t->request;

    *ret_index = t->index_of[r->held.expert];
    *ret_view = r->held;
    ret_view->on_host = true;
    r->holding = false;
    r->n_given++;
    t->stats.helped++;
    return 1;
}

static int give_ready(struct tier *t, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct tier_request *r = &t->request;
    size_t index = r->ready[r->ready_head];
    struct tier_slot *s = &t->slot[r->slot[index]];
    int rc = tier_fence(t, r->slot[index], err);

    if (rc < 0)
        return rc;
    r->ready_head++;
    r->n_given++;
    s->owed = false;
    s->n_pins++;
    tier_view_fill(t, r->slot[index], ret_view);
    *ret_index = index;
    return 1;
}

static bool head_is_there(const struct tier *t)
{
    const struct tier_request *r = &t->request;

    return r->ready_head < r->n_ready && t->slot[r->slot[r->ready[r->ready_head]]].state == TIER_READY;
}

/* Bring up from RAM what is there, as far as slots go. 1: an expert for the CPU was handed out. */
static int bring_up(struct tier *t, bool may_wait, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct tier_request *r = &t->request;

    for (;;) {
        bool fresh = !r->holding;
        int rc = fresh ? inner_take(t, may_wait, err) : 1;

        if (rc != 1)
            return rc == -EAGAIN ? 0 : rc;
        if (fresh && t->door.host_views && tier_cost_choose(&t->cost, t->layout->layers[r->layer_index].expert_bytes))
            return give_host(t, ret_index, ret_view);
        rc = held_copy(t, TIER_DEMAND, err);
        if (rc != 1)
            return rc;
        may_wait = false;
    }
}

/* Every slot in transit is in use: what is under way will set one free; otherwise a resident goes. */
static int make_way(struct tier *t, struct err *err)
{
    int rc;

    if (t->n_copies > 0)
        return tier_wait(t, t->copies[t->copies_head].ticket, err);
    rc = held_copy(t, TIER_MUST, err);
    return rc != 0 ? rc : err_set(err, -EBUSY, "every slot of the device is in use: release views first");
}

static int take(struct tier *t, bool may_wait, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct tier_request *r = &t->request;
    int rc = tier_reap(t, err);

    if (rc == 0 && !head_is_there(t))
        rc = bring_up(t, false, ret_index, ret_view, err);
    if (rc != 0)
        return rc;
    if (head_is_there(t) || (may_wait && r->ready_head < r->n_ready))
        return give_ready(t, ret_index, ret_view, err);
    if (r->n_given == r->n)
        return 0;
    if (!may_wait)
        return -EAGAIN;
    while (rc == 0 && r->ready_head == r->n_ready) {
        rc = r->holding ? make_way(t, err) : 0;
        if (rc >= 0)
            rc = bring_up(t, true, ret_index, ret_view, err);
    }
    return rc != 0 ? rc : give_ready(t, ret_index, ret_view, err);
}

static int door_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    return take(of(door), true, ret_index, ret_view, err);
}

static int door_try_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    return take(of(door), false, ret_index, ret_view, err);
}

/* ---- unasked ---- */

static uint64_t door_settled(struct expert_door *door)
{
    struct tier *t = of(door);

    if (t->stats.slots_used < t->layout->n_layers * t->layout->n_experts || tier_reap(t, NULL) < 0 || t->n_copies > 0)
        return 0;
    t->all_used = t->epoch;
    return t->moves;
}

static void door_look(struct expert_door *door, uint32_t layer, uint16_t expert, struct expert_view *ret_view)
{
    struct tier *t = of(door);
    uint32_t index = (uint32_t)expert_layout_find(t->layout, layer);

    tier_view_fill(t, t->slot_of[index * t->layout->n_experts + expert], ret_view);
}

static void door_used(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct tier *t = of(door);
    int index = expert_layout_find(t->layout, layer);

    if (index < 0)
        return;
    layer_begin(t, (uint32_t)index);
    t->naming++;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= t->layout->n_experts || t->named[ids[i]] == t->naming)
            continue;
        t->named[ids[i]] = t->naming;
        t->stats.hits++;
        tier_heat_use(t, key_of(t, ids[i]));
        cache_heat_add(t->cache, key_of(t, ids[i]));
    }
}

/* ---- giving back ---- */

static void door_release(struct expert_door *door, const struct expert_view *view)
{
    struct tier *t = of(door);
    struct tier_slot *s = view->pin;

    if (view->on_host) {
        t->inner->ops->release(t->inner, view);
        return;
    }
    s->n_pins--;
    s->used = t->epoch;
}

static void door_abandon(struct expert_door *door)
{
    struct tier *t = of(door);
    struct tier_request *r = &t->request;

    tier_settle(t, NULL);
    t->inner->ops->abandon(t->inner);
    for (uint32_t slot = 0; slot < t->n_slots; slot++) {
        if (t->slot[slot].n_pins > 0)
            t->slot[slot].used = t->epoch;
        t->slot[slot].n_pins = 0;
        t->slot[slot].owed = false;
    }
    t->cost.cpu_bytes = t->cost.copy_bytes = 0;
    r->holding = false;
    r->n = r->n_given = r->n_ready = r->ready_head = r->n_missing = r->asked = r->n_asked = 0;
}

/* ---- guessing ---- */

/* Into a slot from RAM; false when there is no slot for a guess. */
static bool guess_copy(struct tier *t, uint32_t key)
{
    struct expert_view host;
    uint32_t slot, swapped;

    if (!cache_lend(t->cache, key, &host))
        return true;
    slot = tier_slot_take(t, key, TIER_GUESS, &swapped);
    if (slot != SLOT_NONE && tier_copy_in(t, slot, &host, swapped, NULL) == 0) {
        t->slot[slot].expected = t->request_number;
        t->stats.guess_copies++;
        tier_cost_copying(&t->cost, t->layout->layers[key / t->layout->n_experts].expert_bytes);
        return true;
    }
    if (slot != SLOT_NONE)
        tier_slot_free(t, slot);
    t->inner->ops->release(t->inner, &host);
    return false;
}

/* Where it lies already it stays until the next request; whether that is so. */
static bool expected_there(struct tier *t, uint32_t key)
{
    if (t->slot_of[key] == SLOT_NONE)
        return false;
    t->slot[t->slot_of[key]].expected = t->request_number;
    return true;
}

/* What lies on the drive is wished of the cache. */
static void door_hint(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct tier *t = of(door);
    int index = expert_layout_find(t->layout, layer);
    size_t n_wishes = 0;

    for (size_t i = 0; i < n && index >= 0; i++) {
        uint32_t key = (uint32_t)index * t->layout->n_experts + ids[i];

        if (ids[i] < t->layout->n_experts && !expected_there(t, key) && !cache_has(t->cache, key))
            t->wishes[n_wishes++ % t->layout->n_experts] = ids[i];
    }
    n_wishes = n_wishes < t->inner->max_request ? n_wishes : t->inner->max_request;
    if (n_wishes > 0 && t->inner->ops->hint != NULL)
        t->inner->ops->hint(t->inner, layer, t->wishes, n_wishes);
}

/* What a few tokens may want next comes up from RAM, in its order. A prompt's next layer would push itself out. */
static void door_lift(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct tier *t = of(door);
    int index = expert_layout_find(t->layout, layer);
    bool room = index >= 0 && n <= t->transit[t->class_of_layer[index]].n_wanted / 2;

    for (size_t i = 0; i < n && room; i++) {
        uint32_t key = (uint32_t)index * t->layout->n_experts + ids[i];

        if (ids[i] < t->layout->n_experts && !expected_there(t, key) && cache_has(t->cache, key))
            room = guess_copy(t, key);
    }
}

static void door_poll(struct expert_door *door)
{
    struct tier *t = of(door);

    if (t->inner->ops->poll != NULL)
        t->inner->ops->poll(t->inner);
}

static void door_spent(struct expert_door *door, uint64_t bytes, uint64_t ns)
{
    of(door)->stats.cpu_ns += ns;
    tier_cost_computed(&of(door)->cost, bytes, ns);
}

const struct expert_door_ops tier_door_ops = {
    .request = door_request,
    .next = door_next,
    .try_next = door_try_next,
    .release = door_release,
    .abandon = door_abandon,
    .hint = door_hint,
    .lift = door_lift,
    .poll = door_poll,
    .settled = door_settled,
    .look = door_look,
    .used = door_used,
    .spent = door_spent,
};
