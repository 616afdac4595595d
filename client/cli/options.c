/* SPDX-License-Identifier: MIT */
#include "client/cli/options.h"

#include "client/expert.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct spec {
    const char *name;
    char letter; /* 0: none */
    int commands;
    enum { SPEC_FLAG, SPEC_TEXT, SPEC_STOP, SPEC_WHOLE, SPEC_REAL } kind;
    size_t offset;
    const char *argument;
    const char *help;
};

#define AT(field) offsetof(struct options, field)
#define GENERATING (FOR_RUN | FOR_CHAT)

static const struct spec specs[] = {
    { "max-tokens", 'n', GENERATING | FOR_BENCH, SPEC_WHOLE, AT(max_tokens), "N", "write at most N tokens" },
    { "temperature", 't', GENERATING, SPEC_REAL, AT(temperature), "X", "0: always the likeliest token; higher: freer" },
    { "top-p", 0, GENERATING, SPEC_REAL, AT(top_p), "X", "choose among the likeliest tokens that make up X (0 to 1)" },
    { "top-k", 0, GENERATING, SPEC_WHOLE, AT(top_k), "N", "choose among the N likeliest tokens" },
    { "min-p", 0, GENERATING, SPEC_REAL, AT(min_p), "X", "leave out tokens below X times the likeliest (0 to 1)" },
    { "seed", 0, GENERATING | FOR_BENCH, SPEC_WHOLE, AT(seed), "N", "the same seed gives the same text" },
    { "stop", 0, GENERATING, SPEC_STOP, AT(stop), "TEXT", "end the answer before TEXT (may be given several times)" },
    { "system", 's', GENERATING, SPEC_TEXT, AT(system), "TEXT", "a system message to begin with" },
    { "raw", 0, FOR_RUN, SPEC_FLAG, AT(raw), NULL, "continue the prompt as it stands, without the chat template" },
    { "runs", 'r', FOR_BENCH, SPEC_WHOLE, AT(runs), "N", "measure N answers (default 5)" },
    { "warmup", 0, FOR_BENCH, SPEC_WHOLE, AT(warmup), "N", "ask N times before measuring (default 1)" },
    { "interval", 'i', FOR_TOP, SPEC_REAL, AT(interval_s), "S", "look every S seconds (default 1)" },
    { "count", 'c', FOR_TOP, SPEC_WHOLE, AT(count), "N", "look N times, then end (default: no end)" },
    { "model", 'm', FOR_PACK, SPEC_TEXT, AT(model), "FILE", "this model, instead of the one that is served" },
    { "output", 'o', FOR_PACK, SPEC_TEXT, AT(output), "FILE", "write this file, instead of MODEL.pack" },
    { "force", 'f', FOR_PACK, SPEC_FLAG, AT(force), NULL, "write it anew over what is there" },
    { "no-wait", 0, GENERATING | FOR_BENCH, SPEC_FLAG, AT(no_wait), NULL,
      "fail when the daemon is still loading, instead of waiting" },
    { "verbose", 'v', GENERATING, SPEC_FLAG, AT(verbose), NULL, "say on stderr how fast it was" },
    { "json", 0, FOR_ALL & ~FOR_CHAT & ~FOR_TOP, SPEC_FLAG, AT(json), NULL, "print JSON" },
    { "socket", 'S', FOR_ALL, SPEC_TEXT, AT(socket), "ADDRESS", "the daemon's socket, or an http:// URL" },
    { "help", 'h', FOR_ALL, SPEC_FLAG, AT(help), NULL, "print this" },
};

#define N_SPECS (sizeof(specs) / sizeof(specs[0]))

void options_print(int command, FILE *out)
{
    for (size_t i = 0; i < N_SPECS; i++) {
        char left[40], letter[5] = "    ";

        if ((specs[i].commands & command) == 0)
            continue;
        if (specs[i].letter != 0)
            snprintf(letter, sizeof(letter), "-%c, ", specs[i].letter);
        snprintf(left, sizeof(left), "%s--%s %s", letter, specs[i].name,
                 specs[i].argument != NULL ? specs[i].argument : "");
        fprintf(out, "  %-24s %s\n", left, specs[i].help);
    }
}

static bool set_number(const struct spec *spec, char *base, const char *text)
{
    char *end;
    bool good;

    errno = 0;
    if (spec->kind == SPEC_WHOLE) {
        long long value = strtoll(text, &end, 10);

        good = errno == 0 && end != text && *end == '\0' && value != EXPERT_UNSET;
        if (good)
            *(int64_t *)(void *)(base + spec->offset) = value;
    } else {
        double value = strtod(text, &end);

        good = errno == 0 && end != text && *end == '\0' && isfinite(value);
        if (good)
            *(double *)(void *)(base + spec->offset) = value;
    }
    if (!good)
        fprintf(stderr, "expert: --%s takes a %s, not '%s'\n", spec->name,
                spec->kind == SPEC_WHOLE ? "whole number" : "number", text);
    return good;
}

static bool set(struct options *options, const struct spec *spec, const char *text)
{
    char *base = (char *)options;

    switch (spec->kind) {
    case SPEC_FLAG:
        *(bool *)(base + spec->offset) = true;
        return true;
    case SPEC_TEXT:
        *(const char **)(void *)(base + spec->offset) = text;
        return true;
    case SPEC_STOP:
        if (options->n_stop == OPTIONS_STOP_MAX) {
            fprintf(stderr, "expert: --stop may be given %d times at most\n", OPTIONS_STOP_MAX);
            return false;
        }
        options->stop[options->n_stop++] = text;
        return true;
    default:
        return set_number(spec, base, text);
    }
}

static bool in_range(const struct options *options)
{
    if (options->runs < 1 || options->runs > 10000 || options->warmup < 0 || options->warmup > 10000) {
        fprintf(stderr, "expert: --runs takes 1 to 10000, --warmup 0 to 10000\n");
        return false;
    }
    if (!(options->interval_s >= 0.01 && options->interval_s <= 86400) || options->count < 0) {
        fprintf(stderr, "expert: --interval takes 0.01 to 86400 seconds, --count 1 or more (0: no end)\n");
        return false;
    }
    return true;
}

/* What getopt_long() wants to know of the options that this command has. */
static void getopt_fill(int command, struct option *longs, char *shorts)
{
    *shorts++ = ':';
    for (size_t i = 0; i < N_SPECS; i++) {
        bool takes = specs[i].kind != SPEC_FLAG;

        if ((specs[i].commands & command) == 0)
            continue;
        *longs++ = (struct option){ specs[i].name, takes ? required_argument : no_argument, NULL, 256 + (int)i };
        if (specs[i].letter != 0)
            *shorts++ = specs[i].letter;
        if (specs[i].letter != 0 && takes)
            *shorts++ = ':';
    }
    *longs = (struct option){ 0 };
    *shorts = '\0';
}

static const struct spec *spec_of(int choice)
{
    size_t i = 0;

    if (choice >= 256)
        return &specs[choice - 256];
    while (specs[i].letter != choice)
        i++;
    return &specs[i];
}

bool options_parse(struct options *options, int command, int argc, char **argv)
{
    struct option longs[N_SPECS + 1];
    char shorts[3 * N_SPECS + 2];
    int choice;

    *options = (struct options){ .max_tokens = EXPERT_UNSET, .seed = EXPERT_UNSET, .top_k = EXPERT_UNSET };
    options->temperature = options->top_p = options->min_p = NAN;
    options->runs = 5, options->warmup = 1, options->interval_s = 1;
    getopt_fill(command, longs, shorts);
    optind = 0;
    opterr = 0;
    while ((choice = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (choice == '?' || choice == ':') {
            fprintf(stderr, "expert %s: %s '%s'; try 'expert %s --help'\n", argv[0],
                    choice == '?' ? "there is no option" : "a value is missing after", argv[optind - 1], argv[0]);
            return false;
        }
        if (!set(options, spec_of(choice), optarg))
            return false;
    }
    options->arguments = argv + optind;
    options->n_arguments = argc - optind;
    return in_range(options);
}
