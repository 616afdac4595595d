/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "model/stops.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct stops *open_texts(const char *const *texts, size_t n)
{
    struct stop_text stops[STOPS_MAX];
    struct stops *s = NULL;

    for (size_t i = 0; i < n; i++)
        stops[i] = (struct stop_text){ texts[i], strlen(texts[i]) };
    cr_assert_eq(stops_open(stops, n, &s, NULL), 0);
    return s;
}

/* Feed text in pieces of `step` bytes; what came out, with what was held back at the end. */
static int feed(const char *const *texts, size_t n, const char *text, size_t step, char *ret_out)
{
    struct stops *s = open_texts(texts, n);
    size_t len = strlen(text), n_out = 0;
    int which;

    for (size_t at = 0; at < len; at += step) {
        size_t piece = len - at < step ? len - at : step;
        size_t most = stops_max(s, piece), got = stops_put(s, text + at, piece, ret_out + n_out);

        cr_assert_leq(got, most);
        n_out += got;
    }
    n_out += stops_finish(s, ret_out + n_out);
    ret_out[n_out] = '\0';
    which = stops_which(s);
    cr_assert_eq(stops_hit(s), which >= 0);
    stops_close(s);
    return which;
}

static const struct {
    const char *stops[4];
    const char *text, *out;
    int which;
} cases[] = {
    { { "STOP" }, "hello STOP world", "hello ", 0 },
    { { "STOP" }, "hello STO world", "hello STO world", -1 },
    { { "STOP" }, "STOP", "", 0 },
    { { "STOP" }, "ends in STO", "ends in STO", -1 },
    { { "\n\n", "User:" }, "one\ntwo\n\nUser:", "one\ntwo", 0 },
    { { "\n\n", "User:" }, "one\nUser: two\n\n", "one\n", 1 },
    { { "aab" }, "aaaab", "aa", 0 },
    { { "abab", "bc" }, "ababab", "", 0 },
    { { "abcd", "bc" }, "xabcd", "xa", 1 },
    { { "bc", "abc" }, "xabc", "x", 1 },
    { { "a", "a" }, "ba", "b", 0 },
    { { "abcabcabd" }, "abcabcabcabd!", "abc", 0 },
    { { "###", "##!" }, "a####", "a", 0 },
    { { "###", "##!" }, "a##x##!", "a##x", 1 },
    { { "\xe2\x82\xac" }, "5 \xe2\x82\xac", "5 ", 0 },
    { { NULL }, "nothing stops this", "nothing stops this", -1 },
};

Test(stops, are_found_however_the_text_is_cut)
{
    char out[200];

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        size_t n = 0;

        while (n < 4 && cases[c].stops[n] != NULL)
            n++;
        for (size_t step = 1; step <= strlen(cases[c].text); step++) {
            cr_expect_eq(feed(cases[c].stops, n, cases[c].text, step, out), cases[c].which, "case %zu step %zu", c,
                         step);
            cr_expect_str_eq(out, cases[c].out, "case %zu step %zu: '%s'", c, step, out);
        }
    }
}

Test(stops, hold_back_only_what_may_become_one)
{
    struct stops *s = open_texts((const char *[]){ "</end>", "<stop" }, 2);
    char out[64];

    cr_assert_eq(stops_put(s, "text <", 6, out), 5);
    cr_assert_eq(memcmp(out, "text ", 5), 0);
    cr_assert_eq(stops_put(s, "/en", 3, out), 0);
    cr_assert_eq(stops_put(s, "x<s", 3, out), 5);
    cr_assert_eq(memcmp(out, "</enx", 5), 0);
    cr_assert_eq(stops_put(s, "top and more", 12, out), 0);
    cr_assert(stops_hit(s));
    cr_assert_eq(stops_which(s), 1);
    cr_assert_eq(stops_put(s, "after", 5, out), 0);
    cr_assert_eq(stops_finish(s, out), 0);
    stops_close(s);
}

/* The plain definition: cut at the stop that is complete first, the longest of those. */
static size_t cut_plainly(const char *const *texts, size_t n, const char *text, size_t len)
{
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;

        for (size_t i = 0; i < n; i++) {
            size_t k = strlen(texts[i]);

            if (k <= end && k > longest && memcmp(text + end - k, texts[i], k) == 0)
                longest = k;
        }
        if (longest > 0)
            return end - longest;
    }
    return len;
}

Test(stops, agree_with_the_plain_definition_on_random_text)
{
    char stop[4][8], text[64], out[80];
    const char *texts[4] = { stop[0], stop[1], stop[2], stop[3] };
    unsigned seed = 1;

    for (int round = 0; round < 3000; round++) {
        size_t n = 1 + (size_t)rand_r(&seed) % 4, len = (size_t)rand_r(&seed) % 60, cut;

        for (size_t i = 0; i < n; i++) {
            size_t k = 1 + (size_t)rand_r(&seed) % 6;

            for (size_t j = 0; j < k; j++)
                stop[i][j] = "ab"[rand_r(&seed) % 2];
            stop[i][k] = '\0';
        }
        for (size_t j = 0; j < len; j++)
            text[j] = "abc"[(unsigned)rand_r(&seed) % 5 / 2];
        text[len] = '\0';
        cut = cut_plainly(texts, n, text, len);
        feed(texts, n, text, 1 + (size_t)rand_r(&seed) % 7, out);
        cr_assert_eq(strlen(out), cut, "'%s' gave '%s'", text, out);
        cr_assert_eq(memcmp(out, text, cut), 0);
    }
}

Test(stops, may_be_as_long_as_the_limit)
{
    static char stop[STOPS_MAX_BYTES + 2], out[2 * STOPS_MAX_BYTES + 8];
    struct stop_text text = { stop, STOPS_MAX_BYTES };
    struct stops *s = NULL;

    memset(stop, 'a', sizeof(stop));
    cr_assert_eq(stops_open(&text, 1, &s, NULL), 0);
    cr_assert_eq(stops_put(s, stop, STOPS_MAX_BYTES - 1, out), 0);
    cr_assert_eq(stops_put(s, "b", 1, out), STOPS_MAX_BYTES);
    cr_assert_eq(stops_put(s, stop, STOPS_MAX_BYTES + 1, out), 0);
    cr_assert(stops_hit(s));
    stops_close(s);
}

Test(stops, bad_ones_are_refused_by_name)
{
    static char stop[STOPS_MAX_BYTES + 1];
    struct stop_text texts[STOPS_MAX + 1];
    struct stops *s = NULL;
    struct err err = { 0 };

    for (size_t i = 0; i <= STOPS_MAX; i++)
        texts[i] = (struct stop_text){ "x", 1 };
    cr_assert_eq(stops_open(texts, STOPS_MAX + 1, &s, &err), -EINVAL);
    cr_assert_not_null(strstr(err.text, "17"));
    texts[2].len = 0;
    cr_assert_eq(stops_open(texts, 3, &s, &err), -EINVAL);
    cr_assert_not_null(strstr(err.text, "text 3"));
    texts[0] = (struct stop_text){ stop, sizeof(stop) };
    cr_assert_eq(stops_open(texts, 1, &s, &err), -EINVAL);
    cr_assert_not_null(strstr(err.text, "1025"));
    cr_assert_null(s);
}

Test(stops, no_memory_is_an_error)
{
    struct stop_text text = { "x", 1 };
    struct stops *s = NULL;

    mem_fail_after(0);
    cr_assert_eq(stops_open(&text, 1, &s, NULL), -ENOMEM);
    mem_fail_after(-1);
    cr_assert_null(s);
    stops_close(NULL);
}
