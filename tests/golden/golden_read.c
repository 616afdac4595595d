/* SPDX-License-Identifier: MIT */
#include "tests/golden/golden.h"

#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void prompt_fini(struct golden_prompt *p)
{
    mem_free(p->tokens);
    mem_free(p->logits);
    mem_free(p->router);
    mem_free(p->experts);
    mem_free(p->layers);
}

void golden_close(struct golden *golden)
{
    if (golden == NULL)
        return;
    for (uint32_t i = 0; i < golden->n_prompts; i++)
        prompt_fini(&golden->prompts[i]);
    mem_free(golden->prompts);
    mem_free(golden);
}

/* Floats of a tensor of our own golden files. */
static int own_floats(const struct gguf *gguf, uint32_t prompt, const char *what, float **ret_v, struct err *err)
{
    const struct gguf_tensor *t;
    char name[40];

    snprintf(name, sizeof(name), "p%u.%s", prompt, what);
    t = gguf_tensor_find(gguf, name);
    if (t == NULL)
        return err_set(err, -ENOENT, "the golden has no tensor '%s'", name);
    *ret_v = mem_alloc(t->bytes);
    return gguf_read(gguf, t, 0, *ret_v, t->bytes, err);
}

static int own_ints(const struct gguf *gguf, uint32_t prompt, const char *what, int32_t **ret_v, size_t *ret_n,
                    struct err *err)
{
    const int32_t *v;
    char key[40];
    int r;

    snprintf(key, sizeof(key), "golden.p%u.%s", prompt, what);
    r = gguf_get_i32s(gguf, key, &v, ret_n, err);
    if (r < 0)
        return r;
    *ret_v = mem_alloc(*ret_n * sizeof(**ret_v));
    memcpy(*ret_v, v, *ret_n * sizeof(**ret_v));
    return 0;
}

static int own_prompt(const struct gguf *gguf, uint32_t i, struct golden_prompt *p, struct err *err)
{
    char key[40];
    size_t n, n_experts;
    int r;

    snprintf(key, sizeof(key), "golden.p%u.n_prompt", i);
    if ((r = gguf_get_u32(gguf, key, &p->n_prompt, err)) < 0 ||
        (r = own_ints(gguf, i, "tokens", &p->tokens, &n, err)) < 0 ||
        (r = own_ints(gguf, i, "experts", &p->experts, &n_experts, err)) < 0 ||
        (r = own_floats(gguf, i, "logits", &p->logits, err)) < 0 ||
        (r = own_floats(gguf, i, "router", &p->router, err)) < 0)
        return r;
    p->n_rows = p->n_layer_rows = (uint32_t)n;
    p->greedy = true;
    return own_floats(gguf, i, "layers", &p->layers, err);
}

static int own_open(const char *path, struct golden *golden, struct err *err)
{
    struct gguf *gguf;
    int r = gguf_open(path, &gguf, err);

    if (r < 0)
        return r;
    if ((r = gguf_get_u32(gguf, "golden.n_prompts", &golden->n_prompts, err)) == 0 &&
        (r = gguf_get_f32(gguf, "golden.rounding_median", &golden->rounding_median, err)) == 0 &&
        (r = gguf_get_f32(gguf, "golden.rounding_p90", &golden->rounding_p90, err)) == 0)
        golden->prompts = mem_calloc(golden->n_prompts, sizeof(*golden->prompts));
    for (uint32_t i = 0; i < golden->n_prompts && r == 0; i++)
        r = own_prompt(gguf, i, &golden->prompts[i], err);
    gguf_close(gguf);
    return r;
}

/* A whole file of n elements of 4 bytes, or NULL. */
static void *shared_file(const char *folder, uint32_t prompt, const char *what, size_t n)
{
    char path[600];
    void *v = mem_alloc(n * 4);
    FILE *file;

    snprintf(path, sizeof(path), "%s/p%u.%s", folder, prompt, what);
    file = fopen(path, "rb");
    if (file == NULL || fread(v, 4, n, file) != n) {
        mem_free(v);
        v = NULL;
    }
    if (file != NULL)
        fclose(file);
    return v;
}

static int shared_prompt(const char *folder, uint32_t i, json_t *json, const struct golden *golden,
                         struct golden_prompt *p, struct err *err)
{
    json_t *tokens = json_object_get(json, "tokens"), *greedy = json_object_get(json, "greedy");
    const struct hparams *hp = golden->hp;
    size_t n_steps = json_array_size(greedy), n_vocab = hp->n_vocab;
    float *prefill, *steps;

    p->n_prompt = p->n_layer_rows = (uint32_t)json_array_size(tokens);
    p->n_rows = p->n_prompt + (uint32_t)n_steps;
    p->greedy = true;
    p->tokens = mem_alloc(p->n_rows * sizeof(*p->tokens));
    for (uint32_t t = 0; t < p->n_rows; t++)
        p->tokens[t] = (int32_t)json_integer_value(t < p->n_prompt ? json_array_get(tokens, t)
                                                                   : json_array_get(greedy, t - p->n_prompt));
    prefill = shared_file(folder, i, "prefill.f32", p->n_prompt * n_vocab);
    steps = shared_file(folder, i, "steps.f32", n_steps * n_vocab);
    p->logits = mem_alloc(p->n_rows * n_vocab * sizeof(float));
    if (prefill != NULL && steps != NULL) {
        memcpy(p->logits, prefill, p->n_prompt * n_vocab * sizeof(float));
        memcpy(p->logits + p->n_prompt * n_vocab, steps, n_steps * n_vocab * sizeof(float));
    }
    p->router = shared_file(folder, i, "router.f32", (size_t)golden->n_moe_layers * p->n_rows * hp->n_experts);
    p->experts = shared_file(folder, i, "experts.i32", (size_t)golden->n_moe_layers * p->n_rows * hp->n_used);
    p->layers = shared_file(folder, i, "layers.f32", (size_t)hp->n_layers * p->n_prompt * hp->n_embd);
    mem_free(prefill);
    mem_free(steps);
    if (prefill == NULL || steps == NULL || p->router == NULL || p->experts == NULL)
        return err_set(err, -EIO, "%s: prompt %u is not all there", folder, i);
    return 0;
}

static int shared_open(const char *folder, struct golden *golden, struct err *err)
{
    char path[600];
    json_t *json, *prompts;
    int r = 0;

    snprintf(path, sizeof(path), "%s/golden.json", folder);
    json = json_load_file(path, 0, NULL);
    prompts = json_object_get(json, "prompts");
    if (json_array_size(prompts) == 0) {
        json_decref(json);
        return err_set(err, -ENOENT, "no golden in '%s'", path);
    }
    golden->n_prompts = (uint32_t)json_array_size(prompts);
    golden->prompts = mem_calloc(golden->n_prompts, sizeof(*golden->prompts));
    for (uint32_t i = 0; i < golden->n_prompts && r == 0; i++)
        r = shared_prompt(folder, i, json_array_get(prompts, i), golden, &golden->prompts[i], err);
    json_decref(json);
    return r;
}

int golden_open(const char *model_path, const struct model *model, struct golden **ret_golden, struct err *err)
{
    struct golden *golden = mem_zalloc(sizeof(*golden));
    size_t stem = strlen(model_path) - strlen(".gguf");
    const char *slash = strrchr(model_path, '/');
    char path[512];
    int r;

    golden->hp = model_hparams(model);
    golden->n_moe_layers = model_layout(model)->n_layers;
    if (slash != NULL && strcmp(slash, "/model.gguf") == 0) {
        snprintf(path, sizeof(path), "%.*s", (int)(slash - model_path), model_path);
        r = shared_open(path, golden, err);
    } else {
        snprintf(path, sizeof(path), "%.*s.golden.gguf", (int)stem, model_path);
        r = own_open(path, golden, err);
    }
    if (r < 0) {
        golden_close(golden);
        return r;
    }
    *ret_golden = golden;
    return 0;
}
