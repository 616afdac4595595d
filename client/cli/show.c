/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/units.h"

#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 256

static void row(const char *name, const char *value)
{
    printf("%-18s %s\n", name, value[0] != '\0' ? value : "-");
}

static void user_name(char *buffer, size_t buffer_bytes, int64_t uid)
{
    const struct passwd *user = uid >= 0 && uid <= UINT32_MAX ? getpwuid((uid_t)uid) : NULL;

    if (user != NULL)
        snprintf(buffer, buffer_bytes, "%s", user->pw_name);
    else
        snprintf(buffer, buffer_bytes, uid >= 0 ? "%lld" : "-", (long long)uid);
}

static void print_sequence(const struct expert_sequence *sequence)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], e[UNITS_TEXT], f[UNITS_TEXT], g[UNITS_TEXT];
    char prompt[2 * UNITS_TEXT], user[40];

    snprintf(prompt, sizeof(prompt), "%s/%s", units_count(a, sequence->prompt_done),
             units_count(b, sequence->prompt_tokens));
    user_name(user, sizeof(user), sequence->uid);
    printf("%-6s %-8s %13s %7s %9s %8s %10s %8s %s\n", units_count(c, sequence->id), sequence->state, prompt,
           units_count(d, sequence->tokens), units_rate(e, sequence->tokens_per_second),
           units_percent(f, sequence->hit_rate), units_seconds(g, sequence->age_s),
           sequence->pid > 0 ? units_count(a, sequence->pid) : "-", user);
}

int command_ps(struct session *session)
{
    struct expert_sequence *sequences;
    struct expert_error error;
    size_t n = 0;
    int r;

    if (session->options->json)
        return session_print_json(session, "/stats");
    sequences = calloc(LIST_MAX, sizeof(*sequences));
    if (sequences == NULL) {
        fprintf(stderr, "expert: out of memory\n");
        return EXIT_SERVER;
    }
    r = expert_sequences(session->client, sequences, LIST_MAX, &n, &error);
    if (r == 0) {
        printf("%-6s %-8s %13s %7s %9s %8s %10s %8s %s\n", "ID", "STATE", "PROMPT", "TOKENS", "TOKENS/S", "HITS", "AGE",
               "PID", "USER");
        for (size_t i = 0; i < n && i < LIST_MAX; i++)
            print_sequence(&sequences[i]);
    }
    free(sequences);
    return r < 0 ? session_fail(&error) : EXIT_OK;
}

int command_models(struct session *session)
{
    struct expert_model models[16];
    struct expert_error error;
    size_t n;

    if (session->options->json)
        return session_print_json(session, "/v1/models");
    if (expert_models(session->client, models, sizeof(models) / sizeof(models[0]), &n, &error) < 0)
        return session_fail(&error);
    for (size_t i = 0; i < n && i < sizeof(models) / sizeof(models[0]); i++)
        puts(models[i].id);
    return EXIT_OK;
}

static void print_model(const struct expert_props *props)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], text[4 * UNITS_TEXT];

    row("model", props->model);
    row("file", props->model_path);
    row("architecture", props->architecture);
    row("quantization", props->quantization);
    snprintf(text, sizeof(text), "%s, of them experts %s", units_byte_count(a, props->model_bytes),
             units_byte_count(b, props->expert_bytes));
    row("size", text);
    snprintf(text, sizeof(text), "%s layers, %s experts each, %s for a token", units_count(a, props->n_layers),
             units_count(b, props->n_experts), units_count(c, props->n_experts_used));
    row("layers", text);
    row("experts per token", units_byte_count(a, props->token_bytes));
}

static void print_machine(const struct expert_props *props)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], text[160];

    snprintf(text, sizeof(text), "%s tokens, %s answers at once", units_count(a, props->context_tokens),
             units_count(b, props->n_parallel));
    row("context", text);
    snprintf(text, sizeof(text), "%s: dense weights %s, KV %s, expert slots %s",
             units_byte_count(a, props->memory_bytes), units_byte_count(b, props->dense_bytes),
             units_byte_count(c, props->kv_bytes), units_byte_count(d, props->slots_bytes));
    row("memory budget", text);
    row("device", props->device);
    row("threads", units_count(a, props->n_threads));
    row("reads", props->io);
    if (props->read_bytes != EXPERT_UNSET && props->read_depth != EXPERT_UNSET) {
        snprintf(text, sizeof(text), "%s each, up to %s at once", units_byte_count(a, props->read_bytes),
                 units_count(b, props->read_depth));
        row("read in pieces", text);
    }
    row("expertd", props->version);
}

int command_show(struct session *session)
{
    struct expert_props props;
    struct expert_error error;

    if (session->options->json)
        return session_print_json(session, "/props");
    if (expert_props(session->client, &props, &error) < 0)
        return session_fail(&error);
    print_model(&props);
    print_machine(&props);
    return EXIT_OK;
}

static void print_requests(const struct expert_stats *stats)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], text[4 * UNITS_TEXT];

    row("status", stats->status);
    row("up for", units_seconds(a, stats->uptime_s != EXPERT_UNSET ? (double)stats->uptime_s : NAN));
    snprintf(text, sizeof(text), "%s active, %s waiting", units_count(a, stats->active),
             units_count(b, stats->waiting));
    row("requests now", text);
    snprintf(text, sizeof(text), "%s done, %s failed, %s canceled", units_count(a, stats->requests_done),
             units_count(b, stats->requests_failed), units_count(c, stats->requests_canceled));
    row("requests", text);
    row("prompt tokens", units_count(a, stats->prompt_tokens));
    row("tokens written", units_count(a, stats->tokens));
}

/* Where the forward pass spends its time. */
static void print_time(const struct expert_stats *stats)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], text[5 * UNITS_TEXT];
    double all = stats->step_ns > 0 ? (double)stats->step_ns : NAN;
    double wait = stats->wait_ns != EXPERT_UNSET ? (double)stats->wait_ns / all : NAN;
    double door = stats->door_ns != EXPERT_UNSET ? (double)stats->door_ns / all : NAN;

    snprintf(text, sizeof(text), "%s: %s computing, %s waiting for reads, %s on the cache", units_seconds(a, all / 1e9),
             units_percent(b, 1 - wait - door), units_percent(c, wait), units_percent(d, door));
    row("forward pass", text);
}

static double share(int64_t part, int64_t all)
{
    return part != EXPERT_UNSET && all > 0 ? (double)part / (double)all : NAN;
}

/* What was found of the experts that are followed, and what the policies would have found. */
static void print_shadow(const struct expert_stats *stats)
{
    const struct {
        const char *name;
        int64_t hits;
    } shadows[] = { { "lru", stats->shadow_lru },           { "lfu", stats->shadow_lfu },
                    { "aged", stats->shadow_aged },         { "lfru", stats->shadow_lfru },
                    { "next-use", stats->shadow_next_use }, { "foresight", stats->shadow_oracle } };
    char a[UNITS_TEXT], text[8 * UNITS_TEXT];
    int at;

    if (stats->shadow_asked == EXPERT_UNSET || stats->shadow_asked == 0)
        return;
    at = snprintf(text, sizeof(text), "%s found", units_percent(a, share(stats->shadow_found, stats->shadow_asked)));
    for (size_t i = 0; i < sizeof(shadows) / sizeof(shadows[0]) && at < (int)sizeof(text); i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%s %s %s", i == 0 ? ";" : ",", shadows[i].name,
                       units_percent(a, share(shadows[i].hits, stats->shadow_asked)));
    row("policies", text);
}

int command_stats(struct session *session)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], text[4 * UNITS_TEXT];
    struct expert_stats stats;
    struct expert_error error;

    if (session->options->json)
        return session_print_json(session, "/stats");
    if (expert_stats(session->client, &stats, &error) < 0)
        return session_fail(&error);
    print_requests(&stats);
    snprintf(text, sizeof(text), "%s (%s found, %s read)", units_percent(a, stats.hit_rate),
             units_count(b, stats.expert_hits), units_count(c, stats.expert_misses));
    row("expert hits", text);
    snprintf(text, sizeof(text), "%s, %s per token", units_byte_count(a, stats.bytes_read),
             units_bytes(b, stats.bytes_read_per_token));
    row("read", text);
    print_shadow(&stats);
    print_time(&stats);
    snprintf(text, sizeof(text), "%s of %s used", units_count(a, stats.slots_used), units_count(b, stats.slots));
    row("expert slots", text);
    if (stats.vram_slots != EXPERT_UNSET) {
        snprintf(text, sizeof(text), "%s slots, %s hits", units_count(a, stats.vram_slots),
                 units_count(b, stats.vram_hits));
        row("on the GPU", text);
    }
    if (stats.given_back_bytes > 0)
        row("given back", units_byte_count(a, stats.given_back_bytes));
    snprintf(text, sizeof(text), "%s, at most %s, budget %s", units_byte_count(a, stats.rss_bytes),
             units_byte_count(b, stats.peak_rss_bytes), units_byte_count(c, stats.memory_bytes));
    row("memory", text);
    return EXIT_OK;
}
