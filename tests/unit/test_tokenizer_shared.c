/* SPDX-License-Identifier: MIT
 *
 * Vocabularies of real models, with the ids that another implementation gives; skipped where ../shared is absent.
 */
#include "model/tokenizer.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"

static const char *const vocabs[] = {
    "deepseek-coder", "deepseek-llm", "falcon", "gpt-2",  "gpt-neox", "llama-bpe",
    "llama-spm",      "phi-3",        "qwen2",  "qwen35", "refact",   "starcoder",
};
#define N_VOCABS (sizeof(vocabs) / sizeof(vocabs[0]))

static const char *const goldens[] = { "llama-moe/mixtral-f32", "olmoe/olmoe-f32", "qwen3moe/qwen3moe-f32" };

static const char *shared(void)
{
    const char *dir = getenv("EXPERTD_SHARED");
    DIR *d = dir != NULL ? opendir(dir) : NULL;

    if (d == NULL)
        cr_skip_test("skipped: no ../shared");
    closedir(d);
    return dir;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);

    cr_assert_not_null(f, "%s", path);
    cr_assert_lt(fread(text, 1, 1 << 20, f), (1 << 20) - 1);
    fclose(f);
    return text;
}

static struct tokenizer *open_file(const char *path)
{
    struct tokenizer *t = NULL;
    struct gguf *gguf = NULL;
    struct err err = { 0 };

    cr_assert_eq(gguf_open(path, &gguf, &err), 0, "%s: %s", path, err.text);
    cr_assert_eq(tokenizer_open(gguf, &t, &err), 0, "%s: %s", path, err.text);
    gguf_close(gguf);
    return t;
}

static struct tokenizer *open_vocab(const char *name)
{
    char path[1000];

    snprintf(path, sizeof(path), "%s/vocab/ggml-vocab-%s.gguf", shared(), name);
    return open_file(path);
}

/* Are the ids those listed in `text`, up to a line's or a list's end? Moves *text behind them. */
static bool same_ids(const struct token_ids *ids, char **text)
{
    bool same = true;
    size_t n = 0;

    while (**text != '\n' && **text != ']' && **text != '\0') {
        char *end;
        long id = strtol(*text, &end, 10);

        if (end == *text) { /* a blank or comma */
            (*text)++;
            continue;
        }
        same &= n < ids->n && ids->v[n] == id;
        n++;
        *text = end;
    }
    return same && n == ids->n;
}

static size_t check_vocab(const char *name)
{
    struct tokenizer *t = open_vocab(name);
    struct token_ids ids = { 0 };
    char path[1000], *inp, *out, *text, *expected;
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/vocab/ggml-vocab-%s.gguf.inp", shared(), name);
    inp = read_file(path);
    snprintf(path, sizeof(path), "%s/vocab/ggml-vocab-%s.gguf.out", shared(), name);
    out = read_file(path);
    text = inp;
    for (expected = out; *expected != '\0'; expected++, n++) {
        char *end = strstr(text, SEPARATOR);
        size_t len = end != NULL ? (size_t)(end - text) : strlen(text);

        ids.n = 0;
        cr_assert_eq(tokenizer_encode(t, text, len, 0, 100000, &ids, NULL), 0);
        cr_expect(same_ids(&ids, &expected), "%s: text %zu, '%.*s'", name, n, (int)len, text);
        cr_assert_eq(*expected, '\n');
        text += len + (end != NULL ? strlen(SEPARATOR) : 0);
    }
    token_ids_fini(&ids);
    free(inp);
    free(out);
    tokenizer_close(t);
    return n;
}

Test(shared, every_expected_id_is_reproduced)
{
    for (size_t i = 0; i < N_VOCABS; i++)
        if (strcmp(vocabs[i], "gpt-neox") != 0) /* has no expected ids */
            cr_expect_geq(check_vocab(vocabs[i]), 46);
}

static size_t unhex(const char *hex, char *out)
{
    size_t n = 0;
    unsigned byte;

    while (hex[0] != '"' && sscanf(hex, "%2x", &byte) == 1) {
        out[n++] = (char)byte;
        hex += 2;
    }
    return n;
}

static char *after(char *line, const char *key)
{
    char *at = strstr(line, key);

    cr_assert_not_null(at, "%s in %s", key, line);
    return at + strlen(key);
}

/* The other implementation puts U+FFFD, or whatever follows, in place of malformed bytes; we keep them. */
static bool is_malformed(const char *text, size_t len)
{
    return memchr(text, '\xff', len) != NULL;
}

static void check_line(const struct tokenizer *t, char *line, const char *name)
{
    bool add = *after(line, "\"add_special\": ") == '1', parse = *after(line, "\"parse_special\": ") == '1';
    unsigned flags = (add ? TOKENIZE_BOS : 0u) | (parse ? TOKENIZE_SPECIAL : 0u);
    char *expected = after(line, "\"ids\": ["), text[2000], pieces[4000], got[4000];
    size_t len = unhex(after(line, "{\"hex\": \""), text), n_pieces = unhex(after(line, "\"pieces_hex\": \""), pieces);
    struct token_ids ids = { 0 };
    size_t n_got = 0;

    cr_assert_eq(tokenizer_encode(t, text, len, flags, 100000, &ids, NULL), 0);
    for (size_t i = 0; i < ids.n; i++) {
        struct gguf_str piece = tokenizer_piece(t, ids.v[i], true, false);

        memcpy(got + n_got, piece.p, piece.len);
        n_got += piece.len;
    }
    if (!is_malformed(text, len)) {
        cr_expect(same_ids(&ids, &expected), "%s: '%.*s'", name, (int)len, text);
        cr_expect(n_got == n_pieces && memcmp(got, pieces, n_got) == 0, "%s: '%.*s'", name, (int)len, text);
    }
    token_ids_fini(&ids);
}

Test(shared, goldens_are_reproduced_with_and_without_special_tokens)
{
    for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
        char path[1000], *all, *line, *next;
        struct tokenizer *t;
        size_t n = 0;

        snprintf(path, sizeof(path), "%s/goldens/%s/model.gguf", shared(), goldens[i]);
        t = open_file(path);
        snprintf(path, sizeof(path), "%s/goldens/%s/tok.jsonl", shared(), goldens[i]);
        all = read_file(path);
        for (line = strtok_r(all, "\n", &next); line != NULL; line = strtok_r(NULL, "\n", &next), n++)
            check_line(t, line, goldens[i]);
        cr_expect_eq(n, 104);
        free(all);
        tokenizer_close(t);
    }
}

/* Text to ids to text: the same bytes. SentencePiece puts a blank in front, and takes it off again. */
static bool comes_back(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_ids ids = { 0 };
    size_t at = 0;
    bool same = true;

    cr_assert_eq(tokenizer_encode(t, text, len, 0, 100000, &ids, NULL), 0);
    for (size_t i = 0; i < ids.n; i++) {
        struct gguf_str piece = tokenizer_piece(t, ids.v[i], false, i == 0);

        same &= piece.len <= len - at && memcmp(text + at, piece.p, piece.len) == 0;
        at += same ? piece.len : 0;
    }
    token_ids_fini(&ids);
    return same && at == len;
}

/* Every code point of 1 to 4 bytes is as likely. Left out: U+2581, which is how SentencePiece writes a blank, and what
 * falcon and starcoder have no bytes for (control characters, planes 4 to 11). */
static size_t random_text(unsigned *seed, char *out, size_t n)
{
    static const uint32_t limits[] = { 0x80, 0x800, 0x10000, 0x110000 }, leads[] = { 0, 0xc0, 0xe0, 0xf0 };
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t)rand_r(seed) % 4;
        uint32_t least = size > 0 ? limits[size - 1] : 0;
        uint32_t c = least + (uint32_t)rand_r(seed) % (limits[size] - least);

        if ((c >= 0xd800 && c < 0xe000) || c == 0x2581 || c < 0x20 || (c >= 0x40000 && c < 0xc0000))
            continue;
        if (size == 0)
            out[len++] = (char)c;
        else
            out[len++] = (char)(leads[size] | c >> 6 * size);
        for (size_t k = size; k-- > 0;)
            out[len++] = (char)(0x80 | (c >> 6 * k & 0x3f));
    }
    return len;
}

Test(shared, text_comes_back)
{
    unsigned seed = 1;
    char text[200];

    for (size_t i = 0; i < N_VOCABS; i++) {
        struct tokenizer *t = open_vocab(vocabs[i]);

        for (int k = 0; k < 700; k++) {
            size_t len = random_text(&seed, text, (size_t)rand_r(&seed) % 40);

            cr_assert(comes_back(t, text, len), "%s: '%.*s'", vocabs[i], (int)len, text);
        }
        tokenizer_close(t);
    }
}

/* In these vocabularies, every byte has a token. */
Test(shared, bytes_come_back)
{
    static const char *const whole[] = { "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "qwen35" };
    unsigned seed = 2;
    char text[40];

    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        struct tokenizer *t = open_vocab(whole[i]);

        for (int k = 0; k < 1000; k++) {
            size_t len = (size_t)rand_r(&seed) % sizeof(text);

            for (size_t b = 0; b < len; b++)
                text[b] = (char)(rand_r(&seed) >> 7);
            cr_assert(comes_back(t, text, len), "%s: round %d", whole[i], k);
        }
        tokenizer_close(t);
    }
}

Test(shared, every_token_says_what_encodes_to_the_same_bytes)
{
    for (size_t i = 0; i < N_VOCABS; i++) {
        struct tokenizer *t = open_vocab(vocabs[i]);

        for (size_t id = 0; id < tokenizer_size(t); id++) {
            struct gguf_str piece = tokenizer_piece(t, (int32_t)id, false, false);

            if (piece.len > 0)
                cr_assert(comes_back(t, piece.p, piece.len), "%s: token %zu", vocabs[i], id);
        }
        tokenizer_close(t);
    }
}

Test(shared, a_megabyte_of_one_letter_is_encoded)
{
    size_t n = 1 << 20;
    char *text = malloc(n);

    memset(text, 'a', n);
    for (size_t i = 0; i < N_VOCABS; i++) {
        struct tokenizer *t = open_vocab(vocabs[i]);
        struct token_ids ids = { 0 };

        cr_assert_eq(tokenizer_encode(t, text, n, 0, n, &ids, NULL), 0);
        cr_expect_lt(ids.n, n);
        token_ids_fini(&ids);
        tokenizer_close(t);
    }
    free(text);
}
