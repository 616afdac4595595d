/* SPDX-License-Identifier: MIT */
#include "cache/tier_state.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define HEAT_GROWS 1.014 /* a pass: a use counts half after fifty of them */
#define HEAT_MOST 1e200
#define MARGIN 1.25 /* by how much a newcomer's heat must beat a resident's, */
#define LEAD 0.5    /* and by how many fresh uses */
#define LOOKS 16    /* residents looked at for a cold one */

/* ---- memory ---- */

static uint32_t chunk_slots(const struct slot_class *class)
{
    return (class->n_slots + TIER_CHUNKS - 1) / TIER_CHUNKS;
}

/* The slots of a class in as many chunks as can be given back one by one; returns what was had. */
static uint64_t class_alloc(struct tier *t, uint32_t c, int *ret_rc)
{
    const struct slot_class *class = &t->plan.class[c];
    uint32_t each = chunk_slots(class), slot = class->first_slot, end = slot + class->n_slots;
    uint64_t had = 0;

    for (uint32_t k = 0; slot < end; k++) {
        struct tier_chunk *chunk = &t->chunk[c][k];
        uint32_t n = end - slot < each ? end - slot : each;

        chunk->bytes = n * class->slot_bytes;
        *ret_rc = t->device->ops->alloc(t->device, chunk->bytes, (void **)&chunk->data);
        if (*ret_rc < 0) {
            chunk->data = NULL;
            break;
        }
        had += chunk->bytes;
        for (uint32_t i = 0; i < n; i++, slot++) {
            t->slot[slot].data = chunk->data + i * class->slot_bytes;
            t->slot[slot].chunk = (uint8_t)k;
            t->slot[slot].state = TIER_FREE;
        }
    }
    return had;
}

/* Room for a token's experts of this layer and the guesses for the next, or a sixteenth for what streams through; none
 * where every expert has its slot. */
static uint32_t transit_wanted(const struct tier *t, uint32_t c, uint32_t n_live)
{
    uint32_t n = 2 * t->layout->n_used > n_live / 16 ? 2 * t->layout->n_used : n_live / 16;

    return n_live >= t->plan.class[c].n_experts ? 0 : n < n_live ? n : n_live;
}

static void class_list(struct tier *t, uint32_t c)
{
    struct tier_transit *q = &t->transit[c];

    q->n_free = q->n_live = 0;
    for (uint32_t i = q->n_slots; i-- > 0;)
        if (t->slot[q->first + i].state == TIER_FREE) {
            q->free[q->n_free++] = q->first + i;
            q->n_live++;
        }
    q->n_wanted = transit_wanted(t, c, q->n_live);
    t->stats.slots += q->n_live;
}

static int tables_alloc(struct tier *t, struct err *err)
{
    uint32_t n_keys = t->layout->n_layers * t->layout->n_experts;

    t->slot = mem_calloc(t->n_slots, sizeof(*t->slot));
    t->slot_of = mem_calloc(n_keys, sizeof(*t->slot_of));
    t->heat = mem_calloc(n_keys, sizeof(*t->heat));
    t->class_of_layer = mem_calloc(t->layout->n_layers, sizeof(*t->class_of_layer));
    for (uint32_t c = 0; c < t->plan.n_classes; c++) {
        struct tier_transit *q = &t->transit[c];

        q->first = t->plan.class[c].first_slot;
        q->n_slots = t->plan.class[c].n_slots;
        q->ring = mem_calloc(q->n_slots, sizeof(*q->ring));
        q->free = mem_calloc(q->n_slots, sizeof(*q->free));
        if (q->ring == NULL || q->free == NULL)
            return err_set(err, -ENOMEM, "no memory for a tier of %u slots", t->n_slots);
    }
    if (t->slot == NULL || t->slot_of == NULL || t->heat == NULL || t->class_of_layer == NULL)
        return err_set(err, -ENOMEM, "no memory for a tier of %u slots", t->n_slots);
    memset(t->slot_of, 0xff, n_keys * sizeof(*t->slot_of));
    return 0;
}

/* What earlier runs knew counts as a few uses. */
static void heat_begin(struct tier *t)
{
    uint32_t n_experts = t->layout->n_experts, most = 1;

    t->use_heat = 1;
    for (uint32_t i = 0; i < t->layout->n_layers; i++)
        for (uint32_t e = 0; e < n_experts; e++)
            most = cache_heat(t->cache, i)[e] > most ? cache_heat(t->cache, i)[e] : most;
    for (uint32_t i = 0; i < t->layout->n_layers; i++)
        for (uint32_t e = 0; e < n_experts; e++)
            t->heat[i * n_experts + e] = 4.0 * cache_heat(t->cache, i)[e] / most;
}

static int refuse(const struct tier *t, uint64_t had, int r, struct err *err)
{
    return err_set(err, r, "%s: %" PRIu64 " of %" PRIu64 " bytes for expert slots could be had: %s", t->device->name,
                   had, t->plan.bytes, err_text(&t->device->err));
}

int tier_slots_open(struct tier *t, uint64_t budget, uint64_t *ret_had, struct err *err)
{
    int r = slot_plan_make(t->layout, TIER_BLOCK, budget, &t->plan, err), failed = 0;
    uint64_t had = 0;

    if (r < 0)
        return r;
    for (uint32_t c = 0; c < t->plan.n_classes; c++)
        t->n_slots += t->plan.class[c].n_slots;
    r = tables_alloc(t, err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < t->n_slots; i++)
        t->slot[i].state = TIER_GIVEN_BACK;
    for (uint32_t c = 0; c < t->plan.n_classes; c++) {
        for (uint32_t i = 0; i < t->plan.class[c].n_slots; i++)
            t->slot[t->plan.class[c].first_slot + i].class = (uint8_t)c;
        had += class_alloc(t, c, &r);
        failed = r < 0 ? r : failed;
        class_list(t, c);
    }
    if (ret_had != NULL)
        *ret_had = had;
    if (failed < 0)
        return refuse(t, had, failed, err);
    for (uint32_t i = 0; i < t->layout->n_layers; i++)
        t->class_of_layer[i] = (uint8_t)slot_plan_class(&t->plan, &t->layout->layers[i], TIER_BLOCK);
    t->stats.slot_bytes = had;
    heat_begin(t);
    return 0;
}

void tier_slots_close(struct tier *t)
{
    for (uint32_t c = 0; c < t->plan.n_classes; c++) {
        for (uint32_t k = 0; k < TIER_CHUNKS; k++)
            if (t->chunk[c][k].data != NULL)
                t->device->ops->free(t->device, t->chunk[c][k].data, t->chunk[c][k].bytes);
        mem_free(t->transit[c].free);
        mem_free(t->transit[c].ring);
    }
    mem_free(t->class_of_layer);
    mem_free(t->heat);
    mem_free(t->slot_of);
    mem_free(t->slot);
}

/* ---- heat ---- */

void tier_heat_use(struct tier *t, uint32_t key)
{
    t->heat[key] += t->use_heat;
}

void tier_heat_pass(struct tier *t)
{
    t->stats.passes++;
    t->use_heat *= HEAT_GROWS;
    if (t->use_heat < HEAT_MOST)
        return;
    for (uint32_t key = 0; key < t->layout->n_layers * t->layout->n_experts; key++)
        t->heat[key] /= HEAT_MOST;
    t->use_heat /= HEAT_MOST;
}

/* ---- roles ---- */

/* What is needed now comes before what a hint expects. */
static bool may_go(const struct tier *t, uint32_t slot, enum tier_need need)
{
    const struct tier_slot *s = &t->slot[slot];

    return s->state == TIER_READY && s->n_pins == 0 && !s->owed &&
           (s->expected != t->request_number || need == TIER_MUST);
}

static void transit_push(struct tier *t, uint32_t slot)
{
    struct tier_transit *q = &t->transit[t->slot[slot].class];

    if (t->slot[slot].queued)
        return;
    t->slot[slot].queued = true;
    q->ring[(q->head + q->n++) % q->n_slots] = slot;
}

/* The oldest that may go; those passed over keep their order behind it. Residents that were in the queue leave it. */
static uint32_t transit_pop(struct tier *t, uint32_t class, enum tier_need need)
{
    struct tier_transit *q = &t->transit[class];

    for (uint32_t looked = 0, n = q->n; looked < n; looked++) {
        uint32_t slot = q->ring[q->head];

        q->head = (q->head + 1) % q->n_slots;
        q->n--;
        t->slot[slot].queued = false;
        if (t->slot[slot].state != TIER_READY && t->slot[slot].state != TIER_FILLING)
            continue;
        if (t->slot[slot].resident)
            continue;
        if (may_go(t, slot, need))
            return slot;
        transit_push(t, slot);
    }
    return SLOT_NONE;
}

/* The coldest of the next few residents that may go. */
static uint32_t cold_resident(struct tier *t, uint32_t class, enum tier_need need)
{
    struct tier_transit *q = &t->transit[class];
    uint32_t coldest = SLOT_NONE;

    for (uint32_t looked = 0, seen = 0; looked < q->n_slots && seen < LOOKS; looked++) {
        uint32_t slot = q->first + q->hand;

        q->hand = (q->hand + 1) % q->n_slots;
        if (!t->slot[slot].resident || !may_go(t, slot, need))
            continue;
        seen++;
        if (coldest == SLOT_NONE || t->heat[t->slot[slot].key] < t->heat[t->slot[coldest].key])
            coldest = slot;
    }
    return coldest;
}

static bool beats(const struct tier *t, uint32_t key, uint32_t resident)
{
    return t->heat[key] > MARGIN * t->heat[t->slot[resident].key] + LEAD * t->use_heat;
}

void tier_slot_free(struct tier *t, uint32_t slot)
{
    struct tier_slot *s = &t->slot[slot];
    struct tier_transit *q = &t->transit[s->class];

    t->stats.guess_wasted += s->guessed;
    q->n_residents -= s->resident;
    t->slot_of[s->key] = SLOT_NONE;
    t->moves++;
    t->stats.slots_used--;
    s->resident = s->guessed = s->owed = false;
    s->state = TIER_FREE;
    q->free[q->n_free++] = slot;
}

/* The expert in `slot` takes the role of a resident that is colder by the margin, who goes to the end of the queue. */
static uint32_t role_take(struct tier *t, uint32_t slot)
{
    struct tier_transit *q = &t->transit[t->slot[slot].class];
    uint32_t cold;

    if (q->n_residents < q->n_live - q->n_wanted) {
        t->slot[slot].resident = true;
        q->n_residents++;
        return SLOT_NONE;
    }
    cold = q->n_residents > 0 ? cold_resident(t, t->slot[slot].class, TIER_DEMAND) : SLOT_NONE;
    if (cold == SLOT_NONE || !beats(t, t->slot[slot].key, cold)) {
        transit_push(t, slot);
        return SLOT_NONE;
    }
    t->slot[slot].resident = true;
    t->slot[cold].resident = false;
    transit_push(t, cold);
    t->stats.promotions++;
    return cold;
}

uint32_t tier_slot_take(struct tier *t, uint32_t key, enum tier_need need, uint32_t *ret_swapped)
{
    uint32_t class = t->class_of_layer[key / t->layout->n_experts], slot;
    struct tier_transit *q = &t->transit[class];

    if (q->n_free == 0) {
        slot = transit_pop(t, class, need);
        if (slot == SLOT_NONE && need == TIER_MUST)
            slot = cold_resident(t, class, need);
        if (slot == SLOT_NONE)
            return SLOT_NONE;
        tier_slot_free(t, slot);
    }
    slot = q->free[--q->n_free];
    t->slot[slot].key = key;
    t->slot[slot].state = TIER_FILLING;
    t->slot[slot].guessed = need == TIER_GUESS;
    t->slot[slot].expected = 0;
    t->slot_of[key] = slot;
    t->moves++;
    t->stats.slots_used++;
    *ret_swapped = role_take(t, slot);
    return slot;
}

void tier_view_fill(const struct tier *t, uint32_t slot, struct expert_view *ret_view)
{
    uint32_t key = t->slot[slot].key;
    const struct expert_layer_layout *layer = &t->layout->layers[key / t->layout->n_experts];
    struct weight *weight[EXPERT_PARTS] = { &ret_view->gate, &ret_view->up, &ret_view->down };
    uint64_t at = 0;

    for (int p = 0; p < EXPERT_PARTS; p++) {
        *weight[p] = (struct weight){ .data = t->slot[slot].data + at,
                                      .type = layer->part[p].type,
                                      .rows = layer->part[p].rows,
                                      .cols = layer->part[p].cols };
        at += (layer->part[p].part_bytes + TIER_BLOCK - 1) / TIER_BLOCK * TIER_BLOCK;
    }
    ret_view->layer = layer->layer;
    ret_view->expert = (uint16_t)(key % t->layout->n_experts);
    ret_view->on_host = false;
    ret_view->pin = &t->slot[slot];
}

/* ---- giving back ---- */

static void chunk_drop(struct tier *t, uint32_t c, uint32_t k)
{
    struct tier_chunk *chunk = &t->chunk[c][k];
    struct tier_transit *q = &t->transit[c];

    for (uint32_t slot = q->first; slot < q->first + q->n_slots; slot++) {
        if (t->slot[slot].chunk != k || t->slot[slot].state == TIER_GIVEN_BACK)
            continue;
        if (t->slot[slot].state != TIER_FREE)
            tier_slot_free(t, slot);
        t->slot[slot].state = TIER_GIVEN_BACK;
    }
    t->device->ops->free(t->device, chunk->data, chunk->bytes);
    chunk->data = NULL;
    t->stats.given_back += chunk->bytes;
    t->stats.slot_bytes -= chunk->bytes;
}

/* Free slots anew, and no more residents than there may be. */
static void class_relist(struct tier *t, uint32_t c)
{
    struct tier_transit *q = &t->transit[c];

    q->n_free = q->n_live = 0;
    for (uint32_t slot = q->first + q->n_slots; slot-- > q->first;) {
        if (t->slot[slot].state == TIER_FREE)
            q->free[q->n_free++] = slot;
        q->n_live += t->slot[slot].state != TIER_GIVEN_BACK;
    }
    q->n_wanted = transit_wanted(t, c, q->n_live);
    for (uint32_t slot = q->first; slot < q->first + q->n_slots && q->n_residents > q->n_live - q->n_wanted; slot++)
        if (t->slot[slot].resident) {
            t->slot[slot].resident = false;
            q->n_residents--;
            transit_push(t, slot);
        }
}

static uint32_t chunk_live(const struct tier *t, uint32_t c, uint32_t k)
{
    const struct tier_transit *q = &t->transit[c];
    uint32_t n = 0;

    for (uint32_t slot = q->first; slot < q->first + q->n_slots; slot++)
        n += t->slot[slot].chunk == k && t->slot[slot].state != TIER_GIVEN_BACK;
    return n;
}

/* From the end of each class, one chunk at a time, never below a layer's top-k. */
bool tier_give_back(struct tier *t, uint64_t bytes)
{
    uint64_t before = t->stats.given_back;

    if (tier_settle(t, NULL) < 0 || t->device->ops->sync(t->device) < 0)
        return false;
    for (uint32_t c = 0; c < t->plan.n_classes; c++)
        for (uint32_t k = TIER_CHUNKS; k-- > 0 && t->stats.given_back - before < bytes;) {
            uint32_t n = chunk_live(t, c, k);

            if (t->chunk[c][k].data == NULL || t->transit[c].n_live < t->layout->n_used + n)
                continue;
            chunk_drop(t, c, k);
            t->stats.slots -= n;
            class_relist(t, c);
        }
    return t->stats.given_back > before;
}
