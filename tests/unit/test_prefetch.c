/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "prefetch/governor.h"
#include "prefetch/lookahead.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- the governor, on a machine whose tokens take what a table says, give or take some noise ---- */

static uint32_t noise_state = 1;

static double noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return 0.95 + 0.1 * (double)(noise_state >> 8) / (1 << 24);
}

/* Run n tokens; returns the share of them at `level`, and the mean time over that of `level` alone. */
static double run(struct governor *g, const double *ns, int n, uint32_t level, double *ret_cost)
{
    double total = 0;
    int at_level = 0;

    for (int i = 0; i < n; i++) {
        double t = ns[governor_level(g)];

        at_level += governor_level(g) == level;
        total += t;
        governor_token(g, (uint64_t)(t * noise()));
    }
    *ret_cost = total / n / ns[level];
    return (double)at_level / n;
}

Test(governor, settles_on_the_best_level)
{
    static const double tables[][GOVERNOR_LEVELS] = {
        { 1e8, 0.8e8, 0.7e8, 0.8e8 }, { 1e8, 0.8e8, 1.1e8, 1.2e8 }, { 1e8, 1.2e8, 1.3e8, 1.3e8 },
        { 2e6, 3e6, 1.5e6, 2e6 },     { 1e8, 0.9e8, 0.8e8, 0.7e8 },
    };
    static const uint32_t best[] = { 2, 1, 0, 2, 3 };

    for (size_t i = 0; i < sizeof(best) / sizeof(best[0]); i++) {
        double cost, promised = 1.002; /* so many tokens at another level, in turn, per longest stay */
        struct governor g;

        for (int level = 0; level < GOVERNOR_LEVELS; level++)
            promised += (tables[i][level] / tables[i][best[i]] - 1) / (GOVERNOR_LEVELS - 1) * GOVERNOR_PAIRS /
                        GOVERNOR_LONGEST_STAY;
        governor_init(&g, 2);
        run(&g, tables[i], 2000, best[i], &cost);
        cr_expect_gt(run(&g, tables[i], 4000, best[i], &cost), 0.9, "table %zu", i);
        cr_expect_lt(cost, promised, "table %zu: trying the others costs %f", i, cost);
    }
}

Test(governor, no_gain_means_off)
{
    static const double same[GOVERNOR_LEVELS] = { 1e8, 1e8, 1e8, 1e8 };
    struct governor g;
    double cost;

    governor_init(&g, 2);
    run(&g, same, 200, 0, &cost);
    cr_expect_gt(run(&g, same, 4000, 0, &cost), 0.7);
}

Test(governor, changes_its_mind_when_the_drive_does)
{
    static const double idle[GOVERNOR_LEVELS] = { 1e8, 0.8e8, 0.7e8, 0.75e8 },
                        busy[GOVERNOR_LEVELS] = { 1e8, 1.3e8, 1.5e8, 1.7e8 };
    struct governor g;
    double cost;

    governor_init(&g, 2);
    run(&g, idle, 3000, 2, &cost);
    cr_expect_eq(g.best, 2);
    run(&g, busy, 1000, 0, &cost);
    cr_expect_eq(g.best, 0);
    cr_expect_gt(run(&g, busy, 2000, 0, &cost), 0.85);
}

Test(governor, one_slow_token_decides_nothing)
{
    static const double idle[GOVERNOR_LEVELS] = { 1e8, 0.8e8, 0.7e8, 0.75e8 };
    struct governor g;
    double cost;

    governor_init(&g, 2);
    run(&g, idle, 400, 2, &cost);
    for (int i = 0; i < 400; i++)
        governor_token(&g, i % 20 == 0 ? 40000000000u : (uint64_t)idle[governor_level(&g)]);
    cr_expect_eq(g.best, 2);
}

Test(governor, a_fixed_level_stays)
{
    static const double bad[GOVERNOR_LEVELS] = { 1e8, 2e8, 3e8, 4e8 };
    struct governor g;
    double cost;

    governor_init(&g, 2);
    governor_fix(&g, 2);
    cr_expect_eq(run(&g, bad, 500, 2, &cost), 1.0);
}

/* ---- looking ahead, with a door that writes down what it hears ---- */

#define LAYERS 3
#define EXPERTS 8
#define USED 2

struct rig {
    struct expert_door door;
    struct expert_layer_layout layers[LAYERS];
    struct expert_layout layout;
    struct lookahead *la;
    uint16_t hinted[EXPERTS];
    uint16_t lifted[EXPERTS];
    uint32_t n_lifted, lifted_layer;
    uint32_t n_hinted, hinted_layer, n_hints, asked_layer; /* of the last hint; the one before: */
    uint32_t earlier_layer;
    uint16_t prediction[4 * USED];
    int predict_code;
};

static void hint(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct rig *rig = (struct rig *)door;

    rig->n_hints++;
    rig->earlier_layer = rig->hinted_layer;
    rig->hinted_layer = layer;
    rig->n_hinted = (uint32_t)n;
    memcpy(rig->hinted, ids, n * sizeof(*ids));
}

static void lift(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n)
{
    struct rig *rig = (struct rig *)door;

    rig->lifted_layer = layer;
    rig->n_lifted = (uint32_t)n;
    memcpy(rig->lifted, ids, n * sizeof(*ids));
}

static const struct expert_door_ops hint_ops = { .hint = hint };
static const struct expert_door_ops tier_ops = { .hint = hint, .lift = lift };

static int predict(void *ctx, uint32_t layer, uint32_t n, const uint16_t **ret_ids)
{
    struct rig *rig = ctx;

    rig->asked_layer = layer;
    *ret_ids = rig->prediction;
    return rig->predict_code;
}

static void rig_open_over(struct rig *rig, enum lookahead_mode mode, const struct expert_door_ops *ops)
{
    struct lookahead_options options = { .mode = mode, .max_rows = 4, .predict = predict, .ctx = rig };
    struct err err = { 0 };

    memset(rig, 0, sizeof(*rig));
    for (uint32_t i = 0; i < LAYERS; i++)
        rig->layers[i].layer = 2 + i; /* two dense ones before */
    rig->layout =
        (struct expert_layout){ .n_layers = LAYERS, .n_experts = EXPERTS, .n_used = USED, .layers = rig->layers };
    rig->door.ops = ops;
    cr_assert_eq(lookahead_open(&rig->layout, &rig->door, &options, &rig->la, &err), 0, "%s", err_text(&err));
}

static void rig_open(struct rig *rig, enum lookahead_mode mode)
{
    rig_open_over(rig, mode, &hint_ops);
}

Test(lookahead, hints_the_next_layer_best_first_and_each_once)
{
    struct rig rig;

    rig_open(&rig, LOOKAHEAD_ON);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1, 3, 5 }, 4 * sizeof(uint16_t)); /* two tokens */
    lookahead_on_request(rig.la, 2, 2);
    cr_assert_eq(rig.earlier_layer, 3);
    cr_assert_eq(rig.n_hinted, 3);
    cr_assert_arr_eq(rig.hinted, ((uint16_t[]){ 5, 3, 1 }), 3 * sizeof(uint16_t));
    lookahead_on_request(rig.la, 2, 2); /* the same request's second part */
    cr_assert_eq(rig.n_hints, 2);
    lookahead_close(rig.la);
}

Test(lookahead, is_compared_with_the_truth)
{
    struct lookahead_stats stats;
    struct rig rig;

    rig_open(&rig, LOOKAHEAD_ON);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1 }, 2 * sizeof(uint16_t));
    lookahead_on_request(rig.la, 3, 1);
    lookahead_on_route(rig.la, 4, (uint16_t[]){ 1, 7 }, 1);
    lookahead_on_route(rig.la, 2, (uint16_t[]){ 5, 1 }, 1); /* nothing was guessed about this one */
    lookahead_stats(rig.la, &stats);
    cr_assert_eq(stats.near.guessed, 2);
    cr_assert_eq(stats.near.right, 1);
    cr_assert_eq(stats.near.chosen, 2);
    lookahead_close(rig.la);
}

Test(lookahead, keeps_still_where_it_should)
{
    struct rig rig;

    rig_open(&rig, LOOKAHEAD_ON);
    lookahead_on_request(rig.la, 4, 1); /* the last layer */
    lookahead_on_request(rig.la, 2, 5); /* a prompt's chunk */
    lookahead_on_request(rig.la, 1, 1); /* a layer without experts */
    rig.predict_code = -1;
    lookahead_on_request(rig.la, 2, 1);
    cr_assert_eq(rig.n_hints, 0);
    lookahead_close(rig.la);
    rig_open(&rig, LOOKAHEAD_OFF);
    lookahead_on_request(rig.la, 2, 1);
    cr_assert_eq(rig.n_hints, 0);
    lookahead_close(rig.la);
}

Test(lookahead, guesses_the_layer_after_the_next_behind_the_next)
{
    struct lookahead_stats stats;
    struct rig rig;

    rig_open(&rig, LOOKAHEAD_ON);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1 }, 2 * sizeof(uint16_t));
    lookahead_on_request(rig.la, 2, 1);
    cr_assert_eq(rig.n_hints, 2);
    cr_assert_eq(rig.earlier_layer, 3);
    cr_assert_eq(rig.hinted_layer, 4);
    lookahead_on_route(rig.la, 3, (uint16_t[]){ 5, 6 }, 1);
    lookahead_on_request(rig.la, 3, 1); /* the last layer is near now, and there is none behind it */
    cr_assert_eq(rig.n_hints, 3);
    cr_assert_eq(rig.hinted_layer, 4);
    lookahead_on_route(rig.la, 4, (uint16_t[]){ 5, 1 }, 1);
    lookahead_stats(rig.la, &stats);
    cr_assert_eq(stats.near.guessed, 4);
    cr_assert_eq(stats.near.right, 3);
    cr_assert_eq(stats.far.guessed, 2);
    cr_assert_eq(stats.far.right, 2);
    lookahead_close(rig.la);
}

Test(lookahead, auto_follows_the_governor)
{
    struct lookahead_stats stats;
    struct rig rig;
    uint32_t seen = 0, at_best = 0;

    rig_open(&rig, LOOKAHEAD_AUTO);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1 }, 2 * sizeof(uint16_t));
    for (int token = 0; token < 400; token++) {
        lookahead_stats(rig.la, &stats);
        seen |= 1u << stats.way[LOOKAHEAD_FROM_DRIVE].level;
        at_best += token >= 300 && stats.way[LOOKAHEAD_FROM_DRIVE].level == 1;
        rig.n_hinted = 0;
        lookahead_on_request(rig.la, 2, 1);
        cr_assert_eq(rig.n_hinted,
                     stats.way[LOOKAHEAD_FROM_DRIVE].level < USED ? stats.way[LOOKAHEAD_FROM_DRIVE].level : USED);
        lookahead_on_route(rig.la, 3, (uint16_t[]){ 1, 7 }, 1);
        lookahead_on_pass(rig.la, 1, stats.way[LOOKAHEAD_FROM_DRIVE].level == 1 ? 500 : 1000);
        lookahead_on_pass(rig.la, 100, 1); /* a prompt's chunk says nothing */
        cr_assert_eq(stats.way[LOOKAHEAD_FROM_RAM].level, LOOKAHEAD_NONE, "there is no device to lift to");
    }
    cr_assert_eq(seen, 15, "every level has been tried");
    cr_assert_gt(at_best, 75);
    lookahead_close(rig.la);
}

Test(lookahead, lifts_what_it_hints)
{
    struct rig rig;

    rig_open_over(&rig, LOOKAHEAD_ON, &tier_ops);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1, 3, 5 }, 4 * sizeof(uint16_t));
    lookahead_on_request(rig.la, 3, 2);
    cr_assert_eq(rig.lifted_layer, 4);
    cr_assert_eq(rig.n_lifted, 3);
    cr_assert_arr_eq(rig.lifted, rig.hinted, 3 * sizeof(uint16_t));
    lookahead_close(rig.la);
}

/* A token's time by how much is read and how much is copied ahead of it. */
struct costs {
    double from_drive[GOVERNOR_LEVELS], from_ram[GOVERNOR_LEVELS];
    uint32_t best[LOOKAHEAD_WAYS];
};

static void check_ways(const struct costs *c)
{
    uint32_t at_best[LOOKAHEAD_WAYS] = { 0 }, tried[LOOKAHEAD_WAYS] = { 0 }, both_off = 0;
    struct lookahead_stats stats;
    struct rig rig;

    rig_open_over(&rig, LOOKAHEAD_AUTO, &tier_ops);
    memcpy(rig.prediction, (uint16_t[]){ 5, 1 }, 2 * sizeof(uint16_t));
    for (int token = 0; token < 5000; token++) {
        uint32_t level[LOOKAHEAD_WAYS];

        lookahead_stats(rig.la, &stats);
        rig.n_hinted = rig.n_lifted = 0;
        lookahead_on_request(rig.la, 2, 1);
        lookahead_on_route(rig.la, 3, (uint16_t[]){ 1, 7 }, 1);
        for (int way = 0; way < LOOKAHEAD_WAYS; way++) {
            level[way] = stats.way[way].level;
            tried[way] |= 1u << level[way];
            at_best[way] += token >= 3000 && level[way] == c->best[way];
        }
        cr_assert_eq(rig.n_hinted, level[LOOKAHEAD_FROM_DRIVE] < USED ? level[LOOKAHEAD_FROM_DRIVE] : USED);
        cr_assert_eq(rig.n_lifted, level[LOOKAHEAD_FROM_RAM] < USED ? level[LOOKAHEAD_FROM_RAM] : USED);
        both_off += token >= 3000 && level[0] != c->best[0] && level[1] != c->best[1];
        lookahead_on_pass(rig.la, 1,
                          (uint64_t)(1e6 * noise() * c->from_drive[level[LOOKAHEAD_FROM_DRIVE]] *
                                     c->from_ram[level[LOOKAHEAD_FROM_RAM]]));
    }
    cr_expect_eq(tried[0] & tried[1], 15, "every level has been tried, each way");
    cr_expect_gt(at_best[LOOKAHEAD_FROM_DRIVE], 1800);
    cr_expect_gt(at_best[LOOKAHEAD_FROM_RAM], 1800);
    cr_expect_eq(both_off, 0, "they try by turns");
    lookahead_close(rig.la);
}

/* What helps on the drive may hurt on the bus, and the other way round: neither is held to what is good for the other.
 */
Test(lookahead, drive_and_bus_are_governed_each_for_itself)
{
    check_ways(&(struct costs){ { 1, 0.9, 0.8, 0.85 }, { 1, 1.2, 1.4, 1.5 }, { 2, 0 } });
    check_ways(&(struct costs){ { 1, 1.2, 1.3, 1.4 }, { 1, 0.9, 0.85, 0.7 }, { 0, 3 } });
    check_ways(&(struct costs){ { 1, 0.8, 0.9, 1 }, { 1, 0.9, 0.8, 0.9 }, { 1, 2 } });
    check_ways(&(struct costs){ { 1, 1, 1, 1 }, { 1, 0.7, 0.8, 0.9 }, { 0, 1 } });
}

Test(lookahead, no_memory_is_an_answer)
{
    for (long n = 0; n < 5; n++) {
        struct lookahead_options options = { .max_rows = 1, .predict = predict };
        struct expert_layout layout = { .n_layers = 1, .n_experts = 4, .n_used = 1 };
        struct lookahead *la;
        struct err err = { 0 };

        mem_fail_after(n);
        cr_assert_lt(lookahead_open(&layout, NULL, &options, &la, &err), 0);
        mem_fail_after(-1);
    }
}
