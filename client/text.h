/* SPDX-License-Identifier: MIT
 *
 * text.h: bytes that grow, up to a limit.
 *
 * What a peer sends has no length that can be trusted; a text has one, given at its start. Always NUL-terminated once
 * something has been appended (the NUL is not counted); may hold NULs of its own. Caller's storage, owns its bytes.
 */
#ifndef EXPERT_CLIENT_TEXT_H
#define EXPERT_CLIENT_TEXT_H

#include <stddef.h>

struct text {
    char *bytes; /* [n] and a NUL; NULL while empty and never used */
    size_t n;
    size_t room_bytes;
    size_t limit_bytes; /* n never goes beyond */
};

void text_init(struct text *text, size_t limit_bytes);
void text_fini(struct text *text);

/* Empty it; keeps the room. */
void text_clear(struct text *text);

/* 0, EXPERT_ERR_MEMORY, or EXPERT_ERR_PROTOCOL when the limit is passed (nothing is appended then). */
int text_append(struct text *text, const char *bytes, size_t n_bytes);

/* The bytes as a C string; "" while empty. Lent until the next change. */
const char *text_string(const struct text *text);

#endif
