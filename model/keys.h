/* SPDX-License-Identifier: MIT
 *
 * keys.h: an architecture's keys ("{arch}.{name}") with defaults and errors that name them. Part of model_open;
 * nobody else includes it. Each function returns 0, or fills the reader's err.
 */
#ifndef EXPERTD_MODEL_KEYS_H
#define EXPERTD_MODEL_KEYS_H

#include "model/arch.h"
#include "model/gguf.h"

struct key_reader {
    const struct gguf *gguf;
    const struct arch *arch;
    struct err *err;
};

int key_u32(const struct key_reader *k, const char *name, uint32_t min, uint32_t max, uint32_t *ret_v);
int key_f32(const struct key_reader *k, const char *name, float *ret_v);

/* The value, or `absent` where there is no such key. */
int key_u32_or(const struct key_reader *k, const char *name, uint32_t absent, uint32_t *ret_v);
int key_f32_or(const struct key_reader *k, const char *name, float absent, float *ret_v);
int key_bool_or(const struct key_reader *k, const char *name, bool absent, bool *ret_v);
int key_str_or(const struct key_reader *k, const char *name, const char *absent, struct gguf_str *ret_v);

/* "key '{arch}.{name}': <formatted>": a value that cannot be (ERR_FORMAT), or that we do not do (ERR_UNSUPPORTED). */
int key_bad(const struct key_reader *k, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int key_refuse(const struct key_reader *k, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
