/* SPDX-License-Identifier: MIT
 *
 * arch.h: the architectures we run, as one table; and a model's tensors under the names that the forward pass uses.
 *
 * A descriptor holds what the file does not say: which pairs RoPE rotates, where norms and biases sit, how the router's
 * weights are scaled. Everything else (sizes, epsilon, frequencies) is in struct hparams, read from the file. A new
 * architecture is an entry here, plus what is truly new in the forward pass.
 *
 * Tensors: a model lends one struct layer_tensors per layer. Every pointer is either a tensor whose shape has been
 * checked against hparams and whose type is computable, or NULL where the layer has no such tensor. Norms and biases
 * are F32. A tensor that no field names is refused at open: what is ignored silently gives wrong answers.
 *
 * Shapes are written [rows, cols], as struct weight has them (GGUF writes the contiguous dimension first). Static data,
 * thread-safe.
 */
#ifndef EXPERTD_MODEL_ARCH_H
#define EXPERTD_MODEL_ARCH_H

#include "compute/device.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stdint.h>

enum qk_norm {
    QK_NORM_NONE,
    QK_NORM_HEAD, /* RMS norm of each head's query and key, weight [head_dim] */
    QK_NORM_FULL, /* RMS norm over all heads together, weights [n_heads * head_dim] and [n_kv_heads * head_dim] */
};

/* What feed_forward_length means when the file has no expert_feed_forward_length. */
enum expert_width {
    EXPERT_WIDTH_FF,           /* the width of one expert */
    EXPERT_WIDTH_FF_OVER_USED, /* of the n_used experts together */
};

struct arch {
    const char *name;  /* general.architecture, and the prefix of its keys */
    const char *label; /* for lists of what is supported: "llama (with experts)" */
    enum rope_layout rope_layout;
    enum qk_norm qk_norm; /* applied before RoPE */
    bool qkv_bias;        /* required; where false, biases are used if the file has them */
    bool renormalise;     /* the chosen experts' weights sum to 1 */
    bool shared_expert;   /* every MoE layer has one, scaled by the logistic of its gate */
    enum expert_width expert_width;
};

/* NULL when there is none of this name. */
const struct arch *arch_find(struct gguf_str name);
/* The i-th entry, NULL past the last. */
const struct arch *arch_at(size_t i);

/* How a file keeps a layer's experts. */
enum expert_form {
    EXPERTS_STACKED, /* a tensor each for all gates, ups and downs */
    EXPERTS_FUSED,   /* gate_exps and up_exps are one tensor: of each expert the gate's rows, then the up's */
    EXPERTS_APART,   /* each expert has a tensor for each part; the pointers are expert 0's, whose format all have */
};

struct layer_tensors {
    const struct gguf_tensor *attn_norm;      /* [n_embd] */
    const struct gguf_tensor *q;              /* [n_heads * head_dim, n_embd] */
    const struct gguf_tensor *k, *v;          /* [n_kv_heads * head_dim, n_embd] */
    const struct gguf_tensor *o;              /* [n_embd, n_heads * head_dim] */
    const struct gguf_tensor *q_bias, *k_bias, *v_bias, *o_bias; /* [rows of the matrix], each NULL without */
    const struct gguf_tensor *q_norm, *k_norm; /* by arch->qk_norm; NULL for QK_NORM_NONE */
    const struct gguf_tensor *ffn_norm;       /* [n_embd] */

    /* A layer with experts; NULL in a dense one. */
    const struct gguf_tensor *router;                    /* [n_experts, n_embd] */
    enum expert_form expert_form;
    const struct gguf_tensor *gate_exps, *up_exps;       /* n_experts x [n_ff_expert, n_embd], by expert_form */
    const struct gguf_tensor *down_exps;                 /* n_experts x [n_embd, n_ff_expert] */
    const struct gguf_tensor *shared_router;             /* [1, n_embd]: logit of the shared expert's scale */
    const struct gguf_tensor *shared_gate, *shared_up;   /* [n_ff_shared, n_embd] */
    const struct gguf_tensor *shared_down;               /* [n_embd, n_ff_shared] */

    /* A dense layer; NULL in one with experts. */
    const struct gguf_tensor *gate, *up; /* [n_ff, n_embd] */
    const struct gguf_tensor *down;      /* [n_embd, n_ff] */
};

struct model_tensors {
    const struct gguf_tensor *token_embd;  /* [n_vocab, n_embd] */
    const struct gguf_tensor *output_norm; /* [n_embd] */
    const struct gguf_tensor *output;      /* [n_vocab, n_embd]; token_embd itself where embeddings are tied */
};

#endif
