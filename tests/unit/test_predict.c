/* SPDX-License-Identifier: MIT
 *
 * test_predict.c: looking ahead from inside the forward pass: exact for the layer at hand, a guess for later ones, and
 * never a change to what is computed.
 */
#include "compute/cpu_device.h"
#include "model/forward.h"
#include "tests/support/ram_door.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_PROMPT 16

struct rig {
    struct model *model;
    struct device *device;
    struct ram_door *ram;
    struct forward *forward;
    struct err err;
    uint32_t ahead; /* layers to look ahead */
    bool look;
    uint16_t chosen[64 * 8]; /* of the layer at hand, as on_route told */
    uint64_t predicted, right, refused;
    struct expert_door_ops noting; /* the door's, and notes hints */
};

/* What the door was told of a later layer. */
static struct {
    uint32_t layer, n, n_times;
    uint16_t ids[64];
} hinted;

static void note_hint(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    hinted.layer = layer;
    hinted.n = (uint32_t)n;
    hinted.n_times++;
    memcpy(hinted.ids, ids, n * sizeof(*ids));
}

static void guess(struct rig *rig, uint32_t layer, uint32_t n);

/* The layer at hand is guessed from what its router saw, which its shared expert then changes. */
static void on_route(void *ctx, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n)
{
    struct rig *rig = ctx;

    memcpy(rig->chosen, ids, (size_t)n * model_hparams(rig->model)->n_used * sizeof(*ids));
    if (rig->ahead == 0)
        guess(rig, layer, n);
}

static void on_request(void *ctx, uint32_t layer, uint32_t n)
{
    struct rig *rig = ctx;

    if (rig->ahead > 0)
        guess(rig, layer, n);
}

static void guess(struct rig *rig, uint32_t layer, uint32_t n)
{
    const uint16_t *ids;
    int r;

    if (!rig->look)
        return;
    r = forward_predict(rig->forward, layer + rig->ahead, n, &ids, &rig->err);
    if (r < 0) {
        rig->refused++;
        return;
    }
    for (size_t i = 0; i < (size_t)n * model_hparams(rig->model)->n_used; i++) {
        rig->predicted++;
        rig->right += ids[i] == rig->chosen[i];
    }
}

static void rig_open_with(struct rig *rig, const char *path, uint32_t predict_rows,
                          void (*hook)(void *ctx, uint32_t layer, uint32_t n))
{
    struct forward_options options = { .n_ctx = 32,
                                       .n_seqs = 1,
                                       .max_batch = 16,
                                       .max_logits = 16,
                                       .kv_type = KV_F16,
                                       .predict_rows = predict_rows,
                                       .hooks = { .on_route = on_route, .on_request = hook, .ctx = rig } };
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };

    memset(rig, 0, sizeof(*rig));
    cr_assert_eq(model_open(path, &rig->model, &rig->err), 0, "%s", err_text(&rig->err));
    forward_cpu_options(rig->model, &options, &cpu);
    cr_assert_eq(cpu_device_open(&cpu, &rig->device, &rig->err), 0, "%s", err_text(&rig->err));
    cr_assert_eq(ram_door_open(rig->model, &(struct ram_door_options){ 0 }, &rig->ram, &rig->err), 0);
    cr_assert_eq(
        forward_open(rig->model, rig->device, ram_door_door(rig->ram), &options, NULL, NULL, &rig->forward, &rig->err),
        0, "%s", err_text(&rig->err));
}

static void rig_open(struct rig *rig, const char *name, uint32_t predict_rows)
{
    rig_open_with(rig, tiny_model_path(name), predict_rows, on_request);
}

static void rig_note_hints(struct rig *rig)
{
    struct expert_door *door = ram_door_door(rig->ram);

    rig->noting = *door->ops;
    rig->noting.hint = note_hint;
    door->ops = &rig->noting;
}

static void rig_close(struct rig *rig)
{
    forward_close(rig->forward);
    ram_door_close(rig->ram);
    rig->device->ops->close(rig->device);
    model_close(rig->model);
}

/* All logits of the prompt, `chunk` tokens at a time. */
static float *run(struct rig *rig, uint32_t chunk)
{
    uint32_t n_vocab = model_hparams(rig->model)->n_vocab;
    float *all = malloc((size_t)N_PROMPT * n_vocab * sizeof(float));
    const float *logits;
    int32_t prompt[N_PROMPT];

    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = (i * 53 + 7) % (int)n_vocab;
    for (uint32_t at = 0; at < N_PROMPT; at += chunk) {
        struct batch_span span = { .pos0 = at, .n_tokens = chunk, .tokens = prompt + at, .all_logits = true };

        cr_assert_eq(forward_eval(rig->forward, &span, 1, NULL, NULL, &logits, &rig->err), 0, "%s",
                     err_text(&rig->err));
        memcpy(all + (size_t)at * n_vocab, logits, (size_t)chunk * n_vocab * sizeof(float));
    }
    return all;
}

static const char *const models[] = { "qwen2moe-q8_0", "qwen3moe-q4_k", "olmoe-q4_0" };

Test(predict, the_layer_at_hand_is_told_exactly)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct rig rig;

        rig_open(&rig, models[i], 4);
        rig.look = true;
        free(run(&rig, 4));
        free(run(&rig, 1));
        cr_assert_gt(rig.predicted, 0);
        cr_assert_eq(rig.right, rig.predicted, "%s: %llu of %llu", models[i], (unsigned long long)rig.right,
                     (unsigned long long)rig.predicted);
        rig_close(&rig);
    }
}

Test(predict, changes_no_bit)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        float *without, *with;
        struct rig rig;

        rig_open(&rig, models[i], 4);
        rig.ahead = 1;
        without = run(&rig, 4);
        rig.look = true;
        with = run(&rig, 4);
        cr_assert_gt(rig.predicted, 0);
        cr_assert_gt(rig.refused, 0, "there is nothing after the last layer");
        cr_assert_eq(memcmp(with, without, N_PROMPT * model_hparams(rig.model)->n_vocab * sizeof(float)), 0);
        free(with);
        free(without);
        rig_close(&rig);
    }
}

Test(predict, refuses_more_tokens_than_it_was_opened_for)
{
    struct rig rig;

    rig_open(&rig, models[0], 2);
    rig.look = true;
    free(run(&rig, 4));
    cr_assert_eq(rig.predicted, 0);
    cr_assert_gt(rig.refused, 0);
    cr_assert_not_null(strstr(rig.err.text, "opened for 1 to 2"), "%s", rig.err.text);
    rig_close(&rig);
}

static uint32_t rank_of(const uint16_t *ids, uint32_t n, uint16_t id)
{
    uint32_t i = 0;

    while (i < n && ids[i] != id)
        i++;
    return i;
}

/* From on_request: the guess for the next layer has just been hinted, each token's best before anybody's second best.
 */
static void check_hint(void *ctx, uint32_t layer, uint32_t n)
{
    struct rig *rig = ctx;
    uint32_t n_used = model_hparams(rig->model)->n_used, n_named = 0;
    const uint16_t *ids;

    if (layer + 2 >= model_hparams(rig->model)->n_layers)
        return;
    cr_assert_eq(forward_predict(rig->forward, layer + 1, n, &ids, &rig->err), 0);
    cr_assert_eq(hinted.layer, layer + 1);
    for (uint32_t rank = 0; rank < n_used; rank++)
        for (uint32_t t = 0; t < n; t++) {
            uint32_t at = rank_of(hinted.ids, hinted.n, ids[t * n_used + rank]);

            cr_assert_leq(at, n_named, "rank %u of token %u", rank, t);
            n_named += at == n_named && at < hinted.n;
        }
    cr_assert_eq(n_named, hinted.n);
    rig->predicted++;
}

/* A prompt's chunk has hinted what the next layer's router would choose for it now; a single token nothing, for that is
 * look-ahead's to judge; and more tokens than are guessed for every expert, as far as a request goes. */
Test(predict, a_prompt_has_its_next_experts_brought)
{
    const char *shared = getenv("EXPERTD_SHARED");
    uint32_t n_expected;
    char path[500];
    struct rig rig;

    snprintf(path, sizeof(path), "%s/goldens/olmoe/olmoe-q8_0/model.gguf", shared != NULL ? shared : "../shared");
    if (access(path, R_OK) != 0)
        cr_skip_test("skipped: no ../shared");
    rig_open_with(&rig, path, 4, check_hint);
    rig_note_hints(&rig);
    n_expected = model_hparams(rig.model)->n_layers - 2;
    cr_assert_gt(n_expected, 0);
    free(run(&rig, 4));
    cr_expect(rig.predicted == N_PROMPT / 4 * n_expected && hinted.n_times == rig.predicted);
    rig_close(&rig);

    rig_open_with(&rig, path, 2, NULL);
    rig_note_hints(&rig);
    hinted.n_times = 0;
    free(run(&rig, 1));
    cr_expect_eq(hinted.n_times, 0);
    free(run(&rig, N_PROMPT));
    cr_expect(hinted.n_times == n_expected && hinted.n == model_hparams(rig.model)->n_experts / 2);
    rig_close(&rig);
}
