/* SPDX-License-Identifier: MIT
 *
 * The CPU device: results that depend on nothing but their own row, and what each operation means.
 */
#include "base/mem.h"
#include "compute/cpu/threads.h"
#include "compute/cpu_device.h"
#include "compute/half.h"
#include "parity/parity.h"
#include "parity/variant.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { COLS = 512, ROWS = 70, FF = 256 };

static struct acts *acts_of(struct device *device)
{
    struct acts *acts;

    cr_assert_eq(device->ops->acts_open(device, 128, COLS, &acts), 0);
    return acts;
}

static void linear_run(const struct variant *v, const struct linear *lin, const float *x, float *y0, float *y1)
{
    struct device *device = device_of(v->level, v->n_threads, 1);
    struct acts *acts = acts_of(device);

    for (uint32_t t = 0; t < TOKENS; t += v->n_split) {
        uint32_t n = TOKENS - t < v->n_split ? TOKENS - t : v->n_split;
        struct linear both[2] = { lin[0], lin[1] };

        both[0].y = y0 + (size_t)t * lin[0].w.rows;
        both[1].y = y1 + (size_t)t * lin[1].w.rows;
        cr_assert_eq(device->ops->acts_set(device, acts, x + (size_t)t * COLS, n, COLS), 0);
        cr_assert_eq(device->ops->linear(device, acts, both, 2), 0);
    }
    device->ops->acts_close(device, acts);
    device->ops->close(device);
}

static void check_linear(enum quant_type a, enum quant_type b)
{
    struct random r = { a };
    void *w0 = random_weights(&r, a, (size_t)ROWS * COLS), *w1 = random_weights(&r, b, (size_t)33 * COLS);
    float *x = guard_alloc(TOKENS * COLS * 4), bias[ROWS], *y[4];
    struct linear lin[2] = { { .w = { w0, a, ROWS, COLS }, .bias = bias }, { .w = { w1, b, 33, COLS } } };
    struct variant v = { CPU_C, 1, TOKENS };

    random_floats(&r, x, (size_t)TOKENS * COLS);
    random_floats(&r, bias, ROWS);
    for (int i = 0; i < 4; i++)
        y[i] = guard_alloc(TOKENS * (i % 2 == 0 ? ROWS : 33) * 4);
    linear_run(&v, lin, x, y[0], y[1]);
    while (variant_next(&v)) {
        memset(y[2], 0xff, TOKENS * ROWS * 4);
        memset(y[3], 0xff, TOKENS * 33 * 4);
        linear_run(&v, lin, x, y[2], y[3]);
        same_floats(y[2], y[0], TOKENS * ROWS, cpu_level_name(v.level));
        same_floats(y[3], y[1], TOKENS * 33, cpu_level_name(v.level));
    }
    for (int i = 0; i < 4; i++)
        guard_free(y[i]);
    guard_free(x);
    guard_free(w0);
    guard_free(w1);
}

Test(device, linear_depends_on_its_row_alone_q4_k_q6_k)
{
    check_linear(QUANT_Q4_K, QUANT_Q6_K);
}

Test(device, linear_depends_on_its_row_alone_q8_0_q5_1)
{
    check_linear(QUANT_Q8_0, QUANT_Q5_1);
}

Test(device, linear_depends_on_its_row_alone_f32_f16)
{
    check_linear(QUANT_F32, QUANT_F16);
}

Test(device, linear_depends_on_its_row_alone_mxfp4_bf16)
{
    check_linear(QUANT_MXFP4, QUANT_BF16);
}

enum { EXPERTS = 3, USED = 2 };

struct moe {
    void *gate[EXPERTS], *up[EXPERTS], *down[EXPERTS];
    enum quant_type type, down_type;
    float *x;
};

static void moe_init(struct moe *m, enum quant_type type, enum quant_type down_type)
{
    struct random r = { type };

    m->type = type;
    m->down_type = down_type;
    for (int e = 0; e < EXPERTS; e++) {
        m->gate[e] = random_weights(&r, type, FF * COLS);
        m->up[e] = random_weights(&r, type, FF * COLS);
        m->down[e] = random_weights(&r, down_type, COLS * FF);
    }
    m->x = guard_alloc(TOKENS * COLS * 4);
    for (size_t i = 0; i < TOKENS * COLS; i++)
        m->x[i] = ldexpf(random_float(&r), -18); /* random scales are large */
}

static void moe_fini(struct moe *m)
{
    for (int e = 0; e < EXPERTS; e++) {
        guard_free(m->gate[e]);
        guard_free(m->up[e]);
        guard_free(m->down[e]);
    }
    guard_free(m->x);
}

/* Token t uses experts t % 3 and, unless it is t % 7 == 0, (t + 1) % 3. Rows of y: 2t and 2t + 1. */
static uint32_t moe_calls(const struct moe *m, uint32_t n_tokens, uint32_t token0, struct expert_call *calls,
                          uint32_t src[EXPERTS][TOKENS], uint32_t dst[EXPERTS][TOKENS])
{
    uint32_t n_calls = 0;

    for (uint32_t e = 0; e < EXPERTS; e++) {
        uint32_t n = 0;

        for (uint32_t t = 0; t < n_tokens; t++)
            for (uint32_t j = 0; j < USED; j++)
                if ((token0 + t + j) % EXPERTS == e && !(j == 1 && (token0 + t) % 7 == 0)) {
                    src[n_calls][n] = t;
                    dst[n_calls][n++] = USED * t + j;
                }
        if (n == 0)
            continue;
        calls[n_calls] = (struct expert_call){
            .gate = { m->gate[e], m->type, FF, COLS },
            .up = { m->up[e], m->type, FF, COLS },
            .down = { m->down[e], m->down_type, COLS, FF },
            .src = src[n_calls],
            .dst = dst[n_calls],
            .n_rows = n,
        };
        n_calls++;
    }
    return n_calls;
}

static void moe_run(const struct moe *m, const struct variant *v, uint32_t max_expert_rows, float *y)
{
    struct device *device = device_of(v->level, v->n_threads, max_expert_rows);
    struct acts *acts = acts_of(device);

    for (uint32_t t = 0; t < TOKENS; t += v->n_split) {
        uint32_t n = TOKENS - t < v->n_split ? TOKENS - t : v->n_split;
        uint32_t src[EXPERTS][TOKENS], dst[EXPERTS][TOKENS];
        struct expert_call calls[EXPERTS];
        uint32_t n_calls = moe_calls(m, n, t, calls, src, dst);

        cr_assert_eq(device->ops->acts_set(device, acts, m->x + (size_t)t * COLS, n, COLS), 0);
        cr_assert_eq(device->ops->experts(device, acts, calls, n_calls, y + (size_t)t * USED * COLS), 0);
    }
    device->ops->acts_close(device, acts);
    device->ops->close(device);
}

static void check_experts(enum quant_type type, enum quant_type down_type)
{
    size_t n = (size_t)TOKENS * USED * COLS;
    float *want = guard_alloc(n * 4), *got = guard_alloc(n * 4);
    struct variant v = { CPU_C, 1, TOKENS };
    struct moe m;

    moe_init(&m, type, down_type);
    memset(want, 0, n * 4);
    moe_run(&m, &v, 64, want);
    while (variant_next(&v))
        for (uint32_t rows = 1; rows <= 64; rows *= 4) {
            memset(got, 0, n * 4); /* rows that no expert writes stay 0 */
            moe_run(&m, &v, rows, got);
            same_floats(got, want, n, cpu_level_name(v.level));
        }
    moe_fini(&m);
    guard_free(want);
    guard_free(got);
}

Test(device, experts_depend_on_their_row_alone_q4_k_q6_k)
{
    check_experts(QUANT_Q4_K, QUANT_Q6_K);
}

Test(device, experts_depend_on_their_row_alone_q8_0)
{
    check_experts(QUANT_Q8_0, QUANT_Q8_0);
}

Test(device, experts_depend_on_their_row_alone_f32)
{
    check_experts(QUANT_F32, QUANT_F32);
}

enum { STREWN = 300 };

/* One expert for all rows, in another order than theirs, `split` at a time. Its up is of another flavour. */
static void strewn_run(const struct moe *m, enum cpu_level level, uint32_t split, float *y)
{
    struct device *device = device_of(level, 2, STREWN);
    struct acts *acts;
    uint32_t at[STREWN];
    void *up = random_weights(&(struct random){ 5 }, QUANT_Q8_0, FF * COLS);

    for (uint32_t t = 0; t < STREWN; t++)
        at[t] = t * 7 % STREWN;
    cr_assert_eq(device->ops->acts_open(device, STREWN, COLS, &acts), 0);
    cr_assert_eq(device->ops->acts_set(device, acts, m->x, STREWN, COLS), 0);
    for (uint32_t t = 0; t < STREWN; t += split) {
        struct expert_call call = { .gate = { m->gate[0], m->type, FF, COLS },
                                    .up = { up, QUANT_Q8_0, FF, COLS },
                                    .down = { m->down[0], m->down_type, COLS, FF },
                                    .src = at + t,
                                    .dst = at + t,
                                    .n_rows = STREWN - t < split ? STREWN - t : split };

        cr_assert_eq(device->ops->experts(device, acts, &call, 1, y), 0);
    }
    device->ops->acts_close(device, acts);
    device->ops->close(device);
    guard_free(up);
}

Test(device, an_expert_of_many_strewn_rows_gives_what_it_gives_row_by_row)
{
    size_t n = (size_t)STREWN * COLS;
    float *want = guard_alloc(n * 4), *got = guard_alloc(n * 4);
    struct moe m;

    moe_init(&m, QUANT_Q4_K, QUANT_Q6_K);
    guard_free(m.x);
    m.x = guard_alloc(n * 4);
    for (size_t i = 0; i < n; i++)
        m.x[i] = ldexpf(random_float(&(struct random){ i }), -18);
    strewn_run(&m, CPU_LEVEL_BEST, 1, want);
    strewn_run(&m, CPU_LEVEL_BEST, STREWN, got);
    same_floats(got, want, n, "300 rows at once");
    strewn_run(&m, CPU_LEVEL_BEST, 40, got);
    same_floats(got, want, n, "40 at a time");
    moe_fini(&m);
    guard_free(want);
    guard_free(got);
}

Test(device, experts_are_silu_gate_times_up_then_down)
{
    struct variant v = { CPU_LEVEL_BEST, 2, TOKENS };
    float *y = guard_alloc((size_t)TOKENS * USED * COLS * 4);
    struct moe m;

    moe_init(&m, QUANT_F32, QUANT_F32);
    for (size_t i = 0; i < TOKENS * COLS; i++)
        m.x[i] = ldexpf(m.x[i], 18);
    moe_run(&m, &v, 64, y);
    for (uint32_t t = 0; t < TOKENS; t++) {
        const float *gate = m.gate[t % EXPERTS], *up = m.up[t % EXPERTS], *down = m.down[t % EXPERTS];
        double hidden[FF];

        for (uint32_t i = 0; i < FF; i++) {
            double g = 0, u = 0;

            for (uint32_t c = 0; c < COLS; c++) {
                g += (double)gate[i * COLS + c] * (double)m.x[t * COLS + c];
                u += (double)up[i * COLS + c] * (double)m.x[t * COLS + c];
            }
            hidden[i] = g / (1 + exp(-g)) * u;
        }
        for (uint32_t c = 0; c < COLS; c++) {
            double sum = 0, magnitude = 0;

            for (uint32_t i = 0; i < FF; i++) {
                sum += (double)down[c * FF + i] * hidden[i];
                magnitude += fabs((double)down[c * FF + i] * hidden[i]);
            }
            cr_assert(fabs((double)y[USED * t * COLS + c] - sum) <= 64 * (double)FLT_EPSILON * (magnitude + 10));
        }
    }
    moe_fini(&m);
    guard_free(y);
}

Test(device, rope_rotates_pairs)
{
    const float inv_freq[3] = { 1, 0.1f, 0.01f };
    struct device *device = device_of(CPU_C, 1, 1);
    const uint32_t pos[2] = { 3, 100000 };

    for (enum rope_layout layout = ROPE_NORM; layout <= ROPE_NEOX; layout++) {
        struct rope rope = { layout, 6, inv_freq, 1.5f };
        float x[2 * 2 * 8], was[32];

        for (int i = 0; i < 32; i++)
            x[i] = was[i] = (float)i - 11;
        cr_assert_eq(device->ops->rope(device, &rope, x, pos, 2, 2, 8), 0);
        for (int row = 0; row < 4; row++)
            for (int i = 0; i < 3; i++) {
                int a = 8 * row + (layout == ROPE_NORM ? 2 * i : i), b = layout == ROPE_NORM ? a + 1 : a + 3;
                double angle = pos[row / 2] * (double)inv_freq[i], s = sin(angle) * 1.5, c = cos(angle) * 1.5;

                cr_assert_float_eq(x[a], (double)was[a] * c - (double)was[b] * s, 1e-5);
                cr_assert_float_eq(x[b], (double)was[a] * s + (double)was[b] * c, 1e-5);
            }
        cr_assert_eq(x[6], was[6], "dimensions beyond n_rot stay");
        cr_assert_eq(x[31], was[31]);
    }
    cr_assert_eq(device->ops->rope(device, &(struct rope){ ROPE_NORM, 10, inv_freq, 1 }, NULL, pos, 1, 1, 8), -EINVAL);
    device->ops->close(device);
}

Test(device, route_softmax)
{
    const float logits[2][5] = { { 1, 3, 2, 3, -1 }, { 0, 0, 0, 0, 0 } };
    struct device *device = device_of(CPU_C, 1, 1);
    struct route route = { ROUTE_SOFTMAX, false, 2, 5, 3 };
    double sum = exp(-2) + 1 + exp(-1) + 1 + exp(-4);
    uint16_t ids[6];
    float weights[6];

    cr_assert_eq(device->ops->route(device, &route, logits[0], 2, ids, weights), 0);
    cr_assert_arr_eq(ids, ((uint16_t[]){ 1, 3, 2, 0, 1, 2 }), sizeof(ids), "ties go to the lower index");
    cr_assert_float_eq(weights[0], 2 / sum, 1e-7);
    cr_assert_float_eq(weights[2], 2 * exp(-1) / sum, 1e-7);
    cr_assert_float_eq(weights[5], 0.4, 1e-7);
    route.renormalise = true;
    cr_assert_eq(device->ops->route(device, &route, logits[0], 2, ids, weights), 0);
    cr_assert_float_eq(weights[0] + weights[1] + weights[2], 2, 1e-6);
    device->ops->close(device);
}

Test(device, route_sigmoid)
{
    const float logits[4] = { -1, 2, 0, 1 };
    struct device *device = device_of(CPU_C, 1, 1);
    struct route route = { ROUTE_SIGMOID, false, 1, 4, 2 };
    uint16_t ids[2];
    float weights[2];

    cr_assert_eq(device->ops->route(device, &route, logits, 1, ids, weights), 0);
    cr_assert(ids[0] == 1 && ids[1] == 3);
    cr_assert_float_eq(weights[0], 1 / (1 + exp(-2)), 1e-7);
    device->ops->close(device);
}

/* Logits of a broken model must not lead outside the experts. */
Test(device, route_of_nan_names_different_experts)
{
    const float logits[4] = { NAN, NAN, 1, NAN };
    struct device *device = device_of(CPU_C, 1, 1);
    struct route route = { ROUTE_SOFTMAX, true, 1, 4, 4 };
    uint16_t ids[4];
    float weights[4];
    unsigned seen = 0;

    cr_assert_eq(device->ops->route(device, &route, logits, 1, ids, weights), 0);
    for (int j = 0; j < 4; j++)
        seen |= 1u << ids[j];
    cr_assert_eq(seen, 15);
    route.n_used = 5;
    cr_assert_eq(device->ops->route(device, &route, logits, 1, ids, weights), -EINVAL);
    device->ops->close(device);
}

Test(device, combine_sums_in_routing_order)
{
    enum { N = 300, K = 3, EMBD = 100 };
    struct device *device = device_of(CPU_LEVEL_BEST, 3, 1);
    float *x = guard_alloc(N * EMBD * 4), *y = guard_alloc(N * K * EMBD * 4), *want = guard_alloc(N * EMBD * 4);
    float weights[N * K];
    struct random r = { 9 };

    random_floats(&r, x, N * EMBD);
    random_floats(&r, y, N * K * EMBD);
    random_floats(&r, weights, N * K);
    for (int t = 0; t < N; t++)
        for (int c = 0; c < EMBD; c++) {
            float sum = 0;

            for (int j = 0; j < K; j++)
                sum += y[(t * K + j) * EMBD + c] * weights[t * K + j];
            want[t * EMBD + c] = x[t * EMBD + c] + sum;
        }
    cr_assert_eq(device->ops->combine(device, x, y, weights, N, K, EMBD), 0);
    same_floats(x, want, N * EMBD, "combine");
    guard_free(x);
    guard_free(y);
    guard_free(want);
    device->ops->close(device);
}

Test(device, add_with_and_without_gate)
{
    struct device *device = device_of(CPU_LEVEL_BEST, 2, 1);
    float x[4] = { 1, 2, 3, 4 };
    const float y[4] = { 10, 20, 30, 40 }, gate[2] = { 0, 100 };

    cr_assert_eq(device->ops->add(device, x, y, NULL, 2, 2), 0);
    cr_assert_arr_eq(x, ((float[]){ 11, 22, 33, 44 }), sizeof(x));
    cr_assert_eq(device->ops->add(device, x, y, gate, 2, 2), 0);
    cr_assert_arr_eq(x, ((float[]){ 16, 32, 63, 84 }), sizeof(x));
    device->ops->close(device);
}

Test(device, embed_decodes_rows)
{
    struct device *device = device_of(CPU_LEVEL_BEST, 1, 1);
    struct random r = { 1 };
    void *table = random_weights(&r, QUANT_Q5_K, 3 * 256);
    struct weight w = { table, QUANT_Q5_K, 3, 256 };
    float *y = guard_alloc(2 * 256 * 4), want[256];

    cr_assert_eq(device->ops->embed(device, &w, (int32_t[]){ 2, 0 }, 2, y), 0);
    quant_decode(QUANT_Q5_K, (char *)table + 2 * 176, want, 256);
    same_floats(y, want, 256, "embed");
    cr_assert_eq(device->ops->embed(device, &w, (int32_t[]){ 3 }, 1, y), -EINVAL);
    cr_assert_eq(device->ops->embed(device, &w, (int32_t[]){ -1 }, 1, y), -EINVAL);
    cr_assert_neq(device->err.text[0], '\0');
    guard_free(y);
    guard_free(table);
    device->ops->close(device);
}

Test(device, limits_are_errors)
{
    struct device *device = device_of(CPU_C, 1, 1);
    struct acts *acts = acts_of(device);
    static float x[COLS], y[2048];
    uint32_t row = 0;
    struct weight narrow = { x, QUANT_F32, 1, COLS / 2 }, wide = { x, QUANT_F32, 1024, COLS };
    struct weight back = { x, QUANT_F32, COLS, 1024 };
    struct expert_call call = { wide, wide, back, &row, &row, 1 };

    cr_assert_eq(device->ops->acts_set(device, acts, x, 129, COLS), -EINVAL);
    cr_assert_eq(device->ops->acts_set(device, acts, x, 1, COLS + 1), -EINVAL);
    cr_assert_eq(device->ops->acts_set(device, acts, x, 1, COLS), 0);
    cr_assert_eq(device->ops->linear(device, acts, &(struct linear){ .w = narrow, .y = y }, 1), -EINVAL);
    cr_assert_eq(device->ops->experts(device, acts, &call, 1, y), -EINVAL, "wider than max_ff");
    call.down = narrow;
    cr_assert_eq(device->ops->experts(device, acts, &call, 1, y), -EINVAL, "shapes that do not fit");
    cr_assert_eq(device->ops->attention(device, &(struct attention){ .n_heads = 3, .n_kv_heads = 2 }), -EINVAL);
    cr_assert_eq(device->ops->attention(device, &(struct attention){ .n_heads = 3 }), -EINVAL);
    device->ops->acts_close(device, acts);
    device->ops->close(device);
}

Test(device, alloc_zeroes_and_aligns)
{
    struct device *device = device_of(CPU_C, 1, 1);
    void *p;

    for (size_t bytes = 1; bytes < 5000000; bytes = bytes * 7 + 1) {
        unsigned char *data;

        cr_assert_eq(device->ops->alloc(device, bytes, &p), 0);
        data = p;
        cr_assert_eq((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(data[i], 0);
        cr_assert_eq(device->ops->upload(device, p, "x", 1), 0);
        cr_assert_eq(data[0], 'x');
        device->ops->free(device, p, bytes);
    }
    cr_assert_eq(device->ops->sync(device), 0);
    device->ops->close(device);
}

Test(device, no_memory_is_an_error)
{
    struct cpu_device_options options = { 2, CPU_C, 8, 256, 8 };
    struct device *device = NULL;
    struct acts *acts;
    struct err err = { 0 };
    int r = -1;

    for (long n = 0; r != 0; n++) {
        mem_fail_after(n);
        r = cpu_device_open(&options, &device, &err);
        mem_fail_after(-1);
        cr_assert(r == 0 || (r == -ENOMEM && err.text[0] != '\0'));
        cr_assert_lt(n, 10);
    }
    mem_fail_after(0);
    cr_assert_eq(device->ops->acts_open(device, 8, 256, &acts), -ENOMEM);
    mem_fail_after(-1);
    device->ops->close(device);
    options.max_expert_rows = 0;
    cr_assert_eq(cpu_device_open(&options, &device, &err), -EINVAL);
}

Test(device, is_named_after_its_level)
{
    for (enum cpu_level level = CPU_C; level < CPU_LEVELS; level++) {
        struct device *device = device_of(level, 1, 1);
        char name[32];

        snprintf(name, sizeof(name), "cpu %s", cpu_level_name(cpu_level_within(level)));
        cr_assert_str_eq(device->name, name);
        cr_assert(device->host_visible);
        device->ops->close(device);
    }
}
