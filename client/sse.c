/* SPDX-License-Identifier: MIT */
#include "client/sse.h"

#include <string.h>

static const char byte_order_mark[] = "\xef\xbb\xbf";

void sse_init(struct sse *sse, size_t limit_bytes, sse_event_fn *on_event, void *user)
{
    *sse = (struct sse){ .on_event = on_event, .user = user };
    text_init(&sse->line, limit_bytes);
    text_init(&sse->data, limit_bytes);
}

void sse_fini(struct sse *sse)
{
    text_fini(&sse->line);
    text_fini(&sse->data);
}

static int event_end(struct sse *sse)
{
    int r = 0;

    if (sse->has_data) {
        sse->data.n--; /* the newline behind the last data line */
        sse->data.bytes[sse->data.n] = '\0';
        r = sse->on_event(sse->user, sse->data.bytes, sse->data.n);
    }
    text_clear(&sse->data);
    sse->has_data = false;
    return r;
}

static int data_line(struct sse *sse, const char *value, size_t n_bytes)
{
    int r = text_append(&sse->data, value, n_bytes);

    if (r == 0)
        r = text_append(&sse->data, "\n", 1);
    sse->has_data = r == 0;
    return r;
}

static int line_end(struct sse *sse)
{
    const char *line = text_string(&sse->line);
    size_t n = sse->line.n, name;
    int r = 0;

    if (sse->in_comment) {
        sse->in_comment = false;
        return 0;
    }
    if (n == 0)
        return event_end(sse);
    name = strcspn(line, ":");
    if (name == 4 && memcmp(line, "data", 4) == 0) {
        const char *value = line + (n > 4 ? 5 : 4);

        if (*value == ' ')
            value++;
        r = data_line(sse, value, (size_t)(line + n - value));
    }
    text_clear(&sse->line);
    return r;
}

/* How many of these bytes are the line's own. */
static size_t line_span(const char *bytes, size_t n_bytes)
{
    const char *lf = memchr(bytes, '\n', n_bytes);
    size_t n = lf != NULL ? (size_t)(lf - bytes) : n_bytes;
    const char *cr = memchr(bytes, '\r', n);

    return cr != NULL ? (size_t)(cr - bytes) : n;
}

static int line_part(struct sse *sse, const char *bytes, size_t n_bytes)
{
    int r;

    if (sse->in_comment || n_bytes == 0)
        return 0;
    if (sse->line.n == 0 && bytes[0] == ':') {
        sse->in_comment = true;
        sse->n_comments++;
        return 0;
    }
    r = text_append(&sse->line, bytes, n_bytes);
    return r;
}

/* The mark may come in three parts; until it is whole or refuted, it waits in the line. */
static void skip_byte_order_mark(struct sse *sse)
{
    if (sse->line.n == 3 && memcmp(sse->line.bytes, byte_order_mark, 3) == 0)
        text_clear(&sse->line);
}

int sse_feed(struct sse *sse, const char *bytes, size_t n_bytes)
{
    int r = 0;

    while (n_bytes > 0 && r == 0) {
        size_t n;

        if (sse->after_cr && *bytes == '\n') {
            sse->after_cr = false;
            bytes++, n_bytes--, sse->n_bytes++;
            continue;
        }
        sse->after_cr = false;
        n = line_span(bytes, n_bytes);
        if (sse->n_bytes < 3 && n > 3 - sse->n_bytes)
            n = 3 - (size_t)sse->n_bytes; /* look at the start by itself */
        r = line_part(sse, bytes, n);
        if (r < 0)
            break;
        bytes += n, n_bytes -= n, sse->n_bytes += n;
        if (sse->n_bytes == 3)
            skip_byte_order_mark(sse);
        if (n_bytes == 0 || (*bytes != '\n' && *bytes != '\r'))
            continue;
        sse->after_cr = *bytes == '\r';
        bytes++, n_bytes--, sse->n_bytes++;
        r = line_end(sse);
    }
    return r;
}
