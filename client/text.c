/* SPDX-License-Identifier: MIT */
#include "client/text.h"

#include "client/expert.h"

#include <stdlib.h>
#include <string.h>

void text_init(struct text *text, size_t limit_bytes)
{
    *text = (struct text){ .limit_bytes = limit_bytes };
}

void text_fini(struct text *text)
{
    free(text->bytes);
    *text = (struct text){ .limit_bytes = text->limit_bytes };
}

void text_clear(struct text *text)
{
    text->n = 0;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

int text_append(struct text *text, const char *bytes, size_t n_bytes)
{
    size_t room = text->room_bytes > 0 ? text->room_bytes : 256;
    char *grown;

    if (n_bytes > text->limit_bytes - text->n)
        return EXPERT_ERR_PROTOCOL;
    while (room < text->n + n_bytes + 1)
        room *= 2;
    if (room != text->room_bytes) {
        grown = realloc(text->bytes, room);
        if (grown == NULL)
            return EXPERT_ERR_MEMORY;
        text->bytes = grown;
        text->room_bytes = room;
    }
    if (n_bytes > 0)
        memcpy(text->bytes + text->n, bytes, n_bytes);
    text->n += n_bytes;
    text->bytes[text->n] = '\0';
    return 0;
}

const char *text_string(const struct text *text)
{
    return text->bytes != NULL ? text->bytes : "";
}
