/* SPDX-License-Identifier: MIT
 *
 * hello.c: ask expertd and print the answer as it is written.
 *
 *     cc hello.c $(pkg-config --cflags --libs libexpert) -o hello && ./hello "Tell me a story."
 */
#include <expert.h>
#include <stdio.h>

static int print_text(void *user, const char *text, size_t n_bytes)
{
    (void)user;
    return fwrite(text, 1, n_bytes, stdout) == n_bytes && fflush(stdout) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct expert_message message = { "user", argc > 1 ? argv[1] : "Tell me a story." };
    struct expert_client *client;
    struct expert_request request;
    struct expert_result result;
    struct expert_error error;
    int r;

    if (expert_open(NULL, &client, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    expert_request_init(&request);
    request.messages = &message;
    request.n_messages = 1;
    request.max_tokens = 100;
    request.on_text = print_text;
    r = expert_complete(client, &request, &result, &error);
    if (r < 0)
        fprintf(stderr, "%s\n", error.text);
    else
        printf("\n(%lld tokens, %.1f tokens/s)\n", (long long)result.completion_tokens, result.tokens_per_second);
    expert_close(client);
    return r < 0 ? 1 : 0;
}
