/* SPDX-License-Identifier: MIT */
#include "tests/support/gguf_builder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_BYTES 256

/* Merges of the small vocabulary, in order; the two halves are tokens already when their turn comes. "\xc4\xa0" is how
 * a byte-level vocabulary writes a blank. */
static const char *const merges[] = {
    "\xc4\xa0 t",
    "h e",
    "\xc4\xa0t he",
    "\xc4\xa0 a",
    "i n",
    "n d",
    "\xc4\xa0"
    "a nd",
    "in g",
    "\xc4\xa0 w",
    "e r",
    "o u",
    "\xc4\xa0 s",
    "r e",
    "\xc4\xa0 o",
    "\xc4\xa0o f",
    "\xc4\xa0t o",
};
#define N_MERGES (sizeof(merges) / sizeof(merges[0]))

static const char *const specials[] = { "<|endoftext|>", "<|im_start|>", "<|im_end|>" };
#define N_SPECIALS (sizeof(specials) / sizeof(specials[0]))
#define N_VOCAB (N_BYTES + N_MERGES + N_SPECIALS)

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* About normal: four uniform numbers summed, unit variance. */
static float next_normal(uint64_t *state)
{
    double sum = 0;

    for (int i = 0; i < 4; i++)
        sum += (double)(next_random(state) >> 11) * 0x1p-53 - 0.5;
    return (float)(sum * sqrt(3));
}

struct filler {
    struct gguf_builder *b;
    const struct random_model *shape;
    uint64_t state;
};

/* Normal values around `mean` with the given deviation; dims in the file's order, 0 ends them. */
static void add(struct filler *f, const char *name, float mean, float deviation, uint64_t d0, uint64_t d1, uint64_t d2)
{
    uint64_t dims[3] = { d0, d1, d2 }, n = d0 * (d1 ? d1 : 1) * (d2 ? d2 : 1);
    float *v = malloc(n * sizeof(*v));

    if (!v)
        abort();
    for (uint64_t i = 0; i < n; i++)
        v[i] = mean + deviation * next_normal(&f->state);
    gguf_builder_add(f->b, name, QUANT_F32, d2 ? 3 : d1 ? 2 : 1, dims, v, n * sizeof(*v));
    free(v);
}

static void add_matrix(struct filler *f, uint32_t layer, const char *what, uint64_t cols, uint64_t rows,
                       uint64_t slices)
{
    char name[64];

    snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, what);
    add(f, name, 0, 1.5f / sqrtf((float)cols), cols, rows, slices);
}

static void add_norm(struct filler *f, uint32_t layer, const char *what, uint64_t n)
{
    char name[64];

    snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, what);
    add(f, name, 1, 0.1f, n, 0, 0);
}

static bool is(const struct filler *f, const char *arch)
{
    return !strcmp(f->shape->arch, arch);
}

/* llama and olmoe know one width for all. */
static bool one_width(const struct filler *f)
{
    return is(f, "llama") || is(f, "olmoe");
}

static uint32_t dense_width(const struct filler *f)
{
    return one_width(f) ? f->shape->n_ff_expert : f->shape->n_ff;
}

static void add_attention(struct filler *f, uint32_t layer)
{
    const struct random_model *s = f->shape;
    uint64_t q = (uint64_t)s->n_heads * s->head_dim, kv = (uint64_t)s->n_kv_heads * s->head_dim;
    static const char *const biased[] = { "attn_q", "attn_k", "attn_v" };
    char name[64];

    add_norm(f, layer, "attn_norm", s->n_embd);
    add_matrix(f, layer, "attn_q", s->n_embd, q, 0);
    add_matrix(f, layer, "attn_k", s->n_embd, kv, 0);
    add_matrix(f, layer, "attn_v", s->n_embd, kv, 0);
    add_matrix(f, layer, "attn_output", q, s->n_embd, 0);
    for (int i = 0; is(f, "qwen2moe") && i < 3; i++) {
        snprintf(name, sizeof(name), "blk.%u.%s.bias", layer, biased[i]);
        add(f, name, 0, 0.5f, i ? kv : q, 0, 0);
    }
    if (is(f, "qwen3moe") || is(f, "olmoe")) {
        add_norm(f, layer, "attn_q_norm", is(f, "olmoe") ? q : s->head_dim);
        add_norm(f, layer, "attn_k_norm", is(f, "olmoe") ? kv : s->head_dim);
    }
}

static void add_feed_forward(struct filler *f, uint32_t layer)
{
    const struct random_model *s = f->shape;

    add_norm(f, layer, "ffn_norm", s->n_embd);
    if (layer < s->n_dense_layers) {
        add_matrix(f, layer, "ffn_gate", s->n_embd, dense_width(f), 0);
        add_matrix(f, layer, "ffn_up", s->n_embd, dense_width(f), 0);
        add_matrix(f, layer, "ffn_down", dense_width(f), s->n_embd, 0);
        return;
    }
    add_matrix(f, layer, "ffn_gate_inp", s->n_embd, s->n_experts, 0);
    add_matrix(f, layer, "ffn_gate_exps", s->n_embd, s->n_ff_expert, s->n_experts);
    add_matrix(f, layer, "ffn_up_exps", s->n_embd, s->n_ff_expert, s->n_experts);
    add_matrix(f, layer, "ffn_down_exps", s->n_ff_expert, s->n_embd, s->n_experts);
    if (!is(f, "qwen2moe"))
        return;
    add_matrix(f, layer, "ffn_gate_inp_shexp", s->n_embd, 0, 0);
    add_matrix(f, layer, "ffn_gate_shexp", s->n_embd, s->n_ff_shared, 0);
    add_matrix(f, layer, "ffn_up_shexp", s->n_embd, s->n_ff_shared, 0);
    add_matrix(f, layer, "ffn_down_shexp", s->n_ff_shared, s->n_embd, 0);
}

/* The code point by which a byte-level vocabulary writes a byte: itself where it is printable, else counted from
 * U+0100. */
static unsigned byte_code_point(unsigned byte)
{
    unsigned n = 0;

    for (unsigned i = 0; i <= byte; i++) {
        bool plain = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;

        if (i == byte)
            return plain ? byte : 0x100 + n;
        n += !plain;
    }
    return 0;
}

static void add_vocabulary(struct gguf_builder *b)
{
    char text[N_VOCAB][20];
    const char *tokens[N_VOCAB];
    int32_t types[N_VOCAB];
    size_t n = 0;

    for (; n < N_BYTES; n++) {
        unsigned c = byte_code_point((unsigned)n);

        if (c < 0x80)
            snprintf(text[n], sizeof(text[n]), "%c", c);
        else
            snprintf(text[n], sizeof(text[n]), "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    }
    for (size_t i = 0; i < N_MERGES; i++, n++) {
        const char *blank = strchr(merges[i], ' ');

        snprintf(text[n], sizeof(text[n]), "%.*s%s", (int)(blank - merges[i]), merges[i], blank + 1);
    }
    for (size_t i = 0; i < N_SPECIALS; i++, n++)
        snprintf(text[n], sizeof(text[n]), "%s", specials[i]);
    for (size_t i = 0; i < N_VOCAB; i++) {
        tokens[i] = text[i];
        types[i] = i < N_VOCAB - N_SPECIALS ? 1 : 3; /* normal, control */
    }
    gguf_builder_str(b, "tokenizer.ggml.model", "gpt2");
    gguf_builder_str(b, "tokenizer.ggml.pre", "qwen2");
    gguf_builder_strs(b, "tokenizer.ggml.tokens", tokens, N_VOCAB);
    gguf_builder_array(b, "tokenizer.ggml.token_type", GGUF_I32, N_VOCAB, types, sizeof(types));
    gguf_builder_strs(b, "tokenizer.ggml.merges", merges, N_MERGES);
    gguf_builder_u32(b, "tokenizer.ggml.bos_token_id", N_VOCAB - 3);
    gguf_builder_u32(b, "tokenizer.ggml.eos_token_id", N_VOCAB - 1);
    gguf_builder_bool(b, "tokenizer.ggml.add_bos_token", false);
    gguf_builder_str(
        b, "tokenizer.chat_template",
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}<|im_start|>assistant\n");
}

static void set_u32(struct filler *f, const char *name, uint32_t v)
{
    char key[128];

    snprintf(key, sizeof(key), "%s.%s", f->shape->arch, name);
    gguf_builder_u32(f->b, key, v);
}

static void set_f32(struct filler *f, const char *name, float v)
{
    char key[128];

    snprintf(key, sizeof(key), "%s.%s", f->shape->arch, name);
    gguf_builder_f32(f->b, key, v);
}

static void add_keys(struct filler *f)
{
    const struct random_model *s = f->shape;

    gguf_builder_str(f->b, "general.architecture", s->arch);
    gguf_builder_str(f->b, "general.name", "tiny random");
    set_u32(f, "block_count", s->n_layers);
    set_u32(f, "context_length", s->n_ctx);
    set_u32(f, "embedding_length", s->n_embd);
    set_u32(f, "feed_forward_length", dense_width(f));
    if (!one_width(f))
        set_u32(f, "expert_feed_forward_length", s->n_ff_expert);
    if (is(f, "qwen2moe"))
        set_u32(f, "expert_shared_feed_forward_length", s->n_ff_shared);
    if (s->n_dense_layers)
        set_u32(f, "leading_dense_block_count", s->n_dense_layers);
    set_u32(f, "expert_count", s->n_experts);
    set_u32(f, "expert_used_count", s->n_used);
    set_u32(f, "attention.head_count", s->n_heads);
    set_u32(f, "attention.head_count_kv", s->n_kv_heads);
    set_u32(f, "attention.key_length", s->head_dim);
    set_u32(f, "attention.value_length", s->head_dim);
    set_u32(f, "rope.dimension_count", s->head_dim);
    set_f32(f, "attention.layer_norm_rms_epsilon", 1e-6f);
    set_f32(f, "rope.freq_base", 10000.0f);
}

void gguf_builder_model(struct gguf_builder *b, const struct random_model *shape)
{
    struct filler f = { b, shape, shape->seed };

    gguf_builder_init(b);
    add_keys(&f);
    add_vocabulary(b);
    add(&f, "token_embd.weight", 0, 1, shape->n_embd, N_VOCAB, 0);
    add(&f, "output_norm.weight", 1, 0.1f, shape->n_embd, 0, 0);
    if (!shape->tied)
        add(&f, "output.weight", 0, 1.5f / sqrtf((float)shape->n_embd), shape->n_embd, N_VOCAB, 0);
    for (uint32_t i = 0; i < shape->n_layers; i++) {
        add_attention(&f, i);
        add_feed_forward(&f, i);
    }
}
