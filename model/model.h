/* SPDX-License-Identifier: MIT
 *
 * model.h: a model as the rest of the daemon sees it: what it is, what it needs, where its experts lie.
 *
 * model_open reads and checks headers only (milliseconds, little memory). Dense weights are loaded by the forward pass
 * (model/forward.h). Architectures come from one table of descriptors (model/arch.c): an entry names the tensors and
 * switches that make an architecture what it is.
 *
 * Immutable after open (but for model_drop_arrays); thread-safe to read. A model owns all it lends.
 */
#ifndef EXPERTD_MODEL_MODEL_H
#define EXPERTD_MODEL_MODEL_H

#include "base/err.h"
#include "compute/device.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes and constants of a model, checked. */
struct hparams {
    uint32_t n_layers, n_embd, n_vocab;
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t n_ff;            /* dense blocks; 0 when there are none */
    uint32_t n_ff_expert, n_ff_shared; /* n_ff_shared 0: no shared expert */
    uint32_t n_experts, n_used;
    uint32_t n_dense_layers;  /* leading layers without experts */
    uint32_t n_ctx_train;     /* most positions; capped by a sliding window: see model_note */
    float rms_eps;
    float attn_scale;
    struct route route;
    struct rope rope; /* inv_freq owned by the model */
};

struct model;

int model_open(const char *path, struct model **ret_model, struct err *err);
void model_close(struct model *model);

const struct gguf *model_gguf(const struct model *model);
void model_drop_arrays(struct model *model); /* gguf_drop_arrays: once the vocabulary has been read */
const struct arch *model_arch(const struct model *model);
const struct hparams *model_hparams(const struct model *model);
const struct model_tensors *model_tensors(const struct model *model);
const struct layer_tensors *model_layer(const struct model *model, uint32_t layer); /* layer < n_layers */
const struct expert_layout *model_layout(const struct model *model);
const char *model_name(const struct model *model);      /* general.name, or the file's name without .gguf */
const char *model_arch_name(const struct model *model); /* "qwen3moe" */
const char *model_quant_name(const struct model *model); /* format of most expert bytes: "Q4_K" */
const char *model_note(const struct model *model); /* something the user should hear at start-up, or NULL */
uint64_t model_dense_bytes(const struct model *model);  /* every tensor but the experts, as resident */
uint64_t model_expert_bytes(const struct model *model); /* all experts together */
uint64_t model_token_bytes(const struct model *model);  /* expert bytes that one token uses: the working set T */

#endif
