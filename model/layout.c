/* SPDX-License-Identifier: MIT */
#include "model/layout.h"

struct expert_place expert_part_place(const struct expert_part_layout *part, uint32_t expert)
{
    if (part->places != NULL)
        return part->places[expert];
    return (struct expert_place){ part->first.offset + expert * part->stride, part->first.file };
}

int expert_layout_find(const struct expert_layout *layout, uint32_t layer)
{
    uint32_t first = layout->n_layers ? layout->layers[0].layer : 0;

    /* Layers with experts follow each other without gaps. */
    if (layer < first || layer - first >= layout->n_layers)
        return -1;
    return (int)(layer - first);
}
