/* SPDX-License-Identifier: MIT */
#include "model/tokenizer_split.h"

#include "base/mem.h"
#include "model/tokenizer_patterns.h"
#include "model/utf8.h"

#include <errno.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define N_SPLITTERS (sizeof(splitters) / sizeof(splitters[0]))

struct splitter {
    size_t n;
    pcre2_code *code[PATTERNS_MAX];
    pcre2_general_context *memory;
};

/* One run over one text. */
struct run {
    const struct splitter *splitter;
    pcre2_match_data *match;
    splitter_on_piece on_piece;
    void *ctx;
    struct err *err;
};

static size_t find_splitter(struct gguf_str name)
{
    for (size_t i = 0; i < N_SPLITTERS; i++)
        if (strlen(splitters[i].name) == name.len && memcmp(splitters[i].name, name.p, name.len) == 0)
            return i;
    return N_SPLITTERS;
}

struct splitter_traits splitter_look_up(struct gguf_str name)
{
    size_t i = name.len > 0 ? find_splitter(name) : N_SPLITTERS;

    if (i == N_SPLITTERS)
        return (struct splitter_traits){ .known = false };
    return (struct splitter_traits){
        .known = true,
        .whole_words = splitters[i].traits & WHOLE_WORDS,
        .bos_by_default = splitters[i].traits & WITH_BOS,
    };
}

static void *pcre_alloc(PCRE2_SIZE bytes, void *ctx)
{
    (void)ctx;
    return mem_alloc(bytes);
}

static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    mem_free(p);
}

static int compile(struct splitter *s, const char *regex, struct err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(s->memory);
    PCRE2_SIZE at;
    int code;

    if (context == NULL)
        return err_set(err, -ENOMEM, "no memory for a pre-tokenizer");
    s->code[s->n] = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, context);
    pcre2_compile_context_free(context);
    if (s->code[s->n] == NULL)
        return err_set(err, -ENOMEM, "the pre-tokenizer's expression %zu does not compile (PCRE2 error %d at %zu)",
                       s->n, code, (size_t)at);
    /* Refused where the process may not make code at run time; matching then interprets, slower. */
    (void)pcre2_jit_compile(s->code[s->n++], PCRE2_JIT_COMPLETE);
    return 0;
}

int splitter_open(struct gguf_str name, struct splitter **ret_splitter, struct err *err)
{
    size_t i = name.len > 0 ? find_splitter(name) : N_SPLITTERS;
    const struct patterns *patterns = i < N_SPLITTERS ? splitters[i].patterns : &patterns_default;
    struct splitter *s = mem_zalloc(sizeof(*s));
    int r;

    if (s == NULL)
        return err_set(err, -ENOMEM, "no memory for a pre-tokenizer");
    s->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (s->memory == NULL) {
        splitter_close(s);
        return err_set(err, -ENOMEM, "no memory for a pre-tokenizer");
    }
    for (size_t k = 0; k < PATTERNS_MAX && patterns->regex[k] != NULL; k++) {
        r = compile(s, patterns->regex[k], err);
        if (r < 0) {
            splitter_close(s);
            return r;
        }
    }
    *ret_splitter = s;
    return 0;
}

void splitter_close(struct splitter *splitter)
{
    if (splitter == NULL)
        return;
    for (size_t i = 0; i < splitter->n; i++)
        pcre2_code_free(splitter->code[i]);
    if (splitter->memory != NULL)
        pcre2_general_context_free(splitter->memory);
    mem_free(splitter);
}

static int split_from(const struct run *run, size_t level, const char *text, size_t len);

static int split_part(const struct run *run, size_t level, const char *text, size_t from, size_t to)
{
    return from < to ? split_from(run, level + 1, text + from, to - from) : 0;
}

/* Cut one piece by the expression of this level, and what comes of it by those after it: at most PATTERNS_MAX deep. */
static int split_from(const struct run *run, size_t level, const char *text, size_t len)
{
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(run->match);
    size_t at = 0;
    int r;

    if (level == run->splitter->n)
        return run->on_piece(run->ctx, text, len, run->err);
    while (at < len) {
        size_t begin, end;

        r = pcre2_match(run->splitter->code[level], (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK, run->match, NULL);
        if (r == PCRE2_ERROR_NOMATCH)
            break;
        if (r < 0)
            return err_set(run->err, r == PCRE2_ERROR_NOMEMORY ? -ENOMEM : ERR_UNSUPPORTED,
                           "text too intricate for the pre-tokenizer (PCRE2 error %d)", r);
        begin = found[0];
        end = found[1];
        if (end <= begin)
            break;
        if ((r = split_part(run, level, text, at, begin)) < 0 || (r = split_part(run, level, text, begin, end)) < 0)
            return r;
        at = end;
    }
    return split_part(run, level, text, at, len);
}

/* The longest run from the front that is all UTF-8, or all not; returns its length. */
static size_t run_length(const unsigned char *p, size_t len, bool *ret_is_utf8)
{
    size_t n = 0;

    *ret_is_utf8 = utf8_scan(p, len) > 0;
    while (n < len) {
        int step = utf8_scan(p + n, len - n);

        if ((step > 0) != *ret_is_utf8)
            break;
        n += step > 0 ? (size_t)step : 1;
    }
    return n;
}

int splitter_run(const struct splitter *splitter, const char *text, size_t len, splitter_on_piece on_piece, void *ctx,
                 struct err *err)
{
    struct run run = { .splitter = splitter, .on_piece = on_piece, .ctx = ctx, .err = err };
    int r = 0;

    run.match = pcre2_match_data_create(8, splitter->memory);
    if (run.match == NULL)
        return err_set(err, -ENOMEM, "no memory to split text");
    for (size_t at = 0, n; r >= 0 && at < len; at += n) {
        bool is_utf8;

        n = run_length((const unsigned char *)text + at, len - at, &is_utf8);
        r = is_utf8 ? split_from(&run, 0, text + at, n) : on_piece(ctx, text + at, n, err);
    }
    pcre2_match_data_free(run.match);
    return r < 0 ? r : 0;
}
