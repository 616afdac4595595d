/* SPDX-License-Identifier: MIT
 *
 * hostile.h: one broken file per row: what is done to a good tiny model, and the error that must come of it.
 */
#ifndef EXPERTD_TESTS_SUPPORT_HOSTILE_H
#define EXPERTD_TESTS_SUPPORT_HOSTILE_H

#include "tests/support/gguf_builder.h"

struct hostile {
    const char *what;
    void (*distort)(struct gguf_builder *b, const struct hostile *h); /* one of hostile_*, or a test's own */
    int code;
    const char *text;   /* a part of the error's text */
    const char *target; /* key or tensor */
    uint64_t u;
    double f;
    const char *s;
};

/* What is not named is 0. */
#define ROW(row_what, row_distort, row_code, ...) \
    { .what = row_what, .distort = row_distort, .code = row_code, .text = __VA_ARGS__ }

/* What `distort` may be; target, u, f and s say of what. */
void hostile_u32(struct gguf_builder *b, const struct hostile *h);  /* key = u */
void hostile_f32(struct gguf_builder *b, const struct hostile *h);  /* key = f */
void hostile_str(struct gguf_builder *b, const struct hostile *h);  /* key = s */
void hostile_bool(struct gguf_builder *b, const struct hostile *h); /* key = u */
void hostile_key_type(struct gguf_builder *b, const struct hostile *h); /* the type number written, the value kept */
void hostile_drop_key(struct gguf_builder *b, const struct hostile *h);
void hostile_drop_tensor(struct gguf_builder *b, const struct hostile *h);
void hostile_rename(struct gguf_builder *b, const struct hostile *h); /* tensor's name = s */
void hostile_type(struct gguf_builder *b, const struct hostile *h);   /* tensor's type = u */
void hostile_n_dims(struct gguf_builder *b, const struct hostile *h);
void hostile_dim0(struct gguf_builder *b, const struct hostile *h);
void hostile_dim1(struct gguf_builder *b, const struct hostile *h);
void hostile_dim2(struct gguf_builder *b, const struct hostile *h);
void hostile_offset(struct gguf_builder *b, const struct hostile *h); /* += u */
void hostile_add(struct gguf_builder *b, const struct hostile *h);    /* a tensor of that name: u weights, each f */

/* Write the distorted file into `dir`, open it as a model and hold the outcome against the row. */
void hostile_check(const struct hostile *h, const char *arch, const char *dir);

#endif
