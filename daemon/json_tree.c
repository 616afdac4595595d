/* SPDX-License-Identifier: MIT */
#include "daemon/json_tree.h"

#include <stdbool.h>

/* Of jansson 2.14, on a 64-bit machine, with what malloc adds. Tables double, and are held twice while they do. */
enum {
    OBJECT_BYTES = 224,      /* with its first 8 buckets */
    ARRAY_BYTES = 128,       /* with room for the first 8 elements */
    ELEMENT_BYTES = 24 + 32, /* a place in a table, and a number */
    PAIR_BYTES = 128 + 32,   /* an entry and its buckets, and a number */
    STRING_BYTES = 80,       /* beside its characters */
    CHARACTER_BYTES = 4      /* the reader's own copy, which doubles, and the string's */
};

static uint64_t structure_bytes(char c)
{
    switch (c) {
    case '{':
        return OBJECT_BYTES;
    case '[':
        return ARRAY_BYTES + ELEMENT_BYTES;
    case ',':
        return ELEMENT_BYTES;
    case ':':
        return PAIR_BYTES;
    case '"':
        return STRING_BYTES;
    default:
        return 0;
    }
}

uint64_t json_tree_bytes(const char *text, size_t len)
{
    uint64_t bytes = 512 + ELEMENT_BYTES; /* the reader itself */
    bool in_string = false, escaped = false;

    for (size_t i = 0; i < len; i++) {
        bytes += in_string ? CHARACTER_BYTES : structure_bytes(text[i]);
        if (text[i] == '"' && !escaped)
            in_string = !in_string;
        escaped = in_string && text[i] == '\\' && !escaped;
    }
    return bytes;
}
