/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cache/outlook.h"

#include <criterion/criterion.h>
#include <math.h>

#define LAYERS 3
#define EXPERTS 8
#define USED 2

static struct outlook *outlook_new(void)
{
    struct outlook *o;

    cr_assert_eq(outlook_open(LAYERS, EXPERTS, USED, &o), 0);
    return o;
}

static const float *of_layer(const struct outlook *o, uint32_t layer)
{
    return outlook_chances(o) + (size_t)layer * EXPERTS;
}

/* 0 is far ahead, 1 is taken, 2 has just missed, 7 was never near. */
static const float steady[EXPERTS] = { 4, 2, 1.5f, 0, 0, -1, -1, -4 };

Test(outlook, nothing_is_known_at_first_nor_of_other_layers)
{
    struct outlook *o = outlook_new();

    for (uint32_t i = 0; i < LAYERS * EXPERTS; i++)
        cr_expect_lt(outlook_chances(o)[i], 0);
    outlook_note(o, 1, steady, 1, false);
    for (uint32_t e = 0; e < EXPERTS; e++) {
        cr_expect_lt(of_layer(o, 0)[e], 0);
        cr_expect(of_layer(o, 1)[e] > 0 && of_layer(o, 1)[e] < 1);
        cr_expect_lt(of_layer(o, 2)[e], 0);
    }
    outlook_close(o);
}

Test(outlook, chances_follow_the_margins)
{
    struct outlook *o = outlook_new();
    const float *chance = of_layer(o, 0);

    for (int token = 0; token < 10; token++)
        outlook_note(o, 0, steady, 1, false);
    for (uint32_t e = 1; e < EXPERTS; e++)
        cr_expect_leq(chance[e], chance[e - 1]);
    cr_expect(chance[1] > 0.5f && chance[2] < 0.5f && chance[2] > 0.2f && chance[7] < 0.05f);
    outlook_close(o);
}

/* The logistic function of 1.43 (0.57 + 0.86) margins, margins in standard deviations from half way between second and
 * third. */
Test(outlook, one_row_is_the_formula)
{
    struct outlook *o = outlook_new();
    double mean = 0, square = 0;

    for (int e = 0; e < EXPERTS; e++)
        mean += (double)steady[e] / EXPERTS;
    for (int e = 0; e < EXPERTS; e++)
        square += (steady[e] - mean) * (steady[e] - mean) / EXPERTS;
    outlook_note(o, 2, steady, 1, true);
    for (int e = 0; e < EXPERTS; e++)
        cr_expect_float_eq(of_layer(o, 2)[e], 1 / (1 + exp(-(steady[e] - 1.75) / sqrt(square) * 1.43)), 1e-5);
    outlook_close(o);
}

/* Whatever is added to all logits of a row, and by whatever they are multiplied. */
Test(outlook, only_the_logits_proportions_count)
{
    struct outlook *a = outlook_new(), *b = outlook_new();
    float other[EXPERTS];

    for (int e = 0; e < EXPERTS; e++)
        other[e] = 100 + 8 * steady[e];
    outlook_note(a, 0, steady, 1, false);
    outlook_note(b, 0, other, 1, false);
    for (int e = 0; e < EXPERTS; e++)
        cr_expect_float_eq(of_layer(a, 0)[e], of_layer(b, 0)[e], 1e-4);
    outlook_close(a);
    outlook_close(b);
}

/* Two texts' worth of tokens: in one each token is like the one before, in the other only the whole is like itself. */
Test(outlook, it_learns_which_average_to_believe)
{
    struct outlook *sticky = outlook_new(), *steadfast = outlook_new();
    float by_fast[3], by_slow[3];
    uint32_t random = 1;

    for (uint32_t token = 0; token < 3000; token++) {
        float runs[EXPERTS], noise[EXPERTS];

        for (uint32_t e = 0; e < EXPERTS; e++) {
            random = random * 1664525u + 1013904223u;
            runs[e] = (float)((token / 12 * 5 + e * 3) % 8) + (float)(random >> 28) / 32;
            noise[e] = steady[e] + (float)(random >> 24) / 40;
        }
        outlook_note(sticky, 0, runs, 1, false);
        outlook_note(steadfast, 0, noise, 1, false);
    }
    outlook_weights(sticky, by_fast);
    outlook_weights(steadfast, by_slow);
    cr_expect(by_fast[0] > by_fast[1], "%f %f", by_fast[0], by_fast[1]);
    cr_expect(by_slow[1] > by_slow[0], "%f %f", by_slow[0], by_slow[1]);
    outlook_close(sticky);
    outlook_close(steadfast);
}

/* Prompts are another text's beginning: nothing is learned from how they went on. */
Test(outlook, it_learns_from_answers_alone)
{
    struct outlook *o = outlook_new();
    float weights[3], before[3];

    outlook_weights(o, before);
    outlook_note(o, 0, steady, 1, false);
    outlook_weights(o, weights);
    cr_expect_arr_eq(weights, before, sizeof(weights), "nothing was expected of it");
    outlook_note(o, 0, steady, 1, true);
    outlook_weights(o, weights);
    cr_expect_arr_eq(weights, before, sizeof(weights));
    outlook_note(o, 0, steady, 1, false);
    outlook_weights(o, weights);
    cr_expect_neq(weights[0], before[0]);
    outlook_close(o);
}

/* A router's weights may be anything that a file can hold. */
Test(outlook, the_greatest_numbers_are_numbers)
{
    static const float huge[EXPERTS] = { 3e38f, 3e38f, -3e38f, 1, 0, 3.2e38f, -3.3e38f, 0 };
    static const float tiny[EXPERTS] = { 1e-45f, 0, 0, 0, 0, 0, 0, 0 };
    struct outlook *o = outlook_new();
    float best[USED + 1], margin[EXPERTS];

    if (outlook_margins(huge, EXPERTS, USED, best, margin))
        for (int e = 0; e < EXPERTS; e++)
            cr_expect(fabsf(margin[e]) <= OUTLOOK_MOST);
    for (int token = 0; token < 10; token++) {
        outlook_note(o, 0, huge, 1, token % 2);
        outlook_note(o, 0, tiny, 1, token % 2);
        outlook_note(o, 0, steady, 1, false);
    }
    for (int e = 0; e < EXPERTS; e++)
        cr_expect(of_layer(o, 0)[e] >= 0 && of_layer(o, 0)[e] <= 1);
    outlook_close(o);
}

/* Whatever comes, for however long, weights and chances are numbers. */
Test(outlook, certainty_has_a_bound)
{
    struct outlook *o = outlook_new();
    float weights[3];

    for (int token = 0; token < 20000; token++)
        outlook_note(o, 0, steady, 1, false);
    outlook_weights(o, weights);
    for (int i = 0; i < 3; i++)
        cr_expect(fabsf(weights[i]) <= 8);
    for (int e = 0; e < EXPERTS; e++)
        cr_expect(of_layer(o, 0)[e] >= 0 && of_layer(o, 0)[e] <= 1);
    outlook_close(o);
}

/* After a change the new favourite's chance rises token by token, and the old one is not forgotten at once. */
Test(outlook, what_was_fades)
{
    static const float turned[EXPERTS] = { -4, 2, 1.5f, 0, 0, -1, -1, 4 };
    struct outlook *o = outlook_new();
    float before;

    for (int token = 0; token < 100; token++)
        outlook_note(o, 0, steady, 1, false);
    before = of_layer(o, 0)[0];
    for (int token = 0; token < 3; token++) {
        float risen = of_layer(o, 0)[7];

        outlook_note(o, 0, turned, 1, false);
        cr_expect_gt(of_layer(o, 0)[7], risen);
        cr_expect_lt(of_layer(o, 0)[0], before);
    }
    cr_expect_gt(of_layer(o, 0)[0], of_layer(o, 0)[7], "three tokens against a hundred");
    for (int token = 0; token < 200; token++)
        outlook_note(o, 0, turned, 1, false);
    cr_expect_lt(of_layer(o, 0)[0], of_layer(o, 0)[7]);
    outlook_close(o);
}

/* A text's rows one by one are the rows of one call, of which the last OUTLOOK_ROWS count. */
Test(outlook, rows_in_turn_are_tokens)
{
    static float rows[(OUTLOOK_ROWS + 5) * EXPERTS];
    struct outlook *a = outlook_new(), *b = outlook_new();

    for (uint32_t i = 0; i < OUTLOOK_ROWS + 5; i++)
        for (uint32_t e = 0; e < EXPERTS; e++)
            rows[i * EXPERTS + e] = (float)((i * 7 + e * 5) % 11) + (float)e;
    outlook_note(a, 0, rows, OUTLOOK_ROWS + 5, true);
    for (uint32_t i = 5; i < OUTLOOK_ROWS + 5; i++)
        outlook_note(b, 0, rows + (size_t)i * EXPERTS, 1, true);
    for (int e = 0; e < EXPERTS; e++)
        cr_expect_eq(of_layer(a, 0)[e], of_layer(b, 0)[e]);
    outlook_close(a);
    outlook_close(b);
}

/* Two texts at once: who is near in one of them is near. */
Test(outlook, rows_side_by_side_count_where_they_are_nearest)
{
    static const float rows[2 * EXPERTS] = { 4, 2, 0, 0, 0, 0, 0, -6, -6, 0, 0, 0, 0, 0, 2, 4 };
    struct outlook *both = outlook_new(), *first = outlook_new(), *second = outlook_new();

    outlook_note(both, 0, rows, 2, false);
    outlook_note(first, 0, rows, 1, false);
    outlook_note(second, 0, rows + EXPERTS, 1, false);
    for (int e = 0; e < EXPERTS; e++)
        cr_expect_eq(of_layer(both, 0)[e], fmaxf(of_layer(first, 0)[e], of_layer(second, 0)[e]));
    outlook_close(both);
    outlook_close(first);
    outlook_close(second);
}

Test(outlook, rows_that_say_nothing_change_nothing)
{
    static const float same[EXPERTS] = { 3, 3, 3, 3, 3, 3, 3, 3 };
    const float none[2 * EXPERTS] = { 1, NAN, 2, 3, 4, 5, 6, 7, 1, INFINITY, 2, 3, 4, 5, 6, 7 };
    struct outlook *o = outlook_new(), *all;
    float before[EXPERTS];

    outlook_note(o, 0, same, 1, true);
    cr_expect_lt(of_layer(o, 0)[0], 0, "still nothing is known");
    outlook_note(o, 0, steady, 1, true);
    for (int e = 0; e < EXPERTS; e++)
        before[e] = of_layer(o, 0)[e];
    outlook_note(o, 0, same, 1, true);
    outlook_note(o, 0, none, 2, true);
    outlook_note(o, 0, none, 2, false);
    cr_expect_arr_eq(of_layer(o, 0), before, sizeof(before));
    outlook_close(o);
    /* A layer that uses all of its experts has no border. */
    cr_assert_eq(outlook_open(1, EXPERTS, EXPERTS, &all), 0);
    outlook_note(all, 0, steady, 1, true);
    cr_expect_lt(outlook_chances(all)[0], 0);
    outlook_close(all);
}

Test(outlook, an_earlier_run_is_where_it_begins)
{
    static const uint32_t heat[EXPERTS] = { 100, 50, 25, 25, 0, 0, 0, 0 };
    struct outlook *o = outlook_new();
    float before;

    outlook_recall(o, 0, (const uint32_t[EXPERTS]){ 0 });
    cr_expect_lt(of_layer(o, 0)[0], 0);
    outlook_recall(o, 0, heat);
    cr_expect_float_eq(of_layer(o, 0)[1], 0.5, 1e-3, "50 of 100 passes");
    cr_expect_float_eq(of_layer(o, 0)[2], 0.25, 1e-3);
    cr_expect(of_layer(o, 0)[0] > 0.98f && of_layer(o, 0)[7] < 0.02f);
    before = of_layer(o, 0)[7];
    outlook_note(o, 0, (const float[EXPERTS]){ 0, 0, 0, 0, 0, 0, 5, 6 }, 1, false);
    cr_expect_gt(of_layer(o, 0)[0], of_layer(o, 0)[5], "a token does not undo a hundred");
    cr_expect_gt(of_layer(o, 0)[7], 1.5f * before);
    outlook_close(o);
}
