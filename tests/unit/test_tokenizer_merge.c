/* SPDX-License-Identifier: MIT
 *
 * What merging costs: the order of pairs, steps and memory, whatever the word.
 */
#include "model/tokenizer_merge.h"
#include "tests/support/memory_count.h"
#include "tests/support/small_vocab.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES (1u << 20)
#define BYTES_PER_BYTE 22 /* as tokenizer.h promises */
#define SLACK_BYTES (64 << 10)

/* Words that are hard in different ways; none has a place where a pre-tokenizer cuts it. */
static const struct {
    const char *name, *alphabet;
    size_t n_letters;
} words[] = {
    { "one letter", "a", 1 },          { "two letters", "ab", 2 },     { "letters without merges", "xyz", 3 },
    { "no UTF-8", "\xff\xfe\xc0", 3 }, { "some UTF-8", "a\xffzb", 4 },
};
#define N_WORDS (sizeof(words) / sizeof(words[0]))

static char *make_word(const char *alphabet, size_t n_letters)
{
    char *text = malloc(WORD_BYTES);
    unsigned seed = 3;

    for (size_t i = 0; i < WORD_BYTES; i++)
        text[i] = alphabet[(size_t)rand_r(&seed) % n_letters];
    return text;
}

static void fill_bpe(struct small_vocab *v)
{
    small_vocab_bpe(v);
    small_vocab_merge(v, "a a");
    small_vocab_merge(v, "aa aa");
    small_vocab_merge(v, "aaaa aaaa");
    small_vocab_merge(v, "a b");
    small_vocab_merge(v, "b a");
}

static void fill_spm(struct small_vocab *v)
{
    static const char *const tokens[] = {
        "a", "b", "aa", "aaaa", "aaaaaaaa", "ab", "ba", VOCAB_BLANK, VOCAB_BLANK VOCAB_BLANK, "x", "y", "z"
    };

    small_vocab_spm(v);
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        small_vocab_add(v, tokens[i], TOKEN_NORMAL, -(float)i);
}

static void check_memory(const struct tokenizer *t, const char *name, const char *alphabet, size_t n_letters)
{
    struct token_ids ids = { 0 };
    char *text = make_word(alphabet, n_letters);

    memory_count = (struct memory_count){ 0 };
    cr_assert_eq(tokenizer_encode(t, text, WORD_BYTES, 0, SIZE_MAX, &ids, NULL), 0);
    cr_expect_leq(memory_count.peak_bytes, BYTES_PER_BYTE * (int64_t)WORD_BYTES + SLACK_BYTES, "%s: %.1f bytes a byte",
                  name, (double)memory_count.peak_bytes / WORD_BYTES);
    cr_expect_gt(memory_count.peak_bytes, WORD_BYTES, "%s: the count does not count", name);
    token_ids_fini(&ids);
    cr_expect_eq(memory_count.held_bytes, 0, "%s", name);
    free(text);
}

Test(merge, a_word_of_a_megabyte_takes_22_bytes_a_byte)
{
    static struct small_vocab bpe, spm;
    struct tokenizer *t[2];

    fill_bpe(&bpe);
    fill_spm(&spm);
    t[0] = small_vocab_open(&bpe);
    t[1] = small_vocab_open(&spm);
    for (size_t i = 0; i < N_WORDS; i++) {
        check_memory(t[0], words[i].name, words[i].alphabet, words[i].n_letters);
        check_memory(t[1], words[i].name, words[i].alphabet, words[i].n_letters);
    }
    check_memory(t[1], "blanks, which are written in three bytes", " ", 1);
    check_memory(t[1], "blanks and letters", " ab", 3);
    tokenizer_close(t[0]);
    tokenizer_close(t[1]);
}

/* The work must not grow faster than n log n, whatever the text: at most three pairs per symbol, ever. */
static uint64_t steps_of_bpe(const char *text, size_t n)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct merger merger = { 0 };
    struct token_ids ids = { 0 };
    struct vocab vocab;
    struct gguf *gguf;
    struct bpe bpe;

    fill_bpe(&v);
    small_vocab_fill(&v, &keys);
    gguf = small_vocab_gguf(&keys);
    cr_assert_eq(vocab_init(&vocab, gguf, VOCAB_BPE, false, NULL), 0);
    cr_assert_eq(bpe_init(&bpe, &vocab, gguf, false, NULL), 0);
    cr_assert_eq(bpe_encode(&bpe, &merger, text, n, &ids), 0);
    cr_assert_gt(ids.n, n / 8 - 1);
    token_ids_fini(&ids);
    merger_fini(&merger);
    bpe_fini(&bpe);
    vocab_fini(&vocab);
    gguf_close(gguf);
    gguf_builder_fini(&keys);
    return merger.steps;
}

static uint64_t steps_of_spm(const char *text, size_t n)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct merger merger = { 0 };
    struct token_ids ids = { 0 };
    struct vocab vocab;
    struct gguf *gguf;
    struct spm spm;

    fill_spm(&v);
    small_vocab_fill(&v, &keys);
    gguf = small_vocab_gguf(&keys);
    cr_assert_eq(vocab_init(&vocab, gguf, VOCAB_SPM, true, NULL), 0);
    cr_assert_eq(spm_init(&spm, &vocab, NULL), 0);
    cr_assert_eq(spm_encode(&spm, &merger, text, n, true, &ids), 0);
    cr_assert_gt(ids.n, n / 8 - 1);
    token_ids_fini(&ids);
    merger_fini(&merger);
    vocab_fini(&vocab);
    gguf_close(gguf);
    gguf_builder_fini(&keys);
    return merger.steps;
}

Test(merge, a_word_of_a_megabyte_costs_three_steps_a_byte)
{
    for (size_t i = 0; i < N_WORDS; i++) {
        char *text = make_word(words[i].alphabet, words[i].n_letters);

        cr_expect_leq(steps_of_bpe(text, WORD_BYTES), 3 * (uint64_t)WORD_BYTES, "%s", words[i].name);
        cr_expect_leq(steps_of_spm(text, WORD_BYTES), 3 * (uint64_t)WORD_BYTES, "%s", words[i].name);
        free(text);
    }
}

#define N_PAIRS 1000

/* The pair that is to be first, or N_PAIRS, by looking at all. */
static uint32_t best_of(const uint32_t *orders)
{
    uint32_t best = N_PAIRS;

    for (uint32_t i = 0; i < N_PAIRS; i++)
        if (orders[i] != MERGE_NONE && (best == N_PAIRS || orders[i] < orders[best]))
            best = i;
    return best;
}

Test(merge, the_pair_of_least_order_and_then_the_leftmost_is_first)
{
    struct merger m = { 0 };
    uint32_t orders[N_PAIRS], n = 0;
    unsigned seed = 5;

    cr_assert_eq(merger_reserve(&m, N_PAIRS), 0);
    for (uint32_t i = 0; i < N_PAIRS; i++) {
        merger_put(&m, i, 1, 0);
        orders[i] = MERGE_NONE;
    }
    for (int i = 0; i < 20000; i++) {
        uint32_t at = (uint32_t)rand_r(&seed) % N_PAIRS;
        uint32_t order = rand_r(&seed) % 3 ? (uint32_t)rand_r(&seed) % 300 : MERGE_NONE, best;

        n += (order != MERGE_NONE) - (orders[at] != MERGE_NONE);
        orders[at] = order;
        merger_set(&m, at, order);
        best = best_of(orders);
        cr_assert_eq(m.n_heap, n);
        cr_assert(best == N_PAIRS || m.heap[0] == ((uint64_t)orders[best] << 32 | best), "round %d", i);
    }
    merger_fini(&m);
}

/* a, aa, aaaa and so on, up to the longest token that a vocabulary may have. */
static struct tokenizer *open_longest(char *longest)
{
    static const char *tokens[SMALL_VOCAB_MAX];
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;
    struct err err = { 0 };

    small_vocab_spm(&v);
    for (size_t i = 0; i <= 16; i++)
        small_vocab_add(&v, "", TOKEN_NORMAL, -(float)i);
    small_vocab_fill(&v, &keys);
    for (size_t i = 0; i < v.n; i++)
        tokens[i] = i < v.n - 17 ? v.text[i] : longest + VOCAB_MAX_TOKEN - ((size_t)1 << (i - (v.n - 17)));
    gguf_builder_strs(&keys, "tokenizer.ggml.tokens", tokens, v.n);
    gguf_builder_bool(&keys, "tokenizer.ggml.add_space_prefix", false);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, &err), 0, "%s", err.text);
    gguf_builder_fini(&keys);
    return t;
}

Test(merge, symbols_grow_to_the_longest_token_that_may_be)
{
    size_t n = 3 * (size_t)VOCAB_MAX_TOKEN + 1;
    char *longest = calloc(1, VOCAB_MAX_TOKEN + 1), *text = malloc(n);
    struct token_ids ids = { 0 };
    struct tokenizer *t;

    memset(longest, 'a', VOCAB_MAX_TOKEN);
    memset(text, 'a', n);
    t = open_longest(longest);
    cr_assert_eq(tokenizer_encode(t, text, n, 0, SIZE_MAX, &ids, NULL), 0);
    cr_assert_eq(ids.n, 4);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(tokenizer_piece(t, ids.v[i], false, false).len, VOCAB_MAX_TOKEN);
    cr_expect_eq(tokenizer_piece(t, ids.v[3], false, false).len, 1);
    token_ids_fini(&ids);
    tokenizer_close(t);
    free(longest);
    free(text);
}
