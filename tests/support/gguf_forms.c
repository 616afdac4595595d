/* SPDX-License-Identifier: MIT */
#include "tests/support/gguf_forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 64

static struct builder_tensor *find(struct gguf_builder *b, const char *name)
{
    for (size_t i = 0; i < b->n_tensors; i++)
        if (!strcmp(b->tensors[i].name, name))
            return &b->tensors[i];
    return NULL;
}

static unsigned char *room(size_t n)
{
    unsigned char *p = malloc(n);

    if (!p)
        abort();
    return p;
}

void gguf_forms_retype(struct gguf_builder *b, const char *name, enum quant_type type, uint64_t seed)
{
    const struct builder_tensor was = *gguf_builder_tensor(b, name);
    size_t len = quant_row_bytes(type, was.dims[0]) * was.dims[1] * (was.n_dims > 2 ? was.dims[2] : 1);
    unsigned char *data = room(len);

    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        data[i] = (unsigned char)(seed >> 56);
    }
    gguf_builder_drop_tensor(b, name);
    gguf_builder_add(b, was.name, type, was.n_dims, was.dims, data, len);
    free(data);
}

static void fuse(struct gguf_builder *b, const char *name, const struct builder_tensor *gate,
                 const struct builder_tensor *up)
{
    const uint64_t dims[3] = { gate->dims[0], 2 * gate->dims[1], gate->dims[2] };
    size_t bytes = gate->data_len / gate->dims[2], len = 2 * gate->data_len;
    unsigned char *data = room(len);

    for (uint64_t e = 0; e < gate->dims[2]; e++) {
        memcpy(data + 2 * e * bytes, gate->data + e * bytes, bytes);
        memcpy(data + (2 * e + 1) * bytes, up->data + e * bytes, bytes);
    }
    gguf_builder_add(b, name, gate->type, 3, dims, data, len);
    free(data);
}

void gguf_forms_fuse(struct gguf_builder *b)
{
    for (unsigned layer = 0; layer < MAX_LAYERS; layer++) {
        char gate[64], up[64], fused[64];

        snprintf(gate, sizeof(gate), "blk.%u.ffn_gate_exps.weight", layer);
        snprintf(up, sizeof(up), "blk.%u.ffn_up_exps.weight", layer);
        snprintf(fused, sizeof(fused), "blk.%u.ffn_gate_up_exps.weight", layer);
        if (!find(b, gate))
            continue;
        fuse(b, fused, find(b, gate), find(b, up));
        gguf_builder_drop_tensor(b, gate);
        gguf_builder_drop_tensor(b, up);
    }
}

static void cut_out(struct gguf_builder *b, unsigned layer, const char *part, uint64_t expert)
{
    char stack[64], name[64];
    const struct builder_tensor *t;
    size_t bytes;

    snprintf(stack, sizeof(stack), "blk.%u.%s_exps.weight", layer, part);
    snprintf(name, sizeof(name), "blk.%u.%s.%u.weight", layer, part, (unsigned)expert);
    t = gguf_builder_tensor(b, stack);
    bytes = t->data_len / t->dims[2];
    gguf_builder_add(b, name, t->type, 2, (uint64_t[]){ t->dims[0], t->dims[1] }, t->data + expert * bytes, bytes);
}

void gguf_forms_apart_layer(struct gguf_builder *b, unsigned layer)
{
    static const char *const parts[] = { "ffn_gate", "ffn_down", "ffn_up" };
    char stack[64];
    uint64_t n_experts;

    snprintf(stack, sizeof(stack), "blk.%u.ffn_gate_exps.weight", layer);
    n_experts = gguf_builder_tensor(b, stack)->dims[2];
    for (uint64_t e = 0; e < n_experts; e++)
        for (int p = 0; p < 3; p++)
            cut_out(b, layer, parts[p], e);
    for (int p = 0; p < 3; p++) {
        snprintf(stack, sizeof(stack), "blk.%u.%s_exps.weight", layer, parts[p]);
        gguf_builder_drop_tensor(b, stack);
    }
}

void gguf_forms_apart(struct gguf_builder *b)
{
    for (unsigned layer = 0; layer < MAX_LAYERS; layer++) {
        char gate[64];

        snprintf(gate, sizeof(gate), "blk.%u.ffn_gate_exps.weight", layer);
        if (find(b, gate))
            gguf_forms_apart_layer(b, layer);
    }
}

/* The tensors in another order, their data right behind each other. */
void gguf_forms_strew(struct gguf_builder *b)
{
    uint64_t random = 1;
    size_t at = 0;

    gguf_forms_apart(b);
    for (size_t i = b->n_tensors; i > 1; i--) {
        struct builder_tensor t = b->tensors[i - 1];
        size_t j;

        random = random * 6364136223846793005u + 1442695040888963407u;
        j = (size_t)(random >> 33) % i;
        b->tensors[i - 1] = b->tensors[j];
        b->tensors[j] = t;
    }
    for (size_t i = 0; i < b->n_tensors; i++) {
        b->tensors[i].offset = b->tensors[i].place = at;
        at += (b->tensors[i].data_len + b->alignment - 1) / b->alignment * b->alignment;
    }
    b->data_len = at;
}

static void write_part(const struct gguf_builder *b, const char *path, uint16_t no, uint16_t n_files)
{
    struct gguf_builder part;

    gguf_builder_init(&part);
    for (size_t i = 0; no == 0 && i < b->n_keys; i++)
        gguf_builder_raw(&part, b->keys[i].key, b->keys[i].type, b->keys[i].value, b->keys[i].value_len);
    for (size_t i = no; i < b->n_tensors; i += n_files)
        gguf_builder_add(&part, b->tensors[i].name, b->tensors[i].type, b->tensors[i].n_dims, b->tensors[i].dims,
                         b->tensors[i].data, b->tensors[i].data_len);
    gguf_builder_u16(&part, "split.no", no);
    gguf_builder_u16(&part, "split.count", n_files);
    gguf_builder_i32(&part, "split.tensors.count", (int32_t)b->n_tensors);
    gguf_builder_write(&part, path);
    gguf_builder_fini(&part);
}

void gguf_forms_write_split(const struct gguf_builder *b, const char *dir, const char *name, uint16_t n_files)
{
    char path[400];

    for (uint16_t i = 0; i < n_files; i++) {
        snprintf(path, sizeof(path), "%s/%s-%05d-of-%05d.gguf", dir, name, i + 1, n_files);
        write_part(b, path, i, n_files);
    }
}
