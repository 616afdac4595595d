/* SPDX-License-Identifier: MIT
 *
 * tensors_internal.h: what the two halves of tensors.h share: the table of rules (tensors.c) and the experts, which
 * files have in several forms (tensors_experts.c). Nobody else includes it.
 */
#ifndef EXPERTD_MODEL_TENSORS_INTERNAL_H
#define EXPERTD_MODEL_TENSORS_INTERNAL_H

#include "model/tensors.h"

#define TENSOR_NAME_BYTES 80 /* GGUF allows 64 */

struct binder {
    const struct gguf *gguf;
    const struct arch *arch;
    struct hparams *hp;
    bool *bound; /* [tensors of the file] */
    struct err *err;
};

/* Names stand behind "blk.LAYER.". */
bool tensors_has(const struct binder *b, uint32_t layer, const char *name);
/* NULL when the file has none; the one it has is bound. */
const struct gguf_tensor *tensors_claim(const struct binder *b, uint32_t layer, const char *name);
/* Shape (the contiguous dimension first) and format, or an error that names the tensor. */
int tensors_check(const struct binder *b, const struct gguf_tensor *t, const uint64_t dims[GGUF_MAX_DIMS],
                  bool f32_only);
int tensors_missing(const struct binder *b, uint32_t layer, const char *name);

/* The experts of a layer, in whichever form they are. */
int tensors_bind_experts(const struct binder *b, uint32_t layer, struct layer_tensors *l);

#endif
