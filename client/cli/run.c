/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/terminal.h"
#include "client/cli/units.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROMPT_MAX ((size_t)16 << 20)

/* A prompt that is put together piece by piece. */
struct prompt {
    char *bytes; /* [n] and a NUL */
    size_t n;
};

static bool prompt_append(struct prompt *prompt, const char *bytes, size_t n)
{
    char *grown;

    if (n > PROMPT_MAX - prompt->n) {
        fprintf(stderr, "expert run: the prompt is longer than %zu MiB\n", PROMPT_MAX >> 20);
        return false;
    }
    grown = realloc(prompt->bytes, prompt->n + n + 1);
    if (grown == NULL) {
        fprintf(stderr, "expert run: out of memory\n");
        return false;
    }
    memcpy(grown + prompt->n, bytes, n);
    prompt->bytes = grown;
    prompt->n += n;
    grown[prompt->n] = '\0';
    return true;
}

static bool prompt_append_stdin(struct prompt *prompt)
{
    char piece[65536];
    size_t n;

    while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0) {
        if (memchr(piece, '\0', n) != NULL) {
            fprintf(stderr, "expert run: stdin holds a NUL byte: is it text?\n");
            return false;
        }
        if (!prompt_append(prompt, piece, n))
            return false;
    }
    if (ferror(stdin))
        perror("expert run: reading stdin");
    return !ferror(stdin);
}

static bool prompt_append_argument(struct prompt *prompt, const char *argument)
{
    if (strcmp(argument, "-") == 0)
        return prompt_append_stdin(prompt);
    return prompt_append(prompt, argument, strlen(argument));
}

static bool prompt_read(struct prompt *prompt, const struct options *options)
{
    bool good = prompt_append(prompt, "", 0);

    if (options->n_arguments == 0 && isatty(STDIN_FILENO) == 1) {
        fprintf(stderr, "expert run: there is no prompt; try: expert run \"Tell me a story.\"\n");
        return false;
    }
    if (options->n_arguments == 0)
        good = good && prompt_append_stdin(prompt);
    for (int i = 0; i < options->n_arguments && good; i++)
        good = (i == 0 || prompt_append(prompt, " ", 1)) && prompt_append_argument(prompt, options->arguments[i]);
    if (good && prompt->n == 0) {
        fprintf(stderr, "expert run: the prompt is empty\n");
        return false;
    }
    return good;
}

static int on_text(void *user, const char *text, size_t n_bytes)
{
    return terminal_write(user, text, n_bytes);
}

void figures_print(const struct expert_result *result)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], e[UNITS_TEXT], f[UNITS_TEXT], g[UNITS_TEXT];

    fprintf(
        stderr,
        "%s tokens, %s tokens/s; prompt %s tokens, %s tokens/s; first text after %s; expert hits %s; read per token "
        "%s\n",
        units_count(a, result->completion_tokens), units_rate(b, result->tokens_per_second),
        units_count(c, result->prompt_tokens), units_rate(d, result->prompt_tokens_per_second),
        units_seconds(e, result->first_text_ns > 0 ? (double)result->first_text_ns / 1e9 : NAN),
        units_percent(f, result->hit_rate), units_bytes(g, result->bytes_read_per_token));
}

static json_t *figure(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *count(int64_t value)
{
    return value != EXPERT_UNSET ? json_integer(value) : json_null();
}

static void print_json(const struct expert_result *result)
{
    json_t *json =
        json_pack("{s:s%, s:s, s:s, s:{s:o, s:o}, s:{s:o, s:o, s:o, s:o}, s:f, s:f}", "text", result->text,
                  result->text_bytes, "finish_reason", result->finish_reason, "model", result->model, "usage",
                  "prompt_tokens", count(result->prompt_tokens), "completion_tokens", count(result->completion_tokens),
                  "expertd", "prompt_tokens_per_second", figure(result->prompt_tokens_per_second), "tokens_per_second",
                  figure(result->tokens_per_second), "hit_rate", figure(result->hit_rate), "bytes_read_per_token",
                  figure(result->bytes_read_per_token), "first_text_s", (double)result->first_text_ns / 1e9, "total_s",
                  (double)result->total_ns / 1e9);

    json_dumpf(json, stdout, JSON_COMPACT | (isatty(STDOUT_FILENO) == 1 ? JSON_ENSURE_ASCII : 0));
    putchar('\n');
    json_decref(json);
}

static int ask(struct session *session, const char *prompt)
{
    const struct options *options = session->options;
    struct expert_message messages[2] = { { "system", options->system }, { "user", prompt } };
    struct expert_request request;
    struct expert_result result;
    struct expert_error error;
    struct terminal terminal;
    int r;

    terminal_init(&terminal, STDOUT_FILENO);
    session_request_init(session, &request);
    if (options->raw) {
        request.prompt = prompt;
    } else {
        request.messages = options->system != NULL ? messages : messages + 1;
        request.n_messages = options->system != NULL ? 2 : 1;
    }
    request.on_text = options->json ? NULL : on_text;
    request.user = &terminal;
    r = session_complete(session, &request, &result, &error);
    terminal_end_line(&terminal);
    if (terminal.errnum != 0)
        return session_fail_output(terminal.errnum);
    if (r < 0)
        return session_fail(&error);
    if (options->json)
        print_json(&result);
    if (options->verbose)
        figures_print(&result);
    return EXIT_OK;
}

int command_run(struct session *session)
{
    struct prompt prompt = { 0 };
    int status = EXIT_USAGE;

    if (session->options->raw && session->options->system != NULL)
        fprintf(stderr, "expert run: --raw has no system message: put it into the prompt\n");
    else if (prompt_read(&prompt, session->options))
        status = ask(session, prompt.bytes);
    free(prompt.bytes);
    return status;
}
