/* SPDX-License-Identifier: MIT */
#include "model/forward_dense.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>

/* Between two reports of progress, and of the way through the host. */
enum { CHUNK_BYTES = 8 << 20, BOUNCE_BYTES = 1 << 20 };

size_t dense_bounce_bytes(void)
{
    return BOUNCE_BYTES;
}

/* Which tensor of a layer goes where. */
struct part {
    size_t tensor; /* in struct layer_tensors */
    size_t place;  /* in struct dense_layer */
};

#define PART(name)                                                               \
    {                                                                            \
        offsetof(struct layer_tensors, name), offsetof(struct dense_layer, name) \
    }
static const struct part vectors[] = { PART(attn_norm), PART(ffn_norm), PART(q_norm), PART(k_norm),
                                       PART(q_bias),    PART(k_bias),   PART(v_bias), PART(o_bias) };
static const struct part matrices[] = { PART(q),         PART(k),           PART(v),           PART(o),
                                        PART(router),    PART(gate),        PART(up),          PART(down),
                                        PART(shared_up), PART(shared_gate), PART(shared_down), PART(shared_router) };
#undef PART

enum { N_VECTORS = sizeof(vectors) / sizeof(vectors[0]), N_MATRICES = sizeof(matrices) / sizeof(matrices[0]) };

static const struct gguf_tensor *tensor_of(const struct layer_tensors *t, const struct part *part)
{
    return *(const struct gguf_tensor *const *)((const char *)t + part->tensor);
}

static const float **vector_of(struct dense_layer *layer, const struct part *part)
{
    return (const float **)((char *)layer + part->place);
}

static struct weight *matrix_of(struct dense_layer *layer, const struct part *part)
{
    return (struct weight *)((char *)layer + part->place);
}

static void lay_matrix(struct weight *w, const struct gguf_tensor *t, struct arena *arena)
{
    *w = (struct weight){ .data = arena_take(arena, t->bytes, 1),
                          .type = t->type,
                          .rows = (uint32_t)t->dims[1],
                          .cols = (uint32_t)t->dims[0] };
}

static void lay_layer(struct dense_layer *layer, const struct layer_tensors *t, struct arena *arena)
{
    for (size_t i = 0; i < N_VECTORS; i++)
        if (tensor_of(t, &vectors[i]) != NULL)
            *vector_of(layer, &vectors[i]) = arena_take(arena, tensor_of(t, &vectors[i])->bytes, 1);
    for (size_t i = 0; i < N_MATRICES; i++)
        if (tensor_of(t, &matrices[i]) != NULL)
            lay_matrix(matrix_of(layer, &matrices[i]), tensor_of(t, &matrices[i]), arena);
}

static void lay_embeddings(struct weight *w, const struct gguf_tensor *t, uint32_t rows, struct arena *arena)
{
    lay_matrix(w, t, rows == 0 ? arena : &(struct arena){ 0 });
    if (rows == 0)
        return;
    w->rows = rows;
    w->data = arena_take(arena, rows, t->bytes / t->dims[1]);
}

void dense_lay(struct dense *dense, const struct model *model, uint32_t embd_rows, struct arena *weights,
               struct arena *host)
{
    const struct model_tensors *t = model_tensors(model);
    uint32_t n_layers = model_hparams(model)->n_layers;
    struct dense_layer unused = { 0 };

    dense->layers = arena_take(host, n_layers, sizeof(*dense->layers));
    lay_embeddings(&dense->token_embd, t->token_embd, embd_rows, weights);
    if (t->output != t->token_embd)
        lay_matrix(&dense->output, t->output, weights);
    else
        dense->output = dense->token_embd;
    dense->output_norm = arena_take(weights, t->output_norm->bytes, 1);
    for (uint32_t i = 0; i < n_layers; i++)
        lay_layer(dense->layers != NULL ? &dense->layers[i] : &unused, model_layer(model, i), weights);
}

struct load {
    const struct gguf *gguf;
    struct device *device;
    void *bounce; /* [BOUNCE_BYTES]; NULL where the device's memory is the host's */
    uint64_t done, total;
    void (*on_progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    struct err *err;
};

static int load_tensor(struct load *load, const struct gguf_tensor *t, const void *place)
{
    char *dst = (char *)place; /* ours to fill: it was lent as const to those who compute */

    for (uint64_t from = 0; from < t->bytes;) {
        size_t n = u64_min(t->bytes - from, load->bounce != NULL ? BOUNCE_BYTES : CHUNK_BYTES);
        int r = gguf_read(load->gguf, t, from, load->bounce != NULL ? load->bounce : dst + from, n, load->err);

        if (r < 0)
            return r;
        if (load->bounce != NULL) {
            r = load->device->ops->upload(load->device, dst + from, load->bounce, n);
            if (r < 0)
                return err_set(load->err, r, "%s: %s", load->device->name, err_text(&load->device->err));
        }
        from += n;
        load->done += n;
        if (load->on_progress != NULL)
            load->on_progress(load->ctx, load->done, load->total);
    }
    return 0;
}

static int load_layer(struct load *load, const struct layer_tensors *t, struct dense_layer *layer)
{
    int r = 0;

    for (size_t i = 0; i < N_VECTORS && r == 0; i++)
        if (tensor_of(t, &vectors[i]) != NULL)
            r = load_tensor(load, tensor_of(t, &vectors[i]), *vector_of(layer, &vectors[i]));
    for (size_t i = 0; i < N_MATRICES && r == 0; i++)
        if (tensor_of(t, &matrices[i]) != NULL)
            r = load_tensor(load, tensor_of(t, &matrices[i]), matrix_of(layer, &matrices[i])->data);
    return r;
}

static int load_all(struct load *load, const struct dense *dense, const struct model *model, bool without_embd)
{
    const struct model_tensors *t = model_tensors(model);
    int r = without_embd ? 0 : load_tensor(load, t->token_embd, dense->token_embd.data);

    if (r == 0 && t->output != t->token_embd)
        r = load_tensor(load, t->output, dense->output.data);
    if (r == 0)
        r = load_tensor(load, t->output_norm, dense->output_norm);
    for (uint32_t i = 0; i < model_hparams(model)->n_layers && r == 0; i++)
        r = load_layer(load, model_layer(model, i), &dense->layers[i]);
    return r;
}

int dense_load(const struct dense *dense, const struct model *model, bool without_embd, struct device *device,
               void (*on_progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *err)
{
    struct load load = { .gguf = model_gguf(model),
                         .device = device,
                         .total = model_dense_bytes(model),
                         .on_progress = on_progress,
                         .ctx = ctx,
                         .err = err };
    int r;

    if (without_embd)
        load.total -= model_tensors(model)->token_embd->bytes;
    if (!device->host_visible) {
        load.bounce = mem_alloc(BOUNCE_BYTES);
        if (load.bounce == NULL)
            return err_set(err, -ENOMEM, "no memory to load dense weights through");
    }
    r = load_all(&load, dense, model, without_embd);
    mem_free(load.bounce);
    return r;
}
