/* SPDX-License-Identifier: MIT
 *
 * layout_make.h: the layout of a model's experts, made from its bound tensors. Part of model_open; nobody else includes
 * it.
 *
 * The tables are owned by the caller; a layout that was made lends them, and borrows the files' paths and descriptors
 * from the gguf. Places of experts that are tensors of their own take 16 bytes each, where there are such; like all
 * that opening a model allocates they are there when the memory budget is divided, and so within it.
 */
#ifndef EXPERTD_MODEL_LAYOUT_MAKE_H
#define EXPERTD_MODEL_LAYOUT_MAKE_H

#include "base/err.h"
#include "model/model.h"

struct layout_tables {
    struct expert_layer_layout *layers; /* [layers with experts] */
    struct layout_file *files;          /* [files] */
    struct expert_place *places;        /* [layers with EXPERTS_APART, EXPERT_PARTS, n_experts]; NULL without */
};

/* `layers` as tensors_bind filled them. On an error the tables may be filled in part: layout_tables_free them. */
int layout_make(const struct gguf *gguf, const struct hparams *hp, const struct layer_tensors *layers,
                struct layout_tables *tables, struct expert_layout *ret_layout, struct err *err);
void layout_tables_free(struct layout_tables *tables);

#endif
