/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "model/tokenizer.h"
#include "tests/support/small_vocab.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PLENTY 1000000

/* The ids of a text as "1 2 3", in storage that the next call reuses. */
static const char *ids_of(const struct tokenizer *t, const char *text, size_t len, unsigned flags)
{
    static char out[8192];
    struct token_ids ids = { 0 };
    struct err err = { 0 };
    size_t n = 0;

    cr_assert_eq(tokenizer_encode(t, text, len, flags, PLENTY, &ids, &err), 0, "%s", err.text);
    out[0] = '\0';
    for (size_t i = 0; i < ids.n; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%d", i > 0 ? " " : "", (int)ids.v[i]);
    token_ids_fini(&ids);
    return out;
}

#define EXPECT_IDS(t, text, flags, expected)                                            \
    do {                                                                                \
        const char *got_ = ids_of(t, text, sizeof(text) - 1, flags);                    \
        cr_expect_str_eq(got_, expected, "'%s' gave %s, not %s", text, got_, expected); \
    } while (0)

/* Bytes 0-255; 256 "ab", 257 "bc", 258 "abc", 259 "aa", 260 " b", 261 control, 262 and 263 user-defined, 264 control.
 */
static struct tokenizer *open_bpe(void)
{
    static struct small_vocab v;

    small_vocab_bpe(&v);
    small_vocab_merge(&v, "a b");
    small_vocab_merge(&v, "b c");
    small_vocab_merge(&v, "ab c");
    small_vocab_merge(&v, "a a");
    small_vocab_merge(&v, "\xc4\xa0 b");
    small_vocab_add(&v, "<|end|>", TOKEN_CONTROL, 0);
    small_vocab_add(&v, "<tab>", TOKEN_USER, 0);
    small_vocab_add(&v, "<tab>x", TOKEN_USER, 0);
    small_vocab_add(&v, "b><", TOKEN_CONTROL, 0);
    return small_vocab_open(&v);
}

Test(bpe, merges_by_rank_then_from_the_left)
{
    struct tokenizer *t = open_bpe();

    EXPECT_IDS(t, "", 0, "");
    EXPECT_IDS(t, "a", 0, "97");
    EXPECT_IDS(t, "abc", 0, "258"); /* ab first, then abc */
    EXPECT_IDS(t, "bc", 0, "257");
    EXPECT_IDS(t, "xbcab", 0, "120 257 256");
    EXPECT_IDS(t, "aaa", 0, "259 97");
    EXPECT_IDS(t, "aaab", 0, "259 256"); /* ab has the better rank, and leaves aa */
    EXPECT_IDS(t, "a b", 0, "97 260");
    EXPECT_IDS(t, "a  b", 0, "97 32 260"); /* the pre-tokenizer gives the last blank to the word */
    tokenizer_close(t);
}

Test(bpe, bytes_that_are_not_utf8_are_tokenized_as_bytes)
{
    struct tokenizer *t = open_bpe();

    EXPECT_IDS(t, "\xff\xfe", 0, "255 254");
    EXPECT_IDS(t, "a\xc3", 0, "97 195");
    EXPECT_IDS(t, "\xe2\x82(", 0, "226 130 40");
    EXPECT_IDS(t, "\xed\xa0\x80", 0, "237 160 128");         /* a surrogate */
    EXPECT_IDS(t, "\xc0\xaf", 0, "192 175");                 /* an overlong slash */
    EXPECT_IDS(t, "\xf4\x90\x80\x80", 0, "244 144 128 128"); /* above U+10FFFF */
    EXPECT_IDS(t,
               "\xff"
               "abc\xff",
               0, "255 258 255");
    cr_expect_str_eq(ids_of(t, "a\0b", 3, 0), "97 0 98");
    tokenizer_close(t);
}

Test(bpe, control_tokens_come_from_text_only_where_allowed)
{
    struct tokenizer *t = open_bpe();

    EXPECT_IDS(t, "a<|end|>b", TOKENIZE_SPECIAL, "97 261 98");
    EXPECT_IDS(t, "a<|end|>b", 0, "97 60 124 101 110 100 124 62 98");
    EXPECT_IDS(t, "<|end|", TOKENIZE_SPECIAL, "60 124 101 110 100 124");
    EXPECT_IDS(t, "<|end|><|end|>", TOKENIZE_SPECIAL, "261 261");
    tokenizer_close(t);
}

Test(bpe, user_defined_tokens_are_always_found_leftmost_and_longest)
{
    struct tokenizer *t = open_bpe();

    EXPECT_IDS(t, "a<tab>b", 0, "97 262 98");
    EXPECT_IDS(t, "<tab>x<tab>y", 0, "263 262 121");
    EXPECT_IDS(t, "<tab><", TOKENIZE_SPECIAL, "262 60"); /* the control token 'b><' begins later */
    EXPECT_IDS(t, "xb><", TOKENIZE_SPECIAL, "120 264");
    EXPECT_IDS(t, "xb><", 0, "120 98 62 60");
    tokenizer_close(t);
}

Test(bpe, spans_are_one_text_with_control_tokens_in_the_special_ones_alone)
{
    struct tokenizer *t = open_bpe();
    const struct text_span spans[] = {
        { "<|e", 3, true },     { "nd|>a", 5, true }, { "b<|end|>", 8, false }, { "", 0, true },
        { "<|end|>", 7, true }, { "<|end", 5, true }, { "|>", 2, false },       { NULL, 0, false },
    };
    static const int32_t expected[] = {
        261, 256, 60, 124, 101, 110, 100, 124, 62, 261, 60, 124, 101, 110, 100, 124, 62
    };
    struct token_ids ids = { 0 };

    cr_assert_eq(tokenizer_encode_spans(t, spans, 8, 0, PLENTY, &ids, NULL), 0);
    cr_assert_eq(ids.n, sizeof(expected) / sizeof(expected[0]));
    cr_assert_eq(memcmp(ids.v, expected, sizeof(expected)), 0);
    cr_assert_eq(tokenizer_encode_spans(t, NULL, 0, 0, PLENTY, &ids, NULL), 0);
    token_ids_fini(&ids);
    tokenizer_close(t);
}

Test(bpe, bos_and_eos_are_added_where_the_vocabulary_says_so)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;

    small_vocab_bpe(&v);
    small_vocab_add(&v, "<s>", TOKEN_CONTROL, 0);
    small_vocab_fill(&v, &keys);
    gguf_builder_u32(&keys, "tokenizer.ggml.bos_token_id", 256);
    gguf_builder_u32(&keys, "tokenizer.ggml.eos_token_id", 7);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect_not(tokenizer_adds_bos(t));
    EXPECT_IDS(t, "a", TOKENIZE_BOS, "97");
    tokenizer_close(t);
    gguf_builder_bool(&keys, "tokenizer.ggml.add_bos_token", true);
    gguf_builder_bool(&keys, "tokenizer.ggml.add_eos_token", true);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect(tokenizer_adds_bos(t));
    cr_expect_eq(tokenizer_bos(t), 256);
    cr_expect_eq(tokenizer_eos(t), 7);
    EXPECT_IDS(t, "a", TOKENIZE_BOS, "256 97 7");
    EXPECT_IDS(t, "", TOKENIZE_BOS, "256 7");
    EXPECT_IDS(t, "a", 0, "97");
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

Test(bpe, a_byte_without_a_token_becomes_the_replacement_character)
{
    static struct small_vocab v;
    struct tokenizer *t;

    small_vocab_bpe(&v);
    strcpy(v.text['x'], "\xe2\x82\xac"); /* no x any more */
    t = small_vocab_open(&v);
    EXPECT_IDS(t, "axb", 0, "97 239 191 189 98");
    tokenizer_close(t);
}

Test(bpe, whole_words_that_are_tokens_are_not_merged)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;
    int32_t word;

    small_vocab_bpe(&v);
    word = small_vocab_add(&v, "\xc4\xa0word", TOKEN_NORMAL, 0); /* no merges lead there */
    small_vocab_fill(&v, &keys);
    gguf_builder_str(&keys, "tokenizer.ggml.pre", "llama-bpe");
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect_eq(word, 256);
    EXPECT_IDS(t, "a word", 0, "97 256");
    EXPECT_IDS(t, "a words", 0, "97 32 119 111 114 100 115");
    tokenizer_close(t);
    gguf_builder_str(&keys, "tokenizer.ggml.pre", "qwen2");
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    EXPECT_IDS(t, "a word", 0, "97 32 119 111 114 100");
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

Test(bpe, plain_text_never_merges_to_a_control_token)
{
    static struct small_vocab v;
    struct tokenizer *t;

    small_vocab_bpe(&v);
    v.kinds[small_vocab_merge(&v, "a b")] = TOKEN_CONTROL;
    t = small_vocab_open(&v);
    EXPECT_IDS(t, "ab", 0, "97 98");
    EXPECT_IDS(t, "ab", TOKENIZE_SPECIAL, "256");
    tokenizer_close(t);
}

Test(bpe, an_unknown_pre_tokenizer_is_told_and_default_used)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;

    small_vocab_bpe(&v);
    small_vocab_fill(&v, &keys);
    gguf_builder_str(&keys, "tokenizer.ggml.pre", "no-such-thing");
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect_not_null(strstr(tokenizer_warning(t), "no-such-thing"));
    tokenizer_close(t);
    gguf_builder_drop_key(&keys, "tokenizer.ggml.pre");
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect_not_null(strstr(tokenizer_warning(t), "tokenizer.ggml.pre"));
    tokenizer_close(t);
    gguf_builder_str(&keys, "tokenizer.ggml.pre", "qwen2");
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    cr_expect_null(tokenizer_warning(t));
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

Test(bpe, too_many_tokens_is_an_error_that_leaves_the_ids_alone)
{
    struct tokenizer *t = open_bpe();
    struct token_ids ids = { 0 };
    struct err err = { 0 };

    cr_assert_eq(token_ids_add(&ids, 5), 0);
    cr_assert_eq(tokenizer_encode(t, "xyz", 3, 0, 4, &ids, NULL), 0);
    cr_assert_eq(ids.n, 4);
    cr_assert_eq(tokenizer_encode(t, "x", 1, 0, 4, &ids, &err), ERR_TOO_LONG);
    cr_assert_not_null(strstr(err.text, "4 tokens"));
    cr_assert_eq(tokenizer_encode(t, "xyxyxyxyxy", 10, 0, 10, &ids, NULL), ERR_TOO_LONG);
    cr_assert_eq(ids.n, 4);
    cr_assert_eq(tokenizer_encode(t, "", 0, 0, 4, &ids, NULL), 0);
    token_ids_fini(&ids);
    tokenizer_close(t);
}

Test(bpe, ends_are_what_the_file_says_and_what_formats_use)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;
    int32_t im_end, text_end;

    small_vocab_bpe(&v);
    im_end = small_vocab_add(&v, "<|im_end|>", TOKEN_CONTROL, 0);
    text_end = small_vocab_add(&v, "<|endoftext|>", TOKEN_NORMAL, 0); /* not marked: a text like any other */
    small_vocab_fill(&v, &keys);
    gguf_builder_u32(&keys, "tokenizer.ggml.eos_token_id", 3);
    gguf_builder_u32(&keys, "tokenizer.ggml.eot_token_id", 4);
    gguf_builder_u32(&keys, "tokenizer.ggml.eom_token_id", 5);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    for (int32_t i = -2; i < 300; i++)
        cr_expect_eq(tokenizer_is_end(t, i), i == 3 || i == 4 || i == 5 || i == im_end, "token %d", (int)i);
    cr_expect(tokenizer_is_control(t, im_end));
    cr_expect_not(tokenizer_is_control(t, text_end));
    cr_expect_eq(tokenizer_find(t, "<|im_end|>", 10), im_end);
    cr_expect_eq(tokenizer_find(t, "<|im_end|", 9), -1);
    cr_expect_eq(tokenizer_find(t, "", 0), -1);
    cr_expect_eq(tokenizer_size(t), 258);
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

/* 0 <unk>, 1 <s>, 2 </s>, 3 + i byte i, then from 259 on as added. */
static struct tokenizer *open_spm(void)
{
    static struct small_vocab v;

    small_vocab_spm(&v);
    small_vocab_add(&v, VOCAB_BLANK, TOKEN_NORMAL, -10); /* 259 */
    small_vocab_add(&v, "a", TOKEN_NORMAL, -11);
    small_vocab_add(&v, "b", TOKEN_NORMAL, -12);
    small_vocab_add(&v, "c", TOKEN_NORMAL, -13);
    small_vocab_add(&v, "ab", TOKEN_NORMAL, -3); /* 263 */
    small_vocab_add(&v, "bc", TOKEN_NORMAL, -2);
    small_vocab_add(&v, "aa", TOKEN_NORMAL, -4);
    small_vocab_add(&v, VOCAB_BLANK "a", TOKEN_NORMAL, -5); /* 266 */
    small_vocab_add(&v, "<s", TOKEN_NORMAL, -1);            /* would lead to <s> */
    small_vocab_add(&v, "<", TOKEN_NORMAL, -14);
    small_vocab_add(&v, "s", TOKEN_NORMAL, -15);
    small_vocab_add(&v, ">", TOKEN_NORMAL, -16);
    return small_vocab_open(&v);
}

Test(spm, merges_by_score_then_from_the_left)
{
    struct tokenizer *t = open_spm();

    EXPECT_IDS(t, "", 0, "");
    EXPECT_IDS(t, "c", 0, "259 262");
    EXPECT_IDS(t, "cabc", 0, "259 262 260 264"); /* bc is better than ab */
    EXPECT_IDS(t, "caaa", 0, "259 262 265 260");
    EXPECT_IDS(t, "a", 0, "266");
    EXPECT_IDS(t, "c a", 0, "259 262 266");
    EXPECT_IDS(t, " ", 0, "259 259");
    tokenizer_close(t);
}

Test(spm, what_has_no_token_is_written_in_bytes)
{
    struct tokenizer *t = open_spm();

    EXPECT_IDS(t, "z", 0, "259 125");
    EXPECT_IDS(t, "\xc3\xa9", 0, "259 198 172");
    EXPECT_IDS(t,
               "\xff"
               "c",
               0, "259 258 262");
    EXPECT_IDS(t, "\xe2\x82", 0, "259 229 133");
    tokenizer_close(t);
}

Test(spm, special_tokens_stand_alone_and_take_a_blank_behind_them)
{
    struct tokenizer *t = open_spm();

    EXPECT_IDS(t, "<s>c</s>", TOKENIZE_SPECIAL, "1 259 262 2");
    EXPECT_IDS(t, "c<unk>", TOKENIZE_SPECIAL, "259 262 0");
    EXPECT_IDS(t, "<s>c", 0, "259 267 270 262"); /* plain text never makes <s> */
    EXPECT_IDS(t, "c", TOKENIZE_BOS, "1 259 262");
    tokenizer_close(t);
}

/* However a vocabulary spells tokens: a byte that is no UTF-8 stays a byte. */
Test(spm, a_stray_byte_is_a_byte_also_where_a_token_is_written_so)
{
    static struct small_vocab v;
    struct tokenizer *t;

    small_vocab_spm(&v);
    small_vocab_add(&v, "\xff", TOKEN_NORMAL, -1);     /* 259 */
    small_vocab_add(&v, "\xff\xff", TOKEN_NORMAL, -2); /* 260 */
    t = small_vocab_open(&v);
    EXPECT_IDS(t, "\xff", 0, "229 153 132 258");
    EXPECT_IDS(t, "\xff\xff\xff", 0, "229 153 132 260 258");
    tokenizer_close(t);
}

Test(spm, a_blank_and_its_spelling_are_one_text)
{
    struct tokenizer *t = open_spm();

    EXPECT_IDS(t, "c a", 0, "259 262 266");
    EXPECT_IDS(t, "c" VOCAB_BLANK "a", 0, "259 262 266");
    EXPECT_IDS(t, VOCAB_BLANK " c", 0, "259 259 259 262");
    tokenizer_close(t);
}

Test(spm, without_byte_tokens_the_unknown_stands_in)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;

    memset(&v, 0, sizeof(v));
    v.spm = true;
    small_vocab_add(&v, "<unk>", TOKEN_UNKNOWN, 0);
    small_vocab_add(&v, "a", TOKEN_NORMAL, -1);
    small_vocab_fill(&v, &keys);
    gguf_builder_u32(&keys, "tokenizer.ggml.unknown_token_id", 0);
    gguf_builder_bool(&keys, "tokenizer.ggml.add_space_prefix", false);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    EXPECT_IDS(t, "aza", 0, "1 0 1");
    EXPECT_IDS(t, "a\xc3\xa9", 0, "1 0 0");
    tokenizer_close(t);
    gguf_builder_fini(&keys);
}

static const char *decode(const struct tokenizer *t, bool first, int n, ...)
{
    static char out[200];
    struct detokenizer d;
    size_t len = 0;
    va_list ids;

    detokenizer_init(&d, t);
    d.first = first;
    va_start(ids, n);
    for (int i = 0; i < n; i++) {
        int32_t id = va_arg(ids, int);
        size_t most = detokenizer_max(&d, id), got = detokenizer_put(&d, id, out + len);

        cr_assert_leq(got, most);
        len += got;
        out[len++] = '|';
    }
    va_end(ids);
    len += detokenizer_finish(&d, out + len);
    out[len] = '\0';
    return out;
}

Test(detokenizer, holds_a_character_back_until_it_is_whole)
{
    struct tokenizer *t = open_bpe();

    cr_expect_str_eq(decode(t, false, 2, 97, 256), "a|ab|");
    cr_expect_str_eq(decode(t, false, 3, 0xe2, 0x82, 0xac), "||\xe2\x82\xac|");
    cr_expect_str_eq(decode(t, false, 4, 0xf0, 0x9f, 0x98, 0x80), "|||\xf0\x9f\x98\x80|");
    cr_expect_str_eq(decode(t, false, 3, 0xc3, 0xa9, 97), "|\xc3\xa9|a|");
    tokenizer_close(t);
}

Test(detokenizer, writes_the_replacement_character_for_what_can_never_be_one)
{
    struct tokenizer *t = open_bpe();

    cr_expect_str_eq(decode(t, false, 2, 0xff, 97), "\xef\xbf\xbd|a|");
    cr_expect_str_eq(decode(t, false, 2, 0xc3, 97), "|\xef\xbf\xbd"
                                                    "a|");
    cr_expect_str_eq(decode(t, false, 3, 0xe2, 0x82, 0xe2), "||\xef\xbf\xbd|\xef\xbf\xbd");
    cr_expect_str_eq(decode(t, false, 2, 0xed, 0xa0), "|\xef\xbf\xbd\xef\xbf\xbd|");
    cr_expect_str_eq(decode(t, false, 1, 0xf0), "|\xef\xbf\xbd");
    cr_expect_str_eq(decode(t, false, 2, 0xf0, 261), "||\xef\xbf\xbd");
    tokenizer_close(t);
}

Test(detokenizer, control_tokens_are_empty_and_user_defined_ones_are_text)
{
    struct tokenizer *t = open_bpe();

    cr_expect_str_eq(decode(t, false, 3, 97, 261, 262), "a||<tab>|");
    cr_expect_str_eq(decode(t, false, 2, -1, 100000), "||");
    cr_expect_eq(tokenizer_piece(t, 261, true, false).len, 7);
    cr_expect_eq(tokenizer_piece(t, 261, false, false).len, 0);
    tokenizer_close(t);
}

Test(detokenizer, the_blank_in_front_of_a_text_is_dropped_where_asked)
{
    struct tokenizer *t = open_spm();

    cr_expect_str_eq(decode(t, false, 2, 266, 266), " a| a|");
    cr_expect_str_eq(decode(t, true, 2, 266, 266), "a| a|");
    cr_expect_str_eq(decode(t, true, 3, 1, 259, 266), "|| a|"); /* <s> is no text; the lone blank is */
    cr_expect_str_eq(decode(t, true, 2, 3 + 'x', 266), "x| a|");
    tokenizer_close(t);
    t = open_bpe();
    cr_expect_str_eq(decode(t, true, 1, 260), " b|");
    tokenizer_close(t);
}

static void fail_at_every_allocation(struct small_vocab *v)
{
    struct gguf_builder keys;
    struct gguf *gguf;
    struct tokenizer *t = NULL;
    struct token_ids ids = { 0 };
    struct err err = { 0 };
    int n, r = -1;

    small_vocab_fill(v, &keys);
    gguf = small_vocab_gguf(&keys);
    for (n = 0; r < 0; n++) {
        mem_fail_after(n);
        r = tokenizer_open(gguf, &t, &err);
        mem_fail_after(-1);
        if (r < 0) {
            cr_assert_eq(r, -ENOMEM, "allocation %d: %s", n, err.text);
            cr_assert_null(t);
        }
    }
    cr_assert_gt(n, 10);
    r = -1;
    for (n = 0; r < 0; n++) {
        mem_fail_after(n);
        r = tokenizer_encode(t, "some ab \xff text", 14, 0, 100, &ids, &err);
        mem_fail_after(-1);
        if (r < 0) {
            cr_assert_eq(r, -ENOMEM, "allocation %d: %s", n, err.text);
            cr_assert_eq(ids.n, 0);
        }
    }
    cr_assert_gt(n, 2);
    token_ids_fini(&ids);
    tokenizer_close(t);
    gguf_close(gguf);
    gguf_builder_fini(&keys);
}

Test(tokenizer, no_memory_is_an_error_at_every_allocation)
{
    static struct small_vocab v;

    small_vocab_bpe(&v);
    small_vocab_merge(&v, "a b");
    small_vocab_add(&v, "<|end|>", TOKEN_CONTROL, 0);
    strcpy(v.text[255], "unsaid"); /* so that the replacement is made too */
    fail_at_every_allocation(&v);
    small_vocab_spm(&v);
    fail_at_every_allocation(&v);
}

struct worker {
    pthread_t thread;
    const struct tokenizer *tokenizer;
    bool same;
};

static void *encode_often(void *arg)
{
    struct worker *w = arg;
    struct token_ids ids = { 0 };

    w->same = true;
    for (int i = 0; i < 300; i++) {
        ids.n = 0;
        w->same &= tokenizer_encode(w->tokenizer, "abc<|end|>xbcab", 15, TOKENIZE_SPECIAL, 99, &ids, NULL) == 0;
        w->same &= ids.n == 5 && ids.v[0] == 258 && ids.v[1] == 261 && ids.v[3] == 257 && ids.v[4] == 256;
    }
    token_ids_fini(&ids);
    return NULL;
}

Test(tokenizer, is_shared_by_threads)
{
    struct tokenizer *t = open_bpe();
    struct worker workers[4];

    for (int i = 0; i < 4; i++) {
        workers[i].tokenizer = t;
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, encode_often, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(workers[i].thread, NULL);
        cr_assert(workers[i].same);
    }
    tokenizer_close(t);
}
