/* SPDX-License-Identifier: MIT
 *
 * tokenizer_merge.h: joining symbols into tokens, the pair of best rank first. Private to the tokenizer.
 *
 * A word is a chain of symbols, each known by the place of its first byte. Symbols that may join the one behind them
 * wait in a heap, each at most once, so that the heap is never larger than the word. Each join removes a symbol and
 * changes the order of two others: n symbols cost at most 3n entries into the heap in all, and O(n log n) steps,
 * whatever the word. Among pairs of one order the leftmost is first.
 *
 * Two kinds: byte-level BPE starts from bytes and joins by a table of merges (bpe_encode); SentencePiece starts from
 * characters and joins whatever makes a token, by the token's score (spm_encode).
 *
 * A struct merger is the scratch of one call of encode, used by one thread: 18 bytes for each byte of its longest word,
 * and for SentencePiece as much as the longest token. Whoever sends a text decides how long its words are, and memory
 * is budgeted: so each of the 18 must be needed.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_MERGE_H
#define EXPERTD_MODEL_TOKENIZER_MERGE_H

#include "base/err.h"
#include "model/tokenizer.h"
#include "model/tokenizer_map.h"
#include "model/tokenizer_vocab.h"

#include <stddef.h>
#include <stdint.h>

#define MERGE_NONE UINT32_MAX

/* At the first byte of a symbol; undefined elsewhere. */
struct merge_symbol {
    int32_t id;    /* the token it is; -1: none. (SPM while merging: that it makes with the one behind it) */
    uint32_t spot; /* where it waits in the heap; MERGE_NONE: it does not */
};

struct merger {
    struct merge_symbol *symbols; /* [len] */
    uint16_t *spans;              /* [len] bytes of a symbol less one, at its first byte and at its last */
    uint64_t *heap;               /* [n_heap] order << 32 | the symbol on the left; least first */
    char *spelled;                /* SPM: [max_raw] */
    uint32_t len, n_heap;
    size_t cap;
    uint64_t steps; /* pairs put into the heap, or moved in it, since init: what bounds the work */
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
/* Blanks are written as U+2581 here, and one more is put in front where `lead`. */
int spm_encode(const struct spm *spm, struct merger *merger, const char *text, size_t len, bool lead,
               struct token_ids *ids);

/* For the two above. */
int merger_reserve(struct merger *merger, size_t len);                         /* 0 or -ENOMEM; empties it */
void merger_put(struct merger *merger, uint32_t at, uint32_t len, int32_t id); /* a symbol to begin with */
/* Whether, and as what, the symbol at `left` waits to join the one behind it; MERGE_NONE: it does not. */
void merger_set(struct merger *merger, uint32_t left, uint32_t order);
void merger_join(struct merger *merger, uint32_t left); /* with the symbol behind it; the id is the caller's */

static inline uint32_t merger_len(const struct merger *merger, uint32_t at)
{
    return merger->spans[at] + 1u;
}

/* The symbol behind, or the word's length. */
static inline uint32_t merger_next(const struct merger *merger, uint32_t at)
{
    return at + merger_len(merger, at);
}

/* The symbol before one that is not the first. */
static inline uint32_t merger_prev(const struct merger *merger, uint32_t at)
{
    return at - merger_len(merger, at - 1);
}

#endif
