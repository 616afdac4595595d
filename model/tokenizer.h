/* SPDX-License-Identifier: MIT
 *
 * tokenizer.h: text to token ids and back, from the vocabulary in a GGUF.
 *
 * Two kinds: byte-level BPE (tokenizer.ggml.model = "gpt2", split by the pre-tokenizer that tokenizer.ggml.pre names)
 * and SentencePiece-style with byte fallback ("llama"). An unknown pre-tokenizer is treated as "default" and told by
 * tokenizer_warning.
 *
 * Input is any bytes. What is not UTF-8 is tokenized byte by byte, so that nothing is lost; a byte for which a
 * vocabulary has no token (some leave out those that UTF-8 never uses) becomes U+FFFD.
 *
 * Kinds of token: *control* tokens (<|im_end|>) are found in text only where TOKENIZE_SPECIAL allows it, and never come
 * out of plain text by merging; *user-defined* ones are found everywhere; of several that fit at the leftmost place the
 * longest wins.
 *
 * Bad vocabularies are refused at open, by name: arrays of different lengths, duplicate tokens, merges that name no
 * token, ids outside the vocabulary, scores that are no numbers, bytes that cannot be said, sizes above the limits in
 * tokenizer_vocab.h.
 *
 * The work of encoding is O(n log n) in the length of the text, whatever the text. Its memory is at most 22 bytes for
 * each byte of it, 4 of them the ids', and one more where several spans are joined. (In a SentencePiece that has no
 * token for the blank, each blank makes three ids.)
 *
 * Immutable after open; thread-safe. A tokenizer copies what it needs: the gguf may be closed after open.
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
/* What whoever runs the daemon should know about this vocabulary (one sentence), or NULL. */
const char *tokenizer_warning(const struct tokenizer *tokenizer);

enum tokenize_flags {
    TOKENIZE_SPECIAL = 1 << 0, /* control tokens written in the text become those tokens; without it they are text */
    TOKENIZE_BOS = 1 << 1,     /* add BOS/EOS where the vocabulary says so */
};

/* A growing array of ids; start from { 0 }. */
struct token_ids {
    int32_t *v;
    size_t n, cap;
};
int token_ids_add(struct token_ids *ids, int32_t id);        /* 0 or -ENOMEM */
int token_ids_reserve(struct token_ids *ids, size_t n_more); /* likewise; no less than doubles when it grows */
void token_ids_fini(struct token_ids *ids);

/* Append the ids of text to *ids. Fails with -ENOMEM, or ERR_TOO_LONG when *ids would hold more than max_ids (a text
 * that must be too long is refused before any work). On failure *ids is as it was. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids, struct err *err);

/* Text in pieces that mean one string (tokens may cross from one to the next), where control tokens are recognised
 * within `special` pieces alone: how a prompt is put together from a format's marks and people's words. */
struct text_span {
    const char *p;
    size_t len;
    bool special;
};
int tokenizer_encode_spans(const struct tokenizer *tokenizer, const struct text_span *spans, size_t n_spans,
                           unsigned flags, size_t max_ids, struct token_ids *ids, struct err *err);

/* The bytes of one token (may be a part of a UTF-8 character). Control tokens are empty unless `special`, and so is an
 * id outside the vocabulary. The result is lent by the tokenizer. `first`: the token starts the text (SentencePiece
 * drops the blank that encoding put there). */
struct gguf_str tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, bool special, bool first);

size_t tokenizer_size(const struct tokenizer *tokenizer); /* n_vocab */
int32_t tokenizer_bos(const struct tokenizer *tokenizer); /* -1: none */
int32_t tokenizer_eos(const struct tokenizer *tokenizer);
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id); /* any end-of-generation token */
bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id);
/* The token that the vocabulary writes so ("<|im_end|>"; ordinary tokens in its own spelling); -1: none. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *piece, size_t len);

/* A stream of tokens turned into whole UTF-8 characters: bytes of an unfinished character are held back until it is
 * whole; bytes that can never become one come out as U+FFFD, when the contradiction shows or at the end. Control tokens
 * come out empty. Caller's storage; one per stream. */
struct detokenizer {
    const struct tokenizer *tokenizer;
    bool first; /* set it after init where the stream starts a text of its own, as a chat answer does: see
                   tokenizer_piece. A continuation of a prompt leaves it false, and keeps its leading blank. */
    size_t n_held;
    unsigned char held[4];
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *tokenizer);
/* Write the text that became whole to out; returns its length. `out` must hold detokenizer_max(d, id) bytes. */
size_t detokenizer_max(const struct detokenizer *d, int32_t id);
size_t detokenizer_put(struct detokenizer *d, int32_t id, char *out);
size_t detokenizer_finish(struct detokenizer *d, char *out /* at least 16 bytes */);

#endif
