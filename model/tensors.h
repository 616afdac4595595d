/* SPDX-License-Identifier: MIT
 *
 * tensors.h: a model's tensors found by name and checked against its sizes. Part of model_open; nobody else includes
 * it.
 *
 * One table of rules (tensors.c) says for each field of struct layer_tensors: its name in the file, its shape in terms
 * of hparams, and in which layers of which architectures it belongs.
 */
#ifndef EXPERTD_MODEL_TENSORS_H
#define EXPERTD_MODEL_TENSORS_H

#include "base/err.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/layout.h"
#include "model/model.h"

/* Fills hp->n_vocab and hp->n_dense_layers, `global`, and layers [hp->n_layers]. A file's tensor that finds no place is
 * refused. */
int tensors_bind(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, struct model_tensors *global,
                 struct layer_tensors *layers, struct err *err);

/* The tensor that is this expert's alone; NULL when there is none. In a layer bound as EXPERTS_APART there is. */
const struct gguf_tensor *tensors_expert(const struct gguf *gguf, uint32_t layer, enum expert_part part,
                                         uint32_t expert);

#endif
