/* SPDX-License-Identifier: MIT
 *
 * tokenizer_merge.h: joining symbols into tokens, the pair of best rank first. Private to the tokenizer.
 *
 * A word is a chain of symbols; neighbours that may join wait in a heap. Each join removes a symbol, and takes one pair
 * out of the heap and puts at most two into it: n symbols cost at most 3n pairs in all, 2n at a time, and O(n log n)
 * steps, whatever the word. A pair that no longer stands when its turn comes is passed over.
 *
 * Two kinds: byte-level BPE starts from bytes and joins by a table of merges (bpe_encode); SentencePiece starts from
 * characters and joins whatever makes a token, by the token's score (spm_encode).
 *
 * A struct merger is the scratch of one call of encode: as large as its longest word needs (52 bytes for each byte of
 * it), used by one thread.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_MERGE_H
#define EXPERTD_MODEL_TOKENIZER_MERGE_H

#include "base/err.h"
#include "model/tokenizer.h"
#include "model/tokenizer_map.h"
#include "model/tokenizer_vocab.h"

#include <stddef.h>
#include <stdint.h>

struct merge_symbol {
    int32_t id;          /* the token it is; -1: none; -2: joined into the one before it */
    uint32_t at, len;    /* bytes of the word */
    uint32_t prev, next; /* UINT32_MAX at the ends */
};

struct merge_pair {
    uint64_t order; /* least first */
    uint32_t len;   /* of both together */
    int32_t id;     /* the token they make */
};

struct merger {
    struct merge_symbol *symbols;
    struct merge_pair *heap;
    size_t n_symbols, n_heap, cap;
    uint64_t steps; /* pairs put into the heap since init: what bounds the work */
};

void merger_fini(struct merger *merger);

/* One entry of tokenizer.ggml.merges. */
struct merge {
    int32_t left, right, result;
};

struct bpe {
    const struct vocab *vocab;
    int32_t byte_ids[256]; /* -1: no token for this byte */
    struct merge *merges;  /* [n_merges], by rank */
    uint32_t n_merges;
    struct pair_map ranks; /* left << 32 | right -> rank */
    bool whole_words;
    struct token_ids replacement; /* what stands for a byte without a token */
};

/* Merges that would make a control token out of text are left out; merges that name no token are refused. */
int bpe_init(struct bpe *bpe, const struct vocab *vocab, const struct gguf *gguf, bool whole_words, struct err *err);
void bpe_fini(struct bpe *bpe);
int bpe_encode(const struct bpe *bpe, struct merger *merger, const char *word, size_t len, struct token_ids *ids);

struct spm {
    const struct vocab *vocab;
    int32_t byte_ids[256]; /* <0x00> to <0xFF>; -1: none, and the unknown token stands for it */
};

int spm_init(struct spm *spm, const struct vocab *vocab, struct err *err);
/* `text` has its blanks written as U+2581 already. */
int spm_encode(const struct spm *spm, struct merger *merger, const char *text, size_t len, struct token_ids *ids);

/* For the two above. */
int merger_reserve(struct merger *merger, size_t n_symbols); /* 0 or -ENOMEM; empties it */
void merger_push(struct merger *merger, uint64_t order, uint32_t len, int32_t id);
bool merger_pop(struct merger *merger, struct merge_pair *ret_pair);
void merger_join(struct merger *merger, uint32_t left, int32_t id); /* with the symbol after it */

#define MERGE_NONE UINT32_MAX

#endif
