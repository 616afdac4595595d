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
