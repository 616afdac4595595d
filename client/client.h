/* SPDX-License-Identifier: MIT
 *
 * client.h: what is behind struct expert_client, for the files that implement expert.h.
 */
#ifndef EXPERT_CLIENT_CLIENT_H
#define EXPERT_CLIENT_CLIENT_H

#include "client/answer.h"
#include "client/endpoint.h"
#include "client/expert.h"
#include "client/http.h"
#include "client/text.h"

struct expert_client {
    struct endpoint endpoint;
    struct http *http;
    struct answer answer; /* of the completion in progress, or the last one */
    struct text body;     /* of the last other call */
    int complete_patience_ms;
    int status_patience_ms;
};

/* GET `path`, or POST `body` to it; the answer's body, whatever its status, is in client->body then. */
int client_call(struct expert_client *client, const char *path, const char *body, int *ret_http_status,
                struct expert_error *error);

#endif
