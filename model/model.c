/* SPDX-License-Identifier: MIT */
#include "model/model.h"

#include "base/mem.h"
#include "model/hparams.h"
#include "model/layout_make.h"
#include "model/tensors.h"
#include "model/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES 256
#define NOTE_BYTES 256
#define LIST_BYTES 128

struct model {
    struct gguf *gguf;
    const struct arch *arch;
    struct hparams hp;
    struct model_tensors tensors;
    struct layer_tensors *layers; /* [hp.n_layers] */
    float *inv_freq;              /* [hp.rope.n_rot / 2] */
    struct expert_layout layout;
    struct layout_tables layout_tables;
    uint64_t dense_bytes, expert_bytes, token_bytes;
    enum quant_type quant;
    char name[NAME_BYTES];
    char note[NOTE_BYTES];
};

/* Fit to be shown: UTF-8 without control characters, and not empty. */
static bool printable(struct gguf_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.len;) {
        int n = utf8_scan(p + i, s.len - i);

        if (n <= 0 || p[i] < 0x20 || p[i] == 0x7f)
            return false;
        i += (size_t)n;
    }
    return s.len > 0;
}

static const char *supported_list(char *ret_list)
{
    int n = 0;

    for (size_t i = 0; arch_at(i); i++)
        n += snprintf(ret_list + n, LIST_BYTES - (size_t)n, "%s%s", i ? ", " : "", arch_at(i)->label);
    return ret_list;
}

static int find_arch(struct model *m, struct err *err)
{
    char list[LIST_BYTES];
    struct gguf_str name;
    int rc = gguf_get_str(m->gguf, "general.architecture", &name, err);

    if (rc)
        return rc == -ENOENT ? err_set(err, ERR_FORMAT, "key 'general.architecture' is missing") : rc;
    if (!printable(name))
        return err_set(err, ERR_FORMAT, "key 'general.architecture': not a name");
    m->arch = arch_find(name);
    if (!m->arch)
        return err_set(err, ERR_UNSUPPORTED, "architecture '%.*s' is not supported; supported: %s",
                       (int)(name.len < 40 ? name.len : 40), name.p, supported_list(list));
    return 0;
}

static int read_sizes(struct model *m, struct err *err)
{
    int rc = hparams_read(m->gguf, m->arch, &m->hp, m->note, sizeof(m->note), err);

    if (rc == 0)
        rc = hparams_rope_size(m->gguf, m->arch, &m->hp, err);
    if (rc)
        return rc;
    m->layers = mem_calloc(m->hp.n_layers, sizeof(*m->layers));
    m->inv_freq = mem_calloc(m->hp.rope.n_rot / 2, sizeof(*m->inv_freq));
    if (!m->layers || !m->inv_freq)
        return err_sys(err, ENOMEM, "opening the model");
    rc = tensors_bind(m->gguf, m->arch, &m->hp, &m->tensors, m->layers, err);
    return rc ? rc : hparams_rope(m->gguf, m->arch, &m->hp, m->inv_freq, err);
}

static void add_up(struct model *m)
{
    uint64_t by_type[QUANT_TYPES] = { 0 };

    for (uint32_t i = 0; i < m->layout.n_layers; i++) {
        const struct expert_layer_layout *l = &m->layout.layers[i];

        m->expert_bytes += l->expert_bytes * m->hp.n_experts;
        m->token_bytes += l->expert_bytes * m->hp.n_used;
        for (int p = 0; p < EXPERT_PARTS; p++)
            by_type[l->part[p].type] += l->part[p].part_bytes;
    }
    for (size_t i = 0; i < gguf_tensor_count(m->gguf); i++)
        m->dense_bytes += gguf_tensor_at(m->gguf, i)->bytes;
    m->dense_bytes -= m->expert_bytes;
    for (int i = 0; i < QUANT_TYPES; i++)
        if (by_type[i] > by_type[m->quant])
            m->quant = (enum quant_type)i;
}

/* The file's own name for itself, or the file's name without ".gguf" and "-00001-of-0000N". */
static void name_model(struct model *m, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    struct gguf_str s;
    char *end;

    if (gguf_get_str(m->gguf, "general.name", &s, NULL) == 0 && printable(s) && s.len < NAME_BYTES) {
        snprintf(m->name, NAME_BYTES, "%.*s", (int)s.len, s.p);
        return;
    }
    snprintf(m->name, NAME_BYTES, "%s", base);
    end = m->name + strlen(m->name);
    if (end - m->name > 5 && !strcmp(end - 5, ".gguf"))
        *(end -= 5) = '\0';
    if (gguf_file_count(m->gguf) > 1 && end - m->name > 15)
        end[-15] = '\0';
    if (!printable((struct gguf_str){ m->name, strlen(m->name) }))
        for (char *p = m->name; *p; p++)
            *p = *p >= 0x20 && *p < 0x7f ? *p : '_';
}

static int open_gguf(struct model *m, struct err *err)
{
    int rc;

    if (gguf_tensor_count(m->gguf) == 0)
        return err_set(err, ERR_UNSUPPORTED, "no tensors: this file holds a vocabulary only, not a model");
    rc = find_arch(m, err);
    if (rc == 0)
        rc = read_sizes(m, err);
    if (rc == 0)
        rc = layout_make(m->gguf, &m->hp, m->layers, &m->layout_tables, &m->layout, err);
    return rc;
}

int model_open(const char *path, struct model **ret_model, struct err *err)
{
    struct err scratch = { 0 };
    struct model *m = mem_zalloc(sizeof(*m));
    int rc;

    err = err ? err : &scratch;
    if (!m)
        return err_sys(err, ENOMEM, "'%.250s'", path);
    rc = gguf_open(path, &m->gguf, err);
    if (rc == 0) {
        rc = open_gguf(m, err);
        if (rc)
            err_wrap(err, "'%.250s'", path);
    }
    if (rc) {
        model_close(m);
        return rc;
    }
    add_up(m);
    name_model(m, path);
    *ret_model = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    layout_tables_free(&m->layout_tables);
    mem_free(m->inv_freq);
    mem_free(m->layers);
    gguf_close(m->gguf);
    mem_free(m);
}

const struct gguf *model_gguf(const struct model *model)
{
    return model->gguf;
}

void model_drop_arrays(struct model *model)
{
    gguf_drop_arrays(model->gguf);
}

const struct arch *model_arch(const struct model *model)
{
    return model->arch;
}

const struct hparams *model_hparams(const struct model *model)
{
    return &model->hp;
}

const struct model_tensors *model_tensors(const struct model *model)
{
    return &model->tensors;
}

const struct layer_tensors *model_layer(const struct model *model, uint32_t layer)
{
    return &model->layers[layer];
}

const struct expert_layout *model_layout(const struct model *model)
{
    return &model->layout;
}

const char *model_name(const struct model *model)
{
    return model->name;
}

const char *model_arch_name(const struct model *model)
{
    return model->arch->name;
}

const char *model_quant_name(const struct model *model)
{
    return quant_info(model->quant)->name;
}

const char *model_note(const struct model *model)
{
    return model->note[0] ? model->note : NULL;
}

uint64_t model_dense_bytes(const struct model *model)
{
    return model->dense_bytes;
}

uint64_t model_expert_bytes(const struct model *model)
{
    return model->expert_bytes;
}

uint64_t model_token_bytes(const struct model *model)
{
    return model->token_bytes;
}
