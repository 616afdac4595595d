/* SPDX-License-Identifier: MIT */
#include "daemon/answer.h"

#include "daemon/api.h"

#include <stdio.h>
#include <string.h>

/* --- tokens as JSON --- */

static bool is_utf8(struct gguf_str s)
{
    size_t len;

    for (size_t i = 0; i < s.len; i += len) {
        len = utf8_length(s.p + i, s.len - i);
        if (!len)
            return false;
    }
    return true;
}

/* A token's text; a part of a character is written as OpenAI does: "bytes:\xe2\x80". */
static void token_text(struct jbuf *out, const struct answer *a, int32_t id)
{
    struct gguf_str piece = tokenizer_piece(a->api->service->tokenizer, id, true, false);

    if (is_utf8(piece)) {
        jbuf_string(out, piece.p, piece.len);
        return;
    }
    jbuf_put(out, "\"bytes:");
    for (size_t i = 0; i < piece.len; i++)
        jbuf_printf(out, "\\\\x%02x", (unsigned char)piece.p[i]);
    jbuf_put(out, "\"");
}

static void token_bytes(struct jbuf *out, const struct answer *a, int32_t id)
{
    struct gguf_str piece = tokenizer_piece(a->api->service->tokenizer, id, true, false);

    jbuf_put(out, "[");
    for (size_t i = 0; i < piece.len; i++)
        jbuf_printf(out, "%s%u", i ? "," : "", (unsigned char)piece.p[i]);
    jbuf_put(out, "]");
}

static void token_object(struct jbuf *out, const struct answer *a, int32_t id, float logprob)
{
    jbuf_put(out, "{\"token\":");
    token_text(out, a, id);
    jbuf_put(out, ",\"logprob\":");
    jbuf_number(out, logprob);
    jbuf_put(out, ",\"bytes\":");
    token_bytes(out, a, id);
}

static void chat_logprob(struct answer *a, const struct engine_event *event)
{
    struct jbuf *out = &a->logprobs.items;

    jbuf_put(out, a->logprobs.n ? "," : "");
    token_object(out, a, event->token, event->logprob);
    jbuf_put(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < event->n_top && event->top[i].token >= 0; i++) {
        jbuf_put(out, i ? "," : "");
        token_object(out, a, event->top[i].token, event->top[i].logprob);
        jbuf_put(out, "}");
    }
    jbuf_put(out, "]}");
}

static bool same_text(const struct answer *a, int32_t x, int32_t y)
{
    struct gguf_str p = tokenizer_piece(a->api->service->tokenizer, x, true, false);
    struct gguf_str q = tokenizer_piece(a->api->service->tokenizer, y, true, false);

    return p.len == q.len && memcmp(p.p, q.p, p.len) == 0;
}

/* An object keyed by text: of tokens that read the same, the likeliest alone. */
static void text_tops(struct answer *a, const struct engine_event *event)
{
    struct jbuf *out = &a->logprobs.tops;
    bool first = true;

    jbuf_put(out, "{");
    for (uint32_t i = 0; i < event->n_top && event->top[i].token >= 0; i++) {
        bool twin = false;

        for (uint32_t j = 0; j < i; j++)
            twin = twin || same_text(a, event->top[j].token, event->top[i].token);
        if (twin)
            continue;
        jbuf_put(out, first ? "" : ",");
        first = false;
        token_text(out, a, event->top[i].token);
        jbuf_put(out, ":");
        jbuf_number(out, event->top[i].logprob);
    }
    jbuf_put(out, "}");
}

static void text_logprob(struct answer *a, const struct engine_event *event)
{
    struct answer_logprobs *l = &a->logprobs;
    struct gguf_str piece = tokenizer_piece(a->api->service->tokenizer, event->token, false, false);
    const char *comma = l->n ? "," : "";

    jbuf_put(&l->items, comma);
    token_text(&l->items, a, event->token);
    jbuf_put(&l->values, comma);
    jbuf_put(&l->tops, comma);
    if (event->has_logprob) {
        jbuf_number(&l->values, event->logprob);
        text_tops(a, event);
    } else {
        jbuf_put(&l->values, "null");
        jbuf_put(&l->tops, "null");
    }
    jbuf_printf(&l->offsets, "%s%llu", comma, (unsigned long long)l->n_chars);
    for (size_t i = 0; i < piece.len; i++)
        l->n_chars += ((unsigned char)piece.p[i] & 0xc0) != 0x80;
}

void answer_json_score(struct answer *a, const struct engine_event *event)
{
    if (a->kind == API_CHAT)
        chat_logprob(a, event);
    else
        text_logprob(a, event);
    a->logprobs.n++;
}

static void put_logprobs(struct answer *a)
{
    struct answer_logprobs *l = &a->logprobs;
    struct jbuf *out = &a->out;

    if (!l->n) {
        jbuf_put(out, "null");
    } else if (a->kind == API_CHAT) {
        jbuf_put(out, "{\"content\":[");
        jbuf_raw(out, l->items.p, l->items.n);
        jbuf_put(out, "]}");
    } else {
        jbuf_put(out, "{\"tokens\":[");
        jbuf_raw(out, l->items.p, l->items.n);
        jbuf_put(out, "],\"token_logprobs\":[");
        jbuf_raw(out, l->values.p, l->values.n);
        jbuf_put(out, "],\"top_logprobs\":");
        jbuf_put(out, a->job && a->job->n_logprobs == 0 ? "null" : "[");
        if (a->job && a->job->n_logprobs > 0) {
            jbuf_raw(out, l->tops.p, l->tops.n);
            jbuf_put(out, "]");
        }
        jbuf_put(out, ",\"text_offset\":[");
        jbuf_raw(out, l->offsets.p, l->offsets.n);
        jbuf_put(out, "]}");
    }
    out->failed = out->failed || l->items.failed || l->values.failed || l->tops.failed || l->offsets.failed;
    jbuf_clear(&l->items);
    jbuf_clear(&l->values);
    jbuf_clear(&l->tops);
    jbuf_clear(&l->offsets);
    l->n = 0;
}

/* --- objects --- */

static void put_head(struct answer *a, const char *object)
{
    const char *name = a->api->service->name;

    jbuf_printf(&a->out, "{\"id\":\"%s-%llu\",\"object\":\"%s\",\"created\":%lld,\"model\":",
                a->kind == API_CHAT ? "chatcmpl" : "cmpl", (unsigned long long)a->id, object, (long long)a->created);
    jbuf_string(&a->out, name, strlen(name));
}

static void put_finish(struct answer *a, const char *finish)
{
    jbuf_put(&a->out, ",\"logprobs\":");
    put_logprobs(a);
    if (finish)
        jbuf_printf(&a->out, ",\"finish_reason\":\"%s\"}]", finish);
    else
        jbuf_put(&a->out, ",\"finish_reason\":null}]");
}

static void put_usage(struct answer *a, const struct job_figures *f)
{
    jbuf_printf(&a->out,
                ",\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
                f->n_prompt, f->n_written, f->n_prompt + f->n_written, f->n_reused);
}

static double per_second(uint32_t n, uint64_t ns)
{
    return ns ? (double)n * 1e9 / (double)ns : 0;
}

/* What only this server knows: speed, and how the experts were had. */
static void put_own(struct answer *a, const struct job_figures *f)
{
    uint32_t n_read = f->n_prompt - f->n_reused, n = n_read + f->n_written;
    uint64_t asked = f->hits + f->misses;

    jbuf_printf(&a->out,
                ",\"expertd\":{\"prompt_tokens_per_second\":%.2f,\"tokens_per_second\":%.2f,\"hit_rate\":%.4f,"
                "\"bytes_read_per_token\":%.0f,\"prompt_ms\":%.1f,\"answer_ms\":%.1f,\"seed\":%llu}",
                per_second(n_read, f->read_ns), per_second(f->n_written ? f->n_written - 1 : 0, f->write_ns),
                asked ? (double)f->hits / (double)asked : 0, n ? (double)f->bytes_read / n : 0,
                (double)f->read_ns / 1e6, (double)f->write_ns / 1e6,
                (unsigned long long)(a->job ? a->job->sampling.seed : 0));
}

void answer_json_chunk(struct answer *a, const char *finish, const struct engine_event *done)
{
    struct jbuf *out = &a->out;

    jbuf_clear(out);
    out->failed = a->text.failed; /* some of it is lost */
    jbuf_put(out, "data: ");
    put_head(a, a->kind == API_CHAT ? "chat.completion.chunk" : "text_completion");
    jbuf_put(out, ",\"choices\":[{\"index\":0,");
    if (a->kind == API_TEXT) {
        jbuf_put(out, "\"text\":");
        jbuf_string(out, a->text.p, a->text.n);
    } else if (finish && !a->text.n) {
        jbuf_put(out, "\"delta\":{}");
    } else {
        jbuf_put(out, a->streaming ? "\"delta\":{\"content\":" : "\"delta\":{\"role\":\"assistant\",\"content\":");
        jbuf_string(out, a->text.p, a->text.n);
        jbuf_put(out, "}");
    }
    jbuf_clear(&a->text);
    put_finish(a, finish);
    if (a->include_usage)
        jbuf_put(out, ",\"usage\":null");
    if (done)
        put_own(a, &done->figures);
    jbuf_put(out, "}\n\n");
}

void answer_json_usage(struct answer *a, const struct engine_event *done)
{
    jbuf_clear(&a->out);
    jbuf_put(&a->out, "data: ");
    put_head(a, a->kind == API_CHAT ? "chat.completion.chunk" : "text_completion");
    jbuf_put(&a->out, ",\"choices\":[]");
    put_usage(a, &done->figures);
    jbuf_put(&a->out, "}\n\n");
}

void answer_json_whole(struct answer *a, const char *finish, const struct engine_event *done)
{
    struct jbuf *out = &a->out;

    jbuf_clear(out);
    put_head(a, a->kind == API_CHAT ? "chat.completion" : "text_completion");
    jbuf_put(out, ",\"choices\":[{\"index\":0,");
    jbuf_put(out, a->kind == API_CHAT ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    jbuf_string(out, a->text.p, a->text.n);
    jbuf_put(out, a->kind == API_CHAT ? "}" : "");
    put_finish(a, finish);
    put_usage(a, &done->figures);
    put_own(a, &done->figures);
    jbuf_put(out, "}\n");
    out->failed = out->failed || a->text.failed;
}

void answer_json_ids(struct answer *a)
{
    const struct token_ids *ids = &a->job->prompt;

    jbuf_clear(&a->out);
    jbuf_printf(&a->out, "{\"count\":%zu,\"tokens\":[", ids->n);
    for (size_t i = 0; i < ids->n; i++)
        jbuf_printf(&a->out, "%s%d", i ? "," : "", ids->v[i]);
    jbuf_put(&a->out, "]}\n");
}
