/* SPDX-License-Identifier: MIT
 *
 * golden.h: what an independent implementation made of a model, and what we make of it, held side by side.
 *
 * Two sources: a NAME.golden.gguf of our own float64 twin (tools/tiny), and a folder of ../shared/goldens with
 * golden.json and pN.*.f32 files of another engine. Both say the same: per prompt the tokens fed (the prompt, then a
 * continuation, teacher-forced), and a row for each of them.
 *
 * Ownership: golden_open's result owns everything in it, until golden_close.
 */
#ifndef EXPERTD_TESTS_GOLDEN_H
#define EXPERTD_TESTS_GOLDEN_H

#include "base/err.h"
#include "compute/cpu_device.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

struct golden_prompt {
    uint32_t n_prompt, n_rows; /* rows: one per token fed */
    int32_t *tokens;           /* [n_rows] */
    float *logits;             /* [n_rows, n_vocab] */
    float *router;             /* [moe layers, n_rows, n_experts] */
    int32_t *experts;          /* [moe layers, n_rows, n_used] */
    float *layers;             /* [n_layers, n_layer_rows, n_embd] residual streams; NULL: not recorded */
    uint32_t n_layer_rows;
    bool greedy; /* each token after the prompt is the argmax of the row before it */
};

struct golden {
    const struct hparams *hp; /* of the model; borrowed */
    uint32_t n_moe_layers;
    uint32_t n_prompts;
    struct golden_prompt *prompts;
    /* How far rounding activations to 8 bits alone carries rows of logits (our twin's; 0 where not recorded). */
    float rounding_median, rounding_p90;
};

/* The golden beside the model: PATH.golden.gguf for PATH.gguf, or the folder that holds model.gguf. */
int golden_open(const char *model_path, const struct model *model, struct golden **ret_golden, struct err *err);
void golden_close(struct golden *golden);

/* The same rows as the forward pass makes them: a golden with our outputs, from the tokens of `like`. */
struct golden_run_options {
    const char *cpu_level; /* NULL: the best this machine has */
    uint32_t chunk;        /* tokens of a prompt evaluated together; 0: all */
    enum kv_type kv_type;  /* how keys and values are kept; 0: as F32, like the references' */
    /* Another device than the CPU, with room for as much; NULL otherwise. */
    int (*on_device_open)(void *ctx, const struct cpu_device_options *like, struct device **ret_device,
                          struct err *err);
    void *ctx;
};
int golden_run(const struct model *model, const struct golden *like, const struct golden_run_options *options,
               struct golden **ret_ours, struct err *err);

/* A tiny model on another device (and in chunks): the very bits of the CPU, in every row of logits, of router logits
 * and of every residual stream, or the test says which differ (golden_same.c). */
void golden_expect_same_as_cpu(const char *model_name, const struct golden_run_options *on_device);

/* How far we are from it. Distances are normalised mean squared errors: |ours - theirs|^2 / |theirs|^2, of a row. A
 * flip is a (layer, token) where another set of experts was chosen; a token with a flip is set aside from `kept`. */
struct golden_distance {
    uint32_t n_rows, n_kept;
    double median, p90, worst; /* of all rows of logits */
    double kept_p90;           /* of those of tokens without a flip */
    double router_worst;       /* of router logits, in the layers up to the first flip of their prompt */
    double layers_worst;       /* of residual streams; 0 when not recorded */
    uint32_t n_flips;
    double widest_flip;     /* of each token's first: their distance between the last chosen and the first left out, in
                               standard     deviations of that row's router logits */
    uint32_t greedy_misses; /* rows whose argmax is not theirs */
};
void golden_compare(const struct golden *ours, const struct golden *theirs, struct golden_distance *ret_distance);

#endif
