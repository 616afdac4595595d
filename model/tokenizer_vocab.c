/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_vocab.h"

#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* GPT-2's table (github.com/openai/gpt-2, encoder.py): printable Latin-1 stands for itself, the other 68 bytes are
 * U+0100 onwards in their order. */
static bool stands_for_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t vocab_byte_to_char(unsigned char byte)
{
    uint32_t rank = byte < 0x21 ? byte : byte < 0xa1 ? byte - 0x7fu + 33 : 67;

    return stands_for_itself(byte) ? byte : 0x100 + rank;
}

int vocab_char_to_byte(uint32_t c)
{
    uint32_t rank = c - 0x100;

    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (rank < 33)
        return (int)rank;
    if (rank < 67)
        return (int)(rank - 33 + 0x7f);
    return rank == 67 ? 0xad : -1;
}

static int sum_texts(struct vocab *v, const struct gguf_str *texts, struct err *err)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < v->n; i++) {
        if (texts[i].len > VOCAB_MAX_TOKEN)
            return err_set(err, ERR_FORMAT, KEY("tokens") ": token %u is %zu bytes long; the limit is %u", i,
                           texts[i].len, VOCAB_MAX_TOKEN);
        v->raw_at[i] = (uint32_t)total;
        total += texts[i].len;
        if (total > VOCAB_MAX_BYTES)
            return err_set(err, ERR_FORMAT, KEY("tokens") ": more than %u bytes of text", VOCAB_MAX_BYTES);
        if (texts[i].len > v->max_raw)
            v->max_raw = (uint32_t)texts[i].len;
    }
    v->raw_at[v->n] = (uint32_t)total;
    return total > 0 ? 0 : err_set(err, ERR_FORMAT, KEY("tokens") ": no token has any text");
}

static int take_texts(struct vocab *v, const struct gguf *gguf, struct err *err)
{
    const struct gguf_str *texts;
    size_t n;
    int r = gguf_get_strs(gguf, KEY("tokens"), &texts, &n, err);

    if (r < 0)
        return r == -ENOENT ? err_set(err, ERR_FORMAT, KEY("tokens") " is missing: the file has no vocabulary") : r;
    if (n == 0 || n > VOCAB_MAX_TOKENS)
        return err_set(err, ERR_FORMAT, KEY("tokens") " has %zu tokens; 1 to %u are possible", n, VOCAB_MAX_TOKENS);
    v->n = (uint32_t)n;
    v->raw_at = mem_calloc(n + 1, sizeof(*v->raw_at));
    v->piece_at = mem_calloc(n + 1, sizeof(*v->piece_at));
    v->kind = mem_alloc(n);
    v->is_end = mem_calloc(n, 1);
    if (!v->raw_at || !v->piece_at || !v->kind || !v->is_end)
        return err_set(err, -ENOMEM, "no memory for a vocabulary of %zu tokens", n);
    r = sum_texts(v, texts, err);
    if (r < 0)
        return r;
    v->raw = mem_alloc(v->raw_at[n]);
    v->piece = mem_alloc(v->raw_at[n]);
    if (!v->raw || !v->piece)
        return err_set(err, -ENOMEM, "no memory for a vocabulary of %zu tokens", n);
    for (size_t i = 0; i < n; i++)
        if (texts[i].len > 0)
            memcpy(v->raw + v->raw_at[i], texts[i].p, texts[i].len);
    return 0;
}

static int take_kinds(struct vocab *v, const struct gguf *gguf, struct err *err)
{
    const int32_t *kinds;
    size_t n;
    int r = gguf_get_i32s(gguf, KEY("token_type"), &kinds, &n, err);

    if (r == -ENOENT) {
        memset(v->kind, TOKEN_NORMAL, v->n);
        return 0;
    }
    if (r < 0)
        return r;
    if (n != v->n)
        return err_set(err, ERR_FORMAT, KEY("token_type") " has %zu entries for %u tokens", n, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        bool special = kinds[i] == TOKEN_CONTROL || kinds[i] == TOKEN_USER || kinds[i] == TOKEN_UNKNOWN;

        v->kind[i] = kinds[i] >= TOKEN_NORMAL && kinds[i] <= TOKEN_BYTE ? (uint8_t)kinds[i] : TOKEN_NORMAL;
        if (special && vocab_raw(v, i).len > VOCAB_MAX_SPECIAL)
            return err_set(err, ERR_FORMAT, "token %u is a special one of %zu bytes; the limit is %u", i,
                           vocab_raw(v, i).len, VOCAB_MAX_SPECIAL);
    }
    return 0;
}

static int take_scores(struct vocab *v, const struct gguf *gguf, struct err *err)
{
    const float *scores;
    size_t n;
    int r = gguf_get_f32s(gguf, KEY("scores"), &scores, &n, err);

    if (r == -ENOENT)
        return v->type == VOCAB_SPM ? err_set(err, ERR_FORMAT, KEY("scores") " is missing: they order the merges") : 0;
    if (r < 0)
        return r;
    if (n != v->n)
        return err_set(err, ERR_FORMAT, KEY("scores") " has %zu entries for %u tokens", n, v->n);
    if (v->type != VOCAB_SPM)
        return 0;
    v->scores = mem_calloc(n, sizeof(*v->scores));
    if (v->scores == NULL)
        return err_set(err, -ENOMEM, "no memory for a vocabulary of %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(scores[i]))
            return err_set(err, ERR_FORMAT, KEY("scores") ": the score of token %zu is not a number", i);
        v->scores[i] = scores[i] + 0.0f; /* no -0 */
    }
    return 0;
}

static int index_texts(struct vocab *v, struct err *err)
{
    if (text_map_init(&v->by_raw, v->n, v->raw, v->raw_at) < 0)
        return err_set(err, -ENOMEM, "no memory for a vocabulary of %u tokens", v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        int32_t twin = vocab_raw(v, i).len > 0 ? text_map_add(&v->by_raw, i) : -1;

        if (twin >= 0)
            return err_set(err, ERR_FORMAT, KEY("tokens") ": tokens %d and %u have the same text", (int)twin, i);
    }
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* <0x0A> */
static int byte_of_token(struct gguf_str raw)
{
    int high, low;

    if (raw.len != 6 || memcmp(raw.p, "<0x", 3) != 0 || raw.p[5] != '>')
        return -1;
    high = hex_digit(raw.p[3]);
    low = hex_digit(raw.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static size_t decode_byte_level(struct gguf_str raw, char *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < raw.len;) {
        int len = utf8_scan((const unsigned char *)raw.p + i, raw.len - i);
        int byte = len > 0 ? vocab_char_to_byte(utf8_decode((const unsigned char *)raw.p + i, len)) : -1;

        len = len > 0 ? len : 1;
        if (byte >= 0) {
            out[n_out++] = (char)byte;
        } else {
            memcpy(out + n_out, raw.p + i, (size_t)len);
            n_out += (size_t)len;
        }
        i += (size_t)len;
    }
    return n_out;
}

static size_t decode_blanks(struct gguf_str raw, char *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < raw.len;) {
        bool blank = raw.len - i >= 3 && memcmp(raw.p + i, VOCAB_BLANK, 3) == 0;

        out[n_out++] = blank ? ' ' : raw.p[i];
        i += blank ? 3 : 1;
    }
    return n_out;
}

static size_t decode_piece(const struct vocab *v, uint32_t id, char *out)
{
    struct gguf_str raw = vocab_raw(v, id);
    int byte = v->type == VOCAB_SPM && v->kind[id] == TOKEN_BYTE ? byte_of_token(raw) : -1;

    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    if (v->kind[id] == TOKEN_CONTROL || v->kind[id] == TOKEN_USER || v->kind[id] == TOKEN_UNKNOWN) {
        if (raw.len > 0)
            memcpy(out, raw.p, raw.len);
        return raw.len;
    }
    return v->type == VOCAB_BPE ? decode_byte_level(raw, out) : decode_blanks(raw, out);
}

/* A piece is never longer than its spelling, so the pieces fit where the spellings did. */
static void decode_pieces(struct vocab *v)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < v->n; i++) {
        size_t len = decode_piece(v, i, v->piece + at);

        v->piece_at[i] = at;
        at += (uint32_t)len;
    }
    v->piece_at[v->n] = at;
}

/* An id that the GGUF names; all bits set is some converters' way of saying none. */
static int take_id(const struct vocab *v, const struct gguf *gguf, const char *key, int32_t *ret_id, struct err *err)
{
    uint32_t id;
    int r = gguf_get_u32(gguf, key, &id, err);

    if (r == -ENOENT || (r == 0 && id == UINT32_MAX))
        return 0;
    if (r < 0)
        return r;
    if (id >= v->n)
        return err_set(err, ERR_FORMAT, "%s is %u, but the vocabulary has %u tokens", key, id, v->n);
    *ret_id = (int32_t)id;
    return 0;
}

static int take_bool(const struct gguf *gguf, const char *key, bool *ret_v, struct err *err)
{
    int r = gguf_get_bool(gguf, key, ret_v, err);

    return r == -ENOENT ? 0 : r;
}

/* Tokens that end an answer in some format, whatever the file says its EOS is; looked up by name and counted only where
 * the vocabulary marks them as control tokens. */
static const char *const end_names[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "</s>",
    "<EOT>",
    "<|EOT|>",
    "[EOT]",
    "[EOS]",
    "<|return|>",
    "<|user|>",
    "<|observation|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
};

static int take_ends(struct vocab *v, const struct gguf *gguf, struct err *err)
{
    int32_t eot = -1, eom = -1, ends[3];
    int r;

    if ((r = take_id(v, gguf, KEY("eot_token_id"), &eot, err)) < 0 ||
        (r = take_id(v, gguf, KEY("eom_token_id"), &eom, err)) < 0)
        return r;
    ends[0] = v->eos;
    ends[1] = eot;
    ends[2] = eom;
    for (size_t i = 0; i < 3; i++)
        if (ends[i] >= 0)
            v->is_end[ends[i]] = 1;
    for (size_t i = 0; i < sizeof(end_names) / sizeof(end_names[0]); i++) {
        int32_t id = text_map_find(&v->by_raw, end_names[i], strlen(end_names[i]));

        if (id >= 0 && v->kind[id] == TOKEN_CONTROL)
            v->is_end[id] = 1;
    }
    return 0;
}

static int take_specials(struct vocab *v, const struct gguf *gguf, bool bos_by_default, struct err *err)
{
    int r;

    v->bos = v->eos = v->unknown = -1;
    if (v->type == VOCAB_SPM && v->n > 2) { /* what SentencePiece's LLaMA vocabularies have when the file is silent */
        v->unknown = 0;
        v->bos = 1;
        v->eos = 2;
    }
    v->adds_bos = bos_by_default && v->bos >= 0;
    v->adds_blank = v->type == VOCAB_SPM;
    if ((r = take_id(v, gguf, KEY("bos_token_id"), &v->bos, err)) < 0 ||
        (r = take_id(v, gguf, KEY("eos_token_id"), &v->eos, err)) < 0 ||
        (r = take_id(v, gguf, KEY("unknown_token_id"), &v->unknown, err)) < 0)
        return r;
    v->adds_bos = bos_by_default && v->bos >= 0;
    if ((r = take_bool(gguf, KEY("add_bos_token"), &v->adds_bos, err)) < 0 ||
        (r = take_bool(gguf, KEY("add_eos_token"), &v->adds_eos, err)) < 0 ||
        (r = take_bool(gguf, KEY("add_space_prefix"), &v->adds_blank, err)) < 0)
        return r;
    if (v->adds_bos && v->bos < 0)
        return err_set(err, ERR_FORMAT, KEY("add_bos_token") " is true, but no bos_token_id is given");
    if (v->adds_eos && v->eos < 0)
        return err_set(err, ERR_FORMAT, KEY("add_eos_token") " is true, but no eos_token_id is given");
    return take_ends(v, gguf, err);
}

int vocab_init(struct vocab *vocab, const struct gguf *gguf, enum vocab_type type, bool bos_by_default, struct err *err)
{
    int r;

    memset(vocab, 0, sizeof(*vocab));
    vocab->type = type;
    if ((r = take_texts(vocab, gguf, err)) < 0 || (r = take_kinds(vocab, gguf, err)) < 0 ||
        (r = take_scores(vocab, gguf, err)) < 0 || (r = index_texts(vocab, err)) < 0)
        goto fail;
    decode_pieces(vocab);
    r = take_specials(vocab, gguf, bos_by_default, err);
    if (r < 0)
        goto fail;
    return 0;
fail:
    vocab_fini(vocab);
    return r;
}

void vocab_fini(struct vocab *vocab)
{
    mem_free(vocab->raw);
    mem_free(vocab->piece);
    mem_free(vocab->raw_at);
    mem_free(vocab->piece_at);
    mem_free(vocab->kind);
    mem_free(vocab->scores);
    mem_free(vocab->is_end);
    text_map_fini(&vocab->by_raw);
    memset(vocab, 0, sizeof(*vocab));
}
