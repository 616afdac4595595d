/* SPDX-License-Identifier: MIT
 *
 * terminal.h: a model's text on its way to stdout.
 *
 * A model can be talked into writing anything, escape sequences for the terminal included. So, to a terminal, control
 * characters other than newline and tab, and characters that turn the direction of writing round, become U+FFFD. To a
 * pipe or a file everything goes as it is. Written at once, unbuffered. One thread.
 */
#ifndef EXPERT_CLIENT_CLI_TERMINAL_H
#define EXPERT_CLIENT_CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

struct terminal {
    int fd;
    bool filter;
    bool open_line; /* the last byte written was no newline */
    int errnum;     /* of the first write that failed; nothing is written after it */
};

void terminal_init(struct terminal *terminal, int fd);

/* Write whole UTF-8 characters. 0, or -1 with errnum set. */
int terminal_write(struct terminal *terminal, const char *text, size_t n_bytes);

/* Begin a new line unless at the start of one. */
int terminal_end_line(struct terminal *terminal);

#endif
