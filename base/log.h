/* SPDX-License-Identifier: MIT
 *
 * log.h: lines for the person who runs the daemon.
 *
 * One line per call, to standard error, in the form journald reads ("<6>text") when standard error is the
 * journal, and "expertd: text" otherwise. Each line is one write(2), so lines of several threads do not
 * interleave. Only daemon/ logs above debug; the floors below return errors instead.
 */
#ifndef EXPERTD_BASE_LOG_H
#define EXPERTD_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Lines above `level` are dropped (default: info). `journal`: prefix each line with its syslog priority. */
void log_init(enum log_level level, int journal);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
