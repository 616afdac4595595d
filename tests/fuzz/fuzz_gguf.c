/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a model file: gguf_open and everything it lends, then model_open.
 */
#include "model/model.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static volatile uint64_t sink; /* what is read must be read */

static void read_bytes(const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += b[i];
    sink += sum;
}

static void use_key(const struct gguf *gguf, const char *key)
{
    const struct gguf_str *strs;
    const int32_t *i32s;
    const float *f32s;
    struct gguf_str str;
    enum gguf_type type;
    uint64_t u64;
    float f32;
    size_t n;
    bool b;

    sink += gguf_get_u64(gguf, key, &u64, NULL) == 0 ? u64 : 0;
    gguf_get_f32(gguf, key, &f32, NULL);
    gguf_get_bool(gguf, key, &b, NULL);
    gguf_get_array(gguf, key, &type, &n, NULL);
    if (gguf_get_str(gguf, key, &str, NULL) == 0)
        read_bytes(str.p, str.len);
    if (gguf_get_strs(gguf, key, &strs, &n, NULL) == 0)
        for (size_t i = 0; i < n; i++)
            read_bytes(strs[i].p, strs[i].len);
    if (gguf_get_i32s(gguf, key, &i32s, &n, NULL) == 0)
        read_bytes(i32s, n * sizeof(*i32s));
    if (gguf_get_f32s(gguf, key, &f32s, &n, NULL) == 0)
        read_bytes(f32s, n * sizeof(*f32s));
}

static void use_tensor(const struct gguf *gguf, const struct gguf_tensor *t)
{
    unsigned char byte;

    FUZZ_CHECK(gguf_tensor_find(gguf, t->name) == t);
    FUZZ_CHECK(t->bytes > 0 && t->offset + t->bytes <= gguf_file_bytes(gguf, t->file));
    FUZZ_CHECK(gguf_read(gguf, t, 0, &byte, 1, NULL) == 0);
    FUZZ_CHECK(gguf_read(gguf, t, t->bytes - 1, &byte, 1, NULL) == 0);
    FUZZ_CHECK(gguf_read(gguf, t, t->bytes, &byte, 1, NULL) != 0);
}

static void use_layout(const struct expert_layout *layout)
{
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        const struct expert_layer_layout *l = &layout->layers[i];

        FUZZ_CHECK(expert_layout_find(layout, l->layer) == (int)i);
        for (int p = 0; p < EXPERT_PARTS; p++) {
            const struct expert_part_layout *part = &l->part[p];

            for (uint32_t e = 0; e < layout->n_experts; e++) {
                struct expert_place place = expert_part_place(part, e);

                FUZZ_CHECK(place.file < layout->n_files);
                FUZZ_CHECK(place.offset + part->part_bytes <= layout->files[place.file].bytes);
            }
            FUZZ_CHECK(part->part_bytes == quant_row_bytes(part->type, part->cols) * part->rows);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    struct err err = { 0 };
    struct model *model;
    struct gguf *gguf;
    int rc = gguf_open(path, &gguf, &err);

    FUZZ_CHECK(rc == 0 || (err.code == rc && strstr(err.text, path)));
    if (rc)
        return 0;
    for (size_t i = 0; i < gguf_key_count(gguf); i++)
        use_key(gguf, gguf_key(gguf, i, NULL));
    for (size_t i = 0; i < gguf_tensor_count(gguf); i++)
        use_tensor(gguf, gguf_tensor_at(gguf, i));
    gguf_close(gguf);

    rc = model_open(path, &model, &err);
    FUZZ_CHECK(rc == 0 || (err.code == rc && strstr(err.text, path)));
    if (rc)
        return 0;
    use_layout(model_layout(model));
    read_bytes(model_hparams(model)->rope.inv_freq, model_hparams(model)->rope.n_rot / 2 * sizeof(float));
    read_bytes(model_name(model), strlen(model_name(model)));
    model_close(model);
    return 0;
}
