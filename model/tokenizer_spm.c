/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_merge.h"

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

/* The plain token written so, or -1: control tokens and bytes never come of merging. */
static int32_t find_plain(const struct vocab *vocab, const char *text, size_t len)
{
    int32_t id = len <= vocab->max_raw ? text_map_find(&vocab->by_raw, text, len) : -1;

    return vocab_is_plain(vocab, id) ? id : -1;
}

static void push_pair(const struct spm *spm, struct merger *m, const char *text, uint32_t left)
{
    const struct merge_symbol *l = &m->symbols[left];
    uint32_t len;
    int32_t id;

    if (l->next == MERGE_NONE)
        return;
    len = l->len + m->symbols[l->next].len;
    id = find_plain(spm->vocab, text + l->at, len);
    if (id >= 0)
        merger_push(m, (uint64_t)order_of(spm->vocab->scores[id]) << 32 | left, len, id);
}

static bool still_there(const struct merger *m, const struct merge_pair *pair)
{
    const struct merge_symbol *l = &m->symbols[(uint32_t)pair->order];

    return l->id != -2 && l->next != MERGE_NONE && l->len + m->symbols[l->next].len == pair->len;
}

/* Characters, each by itself; malformed bytes one by one. */
static void take_characters(const struct spm *spm, struct merger *m, const char *text, size_t len)
{
    uint32_t n = 0;

    for (size_t at = 0; at < len; n++) {
        int step = utf8_scan((const unsigned char *)text + at, len - at);
        uint32_t size = step > 0 ? (uint32_t)step : 1;

        m->symbols[n] = (struct merge_symbol){ step > 0 ? find_plain(spm->vocab, text + at, size) : -1, (uint32_t)at,
                                               size, n > 0 ? n - 1 : MERGE_NONE, n + 1 };
        at += size;
    }
    m->symbols[n - 1].next = MERGE_NONE;
    m->n_symbols = n;
}

static int emit_bytes(const struct spm *spm, const char *p, size_t len, struct token_ids *ids)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < len; i++) {
        int32_t id = spm->byte_ids[(unsigned char)p[i]];

        r = token_ids_add(ids, id >= 0 ? id : spm->vocab->unknown);
    }
    return r;
}

int spm_encode(const struct spm *spm, struct merger *merger, const char *text, size_t len, struct token_ids *ids)
{
    struct merge_pair pair;
    int r = 0;

    if (len == 0)
        return 0;
    if (merger_reserve(merger, len) < 0)
        return -ENOMEM;
    take_characters(spm, merger, text, len);
    for (uint32_t i = 0; i + 1 < merger->n_symbols; i++)
        push_pair(spm, merger, text, i);
    while (merger_pop(merger, &pair)) {
        uint32_t left = (uint32_t)pair.order;

        if (!still_there(merger, &pair))
            continue;
        merger_join(merger, left, pair.id);
        if (merger->symbols[left].prev != MERGE_NONE)
            push_pair(spm, merger, text, merger->symbols[left].prev);
        push_pair(spm, merger, text, left);
    }
    for (uint32_t i = 0; r == 0 && i != MERGE_NONE; i = merger->symbols[i].next) {
        const struct merge_symbol *s = &merger->symbols[i];

        r = s->id >= 0 ? token_ids_add(ids, s->id) : emit_bytes(spm, text + s->at, s->len, ids);
    }
    return r;
}
