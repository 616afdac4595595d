/* SPDX-License-Identifier: MIT */
#include "cache/catalog.h"

#include "base/mem.h"

#include <errno.h>

/* Heat is halved when this many uses per expert have been counted, on average. */
#define HEAT_HALF_LIFE 64

struct catalog {
    const struct expert_layout *layout;
    uint32_t n_keys;
    struct catalog_sum *sums; /* [n_keys] */
    uint8_t *known;           /* [n_keys] */
    uint32_t *heat;           /* [n_keys] */
    uint64_t heat_uses;
};

int catalog_open(const struct expert_layout *layout, const char *dir, struct catalog **ret_catalog, struct err *err)
{
    struct catalog *c = mem_zalloc(sizeof(*c));

    if (c == NULL)
        return err_sys(err, ENOMEM, "catalog");
    c->layout = layout;
    c->n_keys = layout->n_layers * layout->n_experts;
    c->sums = mem_calloc(c->n_keys, sizeof(*c->sums));
    c->known = mem_calloc(c->n_keys, sizeof(*c->known));
    c->heat = mem_calloc(c->n_keys, sizeof(*c->heat));
    if (c->sums == NULL || c->known == NULL || c->heat == NULL) {
        catalog_close(c);
        return err_sys(err, ENOMEM, "catalog");
    }
    *ret_catalog = c;
    return 0;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    mem_free(catalog->heat);
    mem_free(catalog->known);
    mem_free(catalog->sums);
    mem_free(catalog);
}

const char *catalog_note(const struct catalog *catalog)
{
    return NULL;
}

bool catalog_sum(const struct catalog *catalog, uint32_t key, struct catalog_sum *ret_sum)
{
    if (!catalog->known[key])
        return false;
    *ret_sum = catalog->sums[key];
    return true;
}

void catalog_put(struct catalog *catalog, uint32_t key, const struct catalog_sum *sum)
{
    catalog->sums[key] = *sum;
    catalog->known[key] = true;
}

const uint32_t *catalog_heat(const struct catalog *catalog)
{
    return catalog->heat;
}

void catalog_heat_add(struct catalog *catalog, uint32_t key)
{
    catalog->heat[key]++;
    if (++catalog->heat_uses < (uint64_t)catalog->n_keys * HEAT_HALF_LIFE)
        return;
    for (uint32_t i = 0; i < catalog->n_keys; i++)
        catalog->heat[i] /= 2;
    catalog->heat_uses /= 2;
}

int catalog_flush(struct catalog *catalog, struct err *err)
{
    return 0;
}
