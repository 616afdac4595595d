/* SPDX-License-Identifier: MIT
 *
 * The GPU device against the C level of the CPU device: the same bits, every operation, format and awkward shape.
 *
 * The device is the emulated one, which runs the very sources of the kernels, or a card: tests/emu/under_test.h.
 * Routing and what comes after it on the card is in test_gpu_route.c.
 */
#include "parity/gpu_pair.h"
#include "parity/kv_room.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void check_linear(struct pair *p, enum quant_type type, uint32_t rows, uint32_t cols, uint32_t n_tokens)
{
    size_t w_bytes = quant_row_bytes(type, (size_t)rows * cols), x_bytes = (size_t)n_tokens * cols * 4;
    size_t y_n = (size_t)n_tokens * rows;
    void *w = random_weights(&p->r, type, (size_t)rows * cols), *y_gpu;
    float *x = floats(p, (size_t)n_tokens * cols, 1), *bias = floats(p, rows, 1), *y = guard_alloc(y_n * 4);
    bool with_bias = rows % 2 == 1;
    struct linear lin = { { w, type, rows, cols }, with_bias ? bias : NULL, y }, on_gpu = lin;
    void *x_gpu = put(p->gpu, x, x_bytes), *w_gpu = put(p->gpu, w, w_bytes), *bias_gpu = put(p->gpu, bias, rows * 4);
    char what[80];

    ok(p->gpu, p->gpu->ops->alloc(p->gpu, y_n * 4, &y_gpu));
    on_gpu.w.data = w_gpu;
    on_gpu.bias = with_bias ? bias_gpu : NULL;
    on_gpu.y = y_gpu;
    ok(p->cpu, p->cpu->ops->acts_set(p->cpu, p->cpu_acts, x, n_tokens, cols));
    ok(p->cpu, p->cpu->ops->linear(p->cpu, p->cpu_acts, &lin, 1));
    ok(p->gpu, p->gpu->ops->acts_set(p->gpu, p->gpu_acts, x_gpu, n_tokens, cols));
    ok(p->gpu, p->gpu->ops->linear(p->gpu, p->gpu_acts, &on_gpu, 1));
    snprintf(what, sizeof(what), "%s %ux%u, %u tokens", quant_info(type)->name, rows, cols, n_tokens);
    same(p->gpu, y_gpu, y, y_n, what);
    p->gpu->ops->free(p->gpu, x_gpu, x_bytes);
    p->gpu->ops->free(p->gpu, w_gpu, w_bytes);
    p->gpu->ops->free(p->gpu, bias_gpu, rows * 4);
    p->gpu->ops->free(p->gpu, y_gpu, y_n * 4);
    guard_free(w);
    guard_free(x);
    guard_free(bias);
    guard_free(y);
}

/* Few and many tokens, one tile and more, blocks that leave lanes empty and blocks that fill them more than once. */
static void check_format(enum quant_type type)
{
    static const uint32_t blocks[] = { 1, 2, 3, 5, 8, 9 };
    uint32_t block = quant_info(type)->block_len;
    struct pair p;

    pair_init(&p, type + 100);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        uint32_t cols = block == 1 ? 16 * blocks[i] + 7 * (blocks[i] % 3) : block * blocks[i];

        check_linear(&p, type, 5, cols, 1);
        check_linear(&p, type, 9, cols, 3);
        check_linear(&p, type, 2, cols, 8);
        check_linear(&p, type, 18, cols, 9);
    }
    check_linear(&p, type, 70, block == 1 ? 130 : block * (block == 32 ? 67 : 3), 67);
    pair_fini(&p);
}

#define FORMAT(type)                \
    Test(gpu, product_##type)       \
    {                               \
        check_format(QUANT_##type); \
    }
FORMAT(F32)
FORMAT(F16)
FORMAT(BF16)
FORMAT(Q4_0)
FORMAT(Q4_1)
FORMAT(Q5_0)
FORMAT(Q5_1)
FORMAT(Q8_0)
FORMAT(IQ4_NL)
FORMAT(MXFP4)
FORMAT(Q2_K)
FORMAT(Q3_K)
FORMAT(Q4_K)
FORMAT(Q5_K)
FORMAT(Q6_K)
FORMAT(IQ4_XS)
FORMAT(IQ1_S)
FORMAT(IQ1_M)
FORMAT(IQ2_XXS)
FORMAT(IQ2_XS)
FORMAT(IQ2_S)
FORMAT(IQ3_XXS)
FORMAT(IQ3_S)

Test(gpu, products_of_several_formats_in_one_call)
{
    static const enum quant_type types[4] = { QUANT_Q4_K, QUANT_F32, QUANT_Q8_0, QUANT_Q4_K };
    struct linear lin[4], on_gpu[4];
    void *w_gpu[4], *y_gpu[4], *x_gpu;
    struct pair p;
    float *x;

    pair_init(&p, 5);
    x = floats(&p, 3 * 512, 1);
    x_gpu = put(p.gpu, x, 3 * 512 * 4);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t rows = 7 + 10 * i;
        void *w = random_weights(&p.r, types[i], (size_t)rows * 512);

        lin[i] = (struct linear){ { w, types[i], rows, 512 }, NULL, guard_alloc(3 * rows * 4) };
        w_gpu[i] = put(p.gpu, w, quant_row_bytes(types[i], (size_t)rows * 512));
        ok(p.gpu, p.gpu->ops->alloc(p.gpu, 3 * rows * 4, &y_gpu[i]));
        on_gpu[i] = (struct linear){ { w_gpu[i], types[i], rows, 512 }, NULL, y_gpu[i] };
    }
    ok(p.cpu, p.cpu->ops->acts_set(p.cpu, p.cpu_acts, x, 3, 512));
    ok(p.gpu, p.gpu->ops->acts_set(p.gpu, p.gpu_acts, x_gpu, 3, 512));
    ok(p.cpu, p.cpu->ops->linear(p.cpu, p.cpu_acts, lin, 4));
    ok(p.gpu, p.gpu->ops->linear(p.gpu, p.gpu_acts, on_gpu, 4));
    for (uint32_t i = 0; i < 4; i++) {
        same(p.gpu, y_gpu[i], lin[i].y, 3 * lin[i].w.rows, "one of four");
        p.gpu->ops->free(p.gpu, w_gpu[i], quant_row_bytes(types[i], (size_t)lin[i].w.rows * 512));
        p.gpu->ops->free(p.gpu, y_gpu[i], 3 * lin[i].w.rows * 4);
        guard_free((void *)lin[i].w.data);
        guard_free(lin[i].y);
    }
    p.gpu->ops->free(p.gpu, x_gpu, 3 * 512 * 4);
    guard_free(x);
    pair_fini(&p);
}

enum { TOKENS = 21, USED = 2 };

struct moe_case {
    enum quant_type gate, up, down;
    uint32_t ff[2]; /* of even and odd experts */
};

struct moe {
    struct expert_call cpu[EXPERTS], gpu[EXPERTS];
    uint32_t src[EXPERTS][TOKENS], dst[EXPERTS][TOKENS];
};

static void weight_drop(struct pair *p, const struct weight *host, const struct weight *device)
{
    p->gpu->ops->free(p->gpu, (void *)device->data, quant_row_bytes(host->type, (size_t)host->rows * host->cols));
    guard_free((void *)host->data);
}

/* Token t uses experts t % 5 and, unless it is t % 7 == 0, (t + 2) % 5. */
static void moe_init(struct moe *m, struct pair *p, const struct moe_case *c, uint32_t n_tokens)
{
    for (uint32_t e = 0; e < EXPERTS; e++) {
        uint32_t ff = c->ff[e % 2], n = 0;

        for (uint32_t t = 0; t < n_tokens; t++)
            for (uint32_t j = 0; j < USED; j++)
                if ((t + 2 * j) % EXPERTS == e && !(j == 1 && t % 7 == 0)) {
                    m->src[e][n] = t;
                    m->dst[e][n++] = USED * t + j;
                }
        m->cpu[e] = (struct expert_call){
            .gate = { random_weights(&p->r, c->gate, (size_t)ff * EMBD), c->gate, ff, EMBD },
            .up = { random_weights(&p->r, c->up, (size_t)ff * EMBD), c->up, ff, EMBD },
            .down = { random_weights(&p->r, c->down, (size_t)ff * EMBD), c->down, EMBD, ff },
            .src = m->src[e],
            .dst = m->dst[e],
            .n_rows = n,
        };
        m->gpu[e] = m->cpu[e];
        m->gpu[e].gate = weight_put(p->gpu, m->cpu[e].gate);
        m->gpu[e].up = weight_put(p->gpu, m->cpu[e].up);
        m->gpu[e].down = weight_put(p->gpu, m->cpu[e].down);
    }
}

static void check_experts(const struct moe_case *c, uint32_t n_tokens)
{
    size_t n = (size_t)n_tokens * USED * EMBD;
    float *y = guard_alloc(n * 4), *x;
    void *x_gpu, *y_gpu;
    struct pair p;
    struct moe m;

    pair_init(&p, c->gate + n_tokens);
    moe_init(&m, &p, c, n_tokens);
    x = floats(&p, (size_t)n_tokens * EMBD, 0x1p-18f); /* random scales are large */
    x_gpu = put(p.gpu, x, (size_t)n_tokens * EMBD * 4);
    memset(y, 0, n * 4);
    y_gpu = put(p.gpu, y, n * 4);
    ok(p.cpu, p.cpu->ops->acts_set(p.cpu, p.cpu_acts, x, n_tokens, EMBD));
    ok(p.gpu, p.gpu->ops->acts_set(p.gpu, p.gpu_acts, x_gpu, n_tokens, EMBD));
    ok(p.cpu, p.cpu->ops->experts(p.cpu, p.cpu_acts, m.cpu, EXPERTS, y));
    ok(p.gpu, p.gpu->ops->experts(p.gpu, p.gpu_acts, m.gpu, EXPERTS, y_gpu));
    same(p.gpu, y_gpu, y, n, quant_info(c->gate)->name);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        weight_drop(&p, &m.cpu[e].gate, &m.gpu[e].gate);
        weight_drop(&p, &m.cpu[e].up, &m.gpu[e].up);
        weight_drop(&p, &m.cpu[e].down, &m.gpu[e].down);
    }
    p.gpu->ops->free(p.gpu, x_gpu, (size_t)n_tokens * EMBD * 4);
    p.gpu->ops->free(p.gpu, y_gpu, n * 4);
    guard_free(x);
    guard_free(y);
    pair_fini(&p);
}

Test(gpu, experts_of_one_token)
{
    check_experts(&(struct moe_case){ QUANT_Q4_K, QUANT_Q4_K, QUANT_Q6_K, { 256, 256 } }, 1);
}

Test(gpu, experts_of_many_tokens_in_parts)
{
    check_experts(&(struct moe_case){ QUANT_Q4_K, QUANT_Q4_K, QUANT_Q6_K, { 256, 256 } }, TOKENS);
    check_experts(&(struct moe_case){ QUANT_Q8_0, QUANT_Q8_0, QUANT_Q8_0, { 96, 96 } }, TOKENS);
}

Test(gpu, experts_of_several_formats_and_widths)
{
    check_experts(&(struct moe_case){ QUANT_Q5_K, QUANT_Q8_0, QUANT_MXFP4, { 256, 96 } }, 4);
    check_experts(&(struct moe_case){ QUANT_F32, QUANT_F32, QUANT_F16, { 40, 56 } }, 5);
    check_experts(&(struct moe_case){ QUANT_IQ2_XS, QUANT_IQ3_S, QUANT_Q3_K, { 256, 768 } }, 3);
}

Test(gpu, rms_norm)
{
    static const uint32_t cols[] = { 1, 7, 128, 1000, 1024, 2048 };
    struct pair p;

    pair_init(&p, 6);
    for (size_t c = 0; c < sizeof(cols) / sizeof(cols[0]); c++) {
        uint32_t n = cols[c] * 11;
        float *x = floats(&p, n, 3), *w = floats(&p, cols[c], 1), *y = guard_alloc(n * 4);
        void *x_gpu = put(p.gpu, x, n * 4), *w_gpu = put(p.gpu, w, cols[c] * 4);

        ok(p.cpu, p.cpu->ops->rms_norm(p.cpu, x, w, 1e-6f, 11, cols[c], y));
        ok(p.gpu, p.gpu->ops->rms_norm(p.gpu, x_gpu, w_gpu, 1e-6f, 11, cols[c], x_gpu));
        same(p.gpu, x_gpu, y, n, "norm in place");
        p.gpu->ops->free(p.gpu, x_gpu, n * 4);
        p.gpu->ops->free(p.gpu, w_gpu, cols[c] * 4);
        guard_free(x);
        guard_free(w);
        guard_free(y);
    }
    pair_fini(&p);
}

/* Change the first three numbers so that 1 / sqrt(mean of squares) lies half-way between two f32, as closely as f64 can
 * say. */
static void aim_between(float *x, int n)
{
    long double sum = 0, half;
    float scale;

    for (int i = 3; i < n; i++)
        sum += (long double)x[i] * (long double)x[i];
    scale = (float)sqrtl(n / (sum + 1));
    half = ((long double)scale + (long double)nextafterf(scale, 0)) / 2;
    for (int i = 0; i < 3; i++) {
        long double left = n / (half * half) - sum;

        x[i] = left > 0 ? nextafterf((float)sqrtl(left), 0) : 0;
        sum += (long double)x[i] * (long double)x[i];
    }
}

/* Only the CPU's order of summing decides. */
Test(gpu, rms_norm_that_any_order_would_not_give)
{
    enum { COLS = 64, ROWS = 400 };
    float *x, *w, *y;
    void *x_gpu, *w_gpu;
    struct pair p;

    pair_init(&p, 7);
    x = floats(&p, ROWS * COLS, 1);
    w = floats(&p, COLS, 1);
    y = guard_alloc(ROWS * COLS * 4);
    for (int row = 0; row < ROWS; row++)
        aim_between(x + row * COLS, COLS);
    x_gpu = put(p.gpu, x, ROWS * COLS * 4);
    w_gpu = put(p.gpu, w, COLS * 4);
    ok(p.cpu, p.cpu->ops->rms_norm(p.cpu, x, w, 0, ROWS, COLS, y));
    ok(p.gpu, p.gpu->ops->rms_norm(p.gpu, x_gpu, w_gpu, 0, ROWS, COLS, x_gpu));
    same(p.gpu, x_gpu, y, ROWS * COLS, "norm");
    p.gpu->ops->free(p.gpu, x_gpu, ROWS * COLS * 4);
    p.gpu->ops->free(p.gpu, w_gpu, COLS * 4);
    guard_free(x);
    guard_free(w);
    guard_free(y);
    pair_fini(&p);
}

static void check_rope(struct pair *p, const struct rope *rope, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim)
{
    size_t n = (size_t)n_tokens * n_heads * head_dim;
    float *x = floats(p, n, 1);
    void *x_gpu = put(p->gpu, x, n * 4);
    uint32_t pos[MAX_ROWS];

    for (uint32_t t = 0; t < n_tokens; t++)
        pos[t] = t * t * 37 + 11;
    ok(p->cpu, p->cpu->ops->rope(p->cpu, rope, x, pos, n_tokens, n_heads, head_dim));
    ok(p->gpu, p->gpu->ops->rope(p->gpu, rope, x_gpu, pos, n_tokens, n_heads, head_dim));
    memset(pos, 0xff, sizeof(pos)); /* the caller's again */
    same(p->gpu, x_gpu, x, n, "rope");
    p->gpu->ops->free(p->gpu, x_gpu, n * 4);
    guard_free(x);
}

Test(gpu, rope)
{
    float inv_freq[32];
    struct pair p;

    pair_init(&p, 8);
    for (int i = 0; i < 32; i++)
        inv_freq[i] = powf(10000, -(float)i / 32);
    for (enum rope_layout layout = ROPE_NORM; layout <= ROPE_NEOX; layout++) {
        check_rope(&p, &(struct rope){ layout, 64, inv_freq, 1 }, 3, 4, 64);
        check_rope(&p, &(struct rope){ layout, 64, inv_freq, 1 }, 3, 1, 64);
        check_rope(&p, &(struct rope){ layout, 20, inv_freq, 1.25f }, 2, 3, 36);
        check_rope(&p, &(struct rope){ layout, 20, inv_freq, 1.5f }, 2, 3, 36);
        check_rope(&p, &(struct rope){ layout, 20, inv_freq + 1, 1.5f }, 2, 3, 36);
        check_rope(&p, &(struct rope){ layout, 2, inv_freq, 1 }, 1, 1, 2);
    }
    check_rope(&p, &(struct rope){ ROPE_NEOX, 32, inv_freq, 1 }, MAX_ROWS, 2, 32);
    cr_assert_eq(p.gpu->ops->rope(p.gpu, &(struct rope){ ROPE_NORM, 10, inv_freq, 1 }, NULL, NULL, 1, 1, 8), -EINVAL);
    pair_fini(&p);
}

struct attention_case {
    uint32_t n_heads, n_kv_heads, head_dim, n_ctx, n_tokens;
    enum kv_type type;
};

/* Keys and values of the whole context, then queries of its last tokens: at once, and one by one. */
static void check_attention(const struct attention_case *c)
{
    uint32_t kv_dim = c->n_kv_heads * c->head_dim, q_dim = c->n_heads * c->head_dim, pos0 = c->n_ctx - c->n_tokens;
    size_t kv_bytes, n_kv = (size_t)c->n_ctx * kv_dim;
    size_t n_q = (size_t)c->n_tokens * q_dim;
    struct kv_view gpu_kv = kv_room(c->n_ctx, c->type, c->n_kv_heads, c->head_dim, &kv_bytes), cpu_kv = gpu_kv;
    float *q, *k, *v, *y = guard_alloc(n_q * 4);
    float *q_gpu, *k_gpu, *v_gpu, *y_gpu;
    struct pair p;

    pair_init(&p, c->head_dim);
    cpu_kv.k = guard_alloc(kv_bytes);
    cpu_kv.v = guard_alloc(kv_bytes);
    q = floats(&p, n_q, 2);
    k = floats(&p, n_kv, 1);
    v = floats(&p, n_kv, 1);
    q_gpu = put(p.gpu, q, n_q * 4);
    k_gpu = put(p.gpu, k, n_kv * 4);
    v_gpu = put(p.gpu, v, n_kv * 4);
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, kv_bytes, &gpu_kv.k));
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, kv_bytes, &gpu_kv.v));
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, n_q * 4, (void **)&y_gpu));
    for (uint32_t at = 0; at < c->n_ctx; at += 70) {
        uint32_t n = c->n_ctx - at < 70 ? c->n_ctx - at : 70;

        ok(p.cpu, p.cpu->ops->kv_store(p.cpu, &cpu_kv, c->type, at, n, c->n_kv_heads, c->head_dim,
                                       k + (size_t)at * kv_dim, v + (size_t)at * kv_dim));
        ok(p.gpu, p.gpu->ops->kv_store(p.gpu, &gpu_kv, c->type, at, n, c->n_kv_heads, c->head_dim,
                                       k_gpu + (size_t)at * kv_dim, v_gpu + (size_t)at * kv_dim));
    }
    struct attention a = { .q = q,
                           .kv = cpu_kv,
                           .kv_type = c->type,
                           .n_tokens = c->n_tokens,
                           .pos0 = pos0,
                           .n_heads = c->n_heads,
                           .n_kv_heads = c->n_kv_heads,
                           .head_dim = c->head_dim,
                           .scale = 0.3f,
                           .y = y };
    struct attention b = a;

    ok(p.cpu, p.cpu->ops->attention(p.cpu, &a));
    b.q = q_gpu;
    b.kv = gpu_kv;
    b.y = y_gpu;
    ok(p.gpu, p.gpu->ops->attention(p.gpu, &b));
    same(p.gpu, y_gpu, y, n_q, "attention, all tokens");
    for (uint32_t t = 0; t < c->n_tokens; t++) {
        b.n_tokens = 1;
        b.pos0 = pos0 + t;
        b.q = q_gpu + (size_t)t * q_dim;
        b.y = y_gpu + (size_t)t * q_dim;
        ok(p.gpu, p.gpu->ops->attention(p.gpu, &b));
    }
    same(p.gpu, y_gpu, y, n_q, "attention, one token at a time");
    p.gpu->ops->free(p.gpu, gpu_kv.k, kv_bytes);
    p.gpu->ops->free(p.gpu, gpu_kv.v, kv_bytes);
    p.gpu->ops->free(p.gpu, q_gpu, n_q * 4);
    p.gpu->ops->free(p.gpu, k_gpu, n_kv * 4);
    p.gpu->ops->free(p.gpu, v_gpu, n_kv * 4);
    p.gpu->ops->free(p.gpu, y_gpu, n_q * 4);
    guard_free(q);
    guard_free(k);
    guard_free(v);
    guard_free(y);
    guard_free(cpu_kv.k);
    guard_free(cpu_kv.v);
    pair_fini(&p);
}

Test(gpu, attention_f32)
{
    check_attention(&(struct attention_case){ 4, 2, 32, 70, 5, KV_F32 });
}

Test(gpu, attention_over_spans_f16)
{
    check_attention(&(struct attention_case){ 6, 2, 32, 3 * ATTEND_SPAN + 3, 5, KV_F16 });
}

Test(gpu, attention_across_the_end_of_a_span)
{
    check_attention(&(struct attention_case){ 3, 1, 16, ATTEND_SPAN + 2, 4, KV_F32 });
}

Test(gpu, attention_of_an_awkward_head)
{
    check_attention(&(struct attention_case){ 5, 5, 20, 66, 3, KV_F16 });
}

/* More blocks than a card needs: each goes through the spans by itself. */
Test(gpu, attention_of_many_tokens_over_spans)
{
    check_attention(&(struct attention_case){ 32, 32, 4, ATTEND_SPAN + 70, 72, KV_F16 });
}

Test(gpu, attention_q8_0_of_every_kind_of_head)
{
    check_attention(&(struct attention_case){ 32, 32, 4, ATTEND_SPAN + 70, 72, KV_Q8_0 });
    check_attention(&(struct attention_case){ 5, 5, 20, 66, 3, KV_Q8_0 });
    check_attention(&(struct attention_case){ 6, 2, 64, 3 * ATTEND_SPAN + 3, 5, KV_Q8_0 });
    check_attention(&(struct attention_case){ 3, 1, 66, ATTEND_SPAN + 2, 4, KV_Q8_0 });
    check_attention(&(struct attention_case){ 2, 2, 80, 70, 2, KV_Q8_0 });
    check_attention(&(struct attention_case){ 8, 1, 128, 70, 9, KV_Q8_0 });
    check_attention(&(struct attention_case){ 1, 1, 256, 70, 1, KV_Q8_0 });
}

/* The rows themselves, to the byte: numbers of every size, and those that cannot be kept. */
Test(gpu, kv_store_q8_0)
{
    enum { HEADS = 3, DIM = 70, N = 20, ROWS = 2 * N, BYTES = ROWS * HEADS * 3 * KV_BLOCK_BYTES };
    enum { NUMBERS = N * HEADS * DIM + DIM }; /* values begin where the second head of keys does */
    static const float odd[] = { NAN, INFINITY, -INFINITY, 9e6f, -8.2e6f, 1e-42f, -0.0f, 7.5e-6f };
    struct kv_view on_gpu = { .head_bytes = BYTES / HEADS, .block_rows = ROWS };
    struct kv_view on_cpu = { guard_alloc(BYTES), guard_alloc(BYTES), BYTES / HEADS, 0, ROWS };
    unsigned char *got = guard_alloc(BYTES);
    float *x;
    void *x_gpu;
    struct pair p;

    pair_init(&p, 17);
    x = floats(&p, NUMBERS, 1);
    for (size_t i = 0; i < NUMBERS; i++)
        x[i] = i % 89 == 0 ? odd[i / 89 % 8] : ldexpf(x[i], (int)(i / 32 % 40) - 30);
    x_gpu = put(p.gpu, x, NUMBERS * 4);
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, BYTES, &on_gpu.k));
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, BYTES, &on_gpu.v));
    memset(on_cpu.k, 0, BYTES);
    memset(on_cpu.v, 0, BYTES);
    ok(p.cpu, p.cpu->ops->kv_store(p.cpu, &on_cpu, KV_Q8_0, 7, N, HEADS, DIM, x, x + DIM));
    ok(p.gpu, p.gpu->ops->kv_store(p.gpu, &on_gpu, KV_Q8_0, 7, N, HEADS, DIM, x_gpu, (float *)x_gpu + DIM));
    ok(p.gpu, p.gpu->ops->download(p.gpu, got, on_gpu.k, BYTES));
    cr_assert_arr_eq(got, on_cpu.k, BYTES);
    ok(p.gpu, p.gpu->ops->download(p.gpu, got, on_gpu.v, BYTES));
    cr_assert_arr_eq(got, on_cpu.v, BYTES);
    p.gpu->ops->free(p.gpu, x_gpu, NUMBERS * 4);
    p.gpu->ops->free(p.gpu, on_gpu.k, BYTES);
    p.gpu->ops->free(p.gpu, on_gpu.v, BYTES);
    guard_free(x);
    guard_free(got);
    guard_free(on_cpu.k);
    guard_free(on_cpu.v);
    pair_fini(&p);
}

Test(gpu, attention_of_the_first_token)
{
    check_attention(&(struct attention_case){ 9, 1, 130, 1, 1, KV_F32 });
}

static void check_combine(struct pair *p, uint32_t n, uint32_t n_used, uint32_t n_embd)
{
    size_t n_x = (size_t)n * n_embd, n_y = n_x * n_used;
    float *x = floats(p, n_x, 1), *y = floats(p, n_y, 1), *weights = floats(p, (size_t)n * n_used, 1);
    void *x_gpu = put(p->gpu, x, n_x * 4), *y_gpu = put(p->gpu, y, n_y * 4);

    ok(p->cpu, p->cpu->ops->combine(p->cpu, x, y, weights, n, n_used, n_embd));
    ok(p->gpu, p->gpu->ops->combine(p->gpu, x_gpu, y_gpu, weights, n, n_used, n_embd));
    memset(weights, 0xff, (size_t)n * n_used * 4); /* the caller's again */
    same(p->gpu, x_gpu, x, n_x, "combine");
    p->gpu->ops->free(p->gpu, x_gpu, n_x * 4);
    p->gpu->ops->free(p->gpu, y_gpu, n_y * 4);
    guard_free(x);
    guard_free(y);
    guard_free(weights);
}

Test(gpu, combine)
{
    struct pair p;

    pair_init(&p, 10);
    check_combine(&p, 1, 8, 300);
    check_combine(&p, 13, 8, 40);
    check_combine(&p, 3, 8, 128);
    pair_fini(&p);
}

Test(gpu, add_with_and_without_gate)
{
    struct pair p;

    pair_init(&p, 11);
    for (int gated = 0; gated < 2; gated++) {
        float *x = floats(&p, 7 * 300, 1), *y = floats(&p, 7 * 300, 1), *gate = floats(&p, 7, 20);
        void *x_gpu = put(p.gpu, x, 7 * 300 * 4), *y_gpu = put(p.gpu, y, 7 * 300 * 4), *gate_gpu = put(p.gpu, gate, 28);

        ok(p.cpu, p.cpu->ops->add(p.cpu, x, y, gated ? gate : NULL, 7, 300));
        ok(p.gpu, p.gpu->ops->add(p.gpu, x_gpu, y_gpu, gated ? gate_gpu : NULL, 7, 300));
        same(p.gpu, x_gpu, x, 7 * 300, "add");
        p.gpu->ops->free(p.gpu, x_gpu, 7 * 300 * 4);
        p.gpu->ops->free(p.gpu, y_gpu, 7 * 300 * 4);
        p.gpu->ops->free(p.gpu, gate_gpu, 28);
        guard_free(x);
        guard_free(y);
        guard_free(gate);
    }
    pair_fini(&p);
}

static void check_embed(struct pair *p, enum quant_type type, uint32_t n)
{
    uint32_t cols = quant_info(type)->block_len == 1 ? 77 : quant_info(type)->block_len * 3, rows = 9;
    void *w = random_weights(&p->r, type, (size_t)rows * cols);
    size_t w_bytes = quant_row_bytes(type, (size_t)rows * cols), y_n = (size_t)n * cols;
    float *y = guard_alloc(y_n * 4);
    struct weight table = { w, type, rows, cols }, on_gpu = table;
    int32_t ids[100];
    void *y_gpu;

    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(random_u32(&p->r) % rows);
    on_gpu.data = put(p->gpu, w, w_bytes);
    ok(p->gpu, p->gpu->ops->alloc(p->gpu, y_n * 4, &y_gpu));
    ok(p->cpu, p->cpu->ops->embed(p->cpu, &table, ids, n, y));
    ok(p->gpu, p->gpu->ops->embed(p->gpu, &on_gpu, ids, n, y_gpu));
    memset(ids, 0xff, sizeof(ids)); /* the caller's again */
    same(p->gpu, y_gpu, y, y_n, quant_info(type)->name);
    cr_assert_eq(p->gpu->ops->embed(p->gpu, &on_gpu, &(int32_t){ 9 }, 1, y_gpu), -EINVAL);
    cr_assert_eq(p->gpu->ops->embed(p->gpu, &on_gpu, &(int32_t){ -1 }, 1, y_gpu), -EINVAL);
    p->gpu->ops->free(p->gpu, (void *)on_gpu.data, w_bytes);
    p->gpu->ops->free(p->gpu, y_gpu, y_n * 4);
    guard_free(w);
    guard_free(y);
}

Test(gpu, embed)
{
    struct pair p;

    pair_init(&p, 12);
    for (uint32_t type = 0; type < QUANT_TYPES; type++)
        if (quant_info(type) != NULL && quant_info(type)->computable)
            check_embed(&p, type, 3);
    check_embed(&p, QUANT_Q4_K, 100);
    pair_fini(&p);
}

/* Activations that are not finite show in every product; those that are too small count as 0. */
Test(gpu, activations_that_are_no_numbers)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY, 1e-39f, 0 };
    struct pair p;

    pair_init(&p, 13);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        for (int super = 0; super < 2; super++) {
            enum quant_type type = super ? QUANT_Q4_K : QUANT_Q8_0;
            void *w = random_weights(&p.r, type, 256), *w_gpu = put(p.gpu, w, quant_row_bytes(type, 256)), *y_gpu;
            struct linear lin = { { w_gpu, type, 1, 256 }, NULL, NULL };
            float x[256] = { odd[i] }, y;
            void *x_gpu = put(p.gpu, x, sizeof(x));

            ok(p.gpu, p.gpu->ops->alloc(p.gpu, 4, &y_gpu));
            lin.y = y_gpu;
            ok(p.gpu, p.gpu->ops->acts_set(p.gpu, p.gpu_acts, x_gpu, 1, 256));
            ok(p.gpu, p.gpu->ops->linear(p.gpu, p.gpu_acts, &lin, 1));
            ok(p.gpu, p.gpu->ops->download(p.gpu, &y, y_gpu, 4));
            cr_assert(i < 3 ? isnan(y) : y == 0, "%g gives %g", (double)odd[i], (double)y);
            p.gpu->ops->free(p.gpu, x_gpu, sizeof(x));
            p.gpu->ops->free(p.gpu, y_gpu, 4);
            p.gpu->ops->free(p.gpu, w_gpu, quant_row_bytes(type, 256));
            guard_free(w);
        }
    pair_fini(&p);
}

Test(gpu, limits_are_errors)
{
    struct pair p;
    void *x;
    uint32_t row = 0;

    pair_init(&p, 14);
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, 1 << 20, &x));
    struct weight narrow = { x, QUANT_F32, 1, 128 }, wide = { x, QUANT_F32, 1024, 256 }, odd = { x, QUANT_Q8_0, 1, 40 };
    struct weight crooked = { (char *)x + 2, QUANT_Q4_K, 1, 256 }, unknown = { x, (enum quant_type)4, 1, 256 };
    struct expert_call call = { wide, wide, { x, QUANT_F32, 256, 1024 }, &row, &row, 1 };
    struct acts *acts = p.gpu_acts;

    cr_assert_eq(p.gpu->ops->acts_set(p.gpu, acts, x, MAX_ROWS + 1, 256), -EINVAL);
    cr_assert_eq(p.gpu->ops->acts_set(p.gpu, acts, x, 1, MAX_COLS + 1), -EINVAL);
    ok(p.gpu, p.gpu->ops->acts_set(p.gpu, acts, x, 1, 256));
    cr_assert_eq(p.gpu->ops->linear(p.gpu, acts, &(struct linear){ narrow, NULL, x }, 1), -EINVAL);
    cr_assert_eq(p.gpu->ops->linear(p.gpu, acts, &(struct linear){ odd, NULL, x }, 1), -EINVAL);
    cr_assert_eq(p.gpu->ops->linear(p.gpu, acts, &(struct linear){ crooked, NULL, x }, 1), -EINVAL);
    cr_assert_eq(p.gpu->ops->linear(p.gpu, acts, &(struct linear){ unknown, NULL, x }, 1), ERR_UNSUPPORTED);
    cr_assert_eq(p.gpu->ops->experts(p.gpu, acts, &call, 1, x), -EINVAL, "wider than max_ff");
    call.down = narrow;
    cr_assert_eq(p.gpu->ops->experts(p.gpu, acts, &call, 1, x), -EINVAL, "shapes that do not fit");
    cr_assert_eq(p.gpu->ops->attention(p.gpu, &(struct attention){ .n_heads = 3, .n_kv_heads = 2 }), -EINVAL);
    cr_assert_eq(p.gpu->ops->attention(p.gpu, &(struct attention){ .n_heads = 3 }), -EINVAL);
    cr_assert_eq(p.gpu->ops->attention(
                     p.gpu, &(struct attention){ .n_heads = 1, .n_kv_heads = 1, .n_tokens = 1, .head_dim = 1 << 14 }),
                 -EINVAL);
    cr_assert_neq(p.gpu->err.text[0], '\0');
    p.gpu->ops->free(p.gpu, x, 1 << 20);
    pair_fini(&p);
}
