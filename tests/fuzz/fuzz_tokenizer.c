/* SPDX-License-Identifier: MIT
 *
 * Two kinds of input. Bytes that begin with "GGUF": any vocabulary, by which some text is encoded. Others: any text
 * behind a first byte that chooses one of the vocabularies and pre-tokenizers below.
 *
 * What must hold for text: pieces put together again are the text; a text cut in two spans is the same tokens; what the
 * detokenizer gives is UTF-8.
 */
#include "model/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/gguf_builder.h"

#include <string.h>

#define MAX_IDS 4096

static const char *const pres[] = { "gpt-2",  "qwen2",     "llama-bpe", "olmo",     "deepseek-llm", "deepseek-coder",
                                    "falcon", "starcoder", "refact",    "gpt-neox", "default",      "tekken" };
#define N_PRES (sizeof(pres) / sizeof(pres[0]))

static struct tokenizer *open_bytes(const uint8_t *data, size_t size)
{
    struct tokenizer *tokenizer = NULL;
    struct err err = { 0 };
    struct gguf *gguf;
    int rc = gguf_open(fuzz_file(data, size), &gguf, &err);

    if (rc)
        return NULL;
    rc = tokenizer_open(gguf, &tokenizer, &err);
    FUZZ_CHECK(rc == 0 || (err.code == rc && err.text[0]));
    gguf_close(gguf);
    return rc ? NULL : tokenizer;
}

static struct tokenizer *open_pre(const char *pre)
{
    struct random_model shape = RANDOM_MODEL("qwen3moe");
    struct tokenizer *tokenizer;
    struct gguf_builder b;
    unsigned char *p;
    size_t len;

    gguf_builder_model(&b, &shape);
    gguf_builder_str(&b, "tokenizer.ggml.pre", pre);
    p = gguf_builder_bytes(&b, &len, NULL);
    tokenizer = open_bytes(p, len);
    FUZZ_CHECK(tokenizer);
    free(p);
    gguf_builder_fini(&b);
    return tokenizer;
}

static bool is_utf8(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = p[i] < 0x80                   ? 1
                     : p[i] >= 0xc2 && p[i] < 0xe0 ? 2
                     : p[i] >= 0xe0 && p[i] < 0xf0 ? 3
                     : p[i] < 0xf5                 ? 4
                                                   : 0;

        if (len == 0 || (len > 1 && p[i] < 0xc2) || i + len > n)
            return false;
        for (size_t j = 1; j < len; j++)
            if ((p[i + j] & 0xc0) != 0x80)
                return false;
        i += len;
    }
    return true;
}

static void check_detokenizer(const struct tokenizer *tokenizer, const struct token_ids *ids)
{
    struct detokenizer d;
    char end[16];

    detokenizer_init(&d, tokenizer);
    for (size_t i = 0; i < ids->n; i++) {
        size_t max = detokenizer_max(&d, ids->v[i]), n;
        char *out = malloc(max + 1);

        FUZZ_CHECK(out);
        n = detokenizer_put(&d, ids->v[i], out);
        FUZZ_CHECK(n <= max && is_utf8((unsigned char *)out, n));
        free(out);
    }
    FUZZ_CHECK(is_utf8((unsigned char *)end, detokenizer_finish(&d, end)));
}

static void check_pieces(const struct tokenizer *tokenizer, const struct token_ids *ids, const char *text, size_t len)
{
    size_t at = 0;

    for (size_t i = 0; i < ids->n; i++) {
        struct gguf_str piece = tokenizer_piece(tokenizer, ids->v[i], true, i == 0);

        FUZZ_CHECK(piece.len <= len - at && !memcmp(piece.p, text + at, piece.len));
        at += piece.len;
    }
    FUZZ_CHECK(at == len);
}

static void encode(const struct tokenizer *tokenizer, const char *text, size_t len, unsigned flags, bool exact)
{
    const struct text_span spans[2] = { { text, len / 3, false }, { text + len / 3, len - len / 3, false } };
    struct token_ids ids = { 0 }, cut = { 0 };
    struct err err = { 0 };
    int rc = tokenizer_encode(tokenizer, text, len, flags, MAX_IDS, &ids, &err);

    FUZZ_CHECK(rc == 0 || (err.code == rc && err.text[0]));
    for (size_t i = 0; i < ids.n; i++)
        FUZZ_CHECK(ids.v[i] >= 0 && (size_t)ids.v[i] < tokenizer_size(tokenizer));
    if (rc == 0)
        check_detokenizer(tokenizer, &ids);
    if (rc == 0 && exact)
        check_pieces(tokenizer, &ids, text, len);
    if (rc == 0 && flags == 0) {
        FUZZ_CHECK(tokenizer_encode_spans(tokenizer, spans, 2, 0, MAX_IDS, &cut, &err) == 0);
        FUZZ_CHECK(cut.n == ids.n && (ids.n == 0 || !memcmp(cut.v, ids.v, ids.n * sizeof(*ids.v))));
    }
    token_ids_fini(&ids);
    token_ids_fini(&cut);
}

static void fuzz_vocabulary(const uint8_t *data, size_t size)
{
    static const char text[] =
        "Hello  w\xc3\xb6rld's 1234 \xe4\xbd\xa0\xe5\xa5\xbd \xff\xfe\n\n\t<s></s><|im_end|> aaaaaaaa";
    struct tokenizer *tokenizer = open_bytes(data, size);
    size_t tail = size < 64 ? size : 64;

    if (!tokenizer)
        return;
    encode(tokenizer, text, sizeof(text) - 1, 0, false);
    encode(tokenizer, text, sizeof(text) - 1, TOKENIZE_SPECIAL | TOKENIZE_BOS, false);
    encode(tokenizer, (const char *)data + size - tail, tail, TOKENIZE_SPECIAL, false);
    tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *tokenizers[N_PRES]; /* opened once, kept to the end */
    size_t pre;

    if (size >= 4 && !memcmp(data, "GGUF", 4)) {
        fuzz_vocabulary(data, size);
        return 0;
    }
    if (size == 0)
        return 0;
    pre = data[0] % N_PRES;
    if (!tokenizers[pre])
        tokenizers[pre] = open_pre(pres[pre]);
    encode(tokenizers[pre], (const char *)data + 1, size - 1, 0, true);
    encode(tokenizers[pre], (const char *)data + 1, size - 1, TOKENIZE_SPECIAL | TOKENIZE_BOS, false);
    return 0;
}
