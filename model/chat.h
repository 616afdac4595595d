/* SPDX-License-Identifier: MIT
 *
 * chat.h: a conversation written as the prompt that a model was trained on.
 *
 * Families of formats, recognised from the GGUF's tokenizer.chat_template by marks that are theirs alone
 * (chat_format.c); not a Jinja interpreter. Each writes what its template writes for a conversation without tools, with
 * the template's own defaults. An unrecognised template falls back to chatml and says so (`ret_recognised`).
 * Thread-safe.
 *
 * Roles: "system" and "developer" (the same), "user", "assistant", and "tool" where the format has it. Formats of the
 * [INST] kind have room for one system message, the first, and want user and assistant to take turns.
 */
#ifndef EXPERTD_MODEL_CHAT_H
#define EXPERTD_MODEL_CHAT_H

#include "base/err.h"
#include "model/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

enum chat_format {
    CHAT_CHATML,  /* <|im_start|>user\n...<|im_end|>\n */
    CHAT_QWEN1_5, /* chatml with a system message of its own where none is given; so do the next two */
    CHAT_QWEN2,
    CHAT_QWEN2_5,
    CHAT_QWEN3,          /* chatml; thoughts (<think>) of earlier answers are left out */
    CHAT_QWEN3_INSTRUCT, /* chatml, with tool results */
    CHAT_QWEN3_CODER,    /* chatml */
    CHAT_QWEN3_THINKING, /* as qwen3, and an answer begins inside <think> */
    CHAT_LLAMA2,         /* <s>[INST] <<SYS>>\n...\n<</SYS>>\n\n... [/INST] ... </s> */
    CHAT_LLAMA3,         /* <|start_header_id|>user<|end_header_id|>\n\n...<|eot_id|> */
    CHAT_LLAMA3_1,       /* llama-3 with a system message that names the dates */
    CHAT_MISTRAL,        /* <s>[INST] ... [/INST]...</s>; Mistral and Mixtral as first published */
    CHAT_MISTRAL_V1,     /* <s> [INST] ... [/INST] ...</s>; Mixtral 8x7B as revised */
    CHAT_MISTRAL_V3,     /* <s>[INST] ...[/INST] ...</s>; Mixtral 8x22B */
    CHAT_MISTRAL_NEMO,   /* <s>[INST]...[/INST]...</s> */
    CHAT_TULU,           /* <|user|>\n...\n<|assistant|>\n; OLMoE */
    CHAT_ZEPHYR,         /* <|user|>\n...</s>\n */
    CHAT_PHI3,           /* <|user|>\n...<|end|>\n */
    CHAT_FORMATS,
};

struct chat_message {
    const char *role;
    const char *content; /* plain UTF-8; marks inside it are text */
    size_t content_len;
};

enum chat_format chat_format_detect(const struct gguf *gguf, bool *ret_recognised);
/* The same from a template's text. */
enum chat_format chat_format_of(const char *text, size_t len, bool *ret_recognised);
const char *chat_format_name(enum chat_format format);

/* Tokenize a conversation, ending where the assistant is to speak. Marks of the format become control tokens; message
 * contents never do. Refuses what the format cannot say (unknown role, no messages) by name. */
int chat_encode(enum chat_format format, const struct tokenizer *tokenizer, const struct chat_message *messages,
                size_t n_messages, size_t max_ids, struct token_ids *ids, struct err *err);

/* Texts that end an answer in this format though they are no end-of-generation token (NULL-terminated; may be none). */
const char *const *chat_format_stops(enum chat_format format);

/* A conversation as spans of text: marks are `special`, contents are not. The spans lend from the messages, from static
 * storage, and from bos and eos (how the vocabulary writes them; either may be empty). The BOS that begins a prompt is
 * not in the text: chat_encode puts it there as a token. */
struct chat_prompt {
    struct text_span *spans;
    size_t n, cap;
};
int chat_render(enum chat_format format, struct gguf_str bos, struct gguf_str eos, const struct chat_message *messages,
                size_t n_messages, struct chat_prompt *ret_prompt, struct err *err);
void chat_prompt_fini(struct chat_prompt *prompt);

#endif
