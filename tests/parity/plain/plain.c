/* SPDX-License-Identifier: MIT
 *
 * plain.c: runs the tests that plain/criterion/criterion.h has collected. An argument is a part of the names to run.
 */
#include <criterion/criterion.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

enum outcome { PASSED, FAILED, SKIPPED };

static struct plain_test *first, **end = &first;
static jmp_buf leave;

void plain_add(struct plain_test *test)
{
    *end = test;
    end = &test->next;
}

void plain_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list args;

    printf("# %s:%d: %s: ", file, line, what);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    longjmp(leave, FAILED);
}

void plain_skip(const char *fmt, ...)
{
    va_list args;

    printf("# ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    longjmp(leave, SKIPPED);
}

static enum outcome run(const struct plain_test *test)
{
    enum outcome outcome = setjmp(leave);

    if (outcome == PASSED)
        test->run();
    return outcome;
}

int main(int argc, char **argv)
{
    unsigned n = 0, n_failed = 0;

    for (const struct plain_test *test = first; test != NULL; test = test->next) {
        char name[128];
        enum outcome outcome;

        snprintf(name, sizeof(name), "%s::%s", test->suite, test->name);
        if (argc > 1 && strstr(name, argv[1]) == NULL)
            continue;
        outcome = run(test);
        n_failed += outcome == FAILED;
        printf("%s %u - %s%s\n", outcome == FAILED ? "not ok" : "ok", ++n, name, outcome == SKIPPED ? " # SKIP" : "");
        fflush(stdout);
    }
    printf("1..%u\n", n);
    return n_failed > 0;
}
