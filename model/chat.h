/* SPDX-License-Identifier: MIT
 *
 * chat.h: a conversation written as the prompt that a model was trained on.
 *
 * Families of formats, recognised from the GGUF's tokenizer.chat_template by marks that are theirs alone; not a Jinja
 * interpreter. An unrecognised template falls back to chatml and says so (`ret_recognised`). Thread-safe.
 */
#ifndef EXPERTD_MODEL_CHAT_H
#define EXPERTD_MODEL_CHAT_H

#include "base/err.h"
#include "model/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

enum chat_format { CHAT_CHATML, CHAT_MISTRAL, CHAT_LLAMA2, CHAT_LLAMA3, CHAT_TULU, CHAT_ZEPHYR, CHAT_FORMATS };

struct chat_message {
    const char *role;    /* "system", "user", "assistant"; "tool" and "developer" are mapped as chat.c says */
    const char *content; /* plain UTF-8; marks inside it are text */
    size_t content_len;
};

enum chat_format chat_format_detect(const struct gguf *gguf, bool *ret_recognised);
const char *chat_format_name(enum chat_format format);

/* Tokenize a conversation, ending where the assistant is to speak. Marks of the format become control tokens; message
 * contents never do. Refuses what the format cannot say (unknown role, no messages) by name. */
int chat_encode(enum chat_format format, const struct tokenizer *tokenizer, const struct chat_message *messages,
                size_t n_messages, size_t max_ids, struct token_ids *ids, struct err *err);

/* Texts that end an answer in this format though they are no end-of-generation token (NULL-terminated; may be none). */
const char *const *chat_format_stops(enum chat_format format);

#endif
