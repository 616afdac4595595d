/* SPDX-License-Identifier: MIT */
#include "client/cli/commands.h"
#include "client/cli/interrupt.h"
#include "client/cli/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEQUENCES_MAX 64

/* Counters at two looks make rates. */
struct look {
    struct expert_stats stats;
    double at_s;
};

struct rates {
    double tokens, prompt_tokens, bytes; /* per second; NAN at the first look */
    double hit_rate;                     /* since the look before */
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* NAN when a counter is not known, or has gone back (a restarted daemon). */
static double growth(int64_t before, int64_t after)
{
    return before == EXPERT_UNSET || after == EXPERT_UNSET || after < before ? NAN : (double)after - (double)before;
}

static struct rates rates_between(const struct look *before, const struct look *after)
{
    double seconds = after->at_s - before->at_s;
    double hits = growth(before->stats.expert_hits, after->stats.expert_hits);
    double misses = growth(before->stats.expert_misses, after->stats.expert_misses);

    return (struct rates){
        .tokens = growth(before->stats.tokens, after->stats.tokens) / seconds,
        .prompt_tokens = growth(before->stats.prompt_tokens, after->stats.prompt_tokens) / seconds,
        .bytes = growth(before->stats.bytes_read, after->stats.bytes_read) / seconds,
        .hit_rate = hits / (hits + misses),
    };
}

static void print_line(const struct expert_stats *stats, const struct rates *rates)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], e[UNITS_TEXT], f[UNITS_TEXT], g[UNITS_TEXT];

    printf("%s active, %s waiting; %s tokens/s, prompt %s tokens/s; expert hits %s; reading %s/s; memory %s\n",
           units_count(a, stats->active), units_count(b, stats->waiting), units_rate(c, rates->tokens),
           units_rate(d, rates->prompt_tokens), units_percent(e, rates->hit_rate), units_bytes(f, rates->bytes),
           units_byte_count(g, stats->rss_bytes));
}

static void print_sequences(const struct expert_sequence *sequences, size_t n)
{
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT], e[UNITS_TEXT];

    printf("\n%-6s %-8s %8s %8s %9s %8s\n", "ID", "STATE", "PROMPT", "TOKENS", "TOKENS/S", "HITS");
    for (size_t i = 0; i < n && i < SEQUENCES_MAX; i++)
        printf("%-6s %-8s %8s %8s %9s %8s\n", units_count(a, sequences[i].id), sequences[i].state,
               units_count(b, sequences[i].prompt_tokens), units_count(c, sequences[i].tokens),
               units_rate(d, sequences[i].tokens_per_second), units_percent(e, sequences[i].hit_rate));
}

static int print_page(struct session *session, const struct expert_stats *stats, const struct rates *rates,
                      struct expert_error *error)
{
    struct expert_sequence sequences[SEQUENCES_MAX];
    char a[UNITS_TEXT], b[UNITS_TEXT], c[UNITS_TEXT], d[UNITS_TEXT];
    size_t n = 0;
    int r = expert_sequences(session->client, sequences, SEQUENCES_MAX, &n, error);

    if (r < 0)
        return r;
    printf("\033[H\033[2Jexpertd on %s: %s, up for %s\n\n", expert_address(session->client), stats->status,
           units_seconds(a, stats->uptime_s != EXPERT_UNSET ? (double)stats->uptime_s : NAN));
    print_line(stats, rates);
    printf("slots %s of %s used; memory at most %s of %s\n", units_count(a, stats->slots_used),
           units_count(b, stats->slots), units_byte_count(c, stats->peak_rss_bytes),
           units_byte_count(d, stats->memory_bytes));
    if (stats->given_back_bytes > 0)
        printf("given back under memory pressure: %s of slots\n", units_byte_count(a, stats->given_back_bytes));
    print_sequences(sequences, n);
    printf("\nCtrl-C ends this.\n");
    return 0;
}

int command_top(struct session *session)
{
    const struct options *options = session->options;
    bool on_terminal = isatty(STDOUT_FILENO) == 1;
    struct rates rates = { NAN, NAN, NAN, NAN };
    struct look before, after;
    struct expert_error error;

    interrupt_attach(session->client);
    for (int64_t i = 0; options->count == 0 || i < options->count; i++) {
        if (i > 0 && !interrupt_sleep((int)(options->interval_s * 1000)))
            break;
        if (expert_stats(session->client, &after.stats, &error) < 0)
            return error.code == EXPERT_ERR_CANCELED ? EXIT_OK : session_fail(&error);
        after.at_s = now_s();
        if (i > 0)
            rates = rates_between(&before, &after);
        if (!on_terminal)
            print_line(&after.stats, &rates);
        else if (print_page(session, &after.stats, &rates, &error) < 0)
            return error.code == EXPERT_ERR_CANCELED ? EXIT_OK : session_fail(&error);
        if (fflush(stdout) != 0)
            break; /* main says why */
        before = after;
    }
    return EXIT_OK;
}
