/* SPDX-License-Identifier: MIT
 *
 * sse.h: a parser of server-sent events (HTML Living Standard, section 9.2.6, "Interpreting an event stream").
 *
 * Bytes go in as they come, cut anywhere; whole events come out. Lines may end in LF, CR or CRLF; a byte order mark at
 * the start is skipped; comments (which serve as pings) are dropped unread; several data lines of one event are joined
 * by newlines; fields other than data are ignored, and so is an event that the stream's end cuts off.
 *
 * Bounded: an event's data, or a line, of more than `limit_bytes` is an error and not memory. The parser allocates only
 * as lines get longer than any before. Caller's storage; one thread at a time.
 */
#ifndef EXPERT_CLIENT_SSE_H
#define EXPERT_CLIENT_SSE_H

#include "client/text.h"

#include <stdbool.h>
#include <stdint.h>

/* One event's data, NUL-terminated (the NUL is not counted), valid during the call. Not 0 stops the parser. */
typedef int sse_event_fn(void *user, const char *data, size_t n_bytes);

struct sse {
    sse_event_fn *on_event;
    void *user;
    struct text line; /* the line being read, without its end */
    struct text data; /* the event being read, a newline behind each data line */
    bool has_data;    /* the event has had a data line, perhaps an empty one */
    bool in_comment;  /* the rest of this line is of no interest */
    bool after_cr;    /* an LF that comes next belongs to the CR before */
    uint64_t n_bytes; /* fed so far */
    uint64_t n_comments;
};

void sse_init(struct sse *sse, size_t limit_bytes, sse_event_fn *on_event, void *user);
void sse_fini(struct sse *sse);

/*
 * Parse the next bytes. 0; EXPERT_ERR_PROTOCOL when a line or an event is too long; EXPERT_ERR_MEMORY; or what on_event
 * returned if that was not 0. After an error the parser is of no more use.
 */
int sse_feed(struct sse *sse, const char *bytes, size_t n_bytes);

#endif
