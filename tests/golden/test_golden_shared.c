/* SPDX-License-Identifier: MIT
 *
 * Our forward pass against llama.cpp's outputs in ../shared/goldens (its MANIFEST.md says how they were made). Skipped
 * where they are absent. Distances are normalised mean squared errors of a row of logits, over every token of every
 * prompt, fed the reference's own tokens.
 *
 * F32 models: every row of logits, router logits and residual streams within 1e-9, the same experts, the same greedy
 * tokens.
 *
 * Quantised models, where that engine rounds activations to 8 bits (and so do we, not always in the same blocks):
 * - the median of all rows is at most 1.25 times the greater of the manifest's two medians: both columns measure what a
 *   different rounding of the same products does, which is what we are; a quarter is for two digits and the sampling of
 * a median of some 225 rows.
 * - 90 % of the rows of tokens without a flip lie within 1.5 times the greater of the manifest's two figures: keys and
 *   values of an earlier flipped token reach into this tail, in our run and in the manifest's, whose two columns differ
 * from each other by that factor or more in half of the models.
 * - a flip (another set of experts) is let off only where the reference itself hardly chose: its last chosen and first
 *   left out router logits differ by less than 0.1 standard deviations of the row. The router's own logits are off by
 * up to 1e-3 (NMSE), 3 % of their size, so that the difference of two is off by some 5 %, and by twice that at the
 * extreme.
 *
 * Keys and values kept in less, in F32 models: half of the rows were measured to lie within 2.7e-8 to 3.5e-8 with f16
 * and within 2.0e-5 to 3.7e-5 with Q8_0, a seventh of what rounding activations costs.
 */
#include "tests/golden/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A row of the manifest's table; zeros for F32 models, which are compared exactly. */
struct expectation {
    const char *name;
    double run_median, run_p90;   /* the engine's default run against its reference run */
    double twin_median, twin_p90; /* the exact twin against the reference run */
};

static void distance_of(const char *name, enum kv_type kv_type, struct golden_distance *ret_d)
{
    const char *shared = getenv("EXPERTD_SHARED");
    char path[500];
    struct golden *theirs, *ours;
    struct model *model;
    struct err err = { 0 };

    snprintf(path, sizeof(path), "%s/goldens/%s/model.gguf", shared != NULL ? shared : "../shared", name);
    if (access(path, R_OK) != 0)
        cr_skip_test("skipped: no ../shared");
    cr_assert_eq(model_open(path, &model, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_open(path, model, &theirs, &err), 0, "%s", err_text(&err));
    cr_assert_eq(golden_run(model, theirs, &(struct golden_run_options){ .kv_type = kv_type }, &ours, &err), 0, "%s",
                 err_text(&err));
    golden_compare(ours, theirs, ret_d);
    cr_log_info("%-24s median %.1e  90%% %.1e  worst %.1e | kept 90%% %.1e (%u of %u) | router %.1e  "
                "layers %.1e | flips %u, widest %.2f | greedy misses %u",
                name, ret_d->median, ret_d->p90, ret_d->worst, ret_d->kept_p90, ret_d->n_kept, ret_d->n_rows,
                ret_d->router_worst, ret_d->layers_worst, ret_d->n_flips, ret_d->widest_flip, ret_d->greedy_misses);
    golden_close(ours);
    golden_close(theirs);
    model_close(model);
}

static void check_exact(const char *name)
{
    struct golden_distance d;

    distance_of(name, KV_F32, &d);
    cr_expect_eq(d.n_flips, 0);
    cr_expect_eq(d.greedy_misses, 0);
    cr_expect_leq(d.worst, 1e-9);
    cr_expect_leq(d.router_worst, 1e-9);
    cr_expect_leq(d.layers_worst, 1e-9);
}

static void check_quantised(const struct expectation *e)
{
    struct golden_distance d;

    distance_of(e->name, KV_F32, &d);
    cr_expect_leq(d.median, 1.25 * fmax(e->run_median, e->twin_median));
    cr_expect_leq(d.kept_p90, 1.5 * fmax(e->run_p90, e->twin_p90));
    cr_expect_leq(d.widest_flip, 0.1);
}

static void check_kept(const char *name)
{
    struct golden_distance d;

    distance_of(name, KV_F16, &d);
    cr_expect_leq(d.median, 5e-8);
    cr_expect_eq(d.n_flips, 0);
    distance_of(name, KV_Q8_0, &d);
    cr_expect_leq(d.median, 5e-5);
    cr_expect_leq(d.widest_flip, 0.1);
}

#define EXACT(name, path)                  \
    Test(golden_shared, name)              \
    {                                      \
        check_exact(path);                 \
    }                                      \
    Test(golden_shared_kept_in_less, name) \
    {                                      \
        check_kept(path);                  \
    }
#define QUANTISED(name, path, ...)                                   \
    Test(golden_shared, name)                                        \
    {                                                                \
        check_quantised(&(struct expectation){ path, __VA_ARGS__ }); \
    }

EXACT(qwen3moe_f32, "qwen3moe/qwen3moe-f32")
EXACT(olmoe_f32, "olmoe/olmoe-f32")
EXACT(mixtral_f32, "llama-moe/mixtral-f32")
EXACT(qwen2moe_f32, "qwen2moe/qwen2moe-f32")
QUANTISED(qwen3moe_q8_0, "qwen3moe/qwen3moe-q8_0", 1.8e-04, 2.7e-04, 1.7e-04, 3.9e-04)
QUANTISED(olmoe_q8_0, "olmoe/olmoe-q8_0", 2.6e-04, 4.5e-04, 2.6e-04, 3.1e-03)
QUANTISED(mixtral_q8_0, "llama-moe/mixtral-q8_0", 2.2e-04, 8.6e-04, 1.9e-04, 4.6e-04)
QUANTISED(qwen2moe_q8_0, "qwen2moe/qwen2moe-q8_0", 2.6e-04, 4.7e-04, 2.9e-04, 7.4e-04)
QUANTISED(olmoe_q4_k_m, "olmoe/olmoe-q4_k_m", 5.0e-04, 1.0e-03, 5.0e-04, 8.4e-04)
QUANTISED(mixtral_q4_k_m, "llama-moe/mixtral-q4_k_m", 3.6e-04, 5.5e-04, 4.0e-04, 7.4e-04)
QUANTISED(qwen2moe_q4_k_m, "qwen2moe/qwen2moe-q4_k_m", 4.5e-04, 7.1e-04, 5.2e-04, 8.5e-04)
QUANTISED(qwen3moe_q4_k_m, "qwen3moe/qwen3moe-q4_k_m", 3.8e-04, 5.6e-04, 4.2e-04, 8.8e-04)
QUANTISED(qwen3moe_q4_0, "qwen3moe/qwen3moe-q4_0", 1.7e-04, 2.6e-04, 1.7e-04, 1.1e-03)
QUANTISED(qwen3moe_q4_1, "qwen3moe/qwen3moe-q4_1", 1.8e-04, 2.8e-04, 1.9e-04, 3.0e-04)
QUANTISED(qwen3moe_q5_0, "qwen3moe/qwen3moe-q5_0", 1.7e-04, 2.2e-04, 1.5e-04, 2.0e-04)
QUANTISED(qwen3moe_q5_1, "qwen3moe/qwen3moe-q5_1", 1.7e-04, 2.4e-04, 1.6e-04, 2.5e-04)
QUANTISED(qwen3moe_q2_k, "qwen3moe/qwen3moe-q2_k", 3.5e-04, 5.2e-04, 4.0e-04, 1.1e-03)
QUANTISED(qwen3moe_q3_k, "qwen3moe/qwen3moe-q3_k", 3.9e-04, 1.2e-03, 4.1e-04, 7.0e-04)
QUANTISED(qwen3moe_q4_k, "qwen3moe/qwen3moe-q4_k", 3.5e-04, 5.0e-04, 3.5e-04, 5.3e-04)
QUANTISED(qwen3moe_q5_k, "qwen3moe/qwen3moe-q5_k", 3.9e-04, 1.2e-03, 3.6e-04, 5.8e-04)
QUANTISED(qwen3moe_q6_k, "qwen3moe/qwen3moe-q6_k", 3.6e-04, 5.5e-04, 4.3e-04, 8.6e-04)
QUANTISED(qwen3moe_iq4_nl, "qwen3moe/qwen3moe-iq4_nl", 1.8e-04, 3.8e-04, 1.7e-04, 3.8e-04)
QUANTISED(qwen3moe_iq4_xs, "qwen3moe/qwen3moe-iq4_xs", 4.0e-04, 7.4e-04, 5.3e-04, 1.4e-03)
QUANTISED(qwen3moe_f16, "qwen3moe/qwen3moe-f16", 1.8e-06, 2.6e-06, 1.2e-06, 1.7e-06)
QUANTISED(qwen3moe_bf16, "qwen3moe/qwen3moe-bf16", 1.3e-05, 2.0e-05, 1.3e-05, 1.9e-05)
QUANTISED(qwen3moe_mxfp4, "qwen3moe/qwen3moe-mxfp4", 1.8e-04, 3.0e-04, 1.6e-04, 2.2e-04)
