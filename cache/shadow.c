/* SPDX-License-Identifier: MIT */
#include "cache/shadow.h"

#include "base/mem.h"
#include "cache/oracle.h"
#include "cache/outlook.h"
#include "cache/policy_scored.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define NOT_FOLLOWED UINT32_MAX

/* One policy and the keys it would hold. */
struct held {
    struct policy *policy;
    uint32_t *slot_of;    /* [n_keys] */
    uint32_t *key_of;     /* [n_slots] */
    uint32_t *free_slots; /* a stack per class, at its first slot */
    uint32_t n_free[SHADOW_CLASSES];
};

struct class {
    uint32_t first_slot, n_slots, n_live;
    struct oracle oracle;
};

struct shadow {
    struct shadow_shape shape;
    uint8_t *class_of_layer;  /* [n_layers] */
    uint32_t *index_of;       /* [n_layers * n_experts] among those followed, or NOT_FOLLOWED */
    uint8_t *class_of_slot;   /* [n_slots] */
    uint64_t *named;          /* [n_keys] the last request that named it */
    float *chance;            /* [n_keys] for the policies */
    uint64_t request;
    uint32_t *followed;       /* [n_experts] of the request in hand */
    uint32_t n_each, n_slots; /* experts followed in each layer; slots of all classes */
    struct class class[SHADOW_CLASSES];
    struct held held[POLICIES];
    _Atomic uint64_t asked, found, oracle, hits[POLICIES];
};

/* The same number of each layer's experts, evenly spread, beginning with another one in each layer. */
static void experts_choose(struct shadow *s)
{
    uint32_t n_layers = s->shape.n_layers, n_experts = s->shape.n_experts, each = s->shape.max_keys / n_layers;

    s->n_each = each > n_experts ? n_experts : each > 0 ? each : 1;
    memset(s->index_of, 0xff, (size_t)n_layers * n_experts * sizeof(*s->index_of));
    for (uint32_t layer = 0; layer < n_layers; layer++)
        for (uint32_t i = 0; i < s->n_each; i++) {
            uint32_t expert = (uint32_t)((uint64_t)i * n_experts / s->n_each + 7 * layer) % n_experts;

            s->index_of[layer * n_experts + expert] = layer * s->n_each + i;
        }
}

/* As many of a class's slots as experts are followed of all. */
static uint32_t share_of(const struct shadow *s, uint32_t n_slots)
{
    uint64_t share = ((uint64_t)n_slots * s->n_each + s->shape.n_experts / 2) / s->shape.n_experts;

    return share > 0 ? (uint32_t)share : 1;
}

static void slots_divide(struct shadow *s)
{
    for (uint32_t c = 0; c < s->shape.n_classes; c++) {
        struct class *class = &s->class[c];

        class->first_slot = s->n_slots;
        class->n_slots = share_of(s, s->shape.n_slots[c]);
        class->n_live = class->n_slots;
        s->n_slots += class->n_slots;
    }
}

static int held_init(struct held *h, const struct shadow *s, enum policy_kind kind)
{
    uint32_t n_keys = s->shape.n_layers * s->n_each;

    h->policy = policy_open(kind, s->n_slots, s->class_of_slot, s->shape.n_classes, s->shape.n_layers, s->n_each);
    h->slot_of = mem_calloc(n_keys, sizeof(*h->slot_of));
    h->key_of = mem_calloc(s->n_slots, sizeof(*h->key_of));
    h->free_slots = mem_calloc(s->n_slots, sizeof(*h->free_slots));
    if (h->policy != NULL)
        h->policy->chance = s->chance;
    if (h->policy == NULL || h->slot_of == NULL || h->key_of == NULL || h->free_slots == NULL)
        return -ENOMEM;
    memset(h->slot_of, 0xff, n_keys * sizeof(*h->slot_of));
    for (uint32_t c = 0; c < s->shape.n_classes; c++)
        for (uint32_t i = s->class[c].n_slots; i-- > 0;)
            h->free_slots[s->class[c].first_slot + h->n_free[c]++] = s->class[c].first_slot + i;
    return 0;
}

static int layers_open(struct shadow *s, const struct shadow_shape *shape)
{
    s->shape = *shape;
    s->class_of_layer = mem_calloc(shape->n_layers, sizeof(*s->class_of_layer));
    s->index_of = mem_calloc((size_t)shape->n_layers * shape->n_experts, sizeof(*s->index_of));
    s->followed = mem_calloc(shape->n_experts, sizeof(*s->followed));
    if (s->class_of_layer == NULL || s->index_of == NULL || s->followed == NULL)
        return -ENOMEM;
    memcpy(s->class_of_layer, shape->class_of_layer, shape->n_layers);
    s->shape.class_of_layer = s->class_of_layer;
    experts_choose(s);
    slots_divide(s);
    return 0;
}

static int parts_open(struct shadow *s, const struct shadow_shape *shape)
{
    uint32_t n_keys;
    int rc = layers_open(s, shape);

    if (rc < 0)
        return rc;
    n_keys = s->shape.n_layers * s->n_each;
    s->class_of_slot = mem_calloc(s->n_slots, sizeof(*s->class_of_slot));
    s->named = mem_calloc(n_keys, sizeof(*s->named));
    s->chance = mem_calloc(n_keys, sizeof(*s->chance));
    if (s->class_of_slot == NULL || s->named == NULL || s->chance == NULL)
        return -ENOMEM;
    for (uint32_t key = 0; key < n_keys; key++)
        s->chance[key] = OUTLOOK_UNKNOWN;
    for (uint32_t c = 0; c < s->shape.n_classes && rc == 0; c++) {
        memset(s->class_of_slot + s->class[c].first_slot, (int)c, s->class[c].n_slots);
        rc = oracle_init(&s->class[c].oracle, n_keys, s->class[c].n_slots, s->shape.window);
    }
    for (int kind = 0; kind < POLICIES && rc == 0; kind++)
        rc = held_init(&s->held[kind], s, (enum policy_kind)kind);
    return rc;
}

int shadow_open(const struct shadow_shape *shape, struct shadow **ret_shadow)
{
    struct shadow *s = mem_zalloc(sizeof(*s));
    int rc;

    if (s == NULL)
        return -ENOMEM;
    s->shape = *shape;
    rc = parts_open(s, shape);
    if (rc < 0)
        shadow_close(s);
    else
        *ret_shadow = s;
    return rc;
}

void shadow_close(struct shadow *shadow)
{
    if (shadow == NULL)
        return;
    for (int kind = 0; kind < POLICIES; kind++) {
        struct held *h = &shadow->held[kind];

        if (h->policy != NULL)
            h->policy->ops->close(h->policy);
        mem_free(h->free_slots);
        mem_free(h->key_of);
        mem_free(h->slot_of);
    }
    for (uint32_t c = 0; c < SHADOW_CLASSES; c++)
        oracle_fini(&shadow->class[c].oracle);
    mem_free(shadow->chance);
    mem_free(shadow->named);
    mem_free(shadow->class_of_slot);
    mem_free(shadow->followed);
    mem_free(shadow->index_of);
    mem_free(shadow->class_of_layer);
    mem_free(shadow);
}

/* ---- a request ---- */

struct view {
    const struct shadow *shadow;
    const struct held *held;
};

static bool may_go(const void *ctx, uint32_t slot)
{
    const struct view *v = ctx;

    return v->shadow->named[v->held->key_of[slot]] != v->shadow->request;
}

static bool evict(struct shadow *s, struct held *h, uint32_t c)
{
    const struct view view = { s, h };
    uint32_t slot = h->policy->ops->victim(h->policy, c, may_go, &view);

    if (slot == SLOT_NONE)
        return false;
    h->slot_of[h->key_of[slot]] = SLOT_NONE;
    h->policy->ops->drop(h->policy, slot);
    h->free_slots[s->class[c].first_slot + h->n_free[c]++] = slot;
    return true;
}

static uint32_t n_held(const struct shadow *s, const struct held *h, uint32_t c)
{
    return s->class[c].n_slots - h->n_free[c];
}

/* Into a free slot, or the victim's; nowhere when all that could go are named. */
static void bring(struct shadow *s, struct held *h, uint32_t c, uint32_t key)
{
    uint32_t slot;

    if (n_held(s, h, c) >= s->class[c].n_live && !evict(s, h, c))
        return;
    slot = h->free_slots[s->class[c].first_slot + --h->n_free[c]];
    h->slot_of[key] = slot;
    h->key_of[slot] = key;
    h->policy->ops->use(h->policy, slot, key);
}

/* What is there first, as the real cache does. */
static uint64_t held_request(struct shadow *s, struct held *h, uint32_t c, const uint32_t *keys, uint32_t n)
{
    uint64_t hits = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = h->slot_of[keys[i]];

        if (slot == SLOT_NONE)
            continue;
        h->policy->ops->use(h->policy, slot, keys[i]);
        hits++;
    }
    for (uint32_t i = 0; i < n && hits < n; i++)
        if (h->slot_of[keys[i]] == SLOT_NONE)
            bring(s, h, c, keys[i]);
    return hits;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void shadow_request(struct shadow *shadow, uint32_t layer_index, const uint16_t *ids, size_t n, bool burst,
                    bool (*was_found)(const void *ctx, uint16_t id), const void *ctx)
{
    struct shadow *s = shadow;
    uint32_t c = s->class_of_layer[layer_index], n_followed = 0;
    uint64_t foreseen = 0, found = 0;

    s->request++;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = s->index_of[layer_index * s->shape.n_experts + ids[i]];

        if (key == NOT_FOLLOWED)
            continue;
        s->followed[n_followed++] = key;
        s->named[key] = s->request;
        foreseen += oracle_use(&s->class[c].oracle, key);
        found += was_found(ctx, ids[i]);
    }
    for (int kind = 0; kind < POLICIES && n_followed > 0; kind++) {
        struct policy *policy = s->held[kind].policy;

        if (policy->ops->begin != NULL)
            policy->ops->begin(policy, layer_index, burst);
        count(&s->hits[kind], held_request(s, &s->held[kind], c, s->followed, n_followed));
    }
    count(&s->oracle, foreseen);
    count(&s->found, found);
    count(&s->asked, n_followed);
}

void shadow_note(struct shadow *shadow, uint32_t layer_index, const float *chance)
{
    const uint32_t *index_of = shadow->index_of + (size_t)layer_index * shadow->shape.n_experts;

    for (uint32_t e = 0; e < shadow->shape.n_experts; e++)
        if (index_of[e] != NOT_FOLLOWED)
            shadow->chance[index_of[e]] = chance[e];
}

void shadow_resize(struct shadow *shadow, const uint32_t *n_slots)
{
    shadow->request++; /* nothing is named */
    for (uint32_t c = 0; c < shadow->shape.n_classes; c++) {
        struct class *class = &shadow->class[c];
        uint32_t share = share_of(shadow, n_slots[c]);

        class->n_live = share < class->n_slots ? share : class->n_slots;
        class->oracle.n_slots = class->n_live;
        for (int kind = 0; kind < POLICIES; kind++)
            while (n_held(shadow, &shadow->held[kind], c) > class->n_live && evict(shadow, &shadow->held[kind], c))
                ;
    }
}

void shadow_counts(const struct shadow *shadow, struct shadow_counts *ret_counts)
{
    *ret_counts = (struct shadow_counts){ .asked = atomic_load_explicit(&shadow->asked, memory_order_relaxed),
                                          .found = atomic_load_explicit(&shadow->found, memory_order_relaxed),
                                          .oracle = atomic_load_explicit(&shadow->oracle, memory_order_relaxed),
                                          .n_followed = shadow->shape.n_layers * shadow->n_each };
    for (int kind = 0; kind < POLICIES; kind++)
        ret_counts->hits[kind] = atomic_load_explicit(&shadow->hits[kind], memory_order_relaxed);
}

uint64_t shadow_bytes(uint32_t n_layers, uint32_t n_experts)
{
    uint64_t n_keys = (uint64_t)n_layers * n_experts;
    uint64_t followed = n_keys < SHADOW_KEYS ? n_keys : SHADOW_KEYS + n_layers;
    uint64_t policy = sizeof(struct scored) + followed * (sizeof(struct past) + 8 * sizeof(uint32_t)) + 4096;

    return sizeof(struct shadow) + n_keys * 4 + n_experts * 4 + n_layers + POLICIES * policy +
           SHADOW_CLASSES * (SHADOW_WINDOW * sizeof(uint16_t) + followed * sizeof(uint64_t)) + followed * 20 + 4096;
}
