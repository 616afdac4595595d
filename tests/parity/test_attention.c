/* SPDX-License-Identifier: MIT
 *
 * Keys and values on the CPU device, of every type they are kept in: attention over them against the textbook, and the
 * same bits at every level, however the work is split.
 */
#include "compute/half.h"
#include "parity/kv_room.h"
#include "parity/parity.h"
#include "parity/variant.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { MOST_TOKENS = 600, MOST_DIM = 256 };

struct attention_case {
    uint32_t n_heads, n_kv_heads, head_dim, n_tokens;
    enum kv_type type;
};

static struct kv_view kv_alloc(const struct attention_case *c)
{
    size_t bytes;
    struct kv_view kv = kv_room(c->n_tokens, c->type, c->n_kv_heads, c->head_dim, &bytes);

    kv.k = guard_alloc(bytes);
    kv.v = guard_alloc(bytes);
    return kv;
}

static void kv_free(struct kv_view *kv)
{
    guard_free(kv->k);
    guard_free(kv->v);
}

/* n tokens from token t on, stored and then attended to. */
static void attention_step(struct device *device, const struct attention_case *c, const struct kv_view *kv, uint32_t t,
                           uint32_t n, const float *q, const float *k, const float *values, float *y)
{
    uint32_t kv_dim = c->n_kv_heads * c->head_dim, q_dim = c->n_heads * c->head_dim;
    struct attention a = {
        .q = q + (size_t)t * q_dim,
        .kv = *kv,
        .kv_type = c->type,
        .n_tokens = n,
        .pos0 = t,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .scale = 0.3f,
        .y = y + (size_t)t * q_dim,
    };

    cr_assert_eq(device->ops->kv_store(device, kv, c->type, t, n, c->n_kv_heads, c->head_dim, k + (size_t)t * kv_dim,
                                       values + (size_t)t * kv_dim),
                 0);
    cr_assert_eq(device->ops->attention(device, &a), 0);
}

static void attention_run(const struct attention_case *c, const struct variant *v, const float *q, const float *k,
                          const float *values, float *y)
{
    struct device *device = device_of(v->level, v->n_threads, 1);
    struct kv_view kv = kv_alloc(c);

    for (uint32_t t = 0; t < c->n_tokens; t += v->n_split)
        attention_step(device, c, &kv, t, c->n_tokens - t < v->n_split ? c->n_tokens - t : v->n_split, q, k, values, y);
    kv_free(&kv);
    device->ops->close(device);
}

/* What is left of up to 32 numbers of one block, by the definition in compute/device.h. */
static void block_as_kept(const float *x, uint32_t n, float *y)
{
    double most = 0, d;

    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    d = (double)half_to_float(float_to_half((float)most / 127.0f));
    for (uint32_t i = 0; i < n; i++)
        y[i] = d == 0 ? 0 : (float)(d * nearbyint((double)x[i] / d));
}

/* Rows of one head each, as they are after they have been kept. */
static float *as_kept(const struct attention_case *c, const float *x, size_t n_rows)
{
    float *y = guard_alloc(n_rows * c->head_dim * 4);

    for (size_t i = 0; i < n_rows * c->head_dim; i++)
        y[i] = c->type == KV_F16 ? half_to_float(float_to_half(x[i])) : x[i];
    for (size_t row = 0; c->type == KV_Q8_0 && row < n_rows; row++)
        for (uint32_t d = 0; d < c->head_dim; d += KV_BLOCK)
            block_as_kept(x + row * c->head_dim + d, c->head_dim - d < KV_BLOCK ? c->head_dim - d : KV_BLOCK,
                          y + row * c->head_dim + d);
    return y;
}

/* Softmax attention as the textbook has it, over keys and values as they are kept. */
static void attention_exact(const struct attention_case *c, const float *q, const float *k, const float *values,
                            uint32_t t, uint32_t h, double *y)
{
    uint32_t kv_dim = c->n_kv_heads * c->head_dim, kv_head = h / (c->n_heads / c->n_kv_heads);
    double weights[MOST_TOKENS], sum = 0;

    for (uint32_t j = 0; j <= t; j++) {
        double score = 0;

        for (uint32_t d = 0; d < c->head_dim; d++)
            score +=
                (double)q[(t * c->n_heads + h) * c->head_dim + d] * (double)k[j * kv_dim + kv_head * c->head_dim + d];
        weights[j] = exp(score * (double)0.3f);
        sum += weights[j];
    }
    for (uint32_t d = 0; d < c->head_dim; d++) {
        y[d] = 0;
        for (uint32_t j = 0; j <= t; j++)
            y[d] += weights[j] / sum * (double)values[j * kv_dim + kv_head * c->head_dim + d];
    }
}

static void check_exact(const struct attention_case *c, const float *q, const float *k, const float *values,
                        const float *y)
{
    size_t n_rows = (size_t)c->n_tokens * c->n_kv_heads;
    float *kept_k = as_kept(c, k, n_rows), *kept_values = as_kept(c, values, n_rows);

    for (uint32_t t = 0; t < c->n_tokens; t++)
        for (uint32_t h = 0; h < c->n_heads; h++) {
            double exact[MOST_DIM];

            attention_exact(c, q, kept_k, kept_values, t, h, exact);
            for (uint32_t d = 0; d < c->head_dim; d++)
                cr_assert_float_eq(y[(t * c->n_heads + h) * c->head_dim + d], exact[d], 2e-6);
        }
    guard_free(kept_k);
    guard_free(kept_values);
}

static void check_attention(const struct attention_case *c)
{
    size_t n_q = (size_t)c->n_tokens * c->n_heads * c->head_dim;
    size_t n_kv = (size_t)c->n_tokens * c->n_kv_heads * c->head_dim;
    float *q = guard_alloc(n_q * 4), *k = guard_alloc(n_kv * 4), *values = guard_alloc(n_kv * 4);
    float *want = guard_alloc(n_q * 4), *got = guard_alloc(n_q * 4);
    struct variant v = { CPU_C, 1, c->n_tokens };
    struct random r = { c->head_dim };

    random_floats(&r, q, n_q);
    random_floats(&r, k, n_kv);
    random_floats(&r, values, n_kv);
    attention_run(c, &v, q, k, values, want);
    check_exact(c, q, k, values, want);
    for (v.n_split = TOKENS; variant_next(&v);) {
        memset(got, 0xff, n_q * 4);
        attention_run(c, &v, q, k, values, got);
        same_floats(got, want, n_q, cpu_level_name(v.level));
    }
    guard_free(q);
    guard_free(k);
    guard_free(values);
    guard_free(want);
    guard_free(got);
}

Test(device, attention_f32)
{
    check_attention(&(struct attention_case){ 4, 2, 32, 150, KV_F32 });
}

Test(device, attention_f16_one_kv_head)
{
    check_attention(&(struct attention_case){ 6, 1, 64, 70, KV_F16 });
}

Test(device, attention_f16_over_spans)
{
    check_attention(&(struct attention_case){ 8, 2, 128, ATTEND_SPAN + 70, KV_F16 });
}

Test(device, attention_of_an_awkward_head)
{
    check_attention(&(struct attention_case){ 3, 3, 20, 66, KV_F16 });
}

Test(device, attention_of_more_heads_than_a_unit_holds)
{
    check_attention(&(struct attention_case){ 40, 1, 16, 3, KV_F32 });
}

/* Heads of less than a block, of whole blocks, and of some and a part, which vectors of every width divide differently;
 * heads of their own, and few and many that share. */
Test(device, attention_q8_0_of_every_kind_of_head)
{
    check_attention(&(struct attention_case){ 2, 1, 4, 150, KV_Q8_0 });
    check_attention(&(struct attention_case){ 3, 3, 20, 66, KV_Q8_0 });
    check_attention(&(struct attention_case){ 8, 2, 64, 70, KV_Q8_0 });
    check_attention(&(struct attention_case){ 2, 1, 66, 70, KV_Q8_0 });
    check_attention(&(struct attention_case){ 5, 1, 80, 70, KV_Q8_0 });
    check_attention(&(struct attention_case){ 1, 1, 128, 70, KV_Q8_0 });
    check_attention(&(struct attention_case){ 8, 2, 128, 40, KV_Q8_0 });
    check_attention(&(struct attention_case){ 6, 2, MOST_DIM, 40, KV_Q8_0 });
}

Test(device, attention_q8_0_over_spans)
{
    check_attention(&(struct attention_case){ 4, 4, 20, 2 * ATTEND_SPAN + 5, KV_Q8_0 });
    check_attention(&(struct attention_case){ 4, 1, 66, ATTEND_SPAN + 3, KV_Q8_0 });
}

/* One number of a key or a value is poisoned; tokens after it see it in every answer, tokens before it do not, nor do
 * heads that read another KV head. */
struct poison {
    float x;
    bool key;
    uint32_t token, dim;
};

static void check_poison(const struct attention_case *c, const struct poison *poison, const struct variant *v)
{
    size_t n_q = (size_t)c->n_tokens * c->n_heads * c->head_dim;
    size_t n_kv = (size_t)c->n_tokens * c->n_kv_heads * c->head_dim;
    float *q = guard_alloc(n_q * 4), *k = guard_alloc(n_kv * 4), *values = guard_alloc(n_kv * 4);
    float *y = guard_alloc(n_q * 4);
    struct random r = { poison->dim };

    random_floats(&r, q, n_q);
    random_floats(&r, k, n_kv);
    random_floats(&r, values, n_kv);
    (poison->key ? k : values)[(size_t)poison->token * c->n_kv_heads * c->head_dim + poison->dim] = poison->x;
    attention_run(c, v, q, k, values, y);
    for (size_t i = 0; i < n_q; i++) {
        uint32_t head = (uint32_t)(i / c->head_dim % c->n_heads), dim = (uint32_t)(i % c->head_dim);
        bool reads = i / c->head_dim / c->n_heads >= poison->token && head < c->n_heads / c->n_kv_heads;

        if (!reads)
            cr_assert(isfinite(y[i]), "%g at %zu reaches another", (double)poison->x, i);
        else if (poison->key || dim == poison->dim)
            cr_assert(isnan(y[i]), "%g in a %s of type %d is %g", (double)poison->x, poison->key ? "key" : "value",
                      c->type, (double)y[i]);
    }
    guard_free(q);
    guard_free(k);
    guard_free(values);
    guard_free(y);
}

/* What is no number is none in the answer, whatever type keeps it. */
Test(device, attention_keeps_nan)
{
    static const uint32_t tokens[] = { 0, 3, 65, ATTEND_SPAN + 1 };

    for (enum kv_type type = 0; type < KV_TYPES; type++)
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t dim = 0; dim < 66; dim += 13) {
                /* heads of 80 go through in groups of queries where the level has them */
                struct attention_case c = { 4, 2, dim % 2 ? 80 : 66, ATTEND_SPAN + 4, type };

                check_poison(&c, &(struct poison){ NAN, i % 2, tokens[i], dim },
                             &(struct variant){ CPU_LEVEL_BEST, 2, TOKENS });
            }
}

/* Q8_0 keeps nothing of a block with an infinity, or with more than 127 times the greatest f16. */
Test(device, attention_q8_0_makes_nan_of_what_it_cannot_keep)
{
    static const float poisons[] = { NAN, INFINITY, -INFINITY, 9e6f, -9e6f };
    struct attention_case c = { 4, 2, 66, 70, KV_Q8_0 };
    struct variant v = { CPU_C, 1, TOKENS };

    do
        for (uint32_t i = 0; i < 10; i++)
            check_poison(&c, &(struct poison){ poisons[i / 2], i % 2, 5 * i, 7 * i }, &v);
    while (variant_next(&v));
}
