/* SPDX-License-Identifier: MIT */
#include "model/tokenizer.h"

#include "base/mem.h"
#include "model/tokenizer_merge.h"
#include "model/tokenizer_special.h"
#include "model/tokenizer_split.h"
#include "model/tokenizer_vocab.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_TEXT (1u << 30) /* bytes of one text to encode */

struct tokenizer {
    struct vocab vocab;
    struct special_trie specials;
    struct splitter *splitter; /* BPE */
    struct bpe bpe;            /* BPE */
    struct spm spm;            /* SPM */
    char warning[200];         /* empty: none */
};

/* One call of encode. */
struct encoder {
    const struct tokenizer *tokenizer;
    struct merger merger;
    struct token_ids *ids;
    size_t max_ids;
    bool after_special;
};

static void warn_of_splitter(struct tokenizer *t, struct gguf_str name)
{
    if (name.len == 0)
        snprintf(
            t->warning, sizeof(t->warning),
            "the model file names no pre-tokenizer (tokenizer.ggml.pre); 'default' is used, and answers may suffer");
    else
        snprintf(
            t->warning, sizeof(t->warning),
            "the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not known; 'default' is used, and answers may suffer",
            name.len < 40 ? (int)name.len : 40, name.p);
}

static int open_bpe(struct tokenizer *t, const struct gguf *gguf, struct err *err)
{
    struct gguf_str name = { "", 0 };
    struct splitter_traits traits;
    int r = gguf_get_str(gguf, "tokenizer.ggml.pre", &name, err);

    if (r < 0 && r != -ENOENT)
        return r;
    traits = splitter_look_up(name);
    if (!traits.known)
        warn_of_splitter(t, name);
    if ((r = vocab_init(&t->vocab, gguf, VOCAB_BPE, traits.bos_by_default, err)) < 0 ||
        (r = bpe_init(&t->bpe, &t->vocab, gguf, traits.whole_words, err)) < 0)
        return r;
    return splitter_open(name, &t->splitter, err);
}

static int open_spm(struct tokenizer *t, const struct gguf *gguf, struct err *err)
{
    int r = vocab_init(&t->vocab, gguf, VOCAB_SPM, true, err);

    return r < 0 ? r : spm_init(&t->spm, &t->vocab, err);
}

static bool str_is(struct gguf_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static int open_by_model(struct tokenizer *t, const struct gguf *gguf, struct err *err)
{
    struct gguf_str model;
    int r = gguf_get_str(gguf, "tokenizer.ggml.model", &model, err);

    if (r < 0)
        return r == -ENOENT ? err_set(err, ERR_FORMAT, "tokenizer.ggml.model is missing: the file has no vocabulary")
                            : r;
    if (str_is(model, "gpt2"))
        r = open_bpe(t, gguf, err);
    else if (str_is(model, "llama"))
        r = open_spm(t, gguf, err);
    else
        r = err_set(err, ERR_UNSUPPORTED, "tokenizer.ggml.model '%.*s' is not supported; 'gpt2' and 'llama' are",
                    model.len < 40 ? (int)model.len : 40, model.p);
    return r < 0 ? r : special_trie_init(&t->specials, &t->vocab, err);
}

int tokenizer_open(const struct gguf *gguf, struct tokenizer **ret_tokenizer, struct err *err)
{
    struct tokenizer *t = mem_zalloc(sizeof(*t));
    int r;

    if (t == NULL)
        return err_set(err, -ENOMEM, "no memory for a tokenizer");
    r = open_by_model(t, gguf, err);
    if (r < 0) {
        tokenizer_close(t);
        return r;
    }
    *ret_tokenizer = t;
    return 0;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    splitter_close(tokenizer->splitter);
    bpe_fini(&tokenizer->bpe);
    special_trie_fini(&tokenizer->specials);
    vocab_fini(&tokenizer->vocab);
    mem_free(tokenizer);
}

const char *tokenizer_warning(const struct tokenizer *tokenizer)
{
    return tokenizer->warning[0] != '\0' ? tokenizer->warning : NULL;
}

int token_ids_reserve(struct token_ids *ids, size_t n)
{
    size_t cap = ids->cap > 0 ? 2 * ids->cap : 64;
    int32_t *v;

    if (ids->cap - ids->n >= n)
        return 0;
    if (cap < ids->n + n)
        cap = ids->n + n;
    v = mem_realloc(ids->v, cap * sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    ids->v = v;
    ids->cap = cap;
    return 0;
}

int token_ids_add(struct token_ids *ids, int32_t id)
{
    if (token_ids_reserve(ids, 1) < 0)
        return -ENOMEM;
    ids->v[ids->n++] = id;
    return 0;
}

void token_ids_fini(struct token_ids *ids)
{
    mem_free(ids->v);
    *ids = (struct token_ids){ 0 };
}

static int too_long(struct err *err, size_t max_ids)
{
    return err_set(err, ERR_TOO_LONG, "the text is longer than %zu tokens", max_ids);
}

static int check_room(const struct encoder *e, int r, struct err *err)
{
    if (r == -ENOMEM)
        return err_set(err, r, "no memory to tokenize a text");
    return r == 0 && e->ids->n > e->max_ids ? too_long(err, e->max_ids) : r;
}

static int on_word(void *ctx, const char *word, size_t len, struct err *err)
{
    struct encoder *e = ctx;

    return check_room(e, bpe_encode(&e->tokenizer->bpe, &e->merger, word, len, e->ids), err);
}

static int encode_text(struct encoder *e, const char *text, size_t len, struct err *err)
{
    const struct tokenizer *t = e->tokenizer;
    int r;

    if (len == 0)
        return 0;
    if (t->vocab.type == VOCAB_BPE)
        r = splitter_run(t->splitter, text, len, on_word, e, err);
    else
        r = check_room(e, spm_encode(&t->spm, &e->merger, text, len, t->vocab.adds_blank && e->after_special, e->ids),
                       err);
    e->after_special = false;
    return r;
}

static int add_id(struct encoder *e, int32_t id, struct err *err)
{
    e->after_special = true;
    return check_room(e, token_ids_add(e->ids, id), err);
}

/* The joined text of all spans, and behind each byte's back the question whether control tokens may stand there. */
struct joined {
    const char *text;
    size_t len;
    const struct text_span *spans;
    size_t n_spans;
};

/* Spans of one kind in a row are one stretch of text: move `end` behind those that begin at `span`. */
static size_t next_run(const struct joined *j, size_t span, size_t *end)
{
    bool special = j->spans[span].special;

    for (; span < j->n_spans && j->spans[span].special == special; span++)
        *end += j->spans[span].len;
    return span;
}

/* Special tokens by themselves, the text between them through the model's own way. */
static int encode_joined(struct encoder *e, const struct joined *j, struct err *err)
{
    const struct tokenizer *t = e->tokenizer;
    size_t begin = 0, at = 0, span = 0, run_end = 0;
    int r;

    while (at < j->len) {
        size_t len = 0;
        int32_t id;

        while (at >= run_end)
            span = next_run(j, span, &run_end);
        id = special_trie_match(&t->specials, &t->vocab, j->text + at, j->len - at,
                                j->spans[span - 1].special ? run_end - at : 0, &len);
        if (id < 0) {
            at++;
            continue;
        }
        if ((r = encode_text(e, j->text + begin, at - begin, err)) < 0 || (r = add_id(e, id, err)) < 0)
            return r;
        begin = at += len;
    }
    return encode_text(e, j->text + begin, j->len - begin, err);
}

static int encode_whole(struct encoder *e, const struct joined *j, unsigned flags, struct err *err)
{
    const struct vocab *v = &e->tokenizer->vocab;
    int r = 0;

    e->after_special = true;
    if ((flags & TOKENIZE_BOS) && v->adds_bos)
        r = add_id(e, v->bos, err);
    if (r == 0)
        r = encode_joined(e, j, err);
    if (r == 0 && (flags & TOKENIZE_BOS) && v->adds_eos)
        r = add_id(e, v->eos, err);
    return r;
}

/* The spans as one string: lent when there is one, or else in *ret_owned. */
static int join_spans(const struct text_span *spans, size_t n_spans, struct joined *ret_joined, char **ret_owned)
{
    size_t at = 0;

    *ret_owned = NULL;
    if (n_spans != 1) {
        *ret_owned = mem_alloc(ret_joined->len);
        if (*ret_owned == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < n_spans; i++) {
            if (spans[i].len > 0)
                memcpy(*ret_owned + at, spans[i].p, spans[i].len);
            at += spans[i].len;
        }
    }
    ret_joined->text = n_spans == 1 ? spans[0].p : *ret_owned;
    return 0;
}

int tokenizer_encode_spans(const struct tokenizer *tokenizer, const struct text_span *spans, size_t n_spans,
                           unsigned flags, size_t max_ids, struct token_ids *ids, struct err *err)
{
    struct encoder e = { .tokenizer = tokenizer, .ids = ids, .max_ids = max_ids };
    struct joined j = { .spans = spans, .n_spans = n_spans };
    size_t n_before = ids->n, room = max_ids > n_before ? max_ids - n_before : 0;
    char *owned = NULL;
    int r;

    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].len > MAX_TEXT - j.len)
            return err_set(err, ERR_TOO_LONG, "the text is longer than %u bytes", MAX_TEXT);
        j.len += spans[i].len;
    }
    if (j.len / tokenizer->vocab.max_raw > room)
        return too_long(err, max_ids);
    r = join_spans(spans, n_spans, &j, &owned);
    r = r < 0 ? err_set(err, r, "no memory to tokenize a text") : encode_whole(&e, &j, flags, err);
    if (r < 0)
        ids->n = n_before;
    merger_fini(&e.merger);
    mem_free(owned);
    return r;
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids, struct err *err)
{
    struct text_span span = { text, len, flags & TOKENIZE_SPECIAL };

    return tokenizer_encode_spans(tokenizer, &span, 1, flags, max_ids, ids, err);
}

struct gguf_str tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, bool special, bool first)
{
    const struct vocab *v = &tokenizer->vocab;
    struct gguf_str piece;

    if (id < 0 || (uint32_t)id >= v->n)
        return (struct gguf_str){ "", 0 };
    if (!special && (v->kind[id] == TOKEN_CONTROL || v->kind[id] == TOKEN_UNKNOWN))
        return (struct gguf_str){ "", 0 };
    piece = vocab_piece(v, (uint32_t)id);
    if (first && v->adds_blank && v->kind[id] == TOKEN_NORMAL && piece.len > 0 && piece.p[0] == ' ') {
        piece.p++;
        piece.len--;
    }
    return piece;
}

size_t tokenizer_size(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.n;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.bos;
}

int32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.eos;
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.adds_bos;
}

static uint8_t kind_of(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (uint32_t)id < tokenizer->vocab.n ? tokenizer->vocab.kind[id] : 0;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id)
{
    return kind_of(tokenizer, id) != 0 && tokenizer->vocab.is_end[id];
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id)
{
    return kind_of(tokenizer, id) == TOKEN_CONTROL;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *piece, size_t len)
{
    return len > 0 ? text_map_find(&tokenizer->vocab.by_raw, piece, len) : -1;
}
