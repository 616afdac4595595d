/* SPDX-License-Identifier: MIT */
#include "model/tokenizer.h"

#include "model/utf8.h"

#include <string.h>

void detokenizer_init(struct detokenizer *d, const struct tokenizer *tokenizer)
{
    *d = (struct detokenizer){ .tokenizer = tokenizer };
}

/* Each held byte and each byte of the piece may turn out to be malformed, and U+FFFD has three. */
size_t detokenizer_max(const struct detokenizer *d, int32_t id)
{
    return 3 * (d->n_held + tokenizer_piece(d->tokenizer, id, false, false).len);
}

static size_t put_replacement(char *out)
{
    memcpy(out, UTF8_REPLACEMENT, 3);
    return 3;
}

/* Take one byte; write what became whole or hopeless. At most one character is ever held. */
static size_t put_byte(struct detokenizer *d, unsigned char byte, char *out)
{
    size_t n_out = 0;
    int len;

    d->held[d->n_held++] = byte;
    while (d->n_held > 0 && (len = utf8_scan(d->held, d->n_held)) != 0) {
        size_t used = len > 0 ? (size_t)len : (size_t)-len;

        if (len > 0) {
            memcpy(out + n_out, d->held, used);
            n_out += used;
        } else {
            n_out += put_replacement(out + n_out);
        }
        d->n_held -= used;
        memmove(d->held, d->held + used, d->n_held);
    }
    return n_out;
}

size_t detokenizer_put(struct detokenizer *d, int32_t id, char *out)
{
    struct gguf_str piece = tokenizer_piece(d->tokenizer, id, false, d->first);
    size_t n_out = 0;

    if (piece.len > 0 || tokenizer_piece(d->tokenizer, id, false, false).len > 0)
        d->first = false;
    for (size_t i = 0; i < piece.len; i++)
        n_out += put_byte(d, (unsigned char)piece.p[i], out + n_out);
    return n_out;
}

size_t detokenizer_finish(struct detokenizer *d, char *out)
{
    size_t n = d->n_held > 0 ? put_replacement(out) : 0;

    d->n_held = 0;
    return n;
}
