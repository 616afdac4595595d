/* SPDX-License-Identifier: MIT
 *
 * seeds DIR: the first inputs for fuzzing, small and whole: DIR/gguf-* and DIR/tokenizer-*.
 */
#include "tests/support/gguf_forms.h"

#include <stdio.h>
#include <string.h>

static void write_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f) {
        fwrite(p, 1, n, f);
        fclose(f);
    }
}

static void write_built(struct gguf_builder *b, const char *dir, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    gguf_builder_write(b, path);
    gguf_builder_fini(b);
}

static void drop_vocabulary(struct gguf_builder *b)
{
    for (size_t i = b->n_keys; i-- > 0;)
        if (!strncmp(b->keys[i].key, "tokenizer.", 10))
            gguf_builder_drop_key(b, b->keys[i].key);
}

/* Two tokens are enough without a vocabulary; the other tensors move up. */
static void shrink_embeddings(struct gguf_builder *b)
{
    struct builder_tensor *embeddings = gguf_builder_tensor(b, "token_embd.weight");
    uint64_t at = 0;

    embeddings->dims[1] = 2;
    embeddings->data_len = embeddings->dims[0] * 2 * sizeof(float);
    for (size_t i = 0; i < b->n_tensors; i++) {
        b->tensors[i].offset = b->tensors[i].place = at;
        at += (b->tensors[i].data_len + b->alignment - 1) / b->alignment * b->alignment;
    }
}

static void write_forms(const char *dir)
{
    struct random_model shape = { "llama", 2, 0, 4, 2, 1, 4, 4, 4, 4, 2, 1, 64, true, 1 };
    struct gguf_builder b;

    gguf_builder_model(&b, &shape);
    drop_vocabulary(&b);
    gguf_forms_apart_layer(&b, 1);
    gguf_forms_fuse(&b);
    shrink_embeddings(&b);
    write_built(&b, dir, "gguf-llama-fused-and-apart");
}

static void write_model(const char *dir, const char *arch, uint32_t n_dense, bool yarn)
{
    struct random_model shape = { arch, 1 + n_dense, n_dense, 4, 2, 1, 4, 4, 4, 4, 2, 1, 64, true, 1 };
    struct gguf_builder b;
    char name[64], key[64];
    static const uint32_t nested[] = { GGUF_ARRAY, 1, 0, GGUF_U32, 1, 0, 7 };

    gguf_builder_model(&b, &shape);
    drop_vocabulary(&b);
    shrink_embeddings(&b);
    if (yarn) {
        snprintf(key, sizeof(key), "%s.rope.scaling.type", arch);
        gguf_builder_str(&b, key, "yarn");
        snprintf(key, sizeof(key), "%s.rope.scaling.factor", arch);
        gguf_builder_f32(&b, key, 4);
        gguf_builder_raw(&b, "x.nested", GGUF_ARRAY, nested, sizeof(nested));
        gguf_builder_u8(&b, "x.u8", 1);
        gguf_builder_i64(&b, "x.i64", -1);
        gguf_builder_f64(&b, "x.f64", 1);
        gguf_builder_u32(&b, "general.alignment", 32);
    }
    snprintf(name, sizeof(name), "gguf-%s%s", arch, yarn ? "-yarn" : n_dense ? "-dense" : "");
    write_built(&b, dir, name);
}

static void write_small_bpe(const char *dir)
{
    static const char *const tokens[] = { "a",
                                          "b",
                                          "\xc4\xa0",
                                          "ab",
                                          "\xc4\xa0"
                                          "ab",
                                          "<s>",
                                          "</s>" };
    static const char *const merges[] = { "a b", "\xc4\xa0 ab" };
    static const int32_t types[] = { 1, 1, 1, 1, 1, 3, 3 };
    struct gguf_builder b;

    gguf_builder_init(&b);
    gguf_builder_str(&b, "tokenizer.ggml.model", "gpt2");
    gguf_builder_str(&b, "tokenizer.ggml.pre", "llama-bpe");
    gguf_builder_strs(&b, "tokenizer.ggml.tokens", tokens, 7);
    gguf_builder_strs(&b, "tokenizer.ggml.merges", merges, 2);
    gguf_builder_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 7, types, sizeof(types));
    gguf_builder_u32(&b, "tokenizer.ggml.bos_token_id", 5);
    gguf_builder_u32(&b, "tokenizer.ggml.eos_token_id", 6);
    gguf_builder_bool(&b, "tokenizer.ggml.add_bos_token", true);
    write_built(&b, dir, "tokenizer-bpe");
}

static void write_small_spm(const char *dir)
{
    static const char *const tokens[] = { "<unk>",
                                          "<s>",
                                          "</s>",
                                          "<0x0A>",
                                          "a",
                                          "b",
                                          "\xe2\x96\x81",
                                          "ab",
                                          "\xe2\x96\x81"
                                          "ab" };
    static const int32_t types[] = { 2, 3, 3, 6, 1, 1, 1, 1, 1 };
    static const float scores[] = { 0, 0, 0, 0, -4, -5, -3, -2, -1 };
    struct gguf_builder b;

    gguf_builder_init(&b);
    gguf_builder_str(&b, "tokenizer.ggml.model", "llama");
    gguf_builder_strs(&b, "tokenizer.ggml.tokens", tokens, 9);
    gguf_builder_array(&b, "tokenizer.ggml.scores", GGUF_F32, 9, scores, sizeof(scores));
    gguf_builder_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 9, types, sizeof(types));
    gguf_builder_u32(&b, "tokenizer.ggml.bos_token_id", 1);
    gguf_builder_u32(&b, "tokenizer.ggml.eos_token_id", 2);
    gguf_builder_u32(&b, "tokenizer.ggml.unknown_token_id", 0);
    write_built(&b, dir, "tokenizer-spm");
}

static void write_split(const char *dir)
{
    struct gguf_builder b;

    gguf_builder_init(&b);
    gguf_builder_u16(&b, "split.no", 0);
    gguf_builder_u16(&b, "split.count", 2);
    gguf_builder_i32(&b, "split.tensors.count", 0);
    write_built(&b, dir, "gguf-split");
}

int main(int argc, char **argv)
{
    static const char text[] =
        "\1The  <|im_start|>caf\xc3\xa9's 12345\n\n \t\xe4\xbd\xa0\xe5\xa5\xbd\xf0\x9f\x99\x82 and \xff\xc3 end";

    if (argc != 2)
        return 2;
    write_model(argv[1], "llama", 0, false);
    write_model(argv[1], "qwen2moe", 0, false);
    write_model(argv[1], "qwen3moe", 0, false);
    write_model(argv[1], "olmoe", 0, false);
    write_model(argv[1], "qwen3moe", 1, false);
    write_model(argv[1], "llama", 0, true);
    write_forms(argv[1]);
    write_split(argv[1]);
    write_small_bpe(argv[1]);
    write_small_spm(argv[1]);
    for (int pre = 0; pre < 12; pre++) {
        char name[32], bytes[sizeof(text)];

        memcpy(bytes, text, sizeof(text));
        bytes[0] = (char)pre;
        snprintf(name, sizeof(name), "tokenizer-text-%02d", pre);
        write_file(argv[1], name, bytes, sizeof(bytes) - 1);
    }
    return 0;
}
