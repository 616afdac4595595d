/* SPDX-License-Identifier: MIT
 *
 * utf8.h: where a UTF-8 character ends. Well-formed means table 3-7 of the Unicode standard: no overlong forms, no
 * surrogates, nothing above U+10FFFF.
 */
#ifndef EXPERTD_MODEL_UTF8_H
#define EXPERTD_MODEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Length of a character by its first byte, and the range of the byte that follows it; 0: nothing begins so. */
static inline size_t utf8_lead(unsigned char lead, unsigned char *ret_least, unsigned char *ret_most)
{
    *ret_least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *ret_most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* Look at the first of n > 0 bytes: the length of a whole character; 0 when it is the beginning of one that is cut off;
 * or, negative, how many bytes can never become one (the longest part of a character, or one stray byte). */
static inline int utf8_scan(const unsigned char *p, size_t n)
{
    unsigned char least, most;
    size_t len = utf8_lead(p[0], &least, &most);

    if (len == 0)
        return -1;
    for (size_t i = 1; i < len; i++) {
        if (i == n)
            return 0;
        if (p[i] < least || p[i] > most)
            return -(int)i;
        least = 0x80;
        most = 0xbf;
    }
    return (int)len;
}

/* The code point of a whole character of `len` bytes. */
static inline uint32_t utf8_decode(const unsigned char *p, int len)
{
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);

    for (int i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3fu);
    return c;
}

/* Write a code point below U+0800; returns its length. */
static inline size_t utf8_encode_short(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

#endif
