/* SPDX-License-Identifier: MIT
 *
 * hparams.h: a model's sizes and constants, read from the GGUF's keys and checked; and its RoPE frequencies.
 *
 * Everything that would change the arithmetic and that we do not compute is refused by the name of its key: an answer
 * that is nearly right is wrong. Part of model_open; nobody else includes it.
 */
#ifndef EXPERTD_MODEL_HPARAMS_H
#define EXPERTD_MODEL_HPARAMS_H

#include "base/err.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/model.h"

/* Limits on what a file may ask for; real models stay far below each. */
#define MODEL_MAX_LAYERS 1024u
#define MODEL_MAX_EMBD (1u << 17)
#define MODEL_MAX_FF (1u << 20)
#define MODEL_MAX_VOCAB (1u << 24)
#define MODEL_MAX_HEADS 1024u
#define MODEL_MAX_HEAD_DIM 1024u
#define MODEL_MAX_EXPERTS 4096u
#define MODEL_MAX_USED 256u

/* All of hparams but rope, and n_vocab and n_dense_layers, which the tensors tell. `note` [note_size] is filled when
 * there is something that the user should hear, and emptied otherwise. */
int hparams_read(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, char *note, size_t note_size,
                 struct err *err);

/* hp->rope.n_rot and layout. */
int hparams_rope_size(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, struct err *err);
/* inv_freq [hp->rope.n_rot / 2] and hp->rope.magnitude, from the scaling keys and, where the file has it, the tensor
 * rope_freqs.weight of per-dimension factors.
 *
 * With base b, pair i turns by p * b^(-2i/n_rot) / factors[i] at position p. Linear scaling divides all frequencies by
 * the factor. YaRN (Peng et al. 2023, arXiv:2309.00071, section 3) divides slow pairs, keeps fast ones, blends between
 * by a ramp over the pairs that turn beta_fast to beta_slow times in the original context, and scales cos and sin by
 * 1 + 0.1 ln(factor). */
int hparams_rope(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, float *inv_freq,
                 struct err *err);

#endif
