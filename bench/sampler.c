/* SPDX-License-Identifier: MIT
 *
 * What choosing a token costs: bench/sampler [ROUNDS]. Logits are a bell curve, as of random weights, and a peaked one,
 * as of a model that knows. Prints the median time of a draw for several settings and sizes of vocabulary, and a number
 * made of the tokens drawn, which may not change.
 */
#include "model/sampler.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAWS_MAX 10000

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

/* Twelve uniform numbers make nearly a bell. */
static void fill(float *logits, uint32_t n, bool peaked)
{
    state = n;
    for (uint32_t i = 0; i < n; i++) {
        double v = -6;

        for (int k = 0; k < 12; k++)
            v += uniform();
        logits[i] = (float)(peaked ? 3 * v + (uniform() < 0.0005 ? 12 * uniform() : 0) : v);
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int run(const char *name, const struct sampler_options *options, const float *logits, uint32_t n, bool peaked,
               uint32_t draws)
{
    static uint64_t ns[DRAWS_MAX];
    struct sampler *s;
    struct err err = { 0 };
    uint64_t tokens = 0xcbf29ce484222325u;

    if (sampler_open(options, n, &s, &err) < 0) {
        fprintf(stderr, "%s\n", err_text(&err));
        return 1;
    }
    for (uint32_t i = 0; i < draws; i++) {
        uint64_t start = clock_ns();
        int32_t token = sampler_draw(s, logits);

        ns[i] = clock_ns() - start;
        sampler_accept(s, token);
        tokens = (tokens ^ (uint32_t)token) * 0x100000001b3u;
    }
    sampler_close(s);
    qsort(ns, draws, sizeof(ns[0]), by_size);
    printf("%-32s %-6s %6u %8.3f ms  %016llx\n", name, peaked ? "peaked" : "bell", n, (double)ns[draws / 2] / 1e6,
           (unsigned long long)tokens);
    return 0;
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = { 50304, 151936 };
    struct {
        const char *name;
        struct sampler_options options;
    } settings[] = {
        { "temperature 2", { .temperature = 2, .top_p = 1, .repetition_penalty = 1 } },
        { "defaults", { .temperature = 0 } },
        { "top_k 1000", { .temperature = 1, .top_k = 1000, .top_p = 1, .repetition_penalty = 1 } },
        { "top_p 0.95", { .temperature = 1, .top_p = 0.95f, .repetition_penalty = 1 } },
        { "min_p 0.05", { .temperature = 1, .top_p = 1, .min_p = 0.05f, .repetition_penalty = 1 } },
        { "penalties", { .temperature = 1, .top_p = 1, .repetition_penalty = 1.1f, .presence_penalty = 1 } },
        { "greedy", { .top_p = 1, .repetition_penalty = 1 } },
    };
    uint32_t draws = argc > 1 ? (uint32_t)atoi(argv[1]) : 200;
    float *logits = malloc(sizes[1] * sizeof(*logits));
    int r = logits == NULL;

    draws = draws < 1 ? 1 : draws < DRAWS_MAX ? draws : DRAWS_MAX;
    sampler_options_default(&settings[1].options);
    for (size_t i = 0; i < 2 && r == 0; i++)
        for (int peaked = 0; peaked < 2; peaked++) {
            fill(logits, sizes[i], peaked != 0);
            for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]) && r == 0; k++) {
                settings[k].options.seed = k + 1;
                r = run(settings[k].name, &settings[k].options, logits, sizes[i], peaked != 0, draws);
            }
        }
    free(logits);
    return r;
}
