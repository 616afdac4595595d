/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_merge.h"

#include "base/mem.h"
#include "model/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int spm_init(struct spm *spm, const struct vocab *vocab, struct err *err)
{
    spm->vocab = vocab;
    for (int i = 0; i < 256; i++) {
        char name[8];
        int len = snprintf(name, sizeof(name), "<0x%02X>", (unsigned)i);
        int32_t id = text_map_find(&vocab->by_raw, name, (size_t)len);

        spm->byte_ids[i] = id >= 0 && vocab->kind[id] == TOKEN_BYTE ? id : -1;
        if (spm->byte_ids[i] < 0 && vocab->unknown < 0)
            return err_set(err, ERR_FORMAT, "the vocabulary has no token <0x%02X>, and none for the unknown",
                           (unsigned)i);
    }
    return 0;
}

/* Larger scores first: the bits of a float, turned so that they compare as unsigned numbers, and upside down. */
static uint32_t order_of(float score)
{
    uint32_t bits;

    memcpy(&bits, &score, sizeof(bits));
    return ~(bits & 0x80000000u ? ~bits : bits | 0x80000000u);
}

/* The text as it is tokenized: a blank is one byte here, also the one in front of it that is not there. */
struct stretch {
    const struct spm *spm;
    const char *text;
    uint32_t len, lead; /* lead: 1 where a blank is put in front; counted in len */
};

static char byte_at(const struct stretch *s, uint32_t at)
{
    return at < s->lead ? ' ' : s->text[at - s->lead];
}

/* With blanks spelled out; no text when no token is as long. Lent by the text, or by the merger until the next call. */
static struct gguf_str spell(const struct stretch *s, const struct merger *m, uint32_t at, uint32_t len)
{
    size_t room = s->spm->vocab->max_raw, n = 0;

    if (at >= s->lead && memchr(s->text + at - s->lead, ' ', len) == NULL)
        return (struct gguf_str){ s->text + at - s->lead, len };
    for (uint32_t end = at + len; at < end; at++) {
        char c = byte_at(s, at);
        size_t size = c == ' ' ? strlen(VOCAB_BLANK) : 1;

        if (n + size > room)
            return (struct gguf_str){ "", 0 };
        memcpy(m->spelled + n, c == ' ' ? VOCAB_BLANK : &c, size);
        n += size;
    }
    return (struct gguf_str){ m->spelled, n };
}

/* The plain token written so, or -1: control tokens and bytes never come of merging. */
static int32_t find_plain(const struct stretch *s, const struct merger *m, uint32_t at, uint32_t len)
{
    const struct vocab *vocab = s->spm->vocab;
    struct gguf_str raw = { "", 0 };
    int32_t id;

    if (len <= vocab->max_raw)
        raw = spell(s, m, at, len);
    id = raw.len > 0 ? text_map_find(&vocab->by_raw, raw.p, raw.len) : -1;
    return vocab_is_plain(vocab, id) ? id : -1;
}

/* Let the symbol at `left` wait for its turn, if it joins the one behind it at all. */
static void order_pair(const struct stretch *s, struct merger *m, uint32_t left)
{
    uint32_t right = merger_next(m, left);
    int32_t id = right < m->len ? find_plain(s, m, left, merger_next(m, right) - left) : -1;

    m->symbols[left].id = id;
    merger_set(m, left, id >= 0 ? order_of(s->spm->vocab->scores[id]) : MERGE_NONE);
}

/* Characters, each by itself; malformed bytes one by one. */
static void take_characters(const struct stretch *s, struct merger *m)
{
    for (uint32_t at = 0, size; at < s->len; at += size) {
        int step = at < s->lead ? 1 : utf8_scan((const unsigned char *)s->text + at - s->lead, s->len - at);

        size = step > 0 ? (uint32_t)step : 1;
        merger_put(m, at, size, -1);
    }
}

static void merge(const struct stretch *s, struct merger *m)
{
    for (uint32_t at = 0; at < m->len; at = merger_next(m, at))
        order_pair(s, m, at);
    while (m->n_heap > 0) {
        uint32_t left = (uint32_t)m->heap[0];

        merger_join(m, left);
        if (left > 0)
            order_pair(s, m, merger_prev(m, left));
        order_pair(s, m, left);
    }
}

/* What has no token was never joined: a character, as vocabularies write it, or a stray byte. */
static struct gguf_str tokenless(const struct stretch *s, const struct merger *m, uint32_t at)
{
    if (byte_at(s, at) == ' ')
        return (struct gguf_str){ VOCAB_BLANK, strlen(VOCAB_BLANK) };
    return (struct gguf_str){ s->text + at - s->lead, merger_len(m, at) };
}

/* Give each symbol the token that it is; returns how many ids they are together. */
static size_t settle_ids(const struct stretch *s, struct merger *m)
{
    size_t n = 0;

    for (uint32_t at = 0; at < m->len; at = merger_next(m, at)) {
        bool stray = merger_len(m, at) == 1 && ((unsigned char)byte_at(s, at) & 0x80);

        m->symbols[at].id = stray ? -1 : find_plain(s, m, at, merger_len(m, at));
        n += m->symbols[at].id >= 0 ? 1 : tokenless(s, m, at).len;
    }
    return n;
}

static int emit_bytes(const struct spm *spm, struct gguf_str bytes, struct token_ids *ids)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < bytes.len; i++) {
        int32_t id = spm->byte_ids[(unsigned char)bytes.p[i]];

        r = token_ids_add(ids, id >= 0 ? id : spm->vocab->unknown);
    }
    return r;
}

static int emit(const struct stretch *s, struct merger *m, struct token_ids *ids)
{
    int r = token_ids_reserve(ids, settle_ids(s, m));

    for (uint32_t at = 0; r == 0 && at < m->len; at = merger_next(m, at)) {
        int32_t id = m->symbols[at].id;

        r = id >= 0 ? token_ids_add(ids, id) : emit_bytes(s->spm, tokenless(s, m, at), ids);
    }
    return r;
}

int spm_encode(const struct spm *spm, struct merger *merger, const char *text, size_t len, bool lead,
               struct token_ids *ids)
{
    struct stretch s = { spm, text, (uint32_t)len + lead, lead };

    if (s.len == 0)
        return 0;
    if (merger_reserve(merger, s.len) < 0)
        return -ENOMEM;
    if (merger->spelled == NULL && (merger->spelled = mem_alloc(spm->vocab->max_raw)) == NULL)
        return -ENOMEM;
    take_characters(&s, merger);
    merge(&s, merger);
    return emit(&s, merger, ids);
}
