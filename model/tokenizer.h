/* SPDX-License-Identifier: MIT
 *
 * tokenizer.h: text to token ids and back, from the vocabulary in a GGUF.
 *
 * Two kinds: byte-level BPE (tokenizer.ggml.model = "gpt2", split by the pre-tokenizer that tokenizer.ggml.pre names)
 * and SentencePiece-style with byte fallback ("llama"). Input is any bytes: what is not UTF-8 is tokenized as bytes.
 * Immutable after open; thread-safe. Bad vocabularies (cyclic, huge, merges that name no token) are refused at open.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_H
#define EXPERTD_MODEL_TOKENIZER_H

#include "base/err.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

int tokenizer_open(const struct gguf *gguf, struct tokenizer **ret_tokenizer, struct err *err);
void tokenizer_close(struct tokenizer *tokenizer);

enum tokenize_flags {
    TOKENIZE_SPECIAL = 1 << 0, /* control tokens written in the text become those tokens; without it they are text */
    TOKENIZE_BOS = 1 << 1,     /* add BOS/EOS where the vocabulary says so */
};

/* Append the ids of text to *ids (a growing array; see ids_fini). Fails with -ENOMEM or ERR_TOO_LONG above max_ids. */
struct token_ids {
    int32_t *v;
    size_t n, cap;
};
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids, struct err *err);
void token_ids_fini(struct token_ids *ids);

/* The bytes of one token (may be a part of a UTF-8 character). Control tokens are empty unless `special`. The result
 * is lent by the tokenizer. `first`: the token starts the text (SentencePiece drops the leading blank there). */
struct gguf_str tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, bool special, bool first);

size_t tokenizer_size(const struct tokenizer *tokenizer); /* n_vocab */
int32_t tokenizer_bos(const struct tokenizer *tokenizer); /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *tokenizer);
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id); /* any end-of-generation token */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *piece, size_t len); /* exact; -1: none */

/* A stream of tokens turned into whole UTF-8 characters: bytes of an unfinished character are held back until it is
 * whole; bytes that can never become one come out as U+FFFD at the end or when the contradiction shows. */
struct detokenizer {
    const struct tokenizer *tokenizer;
    bool first;
    size_t n_held;
    unsigned char held[4];
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *tokenizer);
/* Append the text that became whole to out; returns its length. `out` must hold detokenizer_max(d, id) bytes. */
size_t detokenizer_max(const struct detokenizer *d, int32_t id);
size_t detokenizer_put(struct detokenizer *d, int32_t id, char *out);
size_t detokenizer_finish(struct detokenizer *d, char *out /* at least 16 bytes */);

#endif
