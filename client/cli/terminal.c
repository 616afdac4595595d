/* SPDX-License-Identifier: MIT */
#include "client/cli/terminal.h"

#include <errno.h>
#include <unistd.h>

#define REPLACEMENT "\xef\xbf\xbd"

void terminal_init(struct terminal *terminal, int fd)
{
    *terminal = (struct terminal){ .fd = fd, .filter = isatty(fd) == 1 };
}

/* How many of the bytes at `text` are one character not to be shown; 0 when the character there is harmless. */
static size_t harm(const char *text, size_t n_bytes)
{
    const unsigned char *c = (const unsigned char *)text;

    if ((c[0] < 0x20 && c[0] != '\n' && c[0] != '\t') || c[0] == 0x7f)
        return 1;
    if (n_bytes >= 2 && c[0] == 0xc2 && c[1] >= 0x80 &&
        c[1] <= 0x9f) /* U+0080 to U+009F: an 8-bit terminal's controls */
        return 2;
    if (n_bytes >= 3 && c[0] == 0xe2 && c[1] == 0x80 && c[2] >= 0xaa && c[2] <= 0xae) /* U+202A to U+202E: direction */
        return 3;
    if (n_bytes >= 3 && c[0] == 0xe2 && c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9) /* U+2066 to U+2069: likewise */
        return 3;
    return 0;
}

static int write_all(struct terminal *terminal, const char *bytes, size_t n)
{
    while (n > 0 && terminal->errnum == 0) {
        ssize_t written = write(terminal->fd, bytes, n);

        if (written < 0 && errno != EINTR)
            terminal->errnum = errno;
        if (written <= 0)
            continue;
        terminal->open_line = bytes[written - 1] != '\n';
        bytes += written;
        n -= (size_t)written;
    }
    return terminal->errnum == 0 ? 0 : -1;
}

int terminal_write(struct terminal *terminal, const char *text, size_t n_bytes)
{
    size_t start = 0, i = 0;

    if (!terminal->filter)
        return write_all(terminal, text, n_bytes);
    while (i < n_bytes) {
        size_t n = harm(text + i, n_bytes - i);

        if (n == 0) {
            i++;
            continue;
        }
        write_all(terminal, text + start, i - start);
        write_all(terminal, REPLACEMENT, sizeof(REPLACEMENT) - 1);
        i += n;
        start = i;
    }
    return write_all(terminal, text + start, i - start);
}

int terminal_end_line(struct terminal *terminal)
{
    return terminal->open_line ? write_all(terminal, "\n", 1) : 0;
}
