/* SPDX-License-Identifier: MIT */
#include "daemon/api_error.h"

#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int api_error_param(struct api_error *e, const char *param, const char *fmt, ...)
{
    va_list args;

    e->status = 400;
    e->type = "invalid_request_error";
    e->code = NULL;
    snprintf(e->param, sizeof(e->param), "%s", param);
    va_start(args, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, args);
    va_end(args);
    return -EINVAL;
}

void api_error_from(struct api_error *e, int code, const char *text)
{
    static const struct {
        int code, status;
        const char *type, *name;
    } known[] = {
        { -EINVAL, 400, "invalid_request_error", NULL },
        { ERR_UNSUPPORTED, 400, "invalid_request_error", "unsupported" },
        { ERR_TOO_LONG, 400, "invalid_request_error", "context_length_exceeded" },
        { ERR_BUSY, 503, "server_error", "server_busy" },
        { ERR_CANCELED, 503, "server_error", "shutting_down" },
        { -ENOMEM, 503, "server_error", "out_of_memory" },
        { ERR_CHECKSUM, 500, "server_error", "checksum_mismatch" },
        { ERR_CHANGED, 500, "server_error", "model_changed" },
        { -EIO, 500, "server_error", "io_error" },
    };

    *e = (struct api_error){ .status = 500, .type = "server_error", .code = "internal_error" };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].code == code) {
            e->status = known[i].status;
            e->type = known[i].type;
            e->code = known[i].name;
        }
    snprintf(e->message, sizeof(e->message), "%s", text);
}

static void write_or_null(struct jbuf *out, const char *name, const char *value)
{
    jbuf_printf(out, ",\"%s\":", name);
    if (value && *value)
        jbuf_string(out, value, strlen(value));
    else
        jbuf_put(out, "null");
}

void api_error_write(const struct api_error *e, struct jbuf *out)
{
    jbuf_put(out, "{\"error\":{\"message\":");
    jbuf_string(out, e->message, strlen(e->message));
    write_or_null(out, "type", e->type);
    write_or_null(out, "param", e->param);
    write_or_null(out, "code", e->code);
    jbuf_put(out, "}}");
}
