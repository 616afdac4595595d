/* SPDX-License-Identifier: MIT
 *
 * Files that are GGUF, and no model that we can run.
 */
#include "base/err.h"
#include "tests/support/gguf_forms.h"
#include "tests/support/hostile.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#define A "qwen3moe."
#define GATE "blk.0.ffn_gate_exps.weight"
#define FUSED "blk.0.ffn_gate_up_exps.weight"
#define EPS A "attention.layer_norm_rms_epsilon"
#define BASE A "rope.freq_base"
#define FACTOR A "rope.scaling.factor"
#define QUANT_I8 24 /* a format that GGUF knows and no model's weights come in */

static void all_experts_bad_format(struct gguf_builder *b, const struct hostile *h)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (strstr(b->tensors[i].name, "_exps"))
            b->tensors[i].type = QUANT_I8;
}

static void no_tensors(struct gguf_builder *b, const struct hostile *h)
{
    while (b->n_tensors)
        gguf_builder_drop_tensor(b, b->tensors[0].name);
}

static void no_widths(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_drop_key(b, A "feed_forward_length");
    gguf_builder_drop_key(b, A "expert_feed_forward_length");
}

static void odd_width(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_drop_key(b, A "expert_feed_forward_length");
    gguf_builder_u32(b, A "feed_forward_length", 65);
}

static void tokens_of_numbers(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_u32(b, "tokenizer.ggml.tokens", 275);
}

static void fewer_tokens(struct gguf_builder *b, const struct hostile *h)
{
    static const char *const tokens[] = { "a", "b" };

    gguf_builder_strs(b, "tokenizer.ggml.tokens", tokens, 2);
}

static void heads_per_layer(struct gguf_builder *b, const struct hostile *h)
{
    static const uint32_t heads[2] = { 4, 4 };

    gguf_builder_array(b, A "attention.head_count", GGUF_U32, 2, heads, sizeof(heads));
}

static void negative_layers(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_i32(b, A "block_count", -2);
}

static void layers_u64(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_u64(b, A "block_count", ((uint64_t)1 << 32) + 2);
}

static void huge_epsilon(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_f64(b, EPS, 1e300);
}

static void rope_factors_f16(struct gguf_builder *b, const struct hostile *h)
{
    static const uint64_t n = 8;
    static const uint16_t v[8] = { 0x3c00 };

    gguf_builder_add(b, "rope_freqs.weight", QUANT_F16, 1, &n, v, sizeof(v));
}

/* Stacks, and beside them a tensor of one expert. */
static void stacked_and_apart(struct gguf_builder *b, const struct hostile *h)
{
    hostile_add(b, h);
}

static void apart_and_stacked(struct gguf_builder *b, const struct hostile *h)
{
    static const uint64_t dims[3] = { 32, 32, 8 };
    static const float v[32 * 32 * 8];

    gguf_forms_apart(b);
    gguf_builder_add(b, h->target, QUANT_F32, 3, dims, v, sizeof(v));
}

static void apart_drop(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    hostile_drop_tensor(b, h);
}

static void apart_rename(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    hostile_rename(b, h);
}

static void apart_add(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    hostile_add(b, h);
}

static void apart_dim1(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    hostile_dim1(b, h);
}

static void apart_offset(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    hostile_offset(b, h);
}

static void apart_retype(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_apart(b);
    gguf_forms_retype(b, h->target, (enum quant_type)h->u, 1);
}

static void apart_bad_format(struct gguf_builder *b, const struct hostile *h)
{
    all_experts_bad_format(b, h);
    gguf_forms_apart(b);
}

static void fused_and_gate(struct gguf_builder *b, const struct hostile *h)
{
    static const uint64_t dims[3] = { 32, 32, 8 };
    static const float v[32 * 32 * 8];

    gguf_forms_fuse(b);
    gguf_builder_add(b, GATE, QUANT_F32, 3, dims, v, sizeof(v));
}

static void fused_drop(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    hostile_drop_tensor(b, h);
}

static void fused_add(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    hostile_add(b, h);
}

static void fused_dim1(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    hostile_dim1(b, h);
}

static void fused_dim2(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    hostile_dim2(b, h);
}

static void fused_offset(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    hostile_offset(b, h);
}

static void fused_bad_format(struct gguf_builder *b, const struct hostile *h)
{
    gguf_forms_fuse(b);
    all_experts_bad_format(b, h);
}

static void dense_after_experts(struct gguf_builder *b, const struct hostile *h)
{
    static const uint64_t dims[2] = { 32, 48 };
    static const float v[32 * 48];

    gguf_builder_add(b, "blk.1.ffn_gate.weight", QUANT_F32, 2, dims, v, sizeof(v));
}

static const struct hostile rows[] = {
    ROW("a vocabulary only", no_tensors, ERR_UNSUPPORTED, "no tensors: this file holds a vocabulary only"),
    ROW("no architecture", hostile_drop_key, ERR_FORMAT, "'general.architecture' is missing", "general.architecture"),
    ROW("an architecture that is a number", hostile_u32, ERR_FORMAT, "of type u32 where a string is expected",
        "general.architecture", 5),
    ROW("an empty architecture", hostile_str, ERR_FORMAT, "not a name", "general.architecture", .s = ""),
    ROW("an architecture with a newline", hostile_str, ERR_FORMAT, "not a name", "general.architecture", .s = "a\nb"),
    ROW("another architecture", hostile_str, ERR_UNSUPPORTED,
        "architecture 'gemma4' is not supported; supported: llama (with experts), qwen2moe, qwen3moe, olmoe",
        "general.architecture", .s = "gemma4"),
    ROW("a prefix of an architecture", hostile_str, ERR_UNSUPPORTED, "'qwen3' is not supported", "general.architecture",
        .s = "qwen3"),
    ROW("no experts", hostile_drop_key, ERR_UNSUPPORTED, "a dense 'qwen3moe' model", A "expert_count"),
    ROW("zero experts", hostile_u32, ERR_UNSUPPORTED, "it has no experts", A "expert_count", 0),
    ROW("other number of experts", hostile_u32, ERR_FORMAT, "'blk.0.ffn_gate_inp.weight': shape [32, 8, 1, 1]",
        A "expert_count", 7),
    ROW("2^32 - 1 experts", hostile_u32, ERR_FORMAT, "the limit is 4096", A "expert_count", UINT32_MAX),
    ROW("none used", hostile_u32, ERR_FORMAT, "expert_used_count': 0 is not between", A "expert_used_count", 0),
    ROW("more used than there are", hostile_u32, ERR_FORMAT, "expert_used_count': 9 of 8", A "expert_used_count", 9),
    ROW("used not said", hostile_drop_key, ERR_FORMAT, "expert_used_count' is missing", A "expert_used_count"),
    ROW("experts as a float", hostile_f32, ERR_FORMAT, "of type f32 where an integer", A "expert_count", .f = 8),
    ROW("no layers", hostile_u32, ERR_FORMAT, "block_count': 0 is not between", A "block_count", 0),
    ROW("2^31 layers", hostile_u32, ERR_FORMAT, "block_count': 2147483648 is not between", A "block_count", 1u << 31),
    ROW("-2 layers", negative_layers, ERR_FORMAT, "block_count': -2 is negative"),
    ROW("2^32 + 2 layers", layers_u64, ERR_FORMAT, "block_count': 4294967298 is too large"),
    ROW("a layer more", hostile_u32, ERR_FORMAT, "'blk.2.attn_norm.weight' is missing", A "block_count", 3),
    ROW("a layer less", hostile_u32, ERR_UNSUPPORTED, "'blk.1.attn_norm.weight': has no place", A "block_count", 1),
    ROW("no width", hostile_u32, ERR_FORMAT, "embedding_length': 0", A "embedding_length", 0),
    ROW("other width", hostile_u32, ERR_FORMAT, "'token_embd.weight': shape [32, 275, 1, 1] where",
        A "embedding_length", 64),
    ROW("no context", hostile_u32, ERR_FORMAT, "context_length': 0", A "context_length", 0),
    ROW("context not said", hostile_drop_key, ERR_FORMAT, "context_length' is missing", A "context_length"),
    ROW("context of 2^32 - 1", hostile_u32, ERR_FORMAT, "context_length': 4294967295", A "context_length", UINT32_MAX),
    ROW("no heads", hostile_u32, ERR_FORMAT, "head_count': 0", A "attention.head_count", 0),
    ROW("3 heads", hostile_u32, ERR_FORMAT, "head_count_kv': 2 does not divide the 3", A "attention.head_count", 3),
    ROW("heads per layer", heads_per_layer, ERR_FORMAT, "an array of u32 where an integer"),
    ROW("no KV heads", hostile_u32, ERR_FORMAT, "head_count_kv': 0 does not divide", A "attention.head_count_kv", 0),
    ROW("3 KV heads", hostile_u32, ERR_FORMAT, "head_count_kv': 3 does not divide", A "attention.head_count_kv", 3),
    ROW("more KV heads than heads", hostile_u32, ERR_FORMAT, "head_count_kv': 8", A "attention.head_count_kv", 8),
    ROW("head of 2^31", hostile_u32, ERR_FORMAT, "key_length': 2147483648; the limit", A "attention.key_length",
        1u << 31),
    ROW("other head", hostile_u32, ERR_UNSUPPORTED, "value_length': 16 differs", A "attention.key_length", 32),
    ROW("values unlike keys", hostile_u32, ERR_UNSUPPORTED, "value_length': 8 differs", A "attention.value_length", 8),
    ROW("attention scale NaN", hostile_f32, ERR_FORMAT, "attention.scale': ", A "attention.scale", .f = NAN),
    ROW("epsilon NaN", hostile_f32, ERR_FORMAT, "epsilon': ", EPS, .f = NAN),
    ROW("epsilon infinite", hostile_f32, ERR_FORMAT, "epsilon': inf", EPS, .f = INFINITY),
    ROW("epsilon 0", hostile_f32, ERR_FORMAT, "epsilon': 0 is not", EPS, .f = 0),
    ROW("epsilon negative", hostile_f32, ERR_FORMAT, "epsilon': -1", EPS, .f = -1),
    ROW("epsilon beyond f32", huge_epsilon, ERR_FORMAT, "epsilon': 1e+300 is too large"),
    ROW("epsilon as text", hostile_str, ERR_FORMAT, "of type string where a floating-point", EPS, .s = "1e-6"),
    ROW("epsilon not said", hostile_drop_key, ERR_FORMAT, "epsilon' is missing", EPS),
    ROW("RoPE base NaN", hostile_f32, ERR_FORMAT, "rope.freq_base'", BASE, .f = NAN),
    ROW("RoPE base negative", hostile_f32, ERR_FORMAT, "rope.freq_base': -5", BASE, .f = -5),
    ROW("RoPE base 1", hostile_f32, ERR_FORMAT, "rope.freq_base': 1 is not above 1", BASE, .f = 1),
    ROW("RoPE over an odd number", hostile_u32, ERR_FORMAT, "rope.dimension_count': 15", A "rope.dimension_count", 15),
    ROW("RoPE over nothing", hostile_u32, ERR_FORMAT, "rope.dimension_count': 0", A "rope.dimension_count", 0),
    ROW("RoPE over more than a head", hostile_u32, ERR_FORMAT, "rope.dimension_count': 18", A "rope.dimension_count",
        18),
    ROW("RoPE scaling unknown", hostile_str, ERR_UNSUPPORTED, "none, linear and yarn are", A "rope.scaling.type",
        .s = "longrope"),
    ROW("RoPE factor NaN", hostile_f32, ERR_FORMAT, "rope.scaling.factor'", FACTOR, .f = NAN),
    ROW("RoPE factor negative", hostile_f32, ERR_FORMAT, "rope.scaling.factor': -2", FACTOR, .f = -2),
    ROW("RoPE factor next to 0", hostile_f32, ERR_FORMAT, "makes frequencies overflow", FACTOR, .f = 1e-44),
    ROW("YaRN ramp infinite", hostile_f32, ERR_FORMAT, "yarn_beta_fast': inf", A "rope.scaling.yarn_beta_fast",
        .f = INFINITY),
    ROW("YaRN mix above 1", hostile_f32, ERR_FORMAT, "yarn_ext_factor': 2", A "rope.scaling.yarn_ext_factor", .f = 2),
    ROW("RoPE factors too few", hostile_add, ERR_FORMAT, "'rope_freqs.weight': must be 8 weights", "rope_freqs.weight",
        7, 1),
    ROW("RoPE factors of 0", hostile_add, ERR_FORMAT, "'rope_freqs.weight': weight 0 is 0", "rope_freqs.weight", 8, 0),
    ROW("RoPE factors NaN", hostile_add, ERR_FORMAT, "not a positive number", "rope_freqs.weight", 8, NAN),
    ROW("RoPE factors as F16", rope_factors_f16, ERR_FORMAT, "must be 8 weights of F32"),
    ROW("gating unknown", hostile_u32, ERR_UNSUPPORTED, "expert_gating_func': 2", A "expert_gating_func", 2),
    ROW("expert scale NaN", hostile_f32, ERR_FORMAT, "expert_weights_scale'", A "expert_weights_scale", .f = NAN),
    ROW("expert groups", hostile_u32, ERR_UNSUPPORTED, "expert_group_count': 4", A "expert_group_count", 4),
    ROW("logit scale", hostile_f32, ERR_UNSUPPORTED, "logit_scale': 0.5", A "logit_scale", .f = 0.5),
    ROW("logit cap", hostile_f32, ERR_UNSUPPORTED, "final_logit_softcapping': 30", A "final_logit_softcapping",
        .f = 30),
    ROW("clamped QKV", hostile_f32, ERR_UNSUPPORTED, "attention.clamp_kqv': 8", A "attention.clamp_kqv", .f = 8),
    ROW("not causal", hostile_bool, ERR_UNSUPPORTED, "attention.causal': false", A "attention.causal", 0),
    ROW("experts of no width", no_widths, ERR_FORMAT, "expert_feed_forward_length': is missing"),
    ROW("a width that does not divide", odd_width, ERR_FORMAT, "feed_forward_length': 65 is not a multiple"),
    ROW("experts of another width", hostile_u32, ERR_FORMAT, "'" GATE "': shape [32, 32, 8, 1] where the keys ask for",
        A "expert_feed_forward_length", 16),
    ROW("experts of 2^32 - 1", hostile_u32, ERR_FORMAT, "a width above", A "expert_feed_forward_length", UINT32_MAX),
    ROW("no embeddings", hostile_drop_tensor, ERR_FORMAT, "'token_embd.weight' is missing", "token_embd.weight"),
    ROW("no last norm", hostile_drop_tensor, ERR_FORMAT, "'output_norm.weight' is missing", "output_norm.weight"),
    ROW("no query", hostile_drop_tensor, ERR_FORMAT, "'blk.1.attn_q.weight' is missing", "blk.1.attn_q.weight"),
    ROW("no query norm", hostile_drop_tensor, ERR_FORMAT, "'blk.0.attn_q_norm.weight' is missing",
        "blk.0.attn_q_norm.weight"),
    ROW("no router", hostile_drop_tensor, ERR_FORMAT, "'blk.0.ffn_gate_inp.weight' is missing",
        "blk.0.ffn_gate_inp.weight"),
    ROW("no gates", hostile_drop_tensor, ERR_FORMAT, "'" GATE "' is missing", GATE),
    ROW("a tensor too many", hostile_add, ERR_UNSUPPORTED, "'blk.0.attn_sinks.weight': has no place",
        "blk.0.attn_sinks.weight", 4, 1),
    ROW("a shared expert where none is", hostile_add, ERR_UNSUPPORTED,
        "'blk.0.ffn_gate_inp_shexp.weight': has no place", "blk.0.ffn_gate_inp_shexp.weight", 32, 1),
    ROW("an expert less", hostile_dim2, ERR_FORMAT, "'" GATE "': shape [32, 32, 7, 1]", GATE, 7),
    ROW("a router row less", hostile_dim1, ERR_FORMAT, "'blk.0.ffn_gate_inp.weight': shape [32, 7, 1, 1]",
        "blk.0.ffn_gate_inp.weight", 7),
    ROW("an output row less", hostile_dim1, ERR_FORMAT, "'output.weight': shape [32, 274, 1, 1]", "output.weight", 274),
    ROW("a norm in F16", hostile_type, ERR_UNSUPPORTED, "stored as F16 where F32", "blk.0.attn_norm.weight", QUANT_F16),
    ROW("experts of a format we lack", all_experts_bad_format, ERR_UNSUPPORTED, "format I8 is not supported; use"),
    ROW("an expert apart from the others", stacked_and_apart, ERR_FORMAT, "'blk.0.ffn_gate.0.weight': shape [1024, 1",
        "blk.0.ffn_gate.0.weight", 1024, 1),
    ROW("one of the experts apart from the others", stacked_and_apart, ERR_UNSUPPORTED,
        "'blk.0.ffn_gate.3.weight': has no place", "blk.0.ffn_gate.3.weight", 1024, 1),
    ROW("experts apart, and stacked", apart_and_stacked, ERR_UNSUPPORTED, "'" GATE "': has no place", GATE),
    ROW("experts apart, and fused", apart_and_stacked, ERR_FORMAT, "'" FUSED "': shape [32, 32, 8, 1]", FUSED),
    ROW("experts apart, one of many missing", apart_drop, ERR_FORMAT, "'blk.1.ffn_up.5.weight' is missing",
        "blk.1.ffn_up.5.weight"),
    ROW("experts apart, the first missing", apart_drop, ERR_FORMAT, "'blk.0.ffn_gate.0.weight' is missing",
        "blk.0.ffn_gate.0.weight"),
    ROW("experts apart, the last missing", apart_drop, ERR_FORMAT, "'blk.1.ffn_down.7.weight' is missing",
        "blk.1.ffn_down.7.weight"),
    ROW("experts apart, one too many", apart_add, ERR_UNSUPPORTED, "'blk.0.ffn_gate.8.weight': has no place",
        "blk.0.ffn_gate.8.weight", 1024, 1),
    ROW("experts apart, number 2^32", apart_add, ERR_UNSUPPORTED, "'blk.0.ffn_gate.4294967296.weight': has no place",
        "blk.0.ffn_gate.4294967296.weight", 1024, 1),
    ROW("experts apart, number 2^32 for 0", apart_rename, ERR_FORMAT, "'blk.0.ffn_down.0.weight' is missing",
        "blk.0.ffn_down.0.weight", .s = "blk.0.ffn_down.4294967296.weight"),
    ROW("experts apart, number 01", apart_rename, ERR_FORMAT, "'blk.0.ffn_up.1.weight' is missing",
        "blk.0.ffn_up.1.weight", .s = "blk.0.ffn_up.01.weight"),
    ROW("experts apart, number -1", apart_add, ERR_UNSUPPORTED, "'blk.0.ffn_up.-1.weight': has no place",
        "blk.0.ffn_up.-1.weight", 1024, 1),
    ROW("experts apart, no number", apart_add, ERR_UNSUPPORTED, "'blk.0.ffn_up..weight': has no place",
        "blk.0.ffn_up..weight", 1024, 1),
    ROW("experts apart, with a bias", apart_add, ERR_UNSUPPORTED, "'blk.0.ffn_up.0.bias': has no place",
        "blk.0.ffn_up.0.bias", 32, 1),
    ROW("experts apart, in a layer that is not", apart_add, ERR_UNSUPPORTED, "'blk.2.ffn_up.0.weight': has no place",
        "blk.2.ffn_up.0.weight", 1024, 1),
    ROW("experts apart, one twice", apart_rename, ERR_FORMAT, "'blk.1.ffn_gate.2.weight': appears twice",
        "blk.1.ffn_gate.6.weight", .s = "blk.1.ffn_gate.2.weight"),
    ROW("experts apart, one of another shape", apart_dim1, ERR_FORMAT,
        "'blk.0.ffn_down.3.weight': shape [32, 31, 1, 1] where the keys ask for [32, 32, 1, 1]",
        "blk.0.ffn_down.3.weight", 31),
    ROW("experts apart, one of another format", apart_retype, ERR_UNSUPPORTED,
        "'blk.0.ffn_gate.3.weight': stored as Q8_0, but 'blk.0.ffn_gate.0.weight' as F32; a layer's experts must have",
        "blk.0.ffn_gate.3.weight", QUANT_Q8_0),
    ROW("experts apart, the first of another format", apart_retype, ERR_UNSUPPORTED,
        "'blk.1.ffn_up.1.weight': stored as F32, but 'blk.1.ffn_up.0.weight' as Q4_0", "blk.1.ffn_up.0.weight",
        QUANT_Q4_0),
    ROW("experts apart, in a format we lack", apart_bad_format, ERR_UNSUPPORTED, "format I8 is not supported"),
    ROW("experts apart, one over another", apart_offset, ERR_FORMAT, "overlaps tensor", "blk.0.ffn_gate.3.weight",
        -(uint64_t)32),
    ROW("experts apart, one beyond the end", apart_offset, ERR_FORMAT, "'blk.1.ffn_up.7.weight': its data ends at byte",
        "blk.1.ffn_up.7.weight", 1 << 20),
    ROW("gate and up by name only", hostile_rename, ERR_FORMAT,
        "'" FUSED "': shape [32, 32, 8, 1] where the keys ask for [32, 64, 8, 1]", GATE, .s = FUSED),
    ROW("gate and up fused, and the gate", fused_and_gate, ERR_UNSUPPORTED, "'" GATE "': has no place"),
    ROW("gate and up fused, and no down", fused_drop, ERR_FORMAT, "'blk.1.ffn_down_exps.weight' is missing",
        "blk.1.ffn_down_exps.weight"),
    ROW("gate and up fused in one layer, missing in the other", fused_drop, ERR_FORMAT,
        "'blk.1.ffn_gate_exps.weight' is missing", "blk.1.ffn_gate_up_exps.weight"),
    ROW("gate and up fused, with a bias", fused_add, ERR_UNSUPPORTED, "'blk.0.ffn_gate_up_exps.bias': has no place",
        "blk.0.ffn_gate_up_exps.bias", 64, 1),
    ROW("gate and up fused, of an expert less", fused_dim2, ERR_FORMAT, "'" FUSED "': shape [32, 64, 7, 1]", FUSED, 7),
    ROW("gate and up fused, of an odd row", fused_dim1, ERR_FORMAT, "'" FUSED "': shape [32, 63, 8, 1]", FUSED, 63),
    ROW("gate and up fused, in a format we lack", fused_bad_format, ERR_UNSUPPORTED, "format I8 is not supported"),
    ROW("gate and up fused, over the down", fused_offset, ERR_FORMAT, "overlaps tensor", FUSED, -(uint64_t)32),
    ROW("a dense layer in the middle", dense_after_experts, ERR_UNSUPPORTED,
        "layer 1 is dense, after layers with experts"),
    ROW("dense layers that are not", hostile_u32, ERR_FORMAT, "leading_dense_block_count': 1, but 0 layers are dense",
        A "leading_dense_block_count", 1),
    ROW("a smaller vocabulary", fewer_tokens, ERR_FORMAT, "'tokenizer.ggml.tokens': 2 tokens, but"),
    ROW("a vocabulary that is a number", tokens_of_numbers, ERR_FORMAT, "of type u32 where an array"),
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

ParameterizedTestParameters(model_hostile, content)
{
    static size_t indices[N_ROWS];

    for (size_t i = 0; i < N_ROWS; i++)
        indices[i] = i;
    return cr_make_param_array(size_t, indices, N_ROWS);
}

ParameterizedTest(size_t *i, model_hostile, content)
{
    char dir[64];

    builder_mkdir(dir);
    hostile_check(&rows[*i], "qwen3moe", dir);
    builder_rmdir(dir);
}

static void no_bias(struct gguf_builder *b, const struct hostile *h)
{
    gguf_builder_drop_tensor(b, "blk.0.attn_k.bias");
}

/* What only qwen2moe has. */
Test(model_hostile, qwen2moe)
{
    static const struct hostile own[] = {
        ROW("no bias", no_bias, ERR_FORMAT, "'blk.0.attn_k.bias' is missing"),
        ROW("no shared expert", hostile_drop_tensor, ERR_FORMAT, "'blk.1.ffn_up_shexp.weight' is missing",
            "blk.1.ffn_up_shexp.weight"),
        ROW("no gate of the shared expert", hostile_drop_tensor, ERR_FORMAT,
            "'blk.1.ffn_gate_inp_shexp.weight' is missing", "blk.1.ffn_gate_inp_shexp.weight"),
        ROW("a shared expert of another width", hostile_u32, ERR_FORMAT, "'blk.0.ffn_gate_shexp.weight': shape",
            "qwen2moe.expert_shared_feed_forward_length", 32),
    };
    char dir[64];

    builder_mkdir(dir);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        hostile_check(&own[i], "qwen2moe", dir);
    builder_rmdir(dir);
}
