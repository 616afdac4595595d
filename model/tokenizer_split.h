/* SPDX-License-Identifier: MIT
 *
 * tokenizer_split.h: pre-tokenizers of byte-level BPE: where text is cut before merging. Private to the tokenizer.
 *
 * A pre-tokenizer is one to six regular expressions, applied in turn: each cuts every piece that the one before it left
 * into its matches and what lies between them. They are those of the models' published tokenizer.json, in PCRE2's
 * spelling with Unicode properties, and rewritten where a backtracking engine would need more than linear time.
 * Text that is not UTF-8 never matches: malformed bytes are pieces of their own.
 *
 * Immutable after open; thread-safe, since each run brings its own scratch.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_SPLIT_H
#define EXPERTD_MODEL_TOKENIZER_SPLIT_H

#include "base/err.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stddef.h>

struct splitter;

/* What a name in tokenizer.ggml.pre brings with it besides the expressions. */
struct splitter_traits {
    bool known;       /* false: the name is unknown, and "default" is used */
    bool whole_words; /* a piece that is a token is not merged, but taken as it is */
    bool bos_by_default;
};

struct splitter_traits splitter_look_up(struct gguf_str name);

int splitter_open(struct gguf_str name, struct splitter **ret_splitter, struct err *err);
void splitter_close(struct splitter *splitter);

/* Call on_piece for each piece of text, in order; a negative return ends the run and is returned. */
typedef int (*splitter_on_piece)(void *ctx, const char *piece, size_t len, struct err *err);
int splitter_run(const struct splitter *splitter, const char *text, size_t len, splitter_on_piece on_piece, void *ctx,
                 struct err *err);

#endif
