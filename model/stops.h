/* SPDX-License-Identifier: MIT
 *
 * stops.h: the texts that end an answer, found wherever the borders of tokens fall.
 *
 * Text goes in piece by piece and comes out as soon as it can no longer be the beginning of a stop. The stop that is
 * complete first ends the answer (of several that end at the same byte, the longest): the text before it comes out, it
 * and everything after do not. What comes out does not depend on how the text was cut into pieces.
 *
 * One per stream, used by one thread at a time. Allocates at open only.
 */
#ifndef EXPERTD_MODEL_STOPS_H
#define EXPERTD_MODEL_STOPS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define STOPS_MAX 16
#define STOPS_MAX_BYTES 1024 /* of one stop */

struct stop_text {
    const char *p;
    size_t len;
};

struct stops;

/* Texts are copied. Refuses empty and over-long ones, and too many, by name. None at all is fine. */
int stops_open(const struct stop_text *texts, size_t n, struct stops **ret_stops, struct err *err);
void stops_close(struct stops *stops);

/* Feed a piece. Writes what may go out now to `out`, which must hold stops_max(stops, len) bytes; returns its length.
 * After a hit nothing comes out any more. */
size_t stops_max(const struct stops *stops, size_t len);
size_t stops_put(struct stops *stops, const char *text, size_t len, char *out);
/* The answer ended by itself: what was held back goes out (stops_max(stops, 0) bytes at most). */
size_t stops_finish(struct stops *stops, char *out);

bool stops_any(const struct stops *stops); /* there is something to look for */
bool stops_hit(const struct stops *stops);
/* Which one was hit: its index at open; -1: none. */
int stops_which(const struct stops *stops);

#endif
