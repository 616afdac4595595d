/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
} names[] = {
    { ERR_FORMAT, "malformed file" },
    { ERR_UNSUPPORTED, "not supported" },
    { ERR_CHECKSUM, "checksum mismatch" },
    { ERR_CHANGED, "file changed while in use" },
    { ERR_BUDGET, "memory budget too small" },
    { ERR_TOO_LONG, "longer than the context" },
    { ERR_CANCELED, "canceled" },
    { ERR_BUSY, "too busy" },
    { ERR_DEVICE, "compute device failed" },
};

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    return code;
}

int err_sys(struct err *err, int errnum, const char *fmt, ...)
{
    va_list args;
    int n;

    if (err == NULL)
        return -errnum;
    err->code = -errnum;
    va_start(args, fmt);
    n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(err->text))
        snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", err_name(-errnum));
    return -errnum;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char outer[sizeof(err->text)];
    size_t outer_len, inner_len;
    va_list args;

    if (err == NULL)
        return -1;
    va_start(args, fmt);
    vsnprintf(outer, sizeof(outer), fmt, args);
    va_end(args);
    outer_len = strlen(outer);
    if (outer_len + 3 > sizeof(err->text))
        return err->code;
    inner_len = strlen(err->text);
    if (inner_len > sizeof(err->text) - outer_len - 3)
        inner_len = sizeof(err->text) - outer_len - 3;
    memmove(err->text + outer_len + 2, err->text, inner_len);
    memcpy(err->text, outer, outer_len);
    memcpy(err->text + outer_len, ": ", 2);
    err->text[outer_len + 2 + inner_len] = '\0';
    return err->code;
}

const char *err_text(const struct err *err)
{
    return err->text[0] != '\0' ? err->text : err_name(err->code);
}

const char *err_name(int code)
{
    const char *name;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    if (code == 0)
        return "no error";
    name = code < 0 && code > -1000 ? strerrordesc_np(-code) : NULL;
    return name != NULL ? name : "unknown error";
}
