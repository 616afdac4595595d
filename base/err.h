/* SPDX-License-Identifier: MIT
 *
 * err.h: an error is a number and a sentence.
 *
 * Functions that can fail return 0 or a negative number: -errno, or one of ours from -1000 down. They take
 * a `struct err *` last, which may be NULL, and fill it when they fail. Each level may put its own context in front
 * ("model 'x.gguf': tensor 'blk.3.ffn_up_exps.weight': offset beyond end of file"), so that the text that
 * reaches the user names the cause and, where there is one, the remedy.
 *
 * Storage is the caller's and of fixed size: reporting an error allocates nothing. A text that does not fit
 * is cut at the end. Not thread-safe: one `struct err` belongs to one call chain.
 */
#ifndef EXPERTD_BASE_ERR_H
#define EXPERTD_BASE_ERR_H

#include <stdarg.h>

enum {
    ERR_FORMAT = -1000,      /* a file's content contradicts its format */
    ERR_UNSUPPORTED = -1001, /* well-formed, but not something we do */
    ERR_CHECKSUM = -1002,    /* bytes read differ from the bytes recorded */
    ERR_CHANGED = -1003,     /* a file changed under us */
    ERR_BUDGET = -1004,      /* does not fit in the memory budget */
    ERR_TOO_LONG = -1005,    /* prompt or context longer than the limit */
    ERR_CANCELED = -1006,    /* the asker went away or withdrew */
    ERR_BUSY = -1007,        /* queues full: try again later */
    ERR_DEVICE = -1008,      /* a compute device failed */
};

struct err {
    int code;       /* 0 when no error has been recorded */
    char text[500]; /* NUL-terminated UTF-8, no trailing newline */
};

/* Record an error; returns `code`, so that a failing function can end in `return err_set(...)`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Record a failed system call: "<formatted>: <strerror(errnum)>"; returns -errnum. `errnum` is positive. */
int err_sys(struct err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "<formatted>: " in front of the recorded text; returns the recorded code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The recorded text, or the name of the code when nothing was recorded. Borrowed from `err`. */
const char *err_text(const struct err *err);

/* A short name for a code: strerror for errno values, ours otherwise. Static storage. */
const char *err_name(int code);

#endif
