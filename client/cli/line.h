/* SPDX-License-Identifier: MIT
 *
 * line.h: lines that a person types, with editing and history; or lines of a pipe.
 *
 * On a terminal libedit edits, and what was typed is kept in $XDG_STATE_HOME/expert/history (or ~/.local/state/...),
 * for the next time, readable by its user alone. Ctrl-C drops the line being typed. The only file that knows libedit.
 *
 * Ownership: open/close; a line is lent until the next one. One thread.
 */
#ifndef EXPERT_CLIENT_CLI_LINE_H
#define EXPERT_CLIENT_CLI_LINE_H

#include <stdbool.h>

struct line;

/* NULL when out of memory. */
struct line *line_open(const char *prompt);
void line_close(struct line *line);

/* Somebody types, as opposed to a pipe. */
bool line_is_typed(const struct line *line);

/* The next line without its end; NULL at the end of input, or when a signal other than SIGINT has come. */
const char *line_read(struct line *line);

#endif
