/* SPDX-License-Identifier: MIT
 *
 * tokenizer_vocab.h: the tokens of a vocabulary: their texts, kinds, scores, and what they say. Private to the
 * tokenizer.
 *
 * Each token has two texts: `raw`, as the GGUF spells it, and `piece`, the bytes it stands for. They differ where the
 * spelling is an encoding: byte-level BPE writes each byte as a printable character (the table of GPT-2), SentencePiece
 * writes a blank as U+2581 and a single byte as <0x0A>.
 *
 * Immutable after vocab_init; thread-safe. Owns copies of all texts.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_VOCAB_H
#define EXPERTD_MODEL_TOKENIZER_VOCAB_H

#include "base/err.h"
#include "model/gguf.h"
#include "model/tokenizer_map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits, far above any vocabulary known (the largest have 262144 tokens). */
#define VOCAB_MAX_TOKENS (1u << 22)
#define VOCAB_MAX_BYTES (1u << 28) /* of all texts */
#define VOCAB_MAX_TOKEN (1u << 16) /* bytes of one */
#define VOCAB_MAX_SPECIAL 512u     /* bytes of a control or user-defined one */
#define VOCAB_MAX_MERGES (1u << 23)

#define VOCAB_BLANK "\xe2\x96\x81" /* U+2581 */

enum vocab_type { VOCAB_BPE, VOCAB_SPM };

/* As tokenizer.ggml.token_type has them. */
enum token_kind { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };

struct vocab {
    enum vocab_type type;
    uint32_t n;
    char *raw, *piece;           /* all texts, end to end */
    uint32_t *raw_at, *piece_at; /* [n + 1] */
    uint8_t *kind;               /* [n] enum token_kind */
    float *scores;               /* [n], finite; NULL for BPE */
    struct text_map by_raw;      /* every token with a text */
    uint32_t max_raw;            /* bytes of the longest spelling: no token stands for more text */
    int32_t bos, eos, unknown;   /* -1: none */
    bool adds_bos, adds_eos, adds_blank;
    uint8_t *is_end; /* [n] */
};

/* `bos_by_default`: what holds when the GGUF does not say whether BOS is added. */
int vocab_init(struct vocab *vocab, const struct gguf *gguf, enum vocab_type type, bool bos_by_default,
               struct err *err);
void vocab_fini(struct vocab *vocab);

static inline struct gguf_str vocab_raw(const struct vocab *v, uint32_t id)
{
    return (struct gguf_str){ v->raw + v->raw_at[id], v->raw_at[id + 1] - v->raw_at[id] };
}

static inline struct gguf_str vocab_piece(const struct vocab *v, uint32_t id)
{
    return (struct gguf_str){ v->piece + v->piece_at[id], v->piece_at[id + 1] - v->piece_at[id] };
}

/* May a token come out of merging plain text? */
static inline bool vocab_is_plain(const struct vocab *v, int32_t id)
{
    return id >= 0 && (v->kind[id] == TOKEN_NORMAL || v->kind[id] == TOKEN_USER || v->kind[id] == TOKEN_UNUSED);
}

/* The character that byte-level BPE writes for a byte (vocab_bytes.c), and back: -1 when it stands for none. */
uint32_t vocab_byte_to_char(unsigned char byte);
int vocab_char_to_byte(uint32_t c);

#endif
