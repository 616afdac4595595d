/* SPDX-License-Identifier: MIT */
#include "model/layout_make.h"

#include "base/mem.h"
#include "model/tensors.h"

#include <errno.h>

struct maker {
    const struct gguf *gguf;
    const struct hparams *hp;
    const struct layer_tensors *layers;
    struct layout_tables *tables;
    struct expert_place *next; /* of tables->places, not taken yet */
};

/* `rows` from `row0` on of each expert's slice of a tensor. */
static struct expert_part_layout part_of_stack(const struct maker *m, const struct gguf_tensor *t, uint32_t row0,
                                               uint32_t rows)
{
    uint64_t row_bytes = quant_row_bytes(t->type, t->dims[0]);

    return (struct expert_part_layout){
        .type = t->type,
        .rows = rows,
        .cols = (uint32_t)t->dims[0],
        .part_bytes = row_bytes * rows,
        .first = { t->offset + row_bytes * row0, t->file },
        .stride = t->bytes / m->hp->n_experts,
    };
}

static void stacks_lay(const struct maker *m, const struct layer_tensors *t, struct expert_layer_layout *l)
{
    uint32_t n_ff = m->hp->n_ff_expert;

    l->part[EXPERT_GATE] = part_of_stack(m, t->gate_exps, 0, n_ff);
    l->part[EXPERT_UP] = part_of_stack(m, t->up_exps, t->expert_form == EXPERTS_FUSED ? n_ff : 0, n_ff);
    l->part[EXPERT_DOWN] = part_of_stack(m, t->down_exps, 0, m->hp->n_embd);
}

/* A tensor of the first expert, of whose shape and format all are. */
static struct expert_part_layout part_apart(struct maker *m, uint32_t layer, enum expert_part part,
                                            const struct gguf_tensor *first)
{
    struct expert_place *places = m->next;

    m->next += m->hp->n_experts;
    for (uint32_t e = 0; e < m->hp->n_experts; e++) {
        const struct gguf_tensor *t = tensors_expert(m->gguf, layer, part, e);

        places[e] = (struct expert_place){ t->offset, t->file };
    }
    return (struct expert_part_layout){
        .type = first->type,
        .rows = (uint32_t)first->dims[1],
        .cols = (uint32_t)first->dims[0],
        .part_bytes = first->bytes,
        .first = places[0],
        .places = places,
    };
}

static void layer_lay(struct maker *m, uint32_t layer, struct expert_layer_layout *l)
{
    const struct layer_tensors *t = &m->layers[layer];
    const struct gguf_tensor *first[EXPERT_PARTS] = { t->gate_exps, t->up_exps, t->down_exps };

    l->layer = layer;
    if (t->expert_form == EXPERTS_APART)
        for (int p = 0; p < EXPERT_PARTS; p++)
            l->part[p] = part_apart(m, layer, (enum expert_part)p, first[p]);
    else
        stacks_lay(m, t, l);
    for (int p = 0; p < EXPERT_PARTS; p++)
        l->expert_bytes += l->part[p].part_bytes;
}

static void files_list(const struct gguf *gguf, uint32_t n, struct layout_file *files)
{
    for (uint32_t i = 0; i < n; i++)
        files[i] = (struct layout_file){
            .path = gguf_file_path(gguf, i),
            .fd = gguf_file_fd(gguf, i),
            .bytes = gguf_file_bytes(gguf, i),
            .mtime_ns = gguf_file_mtime_ns(gguf, i),
        };
}

static size_t n_apart(const struct maker *m)
{
    size_t n = 0;

    for (uint32_t i = m->hp->n_dense_layers; i < m->hp->n_layers; i++)
        n += m->layers[i].expert_form == EXPERTS_APART;
    return n * EXPERT_PARTS * m->hp->n_experts;
}

static int tables_alloc(struct maker *m, uint32_t n_layers, uint32_t n_files, struct err *err)
{
    struct layout_tables *t = m->tables;
    size_t n_places = n_apart(m);

    t->layers = mem_calloc(n_layers, sizeof(*t->layers));
    t->files = mem_calloc(n_files, sizeof(*t->files));
    t->places = n_places > 0 ? mem_calloc(n_places, sizeof(*t->places)) : NULL;
    m->next = t->places;
    if (!t->layers || !t->files || (n_places > 0 && !t->places))
        return err_sys(err, ENOMEM, "opening the model");
    return 0;
}

int layout_make(const struct gguf *gguf, const struct hparams *hp, const struct layer_tensors *layers,
                struct layout_tables *tables, struct expert_layout *ret_layout, struct err *err)
{
    struct maker m = { gguf, hp, layers, tables, NULL };
    struct expert_layout layout = { .n_layers = hp->n_layers - hp->n_dense_layers,
                                    .n_experts = hp->n_experts,
                                    .n_used = hp->n_used,
                                    .n_files = (uint32_t)gguf_file_count(gguf) };
    int rc = tables_alloc(&m, layout.n_layers, layout.n_files, err);

    if (rc)
        return rc;
    for (uint32_t i = 0; i < layout.n_layers; i++)
        layer_lay(&m, hp->n_dense_layers + i, &tables->layers[i]);
    files_list(gguf, layout.n_files, tables->files);
    layout.layers = tables->layers;
    layout.files = tables->files;
    gguf_identity(gguf, layout.identity);
    *ret_layout = layout;
    return 0;
}

void layout_tables_free(struct layout_tables *tables)
{
    mem_free(tables->places);
    mem_free(tables->files);
    mem_free(tables->layers);
}
