/* SPDX-License-Identifier: MIT */
#include "client/http.h"

#include "client/error.h"

#include <ctype.h>
#include <curl/curl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_PATIENCE_MS 5000
#define DRAIN_MS 1000 /* for the end of an answer whose content is complete, so that the connection can be kept */

struct http {
    struct endpoint endpoint;
    CURLM *multi;
    CURL *easy;
    struct curl_slist *post_headers;
    atomic_bool canceled;
    char reason[CURL_ERROR_SIZE];
};

/* What the callbacks share with the loop. */
struct exchange {
    struct http *http;
    const struct http_call *call;
    struct http_reply reply;
    struct expert_error *error;
    int code;            /* what on_body said last */
    int64_t deadline_ms; /* of the silence; INT64_MAX: none */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void silence_restart(struct exchange *exchange, int patience_ms)
{
    exchange->deadline_ms = patience_ms > 0 ? now_ms() + patience_ms : INT64_MAX;
}

static void reply_read(CURL *easy, struct http_reply *reply)
{
    long status = 0;
    const char *type = NULL;
    size_t n = 0;

    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    reply->status = (int)status;
    for (; type != NULL && type[n] != '\0' && strchr("; \t", type[n]) == NULL && n + 1 < sizeof(reply->content_type);
         n++)
        reply->content_type[n] = (char)tolower((unsigned char)type[n]);
    reply->content_type[n] = '\0';
}

static size_t on_write(char *bytes, size_t size, size_t n, void *user)
{
    struct exchange *exchange = user;

    if (exchange->code == HTTP_ENOUGH)
        return n;
    silence_restart(exchange, exchange->call->patience_ms);
    if (exchange->reply.status == 0)
        reply_read(exchange->http->easy, &exchange->reply);
    exchange->code = exchange->call->on_body(exchange->call->user, &exchange->reply, bytes, n, exchange->error);
    if (exchange->code == HTTP_ENOUGH)
        silence_restart(exchange, DRAIN_MS);
    return exchange->code < 0 ? CURL_WRITEFUNC_ERROR : n;
}

int http_open(const struct endpoint *endpoint, struct http **ret_http, struct expert_error *error)
{
    struct http *http = calloc(1, sizeof(*http));

    if (http == NULL)
        return error_memory(error);
    pthread_once(&curl_once, curl_start);
    http->endpoint = *endpoint;
    http->multi = curl_multi_init();
    http->easy = curl_easy_init();
    http->post_headers = curl_slist_append(NULL, "Content-Type: application/json");
    /* A body goes out at once: no waiting for "100 Continue". */
    if (http->post_headers == NULL || curl_slist_append(http->post_headers, "Expect:") == NULL || http->multi == NULL ||
        http->easy == NULL) {
        http_close(http);
        return error_memory(error);
    }
    *ret_http = http;
    return 0;
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    curl_easy_cleanup(http->easy);
    curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->post_headers);
    free(http);
}

void http_cancel(struct http *http)
{
    atomic_store(&http->canceled, true);
    curl_multi_wakeup(http->multi);
}

void http_cancel_reset(struct http *http)
{
    atomic_store(&http->canceled, false);
}

/* Everything an exchange needs; the options that could fail for lack of memory are checked by the caller of curl. */
static CURLcode exchange_setup(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct http_call *call = exchange->call;
    CURL *easy = http->easy;
    char url[sizeof(http->endpoint.base_url) + 256];
    CURLcode r;

    curl_easy_reset(easy);
    http->reason[0] = '\0';
    snprintf(url, sizeof(url), "%s%s", http->endpoint.base_url, call->path);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->reason);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_PATIENCE_MS);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    if (call->body != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->post_headers);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_bytes);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
    }
    r = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (r == CURLE_OK && http->endpoint.socket[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        r = curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->endpoint.socket);
    }
    return r;
}

static int canceled(struct expert_error *error)
{
    return error_set(error, EXPERT_ERR_CANCELED, "canceled");
}

/* Run until the transfer has ended (0) or a reason to leave it has come up. */
static int exchange_run(struct exchange *exchange)
{
    struct http *http = exchange->http;
    int running = 1;

    for (;;) {
        int64_t left_ms;

        if (atomic_load(&http->canceled))
            return canceled(exchange->error);
        if (curl_multi_perform(http->multi, &running) != CURLM_OK)
            return error_memory(exchange->error);
        if (running == 0)
            return 0;
        left_ms = exchange->deadline_ms == INT64_MAX ? INT_MAX : exchange->deadline_ms - now_ms();
        if (left_ms <= 0 && exchange->code == HTTP_ENOUGH)
            return 0;
        if (left_ms <= 0)
            return error_set(exchange->error, EXPERT_ERR_CONNECTION,
                             "the daemon on %s has been silent for %.3g s: is it stuck? 'expert doctor' may tell",
                             http->endpoint.address, exchange->call->patience_ms / 1e3);
        curl_multi_poll(http->multi, NULL, 0, left_ms < INT_MAX ? (int)left_ms : INT_MAX, NULL);
    }
}

static int explain(const struct exchange *exchange, CURLcode result)
{
    const struct http *http = exchange->http;
    const char *address = http->endpoint.address;
    const char *reason = http->reason[0] != '\0' ? http->reason : curl_easy_strerror(result);

    switch (result) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
        return endpoint_explain(&http->endpoint, reason, exchange->error);
    case CURLE_URL_MALFORMAT:
        return error_set(exchange->error, EXPERT_ERR_USAGE, "'%s' is no URL that can be used", address);
    case CURLE_OUT_OF_MEMORY:
        return error_memory(exchange->error);
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
        return error_set(exchange->error, EXPERT_ERR_CONNECTION,
                         "the daemon on %s closed the connection without an answer: its log says why ('journalctl -u "
                         "expertd')",
                         address);
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
        return error_set(exchange->error, EXPERT_ERR_CONNECTION,
                         "the connection to %s broke in the middle of the answer: did the daemon stop? Its log says ("
                         "'journalctl -u expertd')",
                         address);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return error_set(exchange->error, EXPERT_ERR_PROTOCOL,
                         "what answers on %s does not speak HTTP as expertd does (%s)", address, reason);
    default:
        return error_set(exchange->error, EXPERT_ERR_CONNECTION, "talking to %s failed: %s", address, reason);
    }
}

static int exchange_result(struct exchange *exchange)
{
    CURLMsg *message;
    int n_left;

    while ((message = curl_multi_info_read(exchange->http->multi, &n_left)) != NULL) {
        if (message->msg != CURLMSG_DONE || exchange->code == HTTP_ENOUGH)
            continue;
        if (exchange->code < 0)
            return exchange->code;
        if (message->data.result != CURLE_OK)
            return explain(exchange, message->data.result);
    }
    return 0;
}

int http_perform(struct http *http, const struct http_call *call, struct http_reply *ret_reply,
                 struct expert_error *error)
{
    struct exchange exchange = { .http = http, .call = call, .error = error };
    CURLcode setup = exchange_setup(&exchange);
    int r;

    if (setup != CURLE_OK)
        return explain(&exchange, setup);
    silence_restart(&exchange, call->patience_ms);
    if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
        return error_memory(error);
    r = exchange_run(&exchange);
    if (r == 0)
        r = exchange_result(&exchange);
    if (exchange.reply.status == 0)
        reply_read(http->easy, &exchange.reply);
    curl_multi_remove_handle(http->multi, http->easy);
    if (r == 0)
        *ret_reply = exchange.reply;
    return r;
}
