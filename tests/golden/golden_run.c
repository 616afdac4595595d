/* SPDX-License-Identifier: MIT */
#include "tests/golden/golden.h"

#include "base/mem.h"
#include "model/forward.h"
#include "tests/support/ram_door.h"

#include <errno.h>
#include <string.h>

/* Where the hooks write, and which row of the prompt the batch began at. */
struct recorder {
    const struct hparams *hp;
    struct golden_prompt *prompt;
    uint32_t row;
    struct device *device;
    int failed; /* what brought back a residual stream */
};

static void on_route(void *ctx, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n)
{
    struct recorder *rec = ctx;
    const struct hparams *hp = rec->hp;
    size_t at = (size_t)(layer - hp->n_dense_layers) * rec->prompt->n_rows + rec->row;

    memcpy(rec->prompt->router + at * hp->n_experts, logits, (size_t)n * hp->n_experts * sizeof(*logits));
    for (size_t i = 0; i < (size_t)n * hp->n_used; i++)
        rec->prompt->experts[at * hp->n_used + i] = ids[i];
}

static void on_layer(void *ctx, uint32_t layer, const float *x, uint32_t n)
{
    struct recorder *rec = ctx;
    size_t n_embd = rec->hp->n_embd;

    float *to = rec->prompt->layers + ((size_t)layer * rec->prompt->n_layer_rows + rec->row) * n_embd;
    int r = rec->device->ops->download(rec->device, to, x, n * n_embd * sizeof(*x));

    rec->failed = r < 0 ? r : rec->failed;
}

static void prompt_init(struct golden_prompt *p, const struct golden_prompt *like, const struct golden *golden)
{
    const struct hparams *hp = golden->hp;
    size_t rows = (size_t)golden->n_moe_layers * like->n_rows;

    *p = (struct golden_prompt){ .n_prompt = like->n_prompt, .n_rows = like->n_rows, .n_layer_rows = like->n_rows };
    p->tokens = mem_alloc(like->n_rows * sizeof(*p->tokens));
    memcpy(p->tokens, like->tokens, like->n_rows * sizeof(*p->tokens));
    p->logits = mem_alloc((size_t)like->n_rows * hp->n_vocab * sizeof(float));
    p->router = mem_alloc(rows * hp->n_experts * sizeof(float));
    p->experts = mem_alloc(rows * hp->n_used * sizeof(int32_t));
    p->layers = mem_alloc((size_t)hp->n_layers * like->n_rows * hp->n_embd * sizeof(float));
}

/* The prompt in chunks with all its logits, then token by token. */
static int prompt_run(struct forward *forward, struct recorder *rec, uint32_t chunk, struct err *err)
{
    struct golden_prompt *p = rec->prompt;
    size_t n_vocab = rec->hp->n_vocab;

    for (rec->row = 0; rec->row < p->n_rows;) {
        uint32_t left = p->n_prompt > rec->row ? p->n_prompt - rec->row : 1;
        struct batch_span span = { .pos0 = rec->row,
                                   .n_tokens = chunk > 0 && left > chunk ? chunk : left,
                                   .tokens = p->tokens + rec->row,
                                   .all_logits = true };
        const float *logits;
        int r = forward_eval(forward, &span, 1, NULL, NULL, &logits, err);

        if (r < 0)
            return r;
        memcpy(p->logits + rec->row * n_vocab, logits, span.n_tokens * n_vocab * sizeof(*logits));
        rec->row += span.n_tokens;
    }
    return 0;
}

static int prompts_run(const struct model *model, struct device *device, struct ram_door *ram, struct golden *ours,
                       uint32_t max_rows, const struct golden_run_options *how, struct err *err)
{
    struct recorder rec = { .hp = ours->hp, .device = device };
    struct forward_options options = { .n_ctx = max_rows,
                                       .n_seqs = 1,
                                       .max_batch = max_rows,
                                       .max_logits = max_rows,
                                       .kv_type = how->kv_type,
                                       .hooks = { .on_route = on_route, .on_layer = on_layer, .ctx = &rec } };
    struct forward *forward;
    int r = forward_open(model, device, ram_door_door(ram), &options, NULL, NULL, &forward, err);

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < ours->n_prompts && r == 0; i++) {
        rec.prompt = &ours->prompts[i];
        r = prompt_run(forward, &rec, how->chunk, err);
    }
    forward_close(forward);
    return r < 0 ? r : rec.failed;
}

static int device_open(const struct model *model, const struct golden_run_options *how, uint32_t max_batch,
                       struct device **ret_device, struct err *err)
{
    struct forward_options options = { .max_batch = max_batch };
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };
    int r = how->cpu_level != NULL ? cpu_level_parse(how->cpu_level, &cpu.max_level, err) : 0;

    if (r < 0)
        return r;
    forward_cpu_options(model, &options, &cpu);
    if (how->on_device_open != NULL)
        return how->on_device_open(how->ctx, &cpu, ret_device, err);
    return cpu_device_open(&cpu, ret_device, err);
}

int golden_run(const struct model *model, const struct golden *like, const struct golden_run_options *options,
               struct golden **ret_ours, struct err *err)
{
    struct golden *ours = mem_zalloc(sizeof(*ours));
    struct ram_door_options manners = { 0 };
    struct ram_door *ram = NULL;
    struct device *device = NULL;
    uint32_t max_rows = 0;
    int r;

    *ours = (struct golden){ .hp = like->hp,
                             .n_moe_layers = like->n_moe_layers,
                             .n_prompts = like->n_prompts,
                             .prompts = mem_calloc(like->n_prompts, sizeof(*ours->prompts)) };
    for (uint32_t i = 0; i < like->n_prompts; i++) {
        prompt_init(&ours->prompts[i], &like->prompts[i], ours);
        max_rows = like->prompts[i].n_rows > max_rows ? like->prompts[i].n_rows : max_rows;
    }
    r = device_open(model, options, max_rows, &device, err);
    if (r == 0) {
        manners.device = device->host_visible ? NULL : device;
        r = ram_door_open(model, &manners, &ram, err);
    }
    if (r == 0)
        r = prompts_run(model, device, ram, ours, max_rows, options, err);
    ram_door_close(ram);
    if (device != NULL)
        device->ops->close(device);
    if (r < 0) {
        golden_close(ours);
        return r;
    }
    *ret_ours = ours;
    return 0;
}
