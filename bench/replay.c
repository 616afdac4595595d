/* SPDX-License-Identifier: MIT
 *
 * replay.c: what each cache policy would have hit on recorded routing, and what predictors would have foretold.
 *
 *     bench/replay [--svg FILE] TRACE [TRACE ...]
 *
 * Prints hit rates in percent per share of the experts that fit, beside Belady's; then, with a quarter of the
 * experts in slots,
 * how many of the uses, and of the misses of the default policy, predictors name that are given as many guesses as a
 * token has experts. --svg draws the hit rates of the first trace. The traces' format: bench/trace.h.
 */
#include "base/mem.h"
#include "bench/replay_sim.h"
#include "bench/replay_svg.h"

#include <stdio.h>
#include <string.h>

static const double shares[] = { 0.03125, 0.05, 0.08, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375, 0.5 };
#define N_SHARES (sizeof(shares) / sizeof(shares[0]))

static void header_print(const char *path, const struct trace *t)
{
    printf("%s: %u layers, %u experts, %u used\n\n| experts that fit | in working sets |", path, t->n_layers,
           t->n_experts, t->n_used);
    for (int which = 0; which < REPLAYS; which++)
        printf(" %s |", replay_name(which));
    printf("\n|---|---|");
    for (int which = 0; which < REPLAYS; which++)
        printf("---|");
    printf("\n");
}

static int rates_print(const struct trace *t, struct replay_curve *curves)
{
    for (size_t s = 0; s < N_SHARES; s++) {
        uint32_t n_slots = (uint32_t)(shares[s] * t->n_layers * t->n_experts);

        printf("| %4.1f %% | %.2f |", 100 * shares[s], (double)n_slots / (t->n_layers * t->n_used));
        for (int which = 0; which < REPLAYS; which++) {
            double percent = n_slots > 0 ? replay_run(t, which, n_slots, NULL) : 0;

            if (percent < 0)
                return -1;
            printf(" %.1f |", percent);
            fflush(stdout);
            curves[which].percent[s] = percent;
        }
        printf("\n");
    }
    return 0;
}

static int predictors_print(const struct trace *t)
{
    bool *hit = mem_calloc(t->n, sizeof(*hit));

    if (hit == NULL || replay_run(t, POLICY_NEXT_USE, t->n_layers * t->n_experts / 4, hit) < 0) {
        mem_free(hit);
        return -1;
    }
    printf("\n| predictor | of the uses, %% | of the misses with a quarter in slots, %% |\n|---|---|---|\n");
    for (int which = 0; which < PREDICTORS; which++) {
        struct foretold told = replay_predict(t, (enum predictor)which, hit);

        if (told.all >= 0)
            printf("| %s | %.1f | %.1f |\n", predictor_name((enum predictor)which), told.all, told.misses);
    }
    printf("\n");
    mem_free(hit);
    return 0;
}

static int replay_file(const char *path, const char *svg)
{
    struct replay_curve curves[REPLAYS] = { 0 };
    struct trace trace;
    struct err err = { 0 };
    int rc = trace_open(path, &trace, &err);

    if (rc == 0) {
        header_print(path, &trace);
        rc = rates_print(&trace, curves);
        if (rc == 0)
            rc = predictors_print(&trace);
        if (rc < 0)
            rc = err_set(&err, rc, "out of memory");
        trace_close(&trace);
    }
    for (int which = 0; which < REPLAYS; which++)
        curves[which].name = replay_name(which);
    if (rc == 0 && svg != NULL)
        rc = replay_svg_write(svg, path, shares, N_SHARES, curves, REPLAYS, &err);
    if (rc < 0)
        fprintf(stderr, "replay: %s\n", err_text(&err));
    return rc;
}

int main(int argc, char **argv)
{
    const char *svg = argc > 2 && strcmp(argv[1], "--svg") == 0 ? argv[2] : NULL;
    int first = svg != NULL ? 3 : 1;

    if (argc <= first || argv[first][0] == '-') {
        fprintf(stderr, "usage: replay [--svg FILE] TRACE [TRACE ...]\n");
        return 2;
    }
    for (int i = first; i < argc; i++)
        if (replay_file(argv[i], i == first ? svg : NULL) < 0)
            return 1;
    return 0;
}
