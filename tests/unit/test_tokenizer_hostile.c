/* SPDX-License-Identifier: MIT
 *
 * Vocabularies that are wrong, each with the error it must get.
 */
#include "model/tokenizer.h"
#include "tests/support/small_vocab.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void distort_model_missing(struct gguf_builder *b)
{
    gguf_builder_drop_key(b, "tokenizer.ggml.model");
}

static void distort_model_unknown(struct gguf_builder *b)
{
    gguf_builder_str(b, "tokenizer.ggml.model", "t5");
}

static void distort_model_type(struct gguf_builder *b)
{
    gguf_builder_u32(b, "tokenizer.ggml.model", 5);
}

static void distort_pre_type(struct gguf_builder *b)
{
    gguf_builder_u32(b, "tokenizer.ggml.pre", 5);
}

static void distort_tokens_missing(struct gguf_builder *b)
{
    gguf_builder_drop_key(b, "tokenizer.ggml.tokens");
}

static void distort_tokens_empty(struct gguf_builder *b)
{
    gguf_builder_strs(b, "tokenizer.ggml.tokens", NULL, 0);
}

static void distort_tokens_type(struct gguf_builder *b)
{
    const int32_t v[2] = { 1, 2 };

    gguf_builder_array(b, "tokenizer.ggml.tokens", GGUF_I32, 2, v, sizeof(v));
}

static void distort_tokens_scalar(struct gguf_builder *b)
{
    gguf_builder_str(b, "tokenizer.ggml.tokens", "a");
}

static void distort_tokens_blank(struct gguf_builder *b)
{
    const char *v[3] = { "", "", "" };

    gguf_builder_strs(b, "tokenizer.ggml.tokens", v, 3);
}

static void distort_token_long(struct gguf_builder *b)
{
    char *text = malloc(VOCAB_MAX_TOKEN + 2);
    const char *v[2] = { "a", text };

    memset(text, 'x', VOCAB_MAX_TOKEN + 1);
    text[VOCAB_MAX_TOKEN + 1] = '\0';
    gguf_builder_strs(b, "tokenizer.ggml.tokens", v, 2);
    free(text);
}

static void distort_tokens_few(struct gguf_builder *b)
{
    const char *v[2] = { "a", "b" };

    gguf_builder_strs(b, "tokenizer.ggml.tokens", v, 2); /* token_type has more */
}

static void distort_bytes_unsaid(struct gguf_builder *b)
{
    const char *v[2] = { "a", "b" };

    distort_tokens_few(b);
    gguf_builder_drop_key(b, "tokenizer.ggml.token_type");
    gguf_builder_strs(b, "tokenizer.ggml.merges", v, 0);
}

static void distort_kinds_few(struct gguf_builder *b)
{
    const int32_t v[3] = { 1, 1, 1 };

    gguf_builder_array(b, "tokenizer.ggml.token_type", GGUF_I32, 3, v, sizeof(v));
}

static void distort_kinds_type(struct gguf_builder *b)
{
    const char *v[1] = { "normal" };

    gguf_builder_strs(b, "tokenizer.ggml.token_type", v, 1);
}

static void distort_scores_few(struct gguf_builder *b)
{
    const float v[2] = { 1, 2 };

    gguf_builder_array(b, "tokenizer.ggml.scores", GGUF_F32, 2, v, sizeof(v));
}

static void distort_scores_missing(struct gguf_builder *b)
{
    gguf_builder_drop_key(b, "tokenizer.ggml.scores");
}

static void set_scores(struct gguf_builder *b, float last)
{
    float v[260] = { 0 };

    v[259] = last;
    gguf_builder_array(b, "tokenizer.ggml.scores", GGUF_F32, 260, v, sizeof(v));
}

static void distort_score_nan(struct gguf_builder *b)
{
    set_scores(b, NAN);
}

static void distort_score_inf(struct gguf_builder *b)
{
    set_scores(b, -INFINITY);
}

static void distort_merges_missing(struct gguf_builder *b)
{
    gguf_builder_drop_key(b, "tokenizer.ggml.merges");
}

static void distort_merges_type(struct gguf_builder *b)
{
    gguf_builder_bool(b, "tokenizer.ggml.merges", true);
}

static void set_merge(struct gguf_builder *b, const char *merge)
{
    gguf_builder_strs(b, "tokenizer.ggml.merges", &merge, 1);
}

static void distort_merge_left(struct gguf_builder *b)
{
    set_merge(b, "zz b");
}

static void distort_merge_right(struct gguf_builder *b)
{
    set_merge(b, "a zz");
}

static void distort_merge_result(struct gguf_builder *b)
{
    set_merge(b, "a c");
}

static void distort_merge_one(struct gguf_builder *b)
{
    set_merge(b, "ab");
}

static void distort_merge_empty(struct gguf_builder *b)
{
    set_merge(b, "");
}

static void distort_merge_blank(struct gguf_builder *b)
{
    set_merge(b, " ");
}

static void distort_merge_open(struct gguf_builder *b)
{
    set_merge(b, "a ");
}

static void distort_merge_long(struct gguf_builder *b)
{
    char *text = malloc(2 * VOCAB_MAX_TOKEN);

    memset(text, 'x', 2 * VOCAB_MAX_TOKEN);
    text[10] = ' ';
    text[2 * VOCAB_MAX_TOKEN - 1] = '\0';
    set_merge(b, text);
    free(text);
}

static void distort_bos_outside(struct gguf_builder *b)
{
    gguf_builder_u32(b, "tokenizer.ggml.bos_token_id", 100000);
}

static void distort_eos_outside(struct gguf_builder *b)
{
    gguf_builder_u32(b, "tokenizer.ggml.eos_token_id", 258);
}

static void distort_eos_negative(struct gguf_builder *b)
{
    gguf_builder_i32(b, "tokenizer.ggml.eos_token_id", -7);
}

static void distort_eot_outside(struct gguf_builder *b)
{
    gguf_builder_u32(b, "tokenizer.ggml.eot_token_id", 0xfffffffe);
}

static void distort_eom_type(struct gguf_builder *b)
{
    gguf_builder_str(b, "tokenizer.ggml.eom_token_id", "x");
}

static void distort_bos_missing(struct gguf_builder *b)
{
    gguf_builder_bool(b, "tokenizer.ggml.add_bos_token", true);
}

static void distort_eos_missing(struct gguf_builder *b)
{
    gguf_builder_bool(b, "tokenizer.ggml.add_eos_token", true);
}

static void distort_add_type(struct gguf_builder *b)
{
    gguf_builder_str(b, "tokenizer.ggml.add_bos_token", "yes");
}

static const struct {
    const char *name;
    bool spm;
    void (*distort)(struct gguf_builder *b);
    const char *named; /* in the error */
} cases[] = {
    { "model missing", false, distort_model_missing, "tokenizer.ggml.model is missing" },
    { "model unknown", false, distort_model_unknown, "'t5' is not supported" },
    { "model no string", false, distort_model_type, "tokenizer.ggml.model" },
    { "pre no string", false, distort_pre_type, "tokenizer.ggml.pre" },
    { "tokens missing", false, distort_tokens_missing, "no vocabulary" },
    { "tokens empty", false, distort_tokens_empty, "tokenizer.ggml.tokens" },
    { "tokens of numbers", false, distort_tokens_type, "tokenizer.ggml.tokens" },
    { "tokens no array", true, distort_tokens_scalar, "tokenizer.ggml.tokens" },
    { "tokens without text", false, distort_tokens_blank, "no token has any text" },
    { "token too long", false, distort_token_long, "token 1 is 65537 bytes long" },
    { "token types for other tokens", false, distort_tokens_few, "token_type has 257 entries for 2 tokens" },
    { "bytes that cannot be said", false, distort_bytes_unsaid, "no token for byte 0x00" },
    { "token types few", false, distort_kinds_few, "token_type has 3 entries for 257 tokens" },
    { "token types no numbers", false, distort_kinds_type, "tokenizer.ggml.token_type" },
    { "scores few", true, distort_scores_few, "scores has 2 entries for 260 tokens" },
    { "scores few where none are needed", false, distort_scores_few, "scores has 2 entries for 257 tokens" },
    { "scores missing", true, distort_scores_missing, "tokenizer.ggml.scores is missing" },
    { "score nan", true, distort_score_nan, "score of token 259" },
    { "score infinite", true, distort_score_inf, "score of token 259" },
    { "merges missing", false, distort_merges_missing, "tokenizer.ggml.merges is missing" },
    { "merges no array", false, distort_merges_type, "tokenizer.ggml.merges" },
    { "merge of no token, left", false, distort_merge_left, "merge 0, 'zz b', joins what is no token" },
    { "merge of no token, right", false, distort_merge_right, "merge 0, 'a zz', joins what is no token" },
    { "merge to no token", false, distort_merge_result, "merge 0, 'a c', makes what is no token" },
    { "merge of one", false, distort_merge_one, "is not two tokens" },
    { "merge of none", false, distort_merge_empty, "is not two tokens" },
    { "merge of a blank", false, distort_merge_blank, "is not two tokens" },
    { "merge half", false, distort_merge_open, "is not two tokens" },
    { "merge too long", false, distort_merge_long, "longer than any token" },
    { "bos outside", false, distort_bos_outside, "bos_token_id is 100000, but the vocabulary has 257 tokens" },
    { "eos outside", false, distort_eos_outside, "eos_token_id is 258" },
    { "eos negative", false, distort_eos_negative, "tokenizer.ggml.eos_token_id" },
    { "eot outside", true, distort_eot_outside, "eot_token_id is 4294967294" },
    { "eom no number", false, distort_eom_type, "tokenizer.ggml.eom_token_id" },
    { "bos added but missing", false, distort_bos_missing, "no bos_token_id" },
    { "eos added but missing", false, distort_eos_missing, "no eos_token_id" },
    { "add_bos no bool", false, distort_add_type, "tokenizer.ggml.add_bos_token" },
};

static void fill(bool spm, struct gguf_builder *keys)
{
    static struct small_vocab v;

    if (spm) {
        small_vocab_spm(&v);
        small_vocab_add(&v, "a", TOKEN_NORMAL, -1);
    } else {
        small_vocab_bpe(&v);
        small_vocab_merge(&v, "a b");
    }
    small_vocab_fill(&v, keys);
}

static void refuse(struct gguf_builder *keys, const char *name, const char *named)
{
    struct tokenizer *t = NULL;
    struct err err = { 0 };
    int r = small_vocab_open_keys(keys, &t, &err);

    cr_expect(r == ERR_FORMAT || r == ERR_UNSUPPORTED, "%s: %d (%s)", name, r, err.text);
    cr_expect_null(t);
    cr_expect_not_null(strstr(err.text, named), "%s: '%s' is not in: %s", name, named, err.text);
    gguf_builder_fini(keys);
}

Test(vocab, wrong_ones_are_refused_by_name)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gguf_builder keys;

        fill(cases[i].spm, &keys);
        cases[i].distort(&keys);
        refuse(&keys, cases[i].name, cases[i].named);
    }
}

Test(vocab, the_undistorted_ones_open)
{
    for (int spm = 0; spm < 2; spm++) {
        struct gguf_builder keys;
        struct tokenizer *t = NULL;

        fill(spm, &keys);
        cr_expect_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
        tokenizer_close(t);
        gguf_builder_fini(&keys);
    }
}

Test(vocab, duplicate_tokens_are_refused)
{
    static struct small_vocab v;
    struct gguf_builder keys;

    small_vocab_bpe(&v);
    small_vocab_add(&v, "same", TOKEN_NORMAL, 0);
    small_vocab_add(&v, "other", TOKEN_NORMAL, 0);
    small_vocab_add(&v, "same", TOKEN_CONTROL, 0);
    small_vocab_fill(&v, &keys);
    refuse(&keys, "duplicate", "tokens 256 and 258 have the same text");
}

Test(vocab, special_tokens_that_are_too_long_are_refused)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    char text[VOCAB_MAX_SPECIAL + 2];

    memset(text, '<', sizeof(text));
    text[VOCAB_MAX_SPECIAL + 1] = '\0';
    small_vocab_bpe(&v);
    small_vocab_add(&v, text, TOKEN_CONTROL, 0);
    small_vocab_fill(&v, &keys);
    refuse(&keys, "special", "token 256 is a special one of 513 bytes");
}

Test(vocab, spm_that_cannot_say_every_byte_is_refused)
{
    static struct small_vocab v;
    struct gguf_builder keys;

    memset(&v, 0, sizeof(v));
    v.spm = true;
    small_vocab_add(&v, "a", TOKEN_NORMAL, 0);
    small_vocab_add(&v, "b", TOKEN_NORMAL, 0);
    small_vocab_fill(&v, &keys);
    refuse(&keys, "bytes", "no token <0x00>");
}

/* Odd, but not wrong: peers read such files too. */
Test(vocab, odd_ones_are_taken)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;
    struct err err = { 0 };
    struct token_ids ids = { 0 };

    small_vocab_bpe(&v);
    small_vocab_add(&v, "", TOKEN_NORMAL, 0);
    small_vocab_add(&v, "", TOKEN_UNUSED, 0);           /* empty tokens may be many */
    small_vocab_add(&v, "odd", (enum token_kind)77, 0); /* a type from the future */
    small_vocab_merge(&v, "a a");
    v.merges[v.n_merges++] = "a a"; /* the first one counts */
    small_vocab_fill(&v, &keys);
    gguf_builder_u32(&keys, "tokenizer.ggml.bos_token_id", UINT32_MAX); /* none */
    cr_assert_eq(small_vocab_open_keys(&keys, &t, &err), 0, "%s", err.text);
    cr_expect_eq(tokenizer_bos(t), -1);
    cr_expect_eq(tokenizer_piece(t, 256, true, false).len, 0);
    cr_assert_eq(tokenizer_encode(t, "aaaa", 4, 0, 100, &ids, NULL), 0);
    cr_expect_eq(ids.n, 2);
    token_ids_fini(&ids);
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

/* Merges that go round in a circle: texts only ever get longer, so there is an end. */
Test(vocab, merges_in_a_circle_end)
{
    static struct small_vocab v;
    struct tokenizer *t;
    struct token_ids ids = { 0 };
    char text[1000];

    small_vocab_bpe(&v);
    small_vocab_merge(&v, "a b");
    small_vocab_merge(&v, "b a");
    v.merges[v.n_merges++] = "ab ab";
    small_vocab_add(&v, "abab", TOKEN_NORMAL, 0);
    v.merges[v.n_merges++] = "abab ab";
    small_vocab_add(&v, "ababab", TOKEN_NORMAL, 0);
    v.merges[v.n_merges++] = "ab abab";
    t = small_vocab_open(&v);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "ab"[i % 2];
    cr_assert_eq(tokenizer_encode(t, text, sizeof(text), 0, 1000, &ids, NULL), 0);
    cr_assert_leq(ids.n, 500);
    token_ids_fini(&ids);
    tokenizer_close(t);
}
