/* SPDX-License-Identifier: MIT */
#include "model/forward.h"

#include "base/mem.h"
#include "tests/support/memory_count.h"
#include "tests/support/ram_door.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_CTX = 96, N_SEQS = 3, MAX_BATCH = 80, N_PROMPT = 70, N_LONG = 9 * N_PROMPT, N_VOCAB = 288 };

static const char *const kinds[] = { "qwen2moe-q8_0", "qwen3moe-q4_k", "qwen3moe-dense-first-f32", "olmoe-q4_0" };
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

struct rig {
    struct model *model;
    struct device *device;
    struct ram_door *ram;
    struct forward *forward;
    struct forward_options options;
    struct err err;
    int32_t prompt[N_PROMPT];
};

static struct forward_options options_small(void)
{
    return (struct forward_options){
        .n_ctx = N_CTX, .n_seqs = N_SEQS, .max_batch = MAX_BATCH, .max_logits = MAX_BATCH, .kv_type = KV_F16
    };
}

static void rig_open_path(struct rig *rig, const char *path)
{
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };

    memset(rig, 0, sizeof(*rig));
    rig->options = options_small();
    for (int i = 0; i < N_PROMPT; i++)
        rig->prompt[i] = (i * 37 + 11) % 256;
    cr_assert_eq(model_open(path, &rig->model, &rig->err), 0, "%s", err_text(&rig->err));
    forward_cpu_options(rig->model, &rig->options, &cpu);
    cr_assert_eq(cpu_device_open(&cpu, &rig->device, &rig->err), 0, "%s", err_text(&rig->err));
    cr_assert_eq(ram_door_open(rig->model, &(struct ram_door_options){ 0 }, &rig->ram, &rig->err), 0, "%s",
                 err_text(&rig->err));
}

static void rig_open(struct rig *rig, const char *name)
{
    rig_open_path(rig, tiny_model_path(name));
}

static int rig_forward(struct rig *rig)
{
    return forward_open(rig->model, rig->device, ram_door_door(rig->ram), &rig->options, NULL, NULL, &rig->forward,
                        &rig->err);
}

static void rig_open_kept(struct rig *rig, const char *name, enum kv_type kv_type)
{
    rig_open(rig, name);
    rig->options.kv_type = kv_type;
    cr_assert_eq(rig_forward(rig), 0, "%s", err_text(&rig->err));
}

static void rig_open_all(struct rig *rig, const char *name)
{
    rig_open_kept(rig, name, KV_F16);
}

static void rig_close(struct rig *rig)
{
    struct ram_door_counts counts = ram_door_counts(rig->ram);

    cr_expect_eq(counts.misuse, 0);
    cr_expect_eq(ram_door_pinned(rig->ram), 0);
    cr_expect(counts.abandoned > 0 || counts.handed_out == counts.released);
    forward_close(rig->forward);
    ram_door_close(rig->ram);
    rig->device->ops->close(rig->device);
    model_close(rig->model);
}

static int eval(struct rig *rig, const struct batch_span *spans, uint32_t n, const float **ret_logits)
{
    return forward_eval(rig->forward, spans, n, NULL, NULL, ret_logits, &rig->err);
}

static const float *eval_ok(struct rig *rig, const struct batch_span *spans, uint32_t n)
{
    const float *logits;

    cr_assert_eq(eval(rig, spans, n, &logits), 0, "%s", err_text(&rig->err));
    return logits;
}

/* Logits of the whole prompt in sequence 0, in chunks. */
static float *prompt_logits(struct rig *rig, uint32_t chunk)
{
    float *all = malloc((size_t)N_PROMPT * N_VOCAB * sizeof(float));

    for (uint32_t at = 0; at < N_PROMPT; at += chunk) {
        uint32_t n = N_PROMPT - at < chunk ? N_PROMPT - at : chunk;
        struct batch_span span = { .pos0 = at, .n_tokens = n, .tokens = rig->prompt + at, .all_logits = true };

        memcpy(all + (size_t)at * N_VOCAB, eval_ok(rig, &span, 1), (size_t)n * N_VOCAB * sizeof(float));
    }
    return all;
}

static void expect_same(const float *a, const float *b, uint32_t rows, const char *kind, const char *why)
{
    cr_expect_eq(memcmp(a, b, (size_t)rows * N_VOCAB * sizeof(float)), 0, "%s: %s changed the logits", kind, why);
}

Test(forward, chunks_change_nothing)
{
    static const uint32_t chunks[] = { 1, 2, 3, 7, 64 };

    for (int way = 0; way < N_KINDS * KV_TYPES; way++) {
        int k = way / KV_TYPES;
        struct rig rig;
        float *whole, *parts;

        rig_open_kept(&rig, kinds[k], (enum kv_type)(way % KV_TYPES));
        whole = prompt_logits(&rig, N_PROMPT);
        for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
            parts = prompt_logits(&rig, chunks[i]);
            expect_same(whole, parts, N_PROMPT, kinds[k], "the chunk size");
            free(parts);
        }
        free(whole);
        rig_close(&rig);
    }
}

Test(forward, inner_chunks_without_logits_change_nothing)
{
    for (int k = 0; k < N_KINDS; k++) {
        struct rig rig;
        const float *last = NULL;
        float *whole;

        rig_open_all(&rig, kinds[k]);
        whole = prompt_logits(&rig, N_PROMPT);
        for (uint32_t at = 0; at < N_PROMPT; at += 14)
            last = eval_ok(&rig,
                           &(struct batch_span){
                               .pos0 = at, .n_tokens = 14, .tokens = rig.prompt + at, .no_logits = at + 14 < N_PROMPT },
                           1);
        expect_same(whole + (size_t)(N_PROMPT - 1) * N_VOCAB, last, 1, kinds[k], "leaving out logits");
        free(whole);
        rig_close(&rig);
    }
}

Test(forward, order_of_arrival_changes_nothing)
{
    static const size_t requests[] = { 0, 1, 2, 3 };

    for (int k = 0; k < N_KINDS; k++) {
        struct rig rig;
        float *orderly, *shuffled;

        rig_open_all(&rig, kinds[k]);
        orderly = prompt_logits(&rig, 24);
        for (uint64_t seed = 1; seed <= 8; seed++) {
            ram_door_set(rig.ram,
                         &(struct ram_door_options){ .shuffle_seed = seed, .max_request = requests[seed % 4] });
            shuffled = prompt_logits(&rig, 24);
            expect_same(orderly, shuffled, N_PROMPT, kinds[k], "the order of arrival");
            free(shuffled);
        }
        free(orderly);
        rig_close(&rig);
    }
}

Test(forward, neighbours_change_nothing)
{
    for (int i = 0; i < N_KINDS * KV_TYPES; i++) {
        int k = i / KV_TYPES;
        struct rig rig;
        float *alone;

        rig_open_kept(&rig, kinds[k], (enum kv_type)(i % KV_TYPES));
        alone = prompt_logits(&rig, N_PROMPT);
        /* Sequence 2 goes through the same prompt token by token, while others read and write beside it. */
        for (uint32_t t = 0; t < N_PROMPT; t++) {
            struct batch_span spans[] = {
                { .seq = 1,
                  .pos0 = t % 8,
                  .n_tokens = 1 + t % 5,
                  .tokens = rig.prompt + (t * 7) % 60,
                  .no_logits = true },
                { .seq = 2, .pos0 = t, .n_tokens = 1, .tokens = rig.prompt + t },
                { .seq = 0, .pos0 = 0, .n_tokens = 1 + t % 3, .tokens = rig.prompt + 9, .all_logits = true },
            };

            if (t == 0) /* positions that sequence 1 comes back to */
                eval_ok(&rig,
                        &(struct batch_span){ .seq = 1, .n_tokens = 12, .tokens = rig.prompt + 3, .no_logits = true },
                        1);
            expect_same(alone + (size_t)t * N_VOCAB, eval_ok(&rig, spans, 3), 1, kinds[k], "the neighbours");
        }
        free(alone);
        rig_close(&rig);
    }
}

Test(forward, lends_the_rows_asked_for)
{
    struct rig rig;
    float *all;
    const float *logits;

    rig_open_all(&rig, "qwen3moe-q4_k");
    all = prompt_logits(&rig, N_PROMPT);
    for (uint32_t mask = 0; mask < 27; mask++) {
        struct batch_span spans[3];
        uint32_t row = 0;

        for (uint32_t i = 0, m = mask; i < 3; i++, m /= 3)
            spans[i] = (struct batch_span){
                .seq = i, .n_tokens = 4 + i, .tokens = rig.prompt, .all_logits = m % 3 == 1, .no_logits = m % 3 == 2
            };
        logits = eval_ok(&rig, spans, 3);
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t n = spans[i].no_logits ? 0 : spans[i].all_logits ? spans[i].n_tokens : 1;

            if (n > 0)
                expect_same(all + (size_t)(spans[i].n_tokens - n) * N_VOCAB, logits + (size_t)row * N_VOCAB, n,
                            "qwen3moe-q4_k", "the choice of rows");
            row += n;
        }
        cr_expect((logits == NULL) == (row == 0));
    }
    free(all);
    rig_close(&rig);
}

Test(forward, eval_allocates_nothing)
{
    for (int k = 0; k < N_KINDS; k++) {
        struct rig rig;
        struct batch_span span = { .n_tokens = N_PROMPT, .all_logits = true };
        const float *logits;
        int r;

        rig_open_all(&rig, kinds[k]);
        span.tokens = rig.prompt;
        mem_fail_after(0);
        memory_count = (struct memory_count){ 0 };
        r = eval(&rig, &span, 1, &logits);
        mem_fail_after(-1);
        cr_expect_eq(r, 0, "%s: %s", kinds[k], err_text(&rig.err));
        cr_expect_eq(memory_count.mapped_bytes + memory_count.allocated_bytes, 0);
        rig_close(&rig);
    }
}

Test(forward, takes_exactly_what_it_measures)
{
    static const char *const models[] = { "qwen2moe-q8_0", "qwen3moe-dense-first-f32", "llama-factors-tied-f32" };

    for (size_t i = 0; i < 3; i++)
        for (int kv = 0; kv < KV_TYPES; kv++)
            for (uint32_t n_ctx = 5; n_ctx < 50000; n_ctx *= 17) {
                struct forward_bytes bytes;
                struct rig rig;
                uint64_t taken, on_disk;

                rig_open(&rig, models[i]);
                rig.options.kv_type = (enum kv_type)kv;
                rig.options.n_ctx = n_ctx;
                rig.options.max_logits = 1 + n_ctx % 7;
                rig.options.predict_rows = n_ctx % 3;
                rig.options.embd_on_disk = n_ctx % 2;
                forward_measure(rig.model, rig.device, &rig.options, &bytes);
                memory_count = (struct memory_count){ 0 };
                cr_assert_eq(rig_forward(&rig), 0, "%s", err_text(&rig.err));
                taken = memory_count.mapped_bytes + memory_count.allocated_bytes;
                cr_expect_eq(taken, bytes.dense + bytes.kv + bytes.activations,
                             "%s, context %u: %llu taken, %llu measured", models[i], n_ctx, (unsigned long long)taken,
                             (unsigned long long)(bytes.dense + bytes.kv + bytes.activations));
                on_disk = rig.options.embd_on_disk && i < 2 ? model_tensors(rig.model)->token_embd->bytes : 0;
                cr_expect_geq(bytes.dense, model_dense_bytes(rig.model) - on_disk, "a tied table stays");
                cr_expect_geq(bytes.kv, (uint64_t)n_ctx * N_SEQS * 2 * 2 * kv_row_bytes((enum kv_type)kv, 16));
                rig_close(&rig);
            }
}

/* Of heads that are whole blocks: 34 bytes for 32 numbers instead of 64, and nothing else changes. */
Test(forward, keys_and_values_as_q8_0_take_half)
{
    struct forward_bytes f16, q8_0;
    struct rig rig;
    char path[500];

    snprintf(path, sizeof(path), "%s/models/stories-13m-moe-q8_0.gguf", getenv("top_srcdir"));
    rig_open_path(&rig, path);
    rig.options.n_ctx = 1024;
    forward_measure(rig.model, rig.device, &rig.options, &f16);
    rig.options.kv_type = KV_Q8_0;
    forward_measure(rig.model, rig.device, &rig.options, &q8_0);
    cr_expect_float_eq((double)q8_0.kv / (double)f16.kv, 34.0 / 64, 0.001);
    cr_expect_eq(q8_0.dense, f16.dense);
    cr_expect_eq(q8_0.activations, f16.activations);
    rig_close(&rig);
}

/* The prompt's tokens over and over, up to the end of a block of memory and beyond; the logits of the last of them. */
static void long_logits(struct rig *rig, bool hold, float *logits)
{
    for (uint32_t at = 0; at < N_LONG; at += N_PROMPT) {
        struct batch_span span = { .seq = 1, .pos0 = at, .n_tokens = N_PROMPT, .tokens = rig->prompt };

        if (hold)
            cr_assert_eq(forward_hold(rig->forward, 1, at + N_PROMPT, &rig->err) |
                             forward_hold_batch(rig->forward, N_PROMPT + at % 3, 1 + at % 2, &rig->err),
                         0, "%s", err_text(&rig->err));
        memcpy(logits, eval_ok(rig, &span, 1), N_VOCAB * sizeof(float));
    }
}

/* No batch is larger than what is held, and none held is larger than what was measured. */
static void check_batches(struct rig *rig)
{
    struct batch_span span = { .n_tokens = 8, .tokens = rig->prompt, .all_logits = true };
    struct forward_bytes bytes;
    const float *logits;

    forward_measure(rig->model, rig->device, &rig->options, &bytes);
    cr_expect_eq(bytes.batch, forward_batch_bytes(rig->forward, MAX_BATCH, MAX_BATCH));
    cr_expect_lt(forward_batch_bytes(rig->forward, 8, 8), bytes.batch / 2);
    cr_assert_eq(forward_hold(rig->forward, 0, 8, &rig->err), 0);
    cr_assert_eq(forward_hold_batch(rig->forward, 7, 7, &rig->err), 0);
    cr_expect_eq(forward_batch_held(rig->forward), forward_batch_bytes(rig->forward, 7, 7));
    cr_expect_eq(eval(rig, &span, 1, &logits), -EINVAL, "8 tokens");
    cr_assert_eq(forward_hold_batch(rig->forward, 8, 7, &rig->err), 0);
    cr_expect_eq(eval(rig, &span, 1, &logits), -EINVAL, "8 rows of logits");
    mem_fail_after(0);
    cr_expect_eq(forward_hold_batch(rig->forward, MAX_BATCH, 8, &rig->err), -ENOMEM);
    mem_fail_after(-1);
    cr_expect_eq(eval(rig, &span, 1, &logits), -EINVAL, "as before");
    cr_assert_eq(forward_hold_batch(rig->forward, 8, 8, &rig->err), 0);
    eval_ok(rig, &span, 1);
    cr_expect_eq(forward_hold_batch(rig->forward, MAX_BATCH + 1, 1, &rig->err), -EINVAL);
    cr_expect_eq(forward_hold_batch(rig->forward, 1, MAX_BATCH + 1, &rig->err), -EINVAL);
}

Test(forward, memory_on_demand_changes_nothing)
{
    float resident[N_VOCAB], on_demand[N_VOCAB];
    const float *logits;

    for (int kind = 0; kind < KV_TYPES; kind++) {
        struct rig rig;
        struct batch_span next = { .seq = 1, .pos0 = N_LONG, .n_tokens = 1, .tokens = rig.prompt };

        rig_open(&rig, kinds[kind % 2]); /* the first has a shared expert */
        rig.options.n_ctx = 1100;
        rig.options.kv_type = (enum kv_type)kind;
        cr_assert_eq(rig_forward(&rig), 0, "%s", err_text(&rig.err));
        long_logits(&rig, false, resident);
        forward_close(rig.forward);
        rig.options.on_demand = true;
        cr_assert_eq(rig_forward(&rig), 0, "%s", err_text(&rig.err));
        for (int round = 0; round < 2; round++) {
            long_logits(&rig, true, on_demand);
            expect_same(resident, on_demand, 1, kv_type_name((enum kv_type)kind), "memory on demand");
            cr_expect_eq(forward_kv_held(rig.forward, 1), forward_kv_bytes(rig.forward, N_LONG));
            cr_expect_eq(forward_kv_held(rig.forward, 0), 0);
            cr_assert_eq(forward_hold(rig.forward, 1, 500, &rig.err), 0);
            cr_expect_eq(eval(&rig, &next, 1, &logits), -EINVAL, "position 630, where 576 are held");
            cr_assert_eq(forward_hold(rig.forward, 1, 1100, &rig.err), 0);
            cr_expect_eq(eval(&rig, &next, 1, &logits), -EINVAL, "what lay there is forgotten");
        }
        check_batches(&rig);
        cr_expect_eq(forward_hold(rig.forward, N_SEQS, 1, &rig.err), -EINVAL);
        cr_expect_eq(forward_hold(rig.forward, 0, 1101, &rig.err), -EINVAL);
        rig_close(&rig);
    }
}

Test(forward, a_size_beyond_all_memory_is_an_error)
{
    struct forward_bytes bytes;
    struct rig rig;

    rig_open(&rig, "qwen3moe-f32");
    rig.options.n_ctx = rig.options.n_seqs = UINT32_MAX;
    forward_measure(rig.model, rig.device, &rig.options, &bytes);
    cr_expect_geq(bytes.kv, UINT64_MAX / 2);
    cr_expect_eq(rig_forward(&rig), -ENOMEM);
    rig_close(&rig);
}

Test(forward, embeddings_on_disk_change_nothing)
{
    for (int k = 0; k < N_KINDS; k++) {
        struct rig rig;
        float *resident;

        rig_open_all(&rig, kinds[k]);
        resident = prompt_logits(&rig, N_PROMPT);
        forward_close(rig.forward);
        rig.options.embd_on_disk = true;
        cr_assert_eq(rig_forward(&rig), 0, "%s", err_text(&rig.err));
        for (uint32_t t = 0; t < N_PROMPT; t += 7) {
            struct batch_span span = { .pos0 = t, .n_tokens = 7, .tokens = rig.prompt + t, .all_logits = true };

            expect_same(resident + (size_t)t * N_VOCAB, eval_ok(&rig, &span, 1), 7, kinds[k], "where embeddings lie");
        }
        free(resident);
        rig_close(&rig);
    }
}

Test(forward, each_expert_passes_the_door_once_per_chunk)
{
    struct ram_door_counts counts;
    const struct hparams *hp;
    struct rig rig;

    rig_open_all(&rig, "qwen3moe-q4_k");
    hp = model_hparams(rig.model);
    eval_ok(&rig, &(struct batch_span){ .n_tokens = N_PROMPT, .tokens = rig.prompt }, 1);
    counts = ram_door_counts(rig.ram);
    cr_expect_leq(counts.handed_out, (uint64_t)hp->n_layers * hp->n_experts);
    cr_expect_geq(counts.handed_out, (uint64_t)hp->n_layers * hp->n_used);
    cr_expect_eq(counts.requests, hp->n_layers);
    cr_expect_eq(counts.weighed, hp->n_layers);
    eval_ok(&rig, &(struct batch_span){ .pos0 = N_PROMPT, .n_tokens = 1, .tokens = rig.prompt }, 1);
    cr_expect_eq(ram_door_counts(rig.ram).weighed, 2 * hp->n_layers);
    rig_close(&rig);
}

Test(forward, the_last_layer_asks_for_what_logits_need)
{
    struct ram_door_counts one, none;
    const struct hparams *hp;
    struct rig rig;

    rig_open_all(&rig, "olmoe-q4_0");
    hp = model_hparams(rig.model);
    eval_ok(&rig, &(struct batch_span){ .n_tokens = N_PROMPT, .tokens = rig.prompt }, 1);
    one = ram_door_counts(rig.ram);
    cr_expect_leq(one.handed_out, (uint64_t)(hp->n_layers - 1) * hp->n_experts + hp->n_used);
    cr_expect_null(eval_ok(&rig, &(struct batch_span){ .n_tokens = 9, .tokens = rig.prompt, .no_logits = true }, 1));
    none = ram_door_counts(rig.ram);
    cr_expect_eq(none.requests - one.requests, hp->n_layers - 1);
    rig_close(&rig);
}

Test(forward, a_failed_read_fails_the_eval_and_no_more)
{
    struct rig rig;
    float *good, *again;
    const float *logits;

    rig_open_all(&rig, "qwen2moe-q8_0");
    good = prompt_logits(&rig, N_PROMPT);
    for (uint64_t at = 1; at <= 8; at++) {
        struct batch_span span = { .n_tokens = N_PROMPT, .tokens = rig.prompt };

        ram_door_set(rig.ram, &(struct ram_door_options){ .fail_next_at = at, .shuffle_seed = at });
        cr_expect_eq(eval(&rig, &span, 1, &logits), -EIO);
        cr_expect_str_eq(err_text(&rig.err), "injected failure of a read");
        cr_expect_eq(ram_door_pinned(rig.ram), 0);
        cr_expect_eq(ram_door_counts(rig.ram).abandoned, 2 * at - 1);
        ram_door_set(rig.ram, &(struct ram_door_options){ .fail_request_at = 1 + at % 2 });
        cr_expect_eq(eval(&rig, &span, 1, &logits), -EIO);
        cr_expect_eq(ram_door_counts(rig.ram).abandoned, 2 * at);
        ram_door_set(rig.ram, &(struct ram_door_options){ 0 });
        again = prompt_logits(&rig, N_PROMPT);
        expect_same(good, again, N_PROMPT, "qwen2moe-q8_0", "a failure before");
        free(again);
    }
    free(good);
    rig_close(&rig);
}

static bool stop_when_zero(void *ctx)
{
    return (*(int *)ctx)-- == 0;
}

Test(forward, stops_between_layers)
{
    struct rig rig;
    const float *logits;
    float *good, *again;

    rig_open_all(&rig, "qwen3moe-dense-first-f32");
    good = prompt_logits(&rig, N_PROMPT);
    for (int layer = 0; layer < 3; layer++) {
        struct batch_span span = { .n_tokens = 9, .tokens = rig.prompt };
        int left = layer;

        cr_expect_eq(forward_eval(rig.forward, &span, 1, stop_when_zero, &left, &logits, &rig.err), ERR_CANCELED);
        cr_expect_eq(left, -1);
        again = prompt_logits(&rig, N_PROMPT);
        expect_same(good, again, N_PROMPT, "qwen3moe-dense-first-f32", "a stop before");
        free(again);
    }
    free(good);
    rig_close(&rig);
}

Test(forward, refuses_what_it_cannot_evaluate)
{
    static const int32_t negative[] = { 5, -1 }, beyond[] = { N_VOCAB };
    int32_t many[N_CTX] = { 0 };
    const struct {
        struct batch_span span;
        int code;
        const char *text;
    } bad[] = {
        { { .n_tokens = 2, .tokens = negative }, -EINVAL, "token -1" },
        { { .n_tokens = 1, .tokens = beyond }, -EINVAL, "token 288" },
        { { .seq = N_SEQS, .n_tokens = 1, .tokens = many }, -EINVAL, "sequence 3" },
        { { .n_tokens = 0, .tokens = many }, -EINVAL, "no tokens" },
        { { .pos0 = 1, .n_tokens = 1, .tokens = many }, -EINVAL, "position 1, where 0" },
        { { .n_tokens = N_CTX + 1, .tokens = many }, ERR_TOO_LONG, "97 tokens, where the context holds 96" },
        { { .pos0 = UINT32_MAX, .n_tokens = 2, .tokens = many }, ERR_TOO_LONG, "the context holds 96" },
        { { .n_tokens = MAX_BATCH + 1, .tokens = many }, -EINVAL, "more than 80 tokens" },
    };
    const float *logits;
    struct rig rig;

    rig_open_all(&rig, "llama-f32");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_expect_eq(eval(&rig, &bad[i].span, 1, &logits), bad[i].code, "case %zu: %s", i, err_text(&rig.err));
        cr_expect_not_null(strstr(err_text(&rig.err), bad[i].text), "case %zu: %s", i, err_text(&rig.err));
    }
    cr_expect_eq(eval(&rig, NULL, 0, &logits), -EINVAL);
    rig_close(&rig);
}

Test(forward, refuses_more_logits_than_it_has_room_for)
{
    struct rig rig;
    const float *logits;
    struct batch_span span = { .n_tokens = 3, .all_logits = true };

    rig_open(&rig, "llama-f32");
    rig.options.max_logits = 2;
    cr_assert_eq(rig_forward(&rig), 0);
    span.tokens = rig.prompt;
    cr_expect_eq(eval(&rig, &span, 1, &logits), -EINVAL);
    cr_expect_not_null(strstr(err_text(&rig.err), "more than 2 rows of logits"));
    rig_close(&rig);
}

Test(forward, refuses_sizes_of_nothing)
{
    for (int i = 0; i < 5; i++) {
        struct rig rig;
        uint32_t *sizes[] = { &rig.options.n_ctx, &rig.options.n_seqs, &rig.options.max_batch, &rig.options.max_logits,
                              &rig.options.max_batch };

        rig_open(&rig, "llama-f32");
        *sizes[i] = i < 4 ? 0 : UINT32_MAX;
        cr_expect_eq(rig_forward(&rig), -EINVAL);
        rig_close(&rig);
    }
}

Test(forward, open_survives_every_failed_allocation)
{
    struct rig rig;
    long n = 0;
    int r;

    rig_open(&rig, "qwen2moe-q8_0");
    do {
        mem_fail_after(n++);
        r = rig_forward(&rig);
        mem_fail_after(-1);
        cr_expect(r == 0 || r == -ENOMEM, "%s", err_text(&rig.err));
    } while (r < 0 && n < 100);
    cr_expect_eq(r, 0);
    cr_expect_geq(n, 5);
    rig_close(&rig);
}

struct progress {
    uint64_t done, total;
    uint32_t calls;
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *p = ctx;

    cr_expect_gt(done, p->done);
    *p = (struct progress){ done, total, p->calls + 1 };
}

Test(forward, tells_its_progress)
{
    struct progress progress = { 0 };
    struct rig rig;

    rig_open(&rig, "qwen2moe-q8_0");
    cr_assert_eq(forward_open(rig.model, rig.device, ram_door_door(rig.ram), &rig.options, on_progress, &progress,
                              &rig.forward, &rig.err),
                 0);
    cr_expect_eq(progress.done, progress.total);
    cr_expect_eq(progress.total, model_dense_bytes(rig.model));
    cr_expect_gt(progress.calls, 10);
    rig_close(&rig);
}

/* Overwrite a tensor's first float with a NaN. */
static void poison(const struct rig *rig, const char *path, const char *tensor)
{
    const struct gguf_tensor *t = gguf_tensor_find(model_gguf(rig->model), tensor);
    static const uint32_t nan_bits = 0x7fc00000;
    FILE *file = fopen(path, "r+b");

    cr_assert(t != NULL && file != NULL);
    cr_assert_eq(fseek(file, (long)t->offset, SEEK_SET), 0);
    cr_assert_eq(fwrite(&nan_bits, sizeof(nan_bits), 1, file), 1);
    fclose(file);
}

static void check_poisoned(const char *tensor, const char *text)
{
    char *path = tiny_model_copy("qwen3moe-f32");
    struct rig rig;
    const float *logits;
    struct batch_span span = { .n_tokens = 3 };

    rig_open_path(&rig, path);
    poison(&rig, path, tensor);
    cr_assert_eq(rig_forward(&rig), 0);
    span.tokens = rig.prompt;
    cr_expect_eq(eval(&rig, &span, 1, &logits), ERR_FORMAT);
    cr_expect_not_null(strstr(err_text(&rig.err), text), "%s", err_text(&rig.err));
    rig_close(&rig);
    unlink(path);
    free(path);
}

Test(forward, no_number_in_the_last_weights_is_an_error)
{
    check_poisoned("output_norm.weight", "non-finite logits");
}

Test(forward, no_number_in_a_layer_is_an_error_that_names_it)
{
    check_poisoned("blk.1.attn_norm.weight", "layer 1: the router's output is not finite");
}

Test(forward, a_file_cut_short_after_open_is_an_error)
{
    char *path = tiny_model_copy("qwen3moe-f32");
    struct rig rig;

    rig_open_path(&rig, path);
    cr_assert_eq(truncate(path, 100000), 0);
    cr_expect_lt(rig_forward(&rig), 0);
    cr_expect_str_not_empty(err_text(&rig.err));
    rig_close(&rig);
    unlink(path);
    free(path);
}
