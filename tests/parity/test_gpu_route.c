/* SPDX-License-Identifier: MIT
 *
 * The GPU device against the C level of the CPU device: choosing experts, looking them up and computing them without
 * the host, the best of the logits, and what the host gets back.
 */
#include "compute/device_copy.h"
#include "compute/device_stay.h"
#include "parity/gpu_pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_route(struct pair *p, const struct route *route, const float *logits, uint32_t n)
{
    uint16_t ids[256], ids_gpu[256];
    float weights[256], weights_gpu[256];
    void *logits_gpu = put(p->gpu, logits, (size_t)n * route->n_experts * 4);

    ok(p->cpu, p->cpu->ops->route(p->cpu, route, logits, n, ids, weights));
    ok(p->gpu, p->gpu->ops->route(p->gpu, route, logits_gpu, n, ids_gpu, weights_gpu));
    cr_assert_arr_eq(ids_gpu, ids, n * route->n_used * sizeof(ids[0]));
    same_floats(weights_gpu, weights, (size_t)n * route->n_used, "route");
    p->gpu->ops->free(p->gpu, logits_gpu, (size_t)n * route->n_experts * 4);
}

Test(gpu, route)
{
    struct pair p;

    pair_init(&p, 9);
    for (uint32_t n_experts = 1; n_experts < 400; n_experts = n_experts * 3 + 2) {
        float *logits = floats(&p, 5 * n_experts, 12);
        uint32_t n_used = n_experts < 8 ? n_experts : 8;

        for (uint32_t e = 0; e + 1 < n_experts; e += 2)
            logits[e] = logits[e + 1]; /* ties */
        check_route(&p, &(struct route){ ROUTE_SOFTMAX, true, 1, n_experts, n_used }, logits, 5);
        check_route(&p, &(struct route){ ROUTE_SOFTMAX, false, 2.5f, n_experts, n_used }, logits, 5);
        check_route(&p, &(struct route){ ROUTE_SIGMOID, true, 1, n_experts, n_used }, logits, 5);
        check_route(&p, &(struct route){ ROUTE_SIGMOID, false, 1, n_experts, 1 }, logits, 5);
        guard_free(logits);
    }
    pair_fini(&p);
}

/* The same experts as on the CPU, whatever is no number. */
Test(gpu, route_of_nan)
{
    const float logits[4][5] = { { NAN, NAN, 1, NAN, 2 },
                                 { 3, NAN, 1, NAN, 5 },
                                 { NAN, NAN, NAN, NAN, NAN },
                                 { INFINITY, 1, -INFINITY, NAN, INFINITY } };
    struct route route = { ROUTE_SOFTMAX, true, 1, 5, 5 };
    uint16_t ids[20], ids_gpu[20];
    float weights[20];
    void *logits_gpu;
    struct pair p;

    pair_init(&p, 9);
    logits_gpu = put(p.gpu, logits, sizeof(logits));
    ok(p.cpu, p.cpu->ops->route(p.cpu, &route, logits[0], 4, ids, weights));
    ok(p.gpu, p.gpu->ops->route(p.gpu, &route, logits_gpu, 4, ids_gpu, weights));
    cr_assert_arr_eq(ids_gpu, ids, sizeof(ids));
    for (int i = 0; i < 5; i++)
        cr_assert(isnan(weights[i]));
    route.n_used = 6;
    cr_assert_eq(p.gpu->ops->route(p.gpu, &route, logits_gpu, 1, ids, weights), -EINVAL);
    p.gpu->ops->free(p.gpu, logits_gpu, sizeof(logits));
    pair_fini(&p);
}

/* A layer whose experts the device looks up, in one operation, against route, experts and combine on the CPU. */
struct routed_case {
    enum quant_type gate, up, down;
    uint32_t ff, n;
    struct route route;
};

/* A layer's matrices of one kind on both devices; the device's are looked up in the table's row. */
static void table_put(struct pair *p, struct weight like, struct weight *ret_cpu, const void **ret_addresses)
{
    for (uint32_t e = 0; e < EXPERTS; e++) {
        ret_cpu[e] = like;
        ret_cpu[e].data = random_weights(&p->r, like.type, (size_t)like.rows * like.cols);
        ret_addresses[e] = weight_put(p->gpu, ret_cpu[e]).data;
    }
}

static void routed_on_cpu(struct pair *p, const struct routed_case *c, const struct weight w[3][EXPERTS],
                          const float *logits, uint16_t *ret_ids, float *x)
{
    uint32_t n_used = c->route.n_used, n_pairs = c->n * n_used;
    float weights[64], *y = guard_alloc((size_t)n_pairs * EMBD * 4);

    ok(p->cpu, p->cpu->ops->route(p->cpu, &c->route, logits, c->n, ret_ids, weights));
    for (uint32_t i = 0; i < n_pairs; i++) {
        uint32_t src = i / n_used, e = ret_ids[i];
        struct expert_call call = { w[0][e], w[1][e], w[2][e], &src, &i, 1 };

        ok(p->cpu, p->cpu->ops->experts(p->cpu, p->cpu_acts, &call, 1, y));
    }
    ok(p->cpu, p->cpu->ops->combine(p->cpu, x, y, weights, c->n, n_used, EMBD));
    guard_free(y);
}

static void check_routed(const struct routed_case *c)
{
    size_t n_x = (size_t)c->n * EMBD, n_pairs = (size_t)c->n * c->route.n_used;
    struct weight w[3][EXPERTS], gate = { NULL, c->gate, c->ff, EMBD }, up = { NULL, c->up, c->ff, EMBD };
    struct weight down = { NULL, c->down, EMBD, c->ff };
    const void *addresses[3][EXPERTS];
    uint16_t ids[64], ids_gpu[64];
    float *h, *x, *logits;
    struct pair p;

    pair_init(&p, c->gate + 3 * c->n);
    table_put(&p, gate, w[0], addresses[0]);
    table_put(&p, up, w[1], addresses[1]);
    table_put(&p, down, w[2], addresses[2]);
    h = floats(&p, n_x, 0x1p-18f);
    x = floats(&p, n_x, 1);
    logits = floats(&p, c->n * EXPERTS, 4);
    void *h_gpu = put(p.gpu, h, n_x * 4), *x_gpu = put(p.gpu, x, n_x * 4), *y_gpu = NULL, *chosen = NULL;
    void *logits_gpu = put(p.gpu, logits, c->n * EXPERTS * 4), *table_gpu = put(p.gpu, addresses, sizeof(addresses));
    struct expert_table table = { gate, up, down, table_gpu };

    ok(p.gpu, p.gpu->ops->alloc(p.gpu, n_pairs * EMBD * 4, &y_gpu));
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, sizeof(ids), &chosen));
    ok(p.cpu, p.cpu->ops->acts_set(p.cpu, p.cpu_acts, h, c->n, EMBD));
    routed_on_cpu(&p, c, w, logits, ids, x);
    ok(p.gpu, p.gpu->ops->acts_set(p.gpu, p.gpu_acts, h_gpu, c->n, EMBD));
    ok(p.gpu, p.gpu->stay->routed(p.gpu, p.gpu_acts,
                                  &(struct routed){ &c->route, &table, logits_gpu, c->n, chosen, y_gpu, x_gpu }));
    ok(p.gpu, p.gpu->stay->fetch(p.gpu, &(struct device_copy){ ids_gpu, chosen, n_pairs * sizeof(ids[0]) }, 1));
    cr_assert_arr_eq(ids_gpu, ids, n_pairs * sizeof(ids[0]));
    same(p.gpu, x_gpu, x, n_x, quant_info(c->gate)->name);
    for (uint32_t e = 0; e < EXPERTS; e++)
        for (int i = 0; i < 3; i++) {
            p.gpu->ops->free(p.gpu, (void *)addresses[i][e],
                             quant_row_bytes(w[i][e].type, (size_t)w[i][e].rows * w[i][e].cols));
            guard_free((void *)w[i][e].data);
        }
    p.gpu->ops->free(p.gpu, h_gpu, n_x * 4);
    p.gpu->ops->free(p.gpu, x_gpu, n_x * 4);
    p.gpu->ops->free(p.gpu, y_gpu, n_pairs * EMBD * 4);
    p.gpu->ops->free(p.gpu, chosen, sizeof(ids));
    p.gpu->ops->free(p.gpu, logits_gpu, c->n * EXPERTS * 4);
    p.gpu->ops->free(p.gpu, table_gpu, sizeof(addresses));
    guard_free(h);
    guard_free(x);
    guard_free(logits);
    pair_fini(&p);
}

Test(gpu, routed_experts)
{
    check_routed(
        &(struct routed_case){ QUANT_Q4_K, QUANT_Q4_K, QUANT_Q6_K, 256, 1, { ROUTE_SOFTMAX, true, 1, EXPERTS, 2 } });
    check_routed(
        &(struct routed_case){ QUANT_Q8_0, QUANT_Q8_0, QUANT_Q8_0, 96, 8, { ROUTE_SOFTMAX, false, 2.5f, EXPERTS, 3 } });
    check_routed(
        &(struct routed_case){ QUANT_Q5_K, QUANT_Q8_0, QUANT_MXFP4, 96, 3, { ROUTE_SIGMOID, true, 1, EXPERTS, 4 } });
    check_routed(
        &(struct routed_case){ QUANT_F32, QUANT_F16, QUANT_F32, 40, 12, { ROUTE_SIGMOID, false, 1, EXPERTS, 2 } });
    check_routed(&(struct routed_case){
        QUANT_IQ2_XS, QUANT_IQ3_S, QUANT_IQ4_XS, 256, 2, { ROUTE_SOFTMAX, true, 1, EXPERTS, 5 } });
}

struct best {
    float x;
    int32_t id;
};

static int by_rank(const void *a, const void *b)
{
    const struct best *p = a, *q = b;
    bool fp = isfinite(p->x), fq = isfinite(q->x);

    if (fp != fq)
        return fp ? 1 : -1;
    if (fp && p->x != q->x)
        return p->x < q->x ? 1 : -1;
    return p->id - q->id;
}

static void check_top_k(struct pair *p, uint32_t n_rows, uint32_t n_cols, uint32_t k, float step)
{
    size_t n = (size_t)n_rows * n_cols, n_best = (size_t)n_rows * k;
    float *x = floats(p, n, 10), *values = guard_alloc(n_best * 4);
    struct best *all = guard_alloc(n_cols * sizeof(*all));
    int32_t *ids = guard_alloc(n_best * 4);
    void *x_gpu, *ids_gpu, *values_gpu;

    for (size_t i = 0; step > 0 && i < n; i++)
        x[i] = roundf(x[i] / step) * step; /* ties, and zeros of both signs */
    if (n_cols > 40)
        x[n - 3] = n_rows % 2 ? NAN : -INFINITY;
    x_gpu = put(p->gpu, x, n * 4);
    ok(p->gpu, p->gpu->ops->alloc(p->gpu, n_best * 4, &ids_gpu));
    ok(p->gpu, p->gpu->ops->alloc(p->gpu, n_best * 4, &values_gpu));
    ok(p->gpu, p->gpu->stay->top_k(p->gpu, x_gpu, n_rows, n_cols, k, ids_gpu, values_gpu));
    ok(p->gpu,
       p->gpu->stay->fetch(p->gpu,
                           (struct device_copy[]){
                               { ids, ids_gpu, n_best * 4 }, { NULL, NULL, 0 }, { values, values_gpu, n_best * 4 } },
                           3));
    for (uint32_t row = 0; row < n_rows; row++) {
        for (uint32_t i = 0; i < n_cols; i++)
            all[i] = (struct best){ x[(size_t)row * n_cols + i], (int32_t)i };
        qsort(all, n_cols, sizeof(*all), by_rank);
        for (uint32_t i = 0; i < k; i++) {
            cr_assert_eq(ids[row * k + i], all[i].id, "row %u of %u, rank %u of %u", row, n_cols, i, k);
            cr_assert_eq(memcmp(&values[row * k + i], &all[i].x, 4), 0);
        }
    }
    p->gpu->ops->free(p->gpu, x_gpu, n * 4);
    p->gpu->ops->free(p->gpu, ids_gpu, n_best * 4);
    p->gpu->ops->free(p->gpu, values_gpu, n_best * 4);
    guard_free(x);
    guard_free(values);
    guard_free(all);
    guard_free(ids);
}

Test(gpu, top_k)
{
    struct pair p;
    void *x;

    pair_init(&p, 15);
    check_top_k(&p, 1, 1, 1, 0);
    check_top_k(&p, 3, 5, 5, 1);
    check_top_k(&p, 2, 300, 40, 0.5f);
    check_top_k(&p, 1, 2048, 128, 0.25f);
    check_top_k(&p, 2, 2049, 1, 4);
    check_top_k(&p, 1, 2177, 128, 0);
    check_top_k(&p, 3, 70000, 128, 0.125f); /* three steps */
    ok(p.gpu, p.gpu->ops->alloc(p.gpu, 1024, &x));
    cr_assert_eq(p.gpu->stay->top_k(p.gpu, x, 1, 100, 101, x, x), -EINVAL);
    cr_assert_eq(p.gpu->stay->top_k(p.gpu, x, 1, 100, 0, x, x), -EINVAL);
    cr_assert_eq(p.gpu->stay->top_k(p.gpu, x, 1, 1000, TOP_K_MOST + 1, x, x), -EINVAL);
    p.gpu->ops->free(p.gpu, x, 1024);
    pair_fini(&p);
}

/* Parts beyond what is staged go directly, and arrive in the same wait. */
Test(gpu, fetch_of_small_and_large_parts)
{
    enum { LARGE = 100000, SMALL = 10 };
    float *large, *small, *got_large = guard_alloc(LARGE * 4), got_small[SMALL];
    void *large_gpu, *small_gpu;
    uint64_t waits;
    struct pair p;

    pair_init(&p, 16);
    large = floats(&p, LARGE, 1);
    small = floats(&p, SMALL, 1);
    large_gpu = put(p.gpu, large, LARGE * 4);
    small_gpu = put(p.gpu, small, SMALL * 4);
    waits = p.gpu->n_waits;
    ok(p.gpu,
       p.gpu->stay->fetch(
           p.gpu, (struct device_copy[]){ { got_small, small_gpu, SMALL * 4 }, { got_large, large_gpu, LARGE * 4 } },
           2));
    cr_assert_eq(p.gpu->n_waits - waits, 1);
    same_floats(got_small, small, SMALL, "small");
    same_floats(got_large, large, LARGE, "large");
    p.gpu->ops->free(p.gpu, large_gpu, LARGE * 4);
    p.gpu->ops->free(p.gpu, small_gpu, SMALL * 4);
    guard_free(large);
    guard_free(small);
    guard_free(got_large);
    pair_fini(&p);
}
