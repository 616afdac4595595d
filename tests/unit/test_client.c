/* SPDX-License-Identifier: MIT */
#include "client/expert.h"
#include "client_peer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
#define TEXT(text) "data: {\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define DONE "data: [DONE]\n\n"

static const struct expert_message hello = { "user", "hello" };

/* What the callbacks see, and who is told. */
struct seen {
    char text[256];
    size_t n;
    int n_done;
    int64_t completion_tokens;
    int stop;          /* what on_text returns */
    sem_t *first_text; /* posted at the first text, or NULL */
};

static int on_text(void *user, const char *text, size_t n_bytes)
{
    struct seen *seen = user;

    cr_assert_lt(seen->n + n_bytes, sizeof(seen->text));
    memcpy(seen->text + seen->n, text, n_bytes);
    seen->n += n_bytes;
    if (seen->first_text != NULL && seen->n == n_bytes)
        sem_post(seen->first_text);
    return seen->stop;
}

static void on_done(void *user, const struct expert_result *result)
{
    struct seen *seen = user;

    seen->n_done++;
    seen->completion_tokens = result->completion_tokens;
}

static struct expert_client *open_client(const char *path)
{
    struct expert_client *client;
    struct expert_error error;

    cr_assert_eq(expert_open(path, &client, &error), 0, "%s", error.text);
    return client;
}

static struct expert_request make_request(struct seen *seen)
{
    struct expert_request request;

    expert_request_init(&request);
    request.messages = &hello;
    request.n_messages = 1;
    request.on_text = on_text;
    request.on_done = on_done;
    request.user = seen;
    return request;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

Test(client, a_whole_answer)
{
    struct seen seen = { 0 };
    struct expert_request request = make_request(&seen);
    struct expert_result result;
    struct expert_error error = { 0 };
    struct client_peer peer;
    struct expert_client *client;

    client_peer_open(&peer,
                     STREAM TEXT("Hel")
                         TEXT("lo") "data: {\"model\":\"m\",\"choices\":[{\"delta\":{},"
                                    "\"finish_reason\":\"stop\"}],\"expertd\":{\"hit_rate\":0.5}}\n\n"
                                    "data: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\n" DONE,
                     false);
    client = open_client(peer.path);
    cr_assert_eq(expert_complete(client, &request, &result, &error), 0, "%s", error.text);
    cr_assert_str_eq(result.text, "Hello");
    cr_assert_eq(result.text_bytes, 5);
    cr_assert_str_eq(result.finish_reason, "stop");
    cr_assert_str_eq(result.model, "m");
    cr_assert_eq(result.completion_tokens, 2);
    cr_assert_eq(result.prompt_tokens, EXPERT_UNSET);
    cr_assert_eq(result.hit_rate, 0.5);
    cr_assert(isnan(result.tokens_per_second));
    cr_assert_gt(result.first_text_ns, 0);
    cr_assert_geq(result.total_ns, result.first_text_ns);
    cr_assert(seen.n == 5 && memcmp(seen.text, "Hello", 5) == 0);
    cr_assert_eq(seen.n_done, 1);
    cr_assert_eq(seen.completion_tokens, 2);
    expert_close(client);
    client_peer_close(&peer);
    cr_assert_not_null(strstr(peer.request, "POST /v1/chat/completions HTTP/1.1\r\n"));
}

Test(client, a_callback_can_stop_the_answer)
{
    struct seen seen = { .stop = 1 };
    struct expert_request request = make_request(&seen);
    struct expert_error error;
    struct client_peer peer;
    struct expert_client *client;

    client_peer_open(&peer, STREAM TEXT("one") TEXT("two"), true);
    client = open_client(peer.path);
    cr_assert_eq(expert_complete(client, &request, NULL, &error), EXPERT_ERR_CANCELED);
    cr_assert_eq(error.code, EXPERT_ERR_CANCELED);
    cr_assert_eq(seen.n, 3, "no text after the stop");
    cr_assert_eq(seen.n_done, 0);
    client_peer_close(&peer);
    cr_assert(peer.hung_up, "the daemon must see that nobody reads on");
    expert_close(client);
}

struct canceler {
    struct expert_client *client;
    sem_t go;
    uint64_t canceled_ns;
};

static void *cancel_on_first_text(void *user)
{
    struct canceler *canceler = user;

    while (sem_wait(&canceler->go) < 0)
        continue;
    canceler->canceled_ns = now_ns();
    expert_cancel(canceler->client);
    return NULL;
}

Test(client, another_thread_can_cancel_a_silent_stream)
{
    struct canceler canceler;
    struct seen seen = { .first_text = &canceler.go };
    struct expert_request request = make_request(&seen);
    struct expert_error error;
    struct client_peer peer;
    pthread_t thread;
    uint64_t ended_ns;

    client_peer_open(&peer, STREAM TEXT("one"), true);
    canceler.client = open_client(peer.path);
    sem_init(&canceler.go, 0, 0);
    cr_assert_eq(pthread_create(&thread, NULL, cancel_on_first_text, &canceler), 0);
    cr_assert_eq(expert_complete(canceler.client, &request, NULL, &error), EXPERT_ERR_CANCELED);
    ended_ns = now_ns();
    pthread_join(thread, NULL);
    /* Half of the second that libcurl's own progress callback would take, so that a busy machine does not matter. */
    cr_assert_lt(ended_ns - canceler.canceled_ns, 500000000);
    client_peer_close(&peer);
    cr_assert(peer.hung_up);
    expert_close(canceler.client);
    sem_destroy(&canceler.go);
}

Test(client, a_cancel_that_comes_too_early_is_not_lost)
{
    struct expert_health health = { .progress = 7 };
    struct expert_error error;
    struct client_peer peer;
    struct expert_client *client;

    client_peer_open(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}", false);
    client = open_client(peer.path);
    expert_cancel(client);
    cr_assert_eq(expert_health(client, &health, &error), EXPERT_ERR_CANCELED);
    cr_assert_eq(expert_health(client, &health, NULL), EXPERT_ERR_CANCELED);
    cr_assert_eq(health.progress, 7, "results are written on success only");
    expert_cancel_reset(client);
    cr_assert_eq(expert_health(client, &health, &error), 0, "%s", error.text);
    cr_assert_eq(health.status, EXPERT_STATUS_OK);
    expert_close(client);
    client_peer_close(&peer);
}

Test(client, silence_has_an_end)
{
    struct seen seen = { 0 };
    struct expert_request request = make_request(&seen);
    struct expert_health health;
    struct expert_error error;
    struct client_peer peer;
    struct expert_client *client;

    client_peer_open(&peer, STREAM TEXT("one"), true);
    client = open_client(peer.path);
    expert_set_patience(client, 20, 20);
    cr_assert_eq(expert_complete(client, &request, NULL, &error), EXPERT_ERR_CONNECTION);
    cr_assert_not_null(strstr(error.text, "silent for 0.02 s"), "%s", error.text);
    cr_assert_eq(expert_health(client, &health, &error), EXPERT_ERR_CONNECTION, "nobody accepts it");
    client_peer_close(&peer);
    expert_close(client);
}

Test(client, loading_is_a_health_and_not_an_error)
{
    struct expert_health health;
    struct expert_error error;
    struct client_peer peer;
    struct expert_client *client;

    client_peer_open(&peer, "HTTP/1.1 503 X\r\nContent-Length: 36\r\n\r\n{\"status\":\"loading\",\"progress\":0.25}",
                     false);
    client = open_client(peer.path);
    cr_assert_eq(expert_health(client, &health, &error), 0, "%s", error.text);
    cr_assert_eq(health.status, EXPERT_STATUS_LOADING);
    cr_assert_eq(health.progress, 0.25);
    expert_close(client);
    client_peer_close(&peer);
}

Test(client, a_call_of_ones_own)
{
    struct expert_error error;
    struct client_peer peer;
    struct expert_client *client;
    const char *json;

    client_peer_open(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}", false);
    client = open_client(peer.path);
    cr_assert_eq(expert_call_json(client, "no-slash", NULL, &json, &error), EXPERT_ERR_USAGE);
    cr_assert_eq(expert_call_json(client, "/a b", NULL, &json, &error), EXPERT_ERR_USAGE);
    cr_assert_eq(expert_call_json(client, "/a\r\nX: y", NULL, &json, &error), EXPERT_ERR_USAGE);
    cr_assert_eq(expert_call_json(client, "/v1/tokenize", "{\"prompt\":\"x\"}", &json, &error), 0, "%s", error.text);
    cr_assert_str_eq(json, "{\"a\": 1}");
    expert_close(client);
    client_peer_close(&peer);
    cr_assert_not_null(strstr(peer.request, "POST /v1/tokenize"));
    cr_assert_not_null(strstr(peer.request, "{\"prompt\":\"x\"}"));
}

Test(client, nothing_to_close_is_fine)
{
    expert_close(NULL);
}
