/* SPDX-License-Identifier: MIT
 *
 * request.h: a struct expert_request as the JSON that the daemon reads.
 *
 * Unset options are left out, so that the daemon's defaults hold. What contradicts itself or is no UTF-8 is refused
 * here, by the field's name; ranges are the daemon's business. Stateless; `ret_body` is the caller's, from malloc().
 */
#ifndef EXPERT_CLIENT_REQUEST_H
#define EXPERT_CLIENT_REQUEST_H

#include "client/expert.h"

int request_build(const struct expert_request *request, char **ret_body, struct expert_error *error);

/* The path it is posted to. */
const char *request_path(const struct expert_request *request);

#endif
