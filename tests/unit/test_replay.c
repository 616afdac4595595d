/* SPDX-License-Identifier: MIT
 *
 * What bench/replay says, against values that others found on the same traces (../shared/traces, skipped where
 * absent), and how it takes files that are no traces.
 */
#include "bench/replay_sim.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char head[] = "# model=x arch=y n_layer=2 n_expert=4 n_expert_used=1\nturn,phase,step,layer,slot,expert\n";

static int open_text(const char *text, struct trace *ret_trace, struct err *err)
{
    char path[] = "/tmp/test_replay.XXXXXX";
    int fd = mkstemp(path), rc;

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    rc = trace_open(path, ret_trace, err);
    unlink(path);
    return rc;
}

static void refused(const char *body, const char *why)
{
    char text[1024];
    struct trace trace;
    struct err err = { 0 };

    snprintf(text, sizeof(text), "%s%s", head, body);
    cr_assert_lt(open_text(text, &trace, &err), 0, "'%s' was taken", body);
    cr_assert(strstr(err_text(&err), why) != NULL, "%s", err_text(&err));
}

Test(trace, what_is_none_is_refused)
{
    struct trace trace;
    struct err err = { 0 };

    refused("", "no uses");
    refused("0,1,0,0\n", "line 3");
    refused("0,1,0,2,0,1\n", "layer 2");
    refused("0,1,0,0,0,4\n", "expert 4");
    refused("0,4,0,0,0,1\n", "phase 4");
    refused("0,3,0,0,0,4,1,2,3\n0,1,0,0,0,1\n", "not 4 margins");
    refused("0,3,0,0,0,4,1,2,3,x\n0,1,0,0,0,1\n", "not 4 margins");
    refused("0,3,0,0,0,4,1,2,3,40000\n0,1,0,0,0,1\n", "not 4 margins");
    refused("0,3,0,0,0,5,1,2,3,4,5\n0,1,0,0,0,1\n", "from 0 on");
    refused("0,3,0,0,2,2,1,2\n0,1,0,0,0,1\n", "from 2 on");
    refused("0,3,0,0,0,2,1,2\n0,3,0,1,2,2,1,2\n0,1,0,0,0,1\n", "from 2 on");
    refused("0,3,0,0,0,0\n0,1,0,0,0,1\n", "margins of 0");
    refused("0,3,0,0,0,2,1,2\n0,1,0,0,0,1\n", "2 experts of 4");
    refused("0,1,0,0,0,1\n0,3,0,0,0,2,1,2\n", "2 experts of 4");
    refused("0,3,0,0,4294967295,4294967295,1\n0,1,0,0,0,1\n", "do not go on");
    refused("0,3,0,2,0,4,1,2,3,4\n0,1,0,0,0,1\n", "layer 2");
    refused("# n_layer=3 n_expert=4 n_expert_used=1\n", "different shape");
    cr_assert_lt(open_text("0,1,0,0,0,1\n", &trace, &err), 0, "no shape was named");
    cr_assert_lt(open_text("# n_layer=70000 n_expert=70000 n_expert_used=1\n", &trace, &err), 0);
    cr_assert_lt(open_text("# n_layer=0 n_expert=4 n_expert_used=1\n", &trace, &err), 0);
    cr_assert_eq(trace_open("/nonexistent/trace", &trace, &err), -ENOENT);
}

/* Layer 0 uses 0 1, the prompt's, which warm, and then 0 1 2 0, which count. */
Test(replay, counts_answers_and_lets_prompts_warm)
{
    char text[1024];
    struct trace trace;
    struct err err = { 0 };

    snprintf(text, sizeof(text), "%s%s", head,
             "0,0,0,0,0,0\n0,0,1,0,0,1\n0,1,0,0,0,0\n0,1,1,0,0,1\n0,1,2,0,0,2\n0,1,3,0,0,0\n");
    cr_assert_eq(open_text(text, &trace, &err), 0, "%s", err_text(&err));
    cr_assert_eq(replay_run(&trace, POLICY_LRU, 1, NULL), 0);
    cr_assert_eq(replay_run(&trace, POLICY_LRU, 2, NULL), 50);
    cr_assert_eq(replay_run(&trace, REPLAY_BELADY, 2, NULL), 75);
    cr_assert_eq(replay_run(&trace, POLICY_LRU, 3, NULL), 75);
    trace_close(&trace);
}

/* Experts 0 to 3 of a layer come at random, one at a time; whoever comes next has just missed. Who listens to the
 * router keeps him. */
Test(replay, next_use_listens_to_the_router)
{
    static char text[1 << 16];
    double told, untold;
    uint32_t random = 1, next = 0;
    struct trace trace;
    struct err err = { 0 };
    size_t at = (size_t)snprintf(text, sizeof(text), "%s", head);

    for (int step = 0; step < 200; step++) {
        int margin[4] = { -150, -150, -150, -150 };
        uint32_t now = next;

        random = random * 1664525u + 1013904223u;
        next = random >> 30;
        margin[next] = -5;
        margin[now] = 60;
        at += (size_t)snprintf(text + at, sizeof(text) - at,
                               "0,3,%d,0,0,3,%d,%d,%d\n0,3,%d,0,3,1,%d\n0,1,%d,0,0,%u\n", step, margin[0], margin[1],
                               margin[2], step, margin[3], step, now);
    }
    cr_assert_eq(open_text(text, &trace, &err), 0, "%s", err_text(&err));
    cr_assert(trace.n == 200 && trace.n_weighed == 200 && trace.weighed[7].before == 7 && trace.margin[0] == 60);
    told = replay_run(&trace, POLICY_NEXT_USE, 2, NULL);
    trace.n_weighed = 0;
    untold = replay_run(&trace, POLICY_NEXT_USE, 2, NULL);
    cr_expect_gt(told, untold + 5, "%.1f and %.1f %%", told, untold);
    trace_close(&trace);
}

Test(replay, guesses_are_judged_and_not_used)
{
    char text[1024];
    struct trace trace;
    struct err err = { 0 };
    bool hit[16] = { 0 };
    struct foretold told;

    snprintf(text, sizeof(text), "%s%s", head,
             "0,1,0,0,0,0\n0,1,0,1,0,2\n"
             "0,2,1,1,0,3\n0,1,1,0,0,0\n0,1,1,1,0,3\n"
             "0,1,2,0,0,0\n0,2,2,1,0,3\n0,1,2,1,0,1\n");
    cr_assert_eq(open_text(text, &trace, &err), 0, "%s", err_text(&err));
    cr_assert_eq(replay_run(&trace, POLICY_LRU, 8, hit), 100.0 * 2 / 6);
    told = replay_predict(&trace, PREDICT_LOOKAHEAD, hit);
    cr_assert_eq(told.all, 50, "%g", told.all);
    told = replay_predict(&trace, PREDICT_PREVIOUS, hit);
    cr_assert_float_eq(told.all, 100.0 * 2 / 6, 1e-9, "%g", told.all);
    trace_close(&trace);
}

static bool open_shared(const char *name, struct trace *ret_trace)
{
    const char *shared = getenv("EXPERTD_SHARED");
    char path[512];
    struct err err = { 0 };

    snprintf(path, sizeof(path), "%s/traces/%s.route.csv", shared != NULL ? shared : "../shared", name);
    if (access(path, R_OK) != 0)
        return false;
    cr_assert_eq(trace_open(path, ret_trace, &err), 0, "%s", err_text(&err));
    return true;
}

/* To the tenth of a percent that they are given in. */
static void check(const struct trace *trace, int which, const double (*want)[2], int n)
{
    for (int i = 0; i < n; i++) {
        double percent = replay_run(trace, which, (uint32_t)want[i][0] * trace->n_layers, NULL);

        cr_expect_eq(round(percent * 10) / 10, want[i][1], "%s with %g slots per layer: %.2f %%", replay_name(which),
                     want[i][0], percent);
    }
}

Test(replay, known_values_of_the_qwen3_trace)
{
    static const double lru[][2] = { { 4, 0.0 }, { 16, 58.0 }, { 32, 82.7 }, { 48, 92.9 }, { 64, 96.3 } };
    static const double lfu[][2] = { { 16, 57.6 }, { 32, 80.4 }, { 48, 92.4 }, { 64, 96.5 } };
    static const double belady[][2] = { { 16, 80.6 }, { 32, 93.4 }, { 48, 96.9 }, { 64, 97.1 } };
    struct trace trace;

    if (!open_shared("qwen", &trace))
        cr_skip_test("no shared/traces");
    check(&trace, POLICY_LRU, lru, 5);
    check(&trace, REPLAY_LFU_BOOK, lfu, 4);
    check(&trace, REPLAY_BELADY, belady, 4);
    trace_close(&trace);
}

/* Not a known value: what makes it the default. */
Test(replay, next_use_is_not_below_lru_with_4_to_64_slots_a_layer)
{
    static const char *const names[] = { "qwen", "gemma", "gptoss" };

    for (int i = 0; i < 3; i++)
        for (uint32_t per_layer = 4; per_layer <= 64; per_layer *= 2) {
            struct trace trace;
            double lru, own;

            if (!open_shared(names[i], &trace))
                cr_skip_test("no shared/traces");
            lru = replay_run(&trace, POLICY_LRU, per_layer * trace.n_layers, NULL);
            own = replay_run(&trace, POLICY_NEXT_USE, per_layer * trace.n_layers, NULL);
            cr_expect_geq(own, lru, "%s with %u slots per layer: %.2f, LRU %.2f", names[i], per_layer, own, lru);
            trace_close(&trace);
        }
}
