/* SPDX-License-Identifier: MIT */
#include "model/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 128 /* of a full key: architecture and name are literals of ours */

static const char *full(const struct key_reader *k, const char *name, char *ret_key)
{
    snprintf(ret_key, KEY_BYTES, "%s.%s", k->arch->name, name);
    return ret_key;
}

int key_u32(const struct key_reader *k, const char *name, uint32_t min, uint32_t max, uint32_t *ret_v)
{
    char key[KEY_BYTES];
    uint32_t v;
    int rc = gguf_get_u32(k->gguf, full(k, name, key), &v, k->err);

    if (rc)
        return rc == -ENOENT ? err_set(k->err, ERR_FORMAT, "key '%s' is missing", key) : rc;
    if (v < min || v > max)
        return key_bad(k, name, "%" PRIu32 " is not between %" PRIu32 " and %" PRIu32, v, min, max);
    *ret_v = v;
    return 0;
}

int key_f32(const struct key_reader *k, const char *name, float *ret_v)
{
    char key[KEY_BYTES];
    int rc = gguf_get_f32(k->gguf, full(k, name, key), ret_v, k->err);

    return rc == -ENOENT ? err_set(k->err, ERR_FORMAT, "key '%s' is missing", key) : rc;
}

int key_u32_or(const struct key_reader *k, const char *name, uint32_t absent, uint32_t *ret_v)
{
    char key[KEY_BYTES];
    int rc = gguf_get_u32(k->gguf, full(k, name, key), ret_v, k->err);

    if (rc != -ENOENT)
        return rc;
    *ret_v = absent;
    return 0;
}

int key_f32_or(const struct key_reader *k, const char *name, float absent, float *ret_v)
{
    char key[KEY_BYTES];
    int rc = gguf_get_f32(k->gguf, full(k, name, key), ret_v, k->err);

    if (rc != -ENOENT)
        return rc;
    *ret_v = absent;
    return 0;
}

int key_bool_or(const struct key_reader *k, const char *name, bool absent, bool *ret_v)
{
    char key[KEY_BYTES];
    int rc = gguf_get_bool(k->gguf, full(k, name, key), ret_v, k->err);

    if (rc != -ENOENT)
        return rc;
    *ret_v = absent;
    return 0;
}

int key_str_or(const struct key_reader *k, const char *name, const char *absent, struct gguf_str *ret_v)
{
    char key[KEY_BYTES];
    int rc = gguf_get_str(k->gguf, full(k, name, key), ret_v, k->err);

    if (rc != -ENOENT)
        return rc;
    *ret_v = (struct gguf_str){ absent, strlen(absent) };
    return 0;
}

static __attribute__((format(printf, 4, 0))) int complain(const struct key_reader *k, int code, const char *name,
                                                          const char *fmt, va_list args)
{
    char text[200];

    vsnprintf(text, sizeof(text), fmt, args);
    return err_set(k->err, code, "key '%s.%s': %s", k->arch->name, name, text);
}

int key_bad(const struct key_reader *k, const char *name, const char *fmt, ...)
{
    va_list args;
    int rc;

    va_start(args, fmt);
    rc = complain(k, ERR_FORMAT, name, fmt, args);
    va_end(args);
    return rc;
}

int key_refuse(const struct key_reader *k, const char *name, const char *fmt, ...)
{
    va_list args;
    int rc;

    va_start(args, fmt);
    rc = complain(k, ERR_UNSUPPORTED, name, fmt, args);
    va_end(args);
    return rc;
}
