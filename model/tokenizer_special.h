/* SPDX-License-Identifier: MIT
 *
 * tokenizer_special.h: finding control and user-defined tokens in text. Private to the tokenizer.
 *
 * A trie over their texts. Of those that begin leftmost, the longest wins (as in Hugging Face's tokenizers). The work
 * is at most VOCAB_MAX_SPECIAL steps per byte of text. Immutable after init; thread-safe.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_SPECIAL_H
#define EXPERTD_MODEL_TOKENIZER_SPECIAL_H

#include "base/err.h"
#include "model/tokenizer_vocab.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct special_trie {
    struct pair_map edges; /* node << 8 | byte -> node; the root is 0 */
    int32_t *ids;          /* [n_nodes] the token that ends in a node, or -1 */
    uint32_t n_nodes;
    bool starts[256]; /* bytes that a special token begins with */
};

int special_trie_init(struct special_trie *trie, const struct vocab *vocab, struct err *err);
void special_trie_fini(struct special_trie *trie);

/* The longest special token at the front of text, or -1. User-defined ones may reach to `len`; control ones to
 * `control_len`, and so not at all where that is 0. */
int32_t special_trie_match(const struct special_trie *trie, const struct vocab *vocab, const char *text, size_t len,
                           size_t control_len, size_t *ret_len);

#endif
