/* SPDX-License-Identifier: MIT
 *
 * reply.h: answers that are not the hoped-for one, as errors.
 *
 * The daemon's errors are {"error":{"message","type","param","code"}}; while it loads, {"status":"loading","progress"}.
 * Anything else (a proxy's HTML page, an empty body) becomes an error that quotes its start. Stateless.
 */
#ifndef EXPERT_CLIENT_REPLY_H
#define EXPERT_CLIENT_REPLY_H

#include "client/expert.h"

#include <jansson.h>

/* The error in an answer with an HTTP status of 400 or more; never returns 0. */
int reply_error(int http_status, const char *body, size_t n_bytes, struct expert_error *error);

/* The error in an object {"error": ...} that came with a good status, in a stream for instance; 0 when there is none.
 */
int reply_error_object(const json_t *object, int http_status, struct expert_error *error);

/* EXPERT_ERR_LOADING with its sentence; `progress` is negative when unknown. */
int reply_loading(double progress, int http_status, struct expert_error *error);

/* Parse a body that has to be a JSON object or array; the caller drops the reference. */
int reply_parse(const char *body, size_t n_bytes, json_t **ret_json, struct expert_error *error);

#endif
