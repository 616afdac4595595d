/* SPDX-License-Identifier: MIT */
#include "cache/oracle.h"

#include "base/mem.h"

#include <errno.h>

int oracle_init(struct oracle *oracle, uint32_t n_keys, uint32_t n_slots, uint32_t window)
{
    *oracle = (struct oracle){ .n_slots = n_slots, .window = window };
    oracle->staying = mem_calloc(window, sizeof(*oracle->staying));
    oracle->last = mem_calloc(n_keys, sizeof(*oracle->last));
    if (oracle->staying != NULL && oracle->last != NULL)
        return 0;
    oracle_fini(oracle);
    return -ENOMEM;
}

void oracle_fini(struct oracle *oracle)
{
    mem_free(oracle->staying);
    mem_free(oracle->last);
    *oracle = (struct oracle){ 0 };
}

/* Uses from + 1 .. to - 1. */
static bool can_stay(const struct oracle *o, uint64_t from, uint64_t to)
{
    for (uint64_t use = to - 1; use > from; use--)
        if (o->staying[use % o->window] + 1u >= o->n_slots)
            return false;
    return true;
}

bool oracle_use(struct oracle *oracle, uint32_t key)
{
    uint64_t now = ++oracle->now, last = oracle->last[key];
    bool hit = last > 0 && now - last <= oracle->window && oracle->n_slots > 0 && can_stay(oracle, last, now);

    for (uint64_t use = last + 1; hit && use < now; use++)
        oracle->staying[use % oracle->window]++;
    oracle->staying[now % oracle->window] = 0;
    oracle->last[key] = now;
    return hit;
}
