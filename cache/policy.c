/* SPDX-License-Identifier: MIT */
#include "cache/policy.h"

#include "cache/policy_scored.h"

#include <errno.h>
#include <string.h>

/* In the order of enum policy_kind; NULL: LRU, which needs no scores. */
static const struct scored_kind *const kinds[POLICIES] = {
    [POLICY_LRU] = NULL,          [POLICY_LFU] = &policy_lfu,          [POLICY_AGED] = &policy_aged,
    [POLICY_LFRU] = &policy_lfru, [POLICY_NEXT_USE] = &policy_nextuse,
};

const char *policy_name(enum policy_kind kind)
{
    return kinds[kind] != NULL ? kinds[kind]->name : "lru";
}

int policy_parse(const char *name, enum policy_kind *ret_kind, struct err *err)
{
    for (int kind = 0; kind < POLICIES; kind++)
        if (strcmp(name, policy_name(kind)) == 0) {
            *ret_kind = kind;
            return 0;
        }
    return err_set(err, -EINVAL, "unknown cache policy '%s'; known: lru, lfu, aged, lfru, next-use", name);
}

static void layer_recall(struct policy *policy, const uint32_t *heat, uint32_t first, uint32_t n_experts,
                         uint32_t n_used)
{
    double total = 0;

    for (uint32_t e = 0; e < n_experts; e++)
        total += heat[first + e];
    for (uint32_t e = 0; e < n_experts; e++)
        if (heat[first + e] > 0) {
            double chance = heat[first + e] * (n_used / total);

            policy->ops->recall(policy, first + e, (float)heat[first + e], (float)(chance < 1 ? chance : 1));
        }
}

void policy_recall(struct policy *policy, const uint32_t *heat, uint32_t n_layers, uint32_t n_experts, uint32_t n_used)
{
    for (uint32_t layer = 0; layer < n_layers && policy->ops->recall != NULL; layer++)
        layer_recall(policy, heat, layer * n_experts, n_experts, n_used);
}

struct policy *policy_open(enum policy_kind kind, uint32_t n_slots, const uint8_t *class_of, uint32_t n_classes,
                           uint32_t n_layers, uint32_t n_experts)
{
    if (kinds[kind] == NULL)
        return policy_lru_open(n_slots, class_of, n_classes);
    return scored_open(kinds[kind], n_slots, class_of, n_layers, n_experts);
}
