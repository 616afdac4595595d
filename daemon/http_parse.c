/* SPDX-License-Identifier: MIT */
#include "daemon/http_parse.h"

#include <string.h>
#include <strings.h>

#define CHUNK_LINE_MAX 256
#define TRAILERS_MAX 8192

/* --- the head --- */

long head_find(const char *p, size_t n, size_t *scanned)
{
    for (size_t i = *scanned; i < n; i++) {
        const char *lf = memchr(p + i, '\n', n - i);

        if (!lf)
            break;
        i = (size_t)(lf - p);
        if (i == 0 || p[i - 1] != '\r')
            return -1;
        if (i >= 3 && p[i - 2] == '\n')
            return (long)i + 1;
    }
    *scanned = n;
    return 0;
}

/* Cut the next line off [*p, end): terminated in place. The last line is the empty one. */
static char *next_line(char **p, char *end, size_t *ret_len)
{
    char *line = *p, *lf = memchr(line, '\n', (size_t)(end - line));

    *ret_len = (size_t)(lf - line) - 1;
    lf[-1] = '\0';
    *p = lf + 1;
    return line;
}

/* "METHOD target version", with one blank between each. */
static void parse_line(char *line, size_t len, struct http_head *head)
{
    char *target = strchr(line, ' '), *version = strrchr(line, ' ');
    bool whole = strlen(line) == len && target && target != version;

    if (!whole) {
        head->check.complaint = "the request line is not METHOD, path and version";
        head->check.status = 400;
        head->method = head->path = "";
        return;
    }
    *target++ = *version++ = '\0';
    head_check_line(&head->check, line, target, version);
    head->method = line;
    head->path = target;
    head->old = strcmp(version, "HTTP/1.0") == 0;
    target[strcspn(target, "?")] = '\0';
}

/* Whether a comma-separated list names `word`. */
static bool list_has(const char *list, const char *word)
{
    size_t n = strlen(word);

    while (*list) {
        size_t len;

        list += strspn(list, " \t,");
        len = strcspn(list, " \t,");
        if (len == n && strncasecmp(list, word, n) == 0)
            return true;
        list += len;
    }
    return false;
}

static void parse_field(char *line, size_t len, struct http_head *head)
{
    char *colon = memchr(line, ':', len), *value, *end = line + len;

    if (!colon) {
        head_check_field(&head->check, "", 0, NULL, 0);
        return;
    }
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
        ;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    head_check_field(&head->check, line, (size_t)(colon - line), value, (size_t)(end - value));
    *end = *colon = '\0';
    if (strcasecmp(line, "Connection") == 0)
        head->close = head->close || list_has(value, "close");
    else if (strcasecmp(line, "Expect") == 0)
        head->expect_continue = strcasecmp(value, "100-continue") == 0;
}

void head_parse(char *p, size_t n, struct http_head *ret_head)
{
    struct http_head head = { 0 };
    char *end = p + n, *line;
    size_t len;

    line = next_line(&p, end, &len);
    parse_line(line, len, &head);
    for (line = next_line(&p, end, &len); len; line = next_line(&p, end, &len))
        parse_field(line, len, &head);
    head_check_end(&head.check, head.old ? "HTTP/1.0" : "HTTP/1.1");
    head.close = head.close || head.old;
    head.expect_continue = head.expect_continue && !head.old;
    *ret_head = head;
}

/* --- the body in chunks --- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LF, END };

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A byte of the line that begins a chunk. */
static bool size_byte(struct chunks *c, char b)
{
    int digit = hex(b);

    if (++c->n_line > CHUNK_LINE_MAX)
        return false;
    if (c->state == EXTENSION) {
        c->state = b == '\r' ? SIZE_LF : EXTENSION;
        return b == '\r' || b == '\t' || (unsigned char)b >= ' ';
    }
    if (digit >= 0) {
        bool fits = c->left <= UINT64_MAX >> 4;

        c->left = c->left << 4 | (unsigned)digit;
        return fits;
    }
    c->state = b == '\r' ? SIZE_LF : EXTENSION;
    return c->n_line > 1 && (b == '\r' || b == ';');
}

/* A byte of the lines behind the last chunk; the empty one ends the body. */
static bool trailer_byte(struct chunks *c, char b)
{
    if (++c->n_extra > TRAILERS_MAX)
        return false;
    if (c->state == TRAILER_LF) {
        c->state = c->n_line ? TRAILER : END;
        c->n_line = 0;
        return b == '\n';
    }
    if (b == '\r')
        c->state = TRAILER_LF;
    else
        c->n_line++;
    return b != '\n';
}

static bool frame_byte(struct chunks *c, char b)
{
    switch (c->state) {
    case SIZE:
    case EXTENSION:
        return size_byte(c, b);
    case SIZE_LF:
        c->state = c->left ? DATA : TRAILER;
        c->n_line = 0;
        return b == '\n';
    case DATA_CR:
        c->state = DATA_LF;
        return b == '\r';
    case DATA_LF:
        c->state = SIZE;
        return b == '\n';
    default:
        return trailer_byte(c, b);
    }
}

enum chunks_found chunks_next(struct chunks *c, const char *p, size_t n, size_t *ret_used, size_t *ret_len)
{
    size_t i = 0;

    *ret_len = 0;
    while (i < n && c->state != DATA && c->state != END)
        if (!frame_byte(c, p[i++]))
            return CHUNKS_BAD;
    *ret_used = i;
    if (c->state == END)
        return CHUNKS_END;
    if (i == n)
        return CHUNKS_MORE;
    *ret_len = n - i < c->left ? n - i : (size_t)c->left;
    *ret_used = i + *ret_len;
    c->left -= *ret_len;
    if (!c->left)
        c->state = DATA_CR;
    return CHUNKS_DATA;
}
