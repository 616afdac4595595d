/* SPDX-License-Identifier: MIT */
#include "client/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
} names[] = {
    { 0, "no error" },
    { EXPERT_ERR_USAGE, "malformed request" },
    { EXPERT_ERR_MEMORY, "out of memory" },
    { EXPERT_ERR_NO_DAEMON, "no daemon" },
    { EXPERT_ERR_PERMISSION, "permission denied" },
    { EXPERT_ERR_LOADING, "model is loading" },
    { EXPERT_ERR_CONNECTION, "connection broke" },
    { EXPERT_ERR_PROTOCOL, "unintelligible answer" },
    { EXPERT_ERR_SERVER, "refused by the daemon" },
    { EXPERT_ERR_BUSY, "daemon is busy" },
    { EXPERT_ERR_CANCELED, "canceled" },
    { EXPERT_ERR_NOT_FOUND, "not known to the daemon" },
};

const char *expert_code_name(int code)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    return "unknown error";
}

int error_set(struct expert_error *error, int code, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return code;
    memset(error, 0, sizeof(*error));
    error->code = code;
    error->progress = -1;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return code;
}

int error_memory(struct expert_error *error)
{
    return error_set(error, EXPERT_ERR_MEMORY, "out of memory in the client");
}

char *error_quote(char *buffer, size_t buffer_bytes, const char *bytes, size_t n_bytes)
{
    size_t n = n_bytes < buffer_bytes ? n_bytes : buffer_bytes - 1;

    /* Not in the middle of a UTF-8 character. */
    while (n > 0 && n < n_bytes && ((unsigned char)bytes[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)bytes[i], next = i + 1 < n ? (unsigned char)bytes[i + 1] : 0;

        buffer[i] = byte < 0x20 || byte == 0x7f ? '?' : bytes[i];
        if (byte == 0xc2 && next >= 0x80 && next <= 0x9f) { /* U+0080 to U+009F: controls of an 8-bit terminal */
            buffer[i++] = '?';
            buffer[i] = '?';
        }
    }
    buffer[n] = '\0';
    return buffer;
}
