/* SPDX-License-Identifier: MIT
 *
 * small_vocab.h: vocabularies made in a test, for the tokenizer.
 *
 * small_vocab_bpe starts a byte-level one in which token i is byte i, small_vocab_spm a SentencePiece-like one in which
 * tokens 0 to 2 are <unk>, <s>, </s> and token 3 + i is <0xI>. Tokens and merges are added to that; then
 * small_vocab_fill makes the keys of a GGUF of it, which a test may distort before it opens them.
 */
#ifndef EXPERTD_TESTS_SUPPORT_SMALL_VOCAB_H
#define EXPERTD_TESTS_SUPPORT_SMALL_VOCAB_H

#include "model/tokenizer.h"
#include "model/tokenizer_vocab.h"
#include "tests/support/gguf_builder.h"

#define SMALL_VOCAB_MAX 700

struct small_vocab {
    bool spm;
    char text[SMALL_VOCAB_MAX][600];
    int32_t kinds[SMALL_VOCAB_MAX];
    float scores[SMALL_VOCAB_MAX];
    size_t n;
    const char *merges[100]; /* lent */
    size_t n_merges;
};

void small_vocab_bpe(struct small_vocab *v);
void small_vocab_spm(struct small_vocab *v);
int32_t small_vocab_add(struct small_vocab *v, const char *text, enum token_kind kind, float score);
/* "left right"; adds the token that they make. Returns it. */
int32_t small_vocab_merge(struct small_vocab *v, const char *merge);

void small_vocab_fill(const struct small_vocab *v, struct gguf_builder *ret_keys);
/* Write the file and open it. Ends the test when the file is not even a GGUF. */
struct gguf *small_vocab_gguf(struct gguf_builder *keys);
int small_vocab_open_keys(struct gguf_builder *keys, struct tokenizer **ret_tokenizer, struct err *err);
/* Fill and open; fails the test when it is refused. */
struct tokenizer *small_vocab_open(const struct small_vocab *v);

#endif
