/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_merge.h"

#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <string.h>

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static int fail_merge(struct err *err, size_t i, struct gguf_str text, const char *why)
{
    int shown = text.len < 60 ? (int)text.len : 60;

    return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges: merge %zu, '%.*s', %s", i, shown, text.p, why);
}

/* "left right": a blank between two tokens that join to a third. The left one may begin with a blank of its own. */
static int take_merge(struct bpe *bpe, size_t i, struct gguf_str text, struct err *err)
{
    const struct text_map *map = &bpe->vocab->by_raw;
    char joined[VOCAB_MAX_TOKEN];
    const char *blank = text.len > 1 ? memchr(text.p + 1, ' ', text.len - 1) : NULL;
    size_t n_left, n_right;
    struct merge m;

    if (blank == NULL || blank + 1 == text.p + text.len)
        return fail_merge(err, i, text, "is not two tokens with a blank between them");
    n_left = (size_t)(blank - text.p);
    n_right = text.len - n_left - 1;
    if (text.len > sizeof(joined))
        return fail_merge(err, i, text, "is longer than any token");
    memcpy(joined, text.p, n_left);
    memcpy(joined + n_left, blank + 1, n_right);
    m.left = text_map_find(map, text.p, n_left);
    m.right = text_map_find(map, blank + 1, n_right);
    m.result = text_map_find(map, joined, n_left + n_right);
    if (m.left < 0 || m.right < 0)
        return fail_merge(err, i, text, "joins what is no token");
    if (m.result < 0)
        return fail_merge(err, i, text, "makes what is no token");
    bpe->merges[i] = m;
    if (vocab_is_plain(bpe->vocab, m.left) && vocab_is_plain(bpe->vocab, m.right) &&
        vocab_is_plain(bpe->vocab, m.result))
        pair_map_add(&bpe->ranks, pair_key(m.left, m.right), (uint32_t)i);
    return 0;
}

static int take_merges(struct bpe *bpe, const struct gguf *gguf, struct err *err)
{
    const struct gguf_str *texts;
    size_t n;
    int r = gguf_get_strs(gguf, "tokenizer.ggml.merges", &texts, &n, err);

    if (r < 0)
        return r == -ENOENT ? err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is missing") : r;
    if (n > VOCAB_MAX_MERGES)
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges has %zu entries; the limit is %u", n, VOCAB_MAX_MERGES);
    bpe->n_merges = (uint32_t)n;
    bpe->merges = mem_calloc(n, sizeof(*bpe->merges));
    if (bpe->merges == NULL || pair_map_init(&bpe->ranks, n) < 0)
        return err_set(err, -ENOMEM, "no memory for %zu merges", n);
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = take_merge(bpe, i, texts[i], err);
    return r;
}

/* What is written for a byte that has no token: U+FFFD, if the vocabulary can say it, or the unknown token. */
static int make_replacement(struct bpe *bpe, struct err *err)
{
    struct merger merger = { 0 };
    int r = 0, missing = -1;

    for (int i = 255; i >= 0; i--)
        missing = bpe->byte_ids[i] < 0 ? i : missing;
    if (missing < 0)
        return 0;
    for (size_t i = 0; i < 3; i++)
        if (bpe->byte_ids[(unsigned char)UTF8_REPLACEMENT[i]] < 0)
            r = 1;
    if (r == 0)
        r = bpe_encode(bpe, &merger, UTF8_REPLACEMENT, 3, &bpe->replacement);
    else if (bpe->vocab->unknown >= 0)
        r = token_ids_add(&bpe->replacement, bpe->vocab->unknown);
    else
        r = err_set(err, ERR_FORMAT, "the vocabulary has no token for byte 0x%02x, and none for the unknown", missing);
    merger_fini(&merger);
    return r == -ENOMEM ? err_set(err, r, "no memory for a vocabulary") : r;
}

int bpe_init(struct bpe *bpe, const struct vocab *vocab, const struct gguf *gguf, bool whole_words, struct err *err)
{
    int r;

    memset(bpe, 0, sizeof(*bpe));
    bpe->vocab = vocab;
    bpe->whole_words = whole_words;
    for (int i = 0; i < 256; i++) {
        char spelling[4];
        size_t len = utf8_encode_short(vocab_byte_to_char((unsigned char)i), spelling);
        int32_t id = text_map_find(&vocab->by_raw, spelling, len);

        bpe->byte_ids[i] = id >= 0 && vocab->kind[id] == TOKEN_NORMAL ? id : -1;
    }
    if ((r = take_merges(bpe, gguf, err)) < 0 || (r = make_replacement(bpe, err)) < 0)
        bpe_fini(bpe);
    return r;
}

void bpe_fini(struct bpe *bpe)
{
    mem_free(bpe->merges);
    bpe->merges = NULL;
    pair_map_fini(&bpe->ranks);
    token_ids_fini(&bpe->replacement);
}

/* Let the symbol at `left` wait for its turn, if it joins the one behind it at all. */
static void order_pair(const struct bpe *bpe, struct merger *m, uint32_t left)
{
    uint32_t right = merger_next(m, left), rank = MERGE_NONE;

    if (right < m->len && m->symbols[left].id >= 0 && m->symbols[right].id >= 0)
        rank = pair_map_find(&bpe->ranks, pair_key(m->symbols[left].id, m->symbols[right].id));
    merger_set(m, left, rank);
}

static int take_whole(const struct bpe *bpe, const char *word, size_t len, struct token_ids *ids, bool *ret_taken)
{
    char spelling[2 * 512];
    size_t n = 0;
    int32_t id;

    *ret_taken = false;
    if (!bpe->whole_words || len > sizeof(spelling) / 2)
        return 0;
    for (size_t i = 0; i < len; i++)
        n += utf8_encode_short(vocab_byte_to_char((unsigned char)word[i]), spelling + n);
    id = text_map_find(&bpe->vocab->by_raw, spelling, n);
    if (id < 0 || bpe->vocab->kind[id] != TOKEN_NORMAL)
        return 0;
    *ret_taken = true;
    return token_ids_add(ids, id);
}

static int emit(const struct bpe *bpe, const struct merger *m, struct token_ids *ids)
{
    size_t n = 0;
    int r;

    for (uint32_t at = 0; at < m->len; at = merger_next(m, at))
        n += m->symbols[at].id >= 0 ? 1 : bpe->replacement.n;
    r = token_ids_reserve(ids, n);
    for (uint32_t at = 0; r == 0 && at < m->len; at = merger_next(m, at)) {
        if (m->symbols[at].id >= 0)
            r = token_ids_add(ids, m->symbols[at].id);
        else
            for (size_t k = 0; r == 0 && k < bpe->replacement.n; k++)
                r = token_ids_add(ids, bpe->replacement.v[k]);
    }
    return r;
}

int bpe_encode(const struct bpe *bpe, struct merger *merger, const char *word, size_t len, struct token_ids *ids)
{
    bool taken;
    int r = take_whole(bpe, word, len, ids, &taken);

    if (r < 0 || taken || len == 0)
        return r;
    if (merger_reserve(merger, len) < 0)
        return -ENOMEM;
    for (uint32_t at = 0; at < len; at++)
        merger_put(merger, at, 1, bpe->byte_ids[(unsigned char)word[at]]);
    for (uint32_t at = 0; at < len; at++)
        order_pair(bpe, merger, at);
    while (merger->n_heap > 0) {
        uint32_t rank = (uint32_t)(merger->heap[0] >> 32), left = (uint32_t)merger->heap[0];

        merger_join(merger, left);
        merger->symbols[left].id = bpe->merges[rank].result;
        if (left > 0)
            order_pair(bpe, merger, merger_prev(merger, left));
        order_pair(bpe, merger, left);
    }
    return emit(bpe, merger, ids);
}
