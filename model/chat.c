/* SPDX-License-Identifier: MIT */
#include "model/chat.h"

#include "base/mem.h"
#include "model/chat_format.h"
#include "model/utf8.h"

#include <errno.h>
#include <string.h>

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLES };

static const char *const role_names[ROLES] = { "system", "user", "assistant", "tool" };

/* One call of chat_render. */
struct renderer {
    const struct chat_row *row;
    struct gguf_str bos, eos;
    const struct chat_message *messages;
    size_t n;
    struct chat_prompt *prompt;
    int result; /* the first failure */
};

static void put(struct renderer *r, const char *p, size_t len, bool special)
{
    struct chat_prompt *prompt = r->prompt;

    if (r->result < 0 || len == 0)
        return;
    if (prompt->n == prompt->cap) {
        size_t cap = prompt->cap > 0 ? 2 * prompt->cap : 32;
        struct text_span *spans = mem_realloc(prompt->spans, cap * sizeof(*spans));

        if (spans == NULL) {
            r->result = -ENOMEM;
            return;
        }
        prompt->spans = spans;
        prompt->cap = cap;
    }
    prompt->spans[prompt->n++] = (struct text_span){ p, len, special };
}

static void put_mark(struct renderer *r, const char *mark)
{
    put(r, mark, strlen(mark), true);
}

static void put_text(struct renderer *r, struct gguf_str text)
{
    put(r, text.p, text.len, false);
}

static enum role role_of(const struct chat_message *m)
{
    if (strcmp(m->role, "developer") == 0)
        return ROLE_SYSTEM;
    for (int i = 0; i < ROLES; i++)
        if (strcmp(m->role, role_names[i]) == 0)
            return (enum role)i;
    return ROLES;
}

static struct gguf_str content_of(const struct chat_message *m)
{
    return (struct gguf_str){ m->content, m->content_len };
}

/* What templates call trim: blanks as Unicode has them. */
static bool is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Length of the blank at the front, or at the end; 0: none. */
static size_t blank_at_front(struct gguf_str s)
{
    int len = s.len > 0 ? utf8_scan((const unsigned char *)s.p, s.len) : 0;

    return len > 0 && is_blank(utf8_decode((const unsigned char *)s.p, len)) ? (size_t)len : 0;
}

static size_t blank_at_end(struct gguf_str s)
{
    size_t len = s.len > 0 ? 1 : 0;

    while (len > 0 && len < 3 && len < s.len && ((unsigned char)s.p[s.len - len] & 0xc0) == 0x80)
        len++;
    return len > 0 && blank_at_front((struct gguf_str){ s.p + s.len - len, len }) == len ? len : 0;
}

static struct gguf_str trim_end(struct gguf_str s)
{
    for (size_t n; (n = blank_at_end(s)) > 0;)
        s.len -= n;
    return s;
}

static struct gguf_str trim(struct gguf_str s)
{
    for (size_t n; (n = blank_at_front(s)) > 0; s.p += n)
        s.len -= n;
    return trim_end(s);
}

static struct gguf_str trim_newlines(struct gguf_str s)
{
    for (; s.len > 0 && s.p[0] == '\n'; s.p++)
        s.len--;
    while (s.len > 0 && s.p[s.len - 1] == '\n')
        s.len--;
    return s;
}

/* Cut at the last `mark`: what is before it and what is behind. False when there is none. */
static bool cut_last(struct gguf_str s, const char *mark, struct gguf_str *ret_before, struct gguf_str *ret_behind)
{
    size_t n = strlen(mark);

    for (size_t at = s.len; at >= n; at--)
        if (memcmp(s.p + at - n, mark, n) == 0) {
            *ret_before = (struct gguf_str){ s.p, at - n };
            *ret_behind = (struct gguf_str){ s.p + at, s.len - at };
            return true;
        }
    return false;
}

/* An answer with thoughts: they are dropped from answers that a user has replied to, and spelled out in later ones. */
static void put_thinking_answer(struct renderer *r, size_t i, size_t last_user)
{
    struct gguf_str content = content_of(&r->messages[i]), before, thought = { "", 0 };

    if (cut_last(content, "</think>", &before, &content)) {
        while (content.len > 0 && content.p[0] == '\n') {
            content.p++;
            content.len--;
        }
        /* The template takes the text up to the first end of thought. */
        before = content_of(&r->messages[i]);
        before.len = (size_t)((const char *)memmem(before.p, before.len, "</think>", 8) - before.p);
        thought = before;
        cut_last(before, "<think>", &before, &thought);
        thought = trim_newlines(thought);
    }
    if (i > last_user && (i + 1 == r->n || thought.len > 0)) {
        put_mark(r, "<think>\n");
        put_text(r, thought);
        put_mark(r, "\n</think>\n\n");
        while (content.len > 0 && content.p[0] == '\n') {
            content.p++;
            content.len--;
        }
    }
    put_text(r, content);
}

static void put_tool_result(struct renderer *r, size_t i)
{
    if (i == 0 || role_of(&r->messages[i - 1]) != ROLE_TOOL)
        put_mark(r, "<|im_start|>user");
    put_mark(r, "\n<tool_response>\n");
    put_text(r, content_of(&r->messages[i]));
    put_mark(r, "\n</tool_response>");
    if (i + 1 == r->n || role_of(&r->messages[i + 1]) != ROLE_TOOL)
        put_mark(r, r->row->foot);
}

static void put_head(struct renderer *r, enum role role)
{
    put_mark(r, r->row->head);
    put_mark(r, role_names[role]);
    put_mark(r, r->row->after_role);
}

static void put_system(struct renderer *r, struct gguf_str content)
{
    put_head(r, ROLE_SYSTEM);
    if (r->row->system_head != NULL)
        put_mark(r, r->row->system_head);
    put_text(r, content);
    put_mark(r, r->row->foot);
}

static void put_turn(struct renderer *r, size_t i, size_t last_user)
{
    const struct chat_message *m = &r->messages[i];
    enum role role = role_of(m);
    unsigned flags = r->row->flags;
    struct gguf_str content = flags & CHAT_TRIM ? trim(content_of(m)) : content_of(m);

    if (i == 0 && role == ROLE_SYSTEM && r->row->system_head != NULL) {
        put_system(r, content);
        return;
    }
    if (role == ROLE_TOOL && (flags & CHAT_TOOLS)) {
        put_tool_result(r, i);
        return;
    }
    put_head(r, role);
    if (role == ROLE_ASSISTANT && (flags & CHAT_THINK))
        put_thinking_answer(r, i, last_user);
    else
        put_text(r, content);
    if ((flags & CHAT_EOS_EACH) || (role == ROLE_ASSISTANT && (flags & CHAT_EOS_FOOT)))
        put(r, r->eos.p, r->eos.len, true);
    put_mark(r, r->row->foot);
}

static bool is_tool_result(struct gguf_str s)
{
    return s.len >= 31 && memcmp(s.p, "<tool_response>", 15) == 0 &&
           memcmp(s.p + s.len - 16, "</tool_response>", 16) == 0;
}

static void render_turns(struct renderer *r)
{
    size_t last_user = r->n - 1;

    for (size_t i = r->n; i-- > 0;)
        if (role_of(&r->messages[i]) == ROLE_USER && !is_tool_result(content_of(&r->messages[i]))) {
            last_user = i;
            break;
        }
    if (r->row->system_default != NULL && role_of(&r->messages[0]) != ROLE_SYSTEM)
        put_system(r, (struct gguf_str){ r->row->system_default, strlen(r->row->system_default) });
    for (size_t i = 0; i < r->n; i++)
        put_turn(r, i, last_user);
    put_mark(r, r->row->answer);
}

static void put_inst(struct renderer *r, size_t i, size_t first, const struct chat_message *system)
{
    const struct chat_row *row = r->row;
    struct gguf_str content = content_of(&r->messages[i]);

    if ((row->flags & CHAT_BOS_EACH) && i > first)
        put(r, r->bos.p, r->bos.len, true);
    put_mark(r, row->head);
    if (system != NULL && i == (row->flags & CHAT_SYSTEM_LAST ? r->n - 1 : first)) {
        put_mark(r, row->flags & CHAT_SYS_MARKS ? "<<SYS>>\n" : "");
        put_text(r, content_of(system));
        put_mark(r, row->flags & CHAT_SYS_MARKS ? "\n<</SYS>>\n\n" : "\n\n");
        content = row->flags & CHAT_TRIM ? trim_end(content) : content;
    } else {
        content = row->flags & CHAT_TRIM ? trim(content) : content;
    }
    put_text(r, content);
    put_mark(r, row->foot);
}

static void put_inst_answer(struct renderer *r, size_t i)
{
    struct gguf_str content = content_of(&r->messages[i]);

    put_mark(r, r->row->answer);
    put_text(r, r->row->flags & (CHAT_TRIM | CHAT_TRIM_ANSWER) ? trim(content) : content);
    put_mark(r, r->row->after_answer);
    put(r, r->eos.p, r->eos.len, true);
}

static void render_inst(struct renderer *r)
{
    const struct chat_message *system = role_of(&r->messages[0]) == ROLE_SYSTEM ? &r->messages[0] : NULL;
    size_t first = system != NULL ? 1 : 0;

    for (size_t i = first; i < r->n; i++) {
        if (role_of(&r->messages[i]) == ROLE_USER)
            put_inst(r, i, first, system);
        else
            put_inst_answer(r, i);
    }
}

/* Turns of user and assistant, after an optional system message, ending with the user. */
static int check_alternation(const struct chat_row *row, const struct chat_message *messages, size_t n, struct err *err)
{
    size_t first = role_of(&messages[0]) == ROLE_SYSTEM ? 1 : 0;

    for (size_t i = first; i < n; i++) {
        enum role want = (i - first) % 2 == 0 ? ROLE_USER : ROLE_ASSISTANT;

        if (role_of(&messages[i]) != want)
            return err_set(err, -EINVAL,
                           "messages[%zu] is by '%s', but this model's chat format (%s) takes one system message at "
                           "most, first, and then user and assistant in turns",
                           i, messages[i].role, row->name);
    }
    if ((n - first) % 2 == 0)
        return err_set(err, -EINVAL, "the last of 'messages' must be by 'user' in this model's chat format (%s)",
                       row->name);
    return 0;
}

static int check_tools(const struct chat_row *row, const struct chat_message *messages, size_t n, struct err *err)
{
    for (size_t i = 0; i < n && (row->flags & CHAT_NO_TOOLS); i++)
        if (role_of(&messages[i]) == ROLE_TOOL)
            return err_set(err, -EINVAL,
                           "messages[%zu] is by 'tool', which this model's chat format (%s) does not have", i,
                           row->name);
    return 0;
}

static int check_messages(const struct chat_row *row, const struct chat_message *messages, size_t n, struct err *err)
{
    if (n == 0)
        return err_set(err, -EINVAL, "'messages' is empty");
    for (size_t i = 0; i < n; i++)
        if (role_of(&messages[i]) == ROLES)
            return err_set(err, -EINVAL,
                           "messages[%zu] has the role '%.40s'; 'system', 'developer', 'user', 'assistant' and 'tool' "
                           "are known",
                           i, messages[i].role);
    return row->inst ? check_alternation(row, messages, n, err) : check_tools(row, messages, n, err);
}

int chat_render(enum chat_format format, struct gguf_str bos, struct gguf_str eos, const struct chat_message *messages,
                size_t n_messages, struct chat_prompt *ret_prompt, struct err *err)
{
    struct chat_prompt prompt = { 0 };
    struct renderer r = { chat_format_row(format), bos, eos, messages, n_messages, &prompt, 0 };
    int checked = check_messages(r.row, messages, n_messages, err);

    if (checked < 0)
        return checked;
    if (r.row->inst)
        render_inst(&r);
    else
        render_turns(&r);
    if (r.result < 0) {
        chat_prompt_fini(&prompt);
        return err_set(err, r.result, "no memory for a conversation of %zu messages", n_messages);
    }
    *ret_prompt = prompt;
    return 0;
}

void chat_prompt_fini(struct chat_prompt *prompt)
{
    mem_free(prompt->spans);
    *prompt = (struct chat_prompt){ 0 };
}

int chat_encode(enum chat_format format, const struct tokenizer *tokenizer, const struct chat_message *messages,
                size_t n_messages, size_t max_ids, struct token_ids *ids, struct err *err)
{
    int32_t bos = tokenizer_bos(tokenizer);
    bool begins = tokenizer_adds_bos(tokenizer) || (chat_format_row(format)->flags & CHAT_BOS);
    size_t n_before = ids->n;
    struct chat_prompt prompt;
    int r = chat_render(format, tokenizer_piece(tokenizer, bos, true, false),
                        tokenizer_piece(tokenizer, tokenizer_eos(tokenizer), true, false), messages, n_messages,
                        &prompt, err);

    if (r < 0)
        return r;
    if (begins && bos >= 0 && token_ids_add(ids, bos) < 0)
        r = err_set(err, -ENOMEM, "no memory to tokenize a text");
    if (r == 0)
        r = tokenizer_encode_spans(tokenizer, prompt.spans, prompt.n, 0, max_ids, ids, err);
    if (r < 0)
        ids->n = n_before;
    chat_prompt_fini(&prompt);
    return r;
}
