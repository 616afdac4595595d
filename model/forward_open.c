/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include "base/mem.h"

#include <errno.h>

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

void forward_cpu_options(const struct model *model, const struct forward_options *options,
                         struct cpu_device_options *cpu_options)
{
    enum { ENOUGH_ROWS = 2048 }; /* a longer call is cut by the device; from here on that costs nothing */
    const struct hparams *hp = model_hparams(model);
    uint64_t pairs = (uint64_t)options->max_batch * (hp->n_used + (hp->n_ff_shared > 0));

    cpu_options->max_rows = options->max_batch;
    cpu_options->max_ff = max_u32(max_u32(hp->n_ff_expert, hp->n_ff_shared), hp->n_dense_layers > 0 ? hp->n_ff : 0);
    cpu_options->max_expert_rows = pairs < ENOUGH_ROWS ? (uint32_t)pairs : ENOUGH_ROWS;
}

void forward_helper_options(const struct model *model, const struct forward_options *options,
                            struct cpu_device_options *cpu_options)
{
    const struct hparams *hp = model_hparams(model);

    cpu_options->max_rows = options->help_rows;
    cpu_options->max_ff = hp->n_ff_expert;
    cpu_options->max_expert_rows = options->help_rows * hp->n_used;
}

void forward_lay_batch(struct forward *f, uint32_t n, uint32_t n_logits)
{
    const struct hparams *hp = f->hp;
    struct arena *work = &f->work_arena;
    size_t one = sizeof(float);

    work->used = f->batch_at;
    f->b.x = arena_take(work, n, hp->n_embd * one);
    f->b.h = arena_take(work, n, hp->n_embd * one);
    f->b.q = arena_take(work, n, hp->n_heads * hp->head_dim * one);
    f->b.att = arena_take(work, n, hp->n_heads * hp->head_dim * one);
    f->b.k = arena_take(work, n, hp->n_kv_heads * hp->head_dim * one);
    f->b.v = arena_take(work, n, hp->n_kv_heads * hp->head_dim * one);
    f->b.router = arena_take(work, n, hp->n_experts * one);
    f->b.shared_router = arena_take(work, n, one);
    f->b.y = arena_take(work, (size_t)n * (hp->n_used + 1), hp->n_embd * one);
    f->b.last = arena_take(work, n_logits, hp->n_embd * one);
    f->b.logits = arena_take(work, n_logits, hp->n_vocab * one);
    if (f->device->host_visible) {
        f->b.host_router = f->b.router;
        f->b.host_logits = f->b.logits;
    }
    f->n_held = n;
    f->n_logits_held = n_logits;
}

static void lay_host_buffers(struct forward *f)
{
    const struct hparams *hp = f->hp;
    size_t n = f->options.max_batch, n_logits = f->options.max_logits, one = sizeof(float);
    struct arena *host = &f->host_arena;

    if (!f->device->host_visible) {
        f->b.host_router = arena_take(host, n, hp->n_experts * one);
        f->b.host_logits = arena_take(host, n_logits, hp->n_vocab * one);
    }
    f->b.pos = arena_take(host, n, sizeof(*f->b.pos));
    f->b.tokens = arena_take(host, n, sizeof(*f->b.tokens));
    f->b.ids = arena_take(host, n, hp->n_used * sizeof(*f->b.ids));
    f->b.weights = arena_take(host, n, hp->n_used * one);
}

static void lay_moe(struct forward *f)
{
    size_t n = f->options.max_batch, n_experts = f->hp->n_experts, n_used = f->hp->n_used;
    struct arena *host = &f->host_arena;

    f->moe.first = arena_take(host, n_experts + 1, sizeof(*f->moe.first));
    f->moe.src = arena_take(host, n, n_used * sizeof(*f->moe.src));
    f->moe.dst = arena_take(host, n, n_used * sizeof(*f->moe.dst));
    f->moe.all = arena_take(host, n, sizeof(*f->moe.all));
    f->moe.shared_dst = arena_take(host, n, sizeof(*f->moe.shared_dst));
    f->moe.wanted = arena_take(host, n_experts, sizeof(*f->moe.wanted));
    f->moe.every = arena_take(host, n_experts, sizeof(*f->moe.every));
    f->moe.calls = arena_take(host, n_experts, sizeof(*f->moe.calls));
    f->moe.views = arena_take(host, n_experts, sizeof(*f->moe.views));
    f->moe.helped = arena_take(host, f->options.helper != NULL ? n_experts : 0, sizeof(*f->moe.helped));
}

static void lay_help(struct forward *f)
{
    size_t n = f->options.helper != NULL ? f->options.help_rows : 0;

    f->help.h = arena_take(&f->host_arena, n, f->hp->n_embd * sizeof(float));
    f->help.y = arena_take(&f->host_arena, n * f->hp->n_used, f->hp->n_embd * sizeof(float));
    f->help.written = arena_take(&f->host_arena, n, f->hp->n_used * sizeof(*f->help.written));
}

static void lay_predict(struct forward *f)
{
    size_t n = f->options.predict_rows;

    f->predict.h = arena_take(&f->work_arena, n, f->hp->n_embd * sizeof(float));
    f->predict.router = arena_take(&f->work_arena, n, f->hp->n_experts * sizeof(float));
    f->predict.ids = arena_take(&f->host_arena, n, f->hp->n_used * sizeof(*f->predict.ids));
    f->predict.weights = arena_take(&f->host_arena, n, f->hp->n_used * sizeof(float));
    f->predict.likely = arena_take(&f->host_arena, n > 0 ? f->hp->n_experts : 0, sizeof(*f->predict.likely));
    f->predict.named = arena_take(&f->host_arena, n > 0 ? f->hp->n_experts : 0, sizeof(*f->predict.named));
}

/* Count, or with open arenas place, everything a forward holds but its prepared activations. */
static void lay_all(struct forward *f)
{
    dense_lay(&f->dense, f->model, forward_embd_rows(f), &f->weights_arena, &f->host_arena);
    f->embd_ids = arena_take(&f->host_arena, forward_embd_rows(f), sizeof(*f->embd_ids));
    f->kv.type = f->options.kv_type;
    f->kv.on_demand = forward_on_demand(f);
    f->kv.n_layers = f->hp->n_layers;
    f->kv.n_seqs = f->options.n_seqs;
    f->kv.n_ctx = f->options.n_ctx;
    kv_lay(&f->kv, f->hp->n_kv_heads, f->hp->head_dim, &f->kv_arena, &f->host_arena);
    lay_host_buffers(f);
    lay_moe(f);
    lay_predict(f);
    lay_help(f);
    forward_stay_lay(f);
    f->batch_at = f->work_arena.used;
    forward_lay_batch(f, f->options.max_batch, f->options.max_logits);
    f->work_bytes = arena_bytes(&f->work_arena);
}

static void forward_init(struct forward *f, const struct model *model, struct device *device,
                         const struct forward_options *options)
{
    *f = (struct forward){ .model = model,
                           .arch = model_arch(model),
                           .hp = model_hparams(model),
                           .device = device,
                           .options = *options,
                           .weights_arena.device = device,
                           .kv_arena.device = device,
                           .work_arena.device = device };
    lay_all(f);
}

static uint32_t acts_rows(const struct forward_options *options)
{
    return max_u32(options->max_batch, options->max_logits);
}

static uint32_t acts_cols(const struct hparams *hp)
{
    return max_u32(hp->n_embd, hp->n_heads * hp->head_dim);
}

static uint64_t acts_taken(struct device *device, uint32_t rows, uint32_t cols)
{
    size_t bytes = device->ops->acts_bytes(device, rows, cols);

    return device->host_visible ? mem_map_bytes(bytes) : bytes;
}

void forward_measure(const struct model *model, struct device *device, const struct forward_options *options,
                     struct forward_bytes *ret_bytes)
{
    const struct hparams *hp = model_hparams(model);
    uint64_t acts = acts_taken(device, acts_rows(options), acts_cols(hp));
    struct forward f;

    if (options->predict_rows > 0)
        acts += acts_taken(device, options->predict_rows, hp->n_embd);
    forward_init(&f, model, device, options);
    ret_bytes->dense = arena_bytes(&f.weights_arena);
    ret_bytes->kv = arena_bytes(&f.kv_arena);
    ret_bytes->activations = acts + arena_bytes(&f.work_arena);
    ret_bytes->batch = forward_batch_bytes(&f, options->max_batch, options->max_logits);
    ret_bytes->host = arena_bytes(&f.host_arena) + sizeof(f);
    if (options->helper != NULL)
        ret_bytes->host += acts_taken(options->helper, options->help_rows, hp->n_embd);
    ret_bytes->host += device->host_visible ? 0 : dense_bounce_bytes();
    if (!device->host_visible)
        return;
    ret_bytes->activations += ret_bytes->host;
    ret_bytes->host = 0;
}

static int options_check(const struct forward_options *options, const struct expert_door *door, struct err *err)
{
    if (options->n_ctx == 0 || options->n_seqs == 0 || options->max_batch == 0 || options->max_logits == 0)
        return err_set(err, -EINVAL, "context %u, sequences %u, batch %u, rows of logits %u: each must be at least 1",
                       options->n_ctx, options->n_seqs, options->max_batch, options->max_logits);
    if (options->max_batch > 1 << 20 || options->max_logits > 1 << 20 || options->predict_rows > options->max_batch)
        return err_set(
            err, -EINVAL,
            "batches of %u tokens with %u rows of logits and %u looked ahead for: at most %u of the first two, "
            "and no more of the last than of the first",
            options->max_batch, options->max_logits, options->predict_rows, 1 << 20);
    if (options->stay_rows > options->max_batch)
        return err_set(err, -EINVAL, "batches of %u tokens that stay on the device, where %u is the most of any",
                       options->stay_rows, options->max_batch);
    if (options->helper != NULL && (options->help_rows == 0 || options->help_rows > options->max_batch))
        return err_set(err, -EINVAL, "a helper for batches of %u tokens, where 1 to %u make sense", options->help_rows,
                       options->max_batch);
    if (door->max_request == 0)
        return err_set(err, -EINVAL, "the expert door lets no expert through");
    return 0;
}

/* Reads go on while experts and large matrices are computed. */
static void poll_door(void *ctx)
{
    forward_poll(ctx);
}

static int take_memory(struct forward *f, struct err *err)
{
    unsigned lock = f->options.lock ? ARENA_LOCK : 0;
    int r;

    if ((r = arena_open(&f->weights_arena, lock | ARENA_PLAIN, "the dense weights", err)) < 0 ||
        (r = arena_open(&f->kv_arena, kv_arena_flags(&f->kv), "keys and values", err)) < 0 ||
        (r = arena_open(&f->work_arena, forward_batch_flags(f), "activations", err)) < 0 ||
        (r = arena_open(&f->host_arena, ARENA_PLAIN, "the forward pass", err)) < 0)
        return r;
    lay_all(f);
    if ((r = forward_hold_none(f, err)) < 0)
        return r;
    r = f->device->ops->acts_open(f->device, acts_rows(&f->options), acts_cols(f->hp), &f->acts);
    if (r >= 0 && f->options.predict_rows > 0)
        r = f->device->ops->acts_open(f->device, f->options.predict_rows, f->hp->n_embd, &f->predict.acts);
    if (r < 0)
        return forward_device_error(f, r, err);
    if (f->options.helper != NULL) {
        r = f->options.helper->ops->acts_open(f->options.helper, f->options.help_rows, f->hp->n_embd, &f->help.acts);
        if (r < 0)
            return err_set(err, r, "%s: %s", f->options.helper->name, err_text(&f->options.helper->err));
    }
    for (uint32_t e = 0; e < f->hp->n_experts; e++)
        f->moe.every[e] = (uint16_t)e;
    for (uint32_t i = 0; i < f->options.max_batch; i++)
        f->moe.all[i] = i;
    forward_number_rows(f);
    return 0;
}

int forward_open(const struct model *model, struct device *device, struct expert_door *door,
                 const struct forward_options *options, void (*on_progress)(void *ctx, uint64_t done, uint64_t total),
                 void *progress_ctx, struct forward **ret_forward, struct err *err)
{
    struct forward *f;
    int r = options_check(options, door, err);

    if (r < 0)
        return r;
    f = mem_alloc(sizeof(*f));
    if (f == NULL)
        return err_set(err, -ENOMEM, "no memory for a forward pass");
    forward_init(f, model, device, options);
    f->door = door;
    device->meanwhile = door->ops->poll != NULL ? poll_door : NULL;
    device->meanwhile_ctx = f;
    r = take_memory(f, err);
    if (r >= 0)
        r = dense_load(&f->dense, model, forward_embd_rows(f) > 0, device, on_progress, progress_ctx, err);
    if (r < 0) {
        forward_close(f);
        return r;
    }
    *ret_forward = f;
    return 0;
}

void forward_close(struct forward *f)
{
    if (f == NULL)
        return;
    f->device->meanwhile = NULL;
    if (f->acts != NULL)
        f->device->ops->acts_close(f->device, f->acts);
    if (f->predict.acts != NULL)
        f->device->ops->acts_close(f->device, f->predict.acts);
    if (f->help.acts != NULL)
        f->options.helper->ops->acts_close(f->options.helper, f->help.acts);
    arena_close(&f->host_arena);
    arena_close(&f->work_arena);
    arena_close(&f->kv_arena);
    arena_close(&f->weights_arena);
    mem_free(f);
}
