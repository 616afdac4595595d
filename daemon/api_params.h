/* SPDX-License-Identifier: MIT
 *
 * api_params.h: a request's JSON body read into a job. Unknown fields are ignored; a field that is known and wrong, or
 * known and not done here, is refused by name. null means "not given".
 *
 * Pure: no model but its limits, so that every rule can be tested alone.
 */
#ifndef EXPERTD_DAEMON_API_PARAMS_H
#define EXPERTD_DAEMON_API_PARAMS_H

#include "daemon/api_error.h"
#include "daemon/job.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_limits {
    uint32_t n_vocab;
    uint64_t json_bytes;  /* a body that takes more memory when it is read is refused; 0: any may */
    const char *names[3]; /* the model answers to these, and to "default"; NULL: unused */
};

struct api_request {
    struct job *job;
    bool include_usage; /* stream_options */
};

enum api_kind { API_CHAT, API_TEXT, API_TOKENIZE };

/* On success the caller owns ret_request->job. */
int api_params_parse(enum api_kind kind, const char *body, size_t len, const struct api_limits *limits,
                     struct api_request *ret_request, struct api_error *err);

/* {"tokens": [ids]} for detokenizing. */
int api_params_tokens(const char *body, size_t len, const struct api_limits *limits, struct token_ids *ids,
                      struct api_error *err);

#endif
