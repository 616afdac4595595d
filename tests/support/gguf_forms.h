/* SPDX-License-Identifier: MIT
 *
 * gguf_forms.h: a model made with gguf_builder_model, its experts in another form (model/arch.h). The weights stay what
 * they are; only where they lie changes.
 */
#ifndef EXPERTD_TESTS_SUPPORT_GGUF_FORMS_H
#define EXPERTD_TESTS_SUPPORT_GGUF_FORMS_H

#include "tests/support/gguf_builder.h"

/* One more format than F32: the tensor's weights become random bytes of this one, which any block can be made of but
 * for its scales, so nothing is computed with them. */
void gguf_forms_retype(struct gguf_builder *b, const char *name, enum quant_type type, uint64_t seed);

/* Gate and up of every layer with experts become one tensor, the gate's rows first. */
void gguf_forms_fuse(struct gguf_builder *b);

/* Each expert of every layer with experts becomes three tensors, in the order in which Mixtral was once converted:
 * expert by expert gate, down and up. gguf_forms_strew puts them all over the file instead. */
void gguf_forms_apart(struct gguf_builder *b);
void gguf_forms_strew(struct gguf_builder *b);
/* One layer only. */
void gguf_forms_apart_layer(struct gguf_builder *b, unsigned layer);

/* DIR/NAME-00001-of-0000N.gguf and so on, the tensors dealt out in turn. */
void gguf_forms_write_split(const struct gguf_builder *b, const char *dir, const char *name, uint16_t n_files);

#endif
