/* SPDX-License-Identifier: MIT
 *
 * units.h: numbers for people. Each function writes into a buffer of at least UNITS_TEXT bytes and returns it; what is
 * not known (EXPERT_UNSET, NAN) reads "-". Stateless.
 */
#ifndef EXPERT_CLIENT_CLI_UNITS_H
#define EXPERT_CLIENT_CLI_UNITS_H

#include <stdint.h>

#define UNITS_TEXT 32

char *units_count(char *buffer, int64_t count);
char *units_bytes(char *buffer, double bytes); /* "1.5 GiB" */
char *units_byte_count(char *buffer, int64_t bytes);
char *units_percent(char *buffer, double share);   /* 0.5 is "50.0 %" */
char *units_rate(char *buffer, double per_second); /* "12.34" */
char *units_seconds(char *buffer, double seconds); /* "0.12 s", "3 min 20 s" */

#endif
