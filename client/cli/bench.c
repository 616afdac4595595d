/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/units.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_TOKENS 64
#define DEFAULT_PROMPT "Once upon a time there was a little fox who wanted to see the sea."

/* The figures of one answer; each column's median is printed. */
enum { PROMPT_RATE, RATE, CLIENT_RATE, FIRST_TEXT_S, TOTAL_S, HIT_RATE, BYTES_PER_TOKEN, N_COLUMNS };

static const struct {
    const char *json, *label;
    char *(*format)(char *buffer, double value);
} columns[N_COLUMNS] = {
    [PROMPT_RATE] = { "prompt_tokens_per_second", "prompt tokens/s", units_rate },
    [RATE] = { "tokens_per_second", "tokens/s", units_rate },
    [CLIENT_RATE] = { "client_tokens_per_second", "tokens/s as seen here", units_rate },
    [FIRST_TEXT_S] = { "first_text_s", "first text after", units_seconds },
    [TOTAL_S] = { "total_s", "whole answer after", units_seconds },
    [HIT_RATE] = { "hit_rate", "expert hits", units_percent },
    [BYTES_PER_TOKEN] = { "bytes_read_per_token", "read per token", units_bytes },
};

struct bench {
    double *values[N_COLUMNS]; /* [n] each */
    size_t n;
    int64_t prompt_tokens, completion_tokens; /* of the last answer */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of the values that are known; NAN when none is. Reorders them. */
static double median(double *values, size_t n)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++)
        if (isfinite(values[i]))
            values[known++] = values[i];
    if (known == 0)
        return NAN;
    qsort(values, known, sizeof(*values), compare);
    return known % 2 == 1 ? values[known / 2] : (values[known / 2 - 1] + values[known / 2]) / 2;
}

static void keep(struct bench *bench, const struct expert_result *result)
{
    double total_s = (double)result->total_ns / 1e9, first_s = (double)result->first_text_ns / 1e9;
    double n = result->completion_tokens != EXPERT_UNSET ? (double)result->completion_tokens : NAN;
    const double row[N_COLUMNS] = {
        [PROMPT_RATE] = result->prompt_tokens_per_second,
        [RATE] = result->tokens_per_second,
        [CLIENT_RATE] = result->first_text_ns > 0 && n > 1 && total_s > first_s ? (n - 1) / (total_s - first_s) : NAN,
        [FIRST_TEXT_S] = result->first_text_ns > 0 ? first_s : NAN,
        [TOTAL_S] = total_s,
        [HIT_RATE] = result->hit_rate,
        [BYTES_PER_TOKEN] = result->bytes_read_per_token,
    };

    for (size_t i = 0; i < N_COLUMNS; i++)
        bench->values[i][bench->n] = row[i];
    bench->n++;
    bench->prompt_tokens = result->prompt_tokens;
    bench->completion_tokens = result->completion_tokens;
}

/* Ask once. The prompts differ at their start, so that no daemon answers from a prompt it remembers. */
static int measure(struct session *session, struct bench *bench, const char *prompt, int64_t number,
                   struct expert_error *error)
{
    size_t n_bytes = strlen(prompt) + 32;
    char *numbered = malloc(n_bytes);
    struct expert_request request;
    struct expert_result result;
    int r;

    if (numbered == NULL) {
        *error = (struct expert_error){ .code = EXPERT_ERR_MEMORY, .text = "out of memory" };
        return error->code;
    }
    snprintf(numbered, n_bytes, "(%lld) %s", (long long)number, prompt);
    session_request_init(session, &request);
    request.prompt = numbered;
    request.temperature = 0;
    request.ignore_eos = true;
    if (request.max_tokens == EXPERT_UNSET)
        request.max_tokens = DEFAULT_TOKENS;
    r = session_complete(session, &request, &result, error);
    if (r == 0 && number > 0)
        keep(bench, &result);
    free(numbered);
    return r;
}

static void print_text(struct bench *bench)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];

    printf("medians of %zu answers (prompt %s tokens, answer %s tokens)\n", bench->n,
           units_count(a, bench->prompt_tokens), units_count(b, bench->completion_tokens));
    for (size_t i = 0; i < N_COLUMNS; i++)
        printf("%-22s %s\n", columns[i].label, columns[i].format(a, median(bench->values[i], bench->n)));
}

static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_json(struct bench *bench)
{
    json_t *json = json_object(), *runs = json_array(), *medians = json_object();

    for (size_t run = 0; run < bench->n; run++) {
        json_t *row = json_object();

        for (size_t i = 0; i < N_COLUMNS; i++)
            json_object_set_new(row, columns[i].json, number_json(bench->values[i][run]));
        json_array_append_new(runs, row);
    }
    for (size_t i = 0; i < N_COLUMNS; i++)
        json_object_set_new(medians, columns[i].json, number_json(median(bench->values[i], bench->n)));
    if (bench->prompt_tokens != EXPERT_UNSET)
        json_object_set_new(json, "prompt_tokens", json_integer(bench->prompt_tokens));
    if (bench->completion_tokens != EXPERT_UNSET)
        json_object_set_new(json, "completion_tokens", json_integer(bench->completion_tokens));
    json_object_set_new(json, "median", medians);
    json_object_set_new(json, "runs", runs);
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

/* Arguments joined by blanks; the caller frees. */
static char *prompt_of(const struct options *options)
{
    size_t n = 1;
    char *prompt;

    if (options->n_arguments == 0)
        return strdup(DEFAULT_PROMPT);
    for (int i = 0; i < options->n_arguments; i++)
        n += strlen(options->arguments[i]) + 1;
    prompt = calloc(1, n);
    for (int i = 0; i < options->n_arguments && prompt != NULL; i++) {
        strcat(prompt, i > 0 ? " " : "");
        strcat(prompt, options->arguments[i]);
    }
    return prompt;
}

int command_bench(struct session *session)
{
    const struct options *options = session->options;
    struct bench bench = { 0 };
    struct expert_error error;
    char *prompt = prompt_of(options);
    bool memory = prompt != NULL;
    int r = 0;

    for (size_t i = 0; i < N_COLUMNS; i++) {
        bench.values[i] = calloc((size_t)options->runs, sizeof(double));
        memory = memory && bench.values[i] != NULL;
    }
    if (!memory)
        fprintf(stderr, "expert: out of memory\n");
    for (int64_t i = 0; i < options->warmup + options->runs && r == 0 && memory; i++) {
        int64_t number = i - options->warmup + 1; /* 0 and below: warming up */

        if (isatty(STDERR_FILENO) == 1)
            fprintf(stderr, "\r\033[K%s %lld", number > 0 ? "run" : "warming up",
                    (long long)(number > 0 ? number : i + 1));
        r = measure(session, &bench, prompt, number, &error);
    }
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K");
    if (r == 0 && memory && options->json)
        print_json(&bench);
    else if (r == 0 && memory)
        print_text(&bench);
    for (size_t i = 0; i < N_COLUMNS; i++)
        free(bench.values[i]);
    free(prompt);
    return r < 0 ? session_fail(&error) : memory ? EXIT_OK : EXIT_SERVER;
}
