/* SPDX-License-Identifier: MIT
 *
 * What each pre-tokenizer must make of these texts was made by Hugging Face's tokenizers from the published
 * expressions.
 */
#include "model/tokenizer_split.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_TEXTS 3

/* clang-format off */
static const char *const texts[N_TEXTS] = {
    "Hello, y'all! I'LL pay $1234.50\n\n  for  it\t ",
    "caf\xc3\xa9 e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad 3\xc2\xbd \xe3\x80\x80x",
    "  \r\n \n\nHTMLParser's foo_bar/*x*/ \xe2\x80\xa8",
};

static const struct {
    const char *name;
    const char *pieces[N_TEXTS];
} cases[] = {
    { "qwen2",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|1|2|3|4|.|5|0|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "llama-bpe",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|123|4|.|50|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "gpt-2",
      {
        "Hello|,| y|'|all|!| I|'|LL| pay| $|1234|.|50|\n\n | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| 3\xc2\xbd| |"
        "\xe3\x80\x80|x",
        "  \r\n \n|\n|HTMLParser|'s| foo|_|bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "qwen35",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|1|2|3|4|.|5|0|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "starcoder",
      {
        "Hello|,| y|'|all|!| I|'|LL| pay| $|1|2|3|4|.|5|0|\n\n | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80|x",
        "  \r\n \n|\n|HTMLParser|'s| foo|_|bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "deepseek-v3",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|123|4|.|50|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e\xcc\x81| |\xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae|\xed\x95\x9c\xea\xb5\xad| |3\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "deepseek-llm",
      {
        "Hello|,| y|'|all|!| I|'|LL| pay| $|1234|.|50|\n|\n| | for| | it|\t ",
        "caf|\xc3\xa9| e|\xcc\x81 |\xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3\xc2\xbd|"
        " |\xe3\x80\x80|x",
        "  |\r|\n| |\n|\n|HTMLParser|'|s| foo|_|bar|/*|x|*/| |\xe2\x80\xa8",
      } },
    { "deepseek-coder",
      {
        "Hello|,| y|'|all|!| I|'|LL| pay| $|1|2|3|4|.|5|0|\n|\n| | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| |\xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|"
        "\xc2\xbd| |\xe3\x80\x80|x",
        "  |\r|\n| |\n|\n|HTMLParser|'|s| foo|_|bar|/*|x|*/| |\xe2\x80\xa8",
      } },
    { "tekken",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|1|2|3|4|.|5|0|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "gpt-4o",
      {
        "Hello|,| y|'all|!| I'LL| pay| $|123|4|.|50|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3\xc2\xbd| |"
        "\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser's| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "bailingmoe",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|1|2|3|4|.|5|0|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "seed-coder",
      {
        "Hello|,| y|'all|!| I|'LL| pay| $|1|2|3|4|.|5|0|\n\n| | for| | it|\t ",
        "caf\xc3\xa9| e|\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| |3|\xc2\xbd|"
        " |\xe3\x80\x80x",
        "  \r\n \n\n|HTMLParser|'s| foo|_bar|/*|x|*/| \xe2\x80\xa8",
      } },
    { "bloom",
      {
        "Hello|,| y'all|!| I'LL| pay| $1234|.|50|\n\n | for| | it|\t ",
        "caf\xc3\xa9| e\xcc\x81| \xe4\xb8\xad\xe6\x96\x87\xe3\x81\xae\xed\x95\x9c\xea\xb5\xad| 3\xc2\xbd|"
        " \xe3\x80\x80|x",
        "  \r\n \n\n|HTMLParser's| foo_bar/*x*/| \xe2\x80\xa8",
      } },
};
/* clang-format on */

struct pieces {
    char text[1000]; /* with a bar between them */
    size_t len, n, bytes;
    int result; /* what on_piece is to return from the second piece on */
};

static int on_piece(void *ctx, const char *piece, size_t len, struct err *err)
{
    struct pieces *p = ctx;

    (void)err;
    cr_assert_gt(len, 0);
    p->n++;
    p->bytes += len;
    if (p->len + len + 2 < sizeof(p->text)) {
        if (p->n > 1)
            p->text[p->len++] = '|';
        memcpy(p->text + p->len, piece, len);
        p->text[p->len += len] = '\0';
    }
    return p->n > 1 ? p->result : 0;
}

static struct splitter *open_named(const char *name)
{
    struct splitter *s = NULL;
    struct err err = { 0 };

    cr_assert_eq(splitter_open((struct gguf_str){ name, strlen(name) }, &s, &err), 0, "%s", err.text);
    return s;
}

Test(split, cuts_as_published)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct splitter *s = open_named(cases[i].name);

        for (size_t k = 0; k < N_TEXTS; k++) {
            struct pieces p = { 0 };

            cr_assert_eq(splitter_run(s, texts[k], strlen(texts[k]), on_piece, &p, NULL), 0);
            cr_expect_str_eq(p.text, cases[i].pieces[k], "%s: %s", cases[i].name, p.text);
        }
        splitter_close(s);
    }
}

/* Names whose expressions are those of another. */
Test(split, names_share_expressions)
{
    static const char *const same[][2] = {
        { "olmo", "gpt-2" },
        { "gpt-neox", "gpt-2" },
        { "dbrx", "llama-bpe" },
        { "llama3", "llama-bpe" },
        { "refact", "starcoder" },
        { "command-r", "starcoder" },
        { "deepseek-r1-qwen", "qwen2" },
        { "", "default" },
    };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct splitter *a = open_named(same[i][0]), *b = open_named(same[i][1]);

        for (size_t k = 0; k < N_TEXTS; k++) {
            struct pieces p = { 0 }, q = { 0 };

            cr_assert_eq(splitter_run(a, texts[k], strlen(texts[k]), on_piece, &p, NULL), 0);
            cr_assert_eq(splitter_run(b, texts[k], strlen(texts[k]), on_piece, &q, NULL), 0);
            cr_expect_str_eq(p.text, q.text);
        }
        splitter_close(a);
        splitter_close(b);
    }
}

Test(split, traits_go_by_name)
{
    struct splitter_traits t = splitter_look_up((struct gguf_str){ "llama-bpe", 9 });

    cr_expect(t.known && t.whole_words && t.bos_by_default);
    t = splitter_look_up((struct gguf_str){ "qwen2", 5 });
    cr_expect(t.known && !t.whole_words && !t.bos_by_default);
    cr_expect_not(splitter_look_up((struct gguf_str){ "qwen", 4 }).known);
    cr_expect_not(splitter_look_up((struct gguf_str){ "", 0 }).known);
}

Test(split, malformed_bytes_are_pieces_of_their_own)
{
    struct splitter *s = open_named("qwen2");
    struct pieces p = { 0 };

    cr_assert_eq(splitter_run(s,
                              "ab\xff\xfe"
                              "cd \xe2\x82",
                              9, on_piece, &p, NULL),
                 0);
    cr_expect_str_eq(p.text, "ab|\xff\xfe|cd| |\xe2\x82");
    splitter_close(s);
}

Test(split, an_error_of_the_receiver_ends_the_run)
{
    struct splitter *s = open_named("qwen2");
    struct pieces p = { .result = -ENOSPC };

    cr_assert_eq(splitter_run(s, "one two three", 13, on_piece, &p, NULL), -ENOSPC);
    cr_assert_eq(p.n, 2);
    splitter_close(s);
}

/* Texts that make careless expressions backtrack without end. In linear time this takes seconds for all of them; in
 * quadratic time, hours. Nothing may be lost, and nothing refused. */
Test(split, hostile_texts_are_cut_all_the_same)
{
    static const char *const units[] = {
        "a",
        "A",
        "Aa",
        "1",
        " ",
        "\n",
        "\r",
        "\t",
        " \n",
        "\n ",
        "!",
        "'",
        "'s",
        " '",
        "\xcc\x81",
        "\xe4\xb8\xad",
        "\xe4\xb8\xad"
        "A",
        "\xe3\x80\x80",
        "\xff",
        "a\xff",
        "\x01",
        "\xc2\xa0",
        "\xf0\x9f\x99\x82",
        " !",
        "_a",
        "1 ",
        "/",
    };
    static const char *const more[] = { "default", "falcon", "viking" };
    static const char *const tails[] = { "", "x", " x", "\n", "!" };
    size_t n_cases = sizeof(cases) / sizeof(cases[0]), n = 1 << 16;
    char *text = malloc(n + 8);

    for (size_t i = 0; i < n_cases + 3; i++) {
        struct splitter *s = open_named(i < n_cases ? cases[i].name : more[i - n_cases]);

        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            size_t step = strlen(units[u]), len = 0;

            for (; len + step <= n; len += step)
                memcpy(text + len, units[u], step);
            for (size_t k = 0; k < sizeof(tails) / sizeof(tails[0]); k++) {
                struct pieces p = { 0 };

                memcpy(text + len, tails[k], strlen(tails[k]));
                cr_assert_eq(splitter_run(s, text, len + strlen(tails[k]), on_piece, &p, NULL), 0);
                cr_assert_eq(p.bytes, len + strlen(tails[k]));
            }
        }
        splitter_close(s);
    }
    free(text);
}

Test(split, no_memory_is_an_error_at_every_allocation)
{
    static const struct gguf_str name = { "deepseek-llm", 12 };
    struct splitter *s = NULL;
    struct pieces p = { 0 };
    int n, r = -1;

    for (n = 0; r < 0; n++) {
        mem_fail_after(n);
        r = splitter_open(name, &s, NULL);
        mem_fail_after(-1);
        cr_assert(r == 0 || r == -ENOMEM);
    }
    cr_assert_gt(n, 7);
    mem_fail_after(0);
    r = splitter_run(s, "some text", 9, on_piece, &p, NULL);
    mem_fail_after(-1);
    cr_assert_eq(r, -ENOMEM);
    splitter_close(s);
    splitter_close(NULL);
}
