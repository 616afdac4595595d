/* SPDX-License-Identifier: MIT
 *
 * What is recorded is what bench/replay reads; files that cannot be written, or are something else, are named.
 */
#include "daemon/recorder.h"
#include "bench/trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct expert_layout layout = { .n_layers = 3, .n_experts = 8, .n_used = 2 };
static const uint16_t ids[] = { 7, 2 };

static char dir[64], path[96];

static void make_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/test_recorder.XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/routing", dir);
}

static void drop_dir(void)
{
    unlink(path);
    rmdir(dir);
}

TestSuite(recorder, .init = make_dir, .fini = drop_dir);

static struct recorder *open_good(void)
{
    struct recorder *r = NULL;
    struct err err = { 0 };

    cr_assert_eq(recorder_open(path, &layout, &r, &err), 0, "%s", err_text(&err));
    return r;
}

Test(recorder, writes_what_replay_reads)
{
    struct recorder *r = open_good();
    struct trace trace;
    struct err err = { 0 };

    recorder_put(r, 70000, RECORD_PROMPT, 0, 0, ids, 2);
    recorder_put(r, 70000, RECORD_GUESS, 100000, 2, ids + 1, 1);
    cr_assert_eq(recorder_flush(r, &err), 0);
    recorder_put(r, 70000, RECORD_ANSWER, 100000, 2, ids, 2);
    recorder_close(r);
    recorder_close(open_good()); /* a second run goes on in the same file */
    cr_assert_eq(trace_open(path, &trace, &err), 0, "%s", err_text(&err));
    cr_assert(trace.n == 5 && trace.n_layers == 3 && trace.n_experts == 8 && trace.n_used == 2);
    cr_assert(trace.use[0].key == 7 && trace.use[0].phase == PHASE_PROMPT && trace.use[0].turn == 70000);
    cr_assert(trace.use[2].key == 18 && trace.use[2].phase == PHASE_GUESS && trace.use[2].step == 100000);
    cr_assert(trace.use[4].key == 18 && trace.use[4].phase == PHASE_ANSWER);
    trace_close(&trace);
}

/* A border of 1.5 (two are used) and a spread of sqrt(3.5): margins in hundredths, long lists in several lines. */
Test(recorder, writes_how_near_everybody_was)
{
    static const float logits[] = { 0, 1, 2, 3, 0, -3, -1, -2 }, none[] = { 0, 1, NAN, 3, 0, -3, -1, -2 };
    static const struct expert_layout wide = { .n_layers = 1, .n_experts = 40, .n_used = 1 };
    struct recorder *r = open_good();
    float many[40] = { [39] = 1e6f };
    struct trace trace;
    struct err err = { 0 };

    recorder_put_margins(r, 1, 5, 2, none);
    recorder_put_margins(r, 1, 5, 2, logits);
    recorder_put(r, 1, RECORD_ANSWER, 5, 2, ids, 2);
    recorder_close(r);
    cr_assert_eq(trace_open(path, &trace, &err), 0, "%s", err_text(&err));
    cr_assert(trace.n == 2 && trace.n_weighed == 1 && trace.weighed[0].layer == 2 && trace.weighed[0].before == 0);
    for (int e = 0; e < 8; e++)
        cr_expect_eq(trace.margin[e], (int16_t)lround((logits[e] - 1.5) / sqrt(3.5) * 100), "%d", trace.margin[e]);
    trace_close(&trace);
    unlink(path);
    cr_assert_eq(recorder_open(path, &wide, &r, &err), 0);
    recorder_put_margins(r, 1, 0, 0, many);
    recorder_put(r, 1, RECORD_ANSWER, 0, 0, ids, 1);
    recorder_close(r);
    cr_assert_eq(trace_open(path, &trace, &err), 0, "%s", err_text(&err));
    cr_assert(trace.n_weighed == 1 && trace.margin[39] > 300 && trace.margin[0] < -300);
    cr_assert_eq(trace.margin[38], trace.margin[0]);
    trace_close(&trace);
}

/* More than the ring holds: what is lost is said, what is there is whole. */
Test(recorder, says_what_did_not_fit)
{
    struct recorder *r = open_good();
    char line[128];
    uint32_t n_lines = 0, lost = 0;
    FILE *file;

    for (uint32_t i = 0; i < 200000; i++)
        recorder_put(r, 1, RECORD_ANSWER, i, 0, ids, 2);
    cr_assert_eq(recorder_flush(r, NULL), 0);
    recorder_close(r);
    file = fopen(path, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        n_lines += line[0] == '1';
        sscanf(line, "# lost %u", &lost);
    }
    fclose(file);
    cr_assert_gt(lost, 0);
    cr_assert_eq(n_lines / 2 + lost, 200000);
}

static void refused(const char *where)
{
    struct recorder *r;
    struct err err = { 0 };

    cr_assert_lt(recorder_open(where, &layout, &r, &err), 0);
    cr_assert(strstr(err_text(&err), where) != NULL, "%s", err_text(&err));
}

Test(recorder, leaves_what_is_no_recording_alone)
{
    FILE *file = fopen(path, "w");

    fputs("GGUF and the like", file);
    fclose(file);
    refused(path);
    file = fopen(path, "r");
    cr_assert_eq(fgetc(file), 'G');
    fclose(file);
    refused("/dev/full");
    refused(dir);
    refused("/nonexistent/routing");
}

/* The disk is full: said once, with the file's name, and nothing waits or fails after. */
Test(recorder, stops_when_nothing_more_can_be_written)
{
    const struct rlimit small = { 256, 256 };
    struct recorder *r = open_good();
    struct err err = { 0 };

    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint32_t i = 0; i < 100; i++)
        recorder_put(r, 1, RECORD_ANSWER, i, 0, ids, 2);
    cr_assert_eq(recorder_flush(r, &err), -EFBIG);
    cr_assert(strstr(err_text(&err), path) != NULL, "%s", err_text(&err));
    for (uint32_t i = 0; i < 1000000; i++) {
        recorder_put(r, 1, RECORD_ANSWER, i, 0, ids, 2);
        if (i % 1000 == 0)
            cr_assert_eq(recorder_flush(r, &err), 0);
    }
    recorder_close(r);
}
