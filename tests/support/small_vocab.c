/* SPDX-License-Identifier: MIT */
#include "tests/support/small_vocab.h"

#include "model/utf8.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

int32_t small_vocab_add(struct small_vocab *v, const char *text, enum token_kind kind, float score)
{
    cr_assert_lt(v->n, SMALL_VOCAB_MAX);
    cr_assert_lt(strlen(text), sizeof(v->text[0]));
    strcpy(v->text[v->n], text);
    v->kinds[v->n] = kind;
    v->scores[v->n] = score;
    return (int32_t)v->n++;
}

void small_vocab_bpe(struct small_vocab *v)
{
    memset(v, 0, sizeof(*v));
    for (unsigned i = 0; i < 256; i++) {
        char text[8] = { 0 };

        utf8_encode_short(vocab_byte_to_char((unsigned char)i), text);
        small_vocab_add(v, text, TOKEN_NORMAL, 0);
    }
}

void small_vocab_spm(struct small_vocab *v)
{
    memset(v, 0, sizeof(*v));
    v->spm = true;
    small_vocab_add(v, "<unk>", TOKEN_UNKNOWN, 0);
    small_vocab_add(v, "<s>", TOKEN_CONTROL, 0);
    small_vocab_add(v, "</s>", TOKEN_CONTROL, 0);
    for (unsigned i = 0; i < 256; i++) {
        char text[8];

        snprintf(text, sizeof(text), "<0x%02X>", i);
        small_vocab_add(v, text, TOKEN_BYTE, 0);
    }
}

int32_t small_vocab_merge(struct small_vocab *v, const char *merge)
{
    const char *blank = strchr(merge + 1, ' ');
    char text[600];

    cr_assert_lt(v->n_merges, sizeof(v->merges) / sizeof(v->merges[0]));
    v->merges[v->n_merges++] = merge;
    snprintf(text, sizeof(text), "%.*s%s", (int)(blank - merge), merge, blank + 1);
    return small_vocab_add(v, text, TOKEN_NORMAL, 0);
}

void small_vocab_fill(const struct small_vocab *v, struct gguf_builder *ret_keys)
{
    const char *tokens[SMALL_VOCAB_MAX];

    for (size_t i = 0; i < v->n; i++)
        tokens[i] = v->text[i];
    gguf_builder_init(ret_keys);
    gguf_builder_str(ret_keys, "general.architecture", "qwen3moe");
    gguf_builder_str(ret_keys, "tokenizer.ggml.model", v->spm ? "llama" : "gpt2");
    gguf_builder_str(ret_keys, "tokenizer.ggml.pre", v->spm ? "default" : "gpt-2");
    gguf_builder_strs(ret_keys, "tokenizer.ggml.tokens", tokens, v->n);
    gguf_builder_array(ret_keys, "tokenizer.ggml.token_type", GGUF_I32, v->n, v->kinds, v->n * sizeof(v->kinds[0]));
    if (v->spm)
        gguf_builder_array(ret_keys, "tokenizer.ggml.scores", GGUF_F32, v->n, v->scores, v->n * sizeof(v->scores[0]));
    else
        gguf_builder_strs(ret_keys, "tokenizer.ggml.merges", v->merges, v->n_merges);
}

struct gguf *small_vocab_gguf(struct gguf_builder *keys)
{
    char dir[64], path[100];
    struct gguf *gguf = NULL;
    struct err err = { 0 };
    int r;

    builder_mkdir(dir);
    snprintf(path, sizeof(path), "%s/vocab.gguf", dir);
    gguf_builder_write(keys, path);
    r = gguf_open(path, &gguf, &err);
    builder_rmdir(dir);
    cr_assert_eq(r, 0, "%s", err.text);
    return gguf;
}

int small_vocab_open_keys(struct gguf_builder *keys, struct tokenizer **ret_tokenizer, struct err *err)
{
    struct gguf *gguf = small_vocab_gguf(keys);
    int r = tokenizer_open(gguf, ret_tokenizer, err);

    gguf_close(gguf);
    return r;
}

struct tokenizer *small_vocab_open(const struct small_vocab *v)
{
    struct gguf_builder keys;
    struct tokenizer *tokenizer = NULL;
    struct err err = { 0 };
    int r;

    small_vocab_fill(v, &keys);
    r = small_vocab_open_keys(&keys, &tokenizer, &err);
    gguf_builder_fini(&keys);
    cr_assert_eq(r, 0, "%s", err.text);
    return tokenizer;
}
