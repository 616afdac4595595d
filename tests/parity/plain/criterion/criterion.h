/* SPDX-License-Identifier: MIT
 *
 * criterion.h: as much of Criterion as the kernel tests use, in one process and without a library, for machines that
 * are emulated. Tests run in the order of their definition; the output is TAP.
 *
 * To be included by the test programs' own files; plain.c has main.
 */
#ifndef EXPERTD_TESTS_PARITY_PLAIN_CRITERION_H
#define EXPERTD_TESTS_PARITY_PLAIN_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct plain_test {
    const char *suite, *name;
    void (*run)(void);
    struct plain_test *next;
};

void plain_add(struct plain_test *test);
/* Both leave the test. */
void plain_fail(const char *file, int line, const char *what, const char *fmt, ...) __attribute__((noreturn));
void plain_skip(const char *fmt, ...) __attribute__((noreturn));

#define Test(suite_, name_)                                                                  \
    static void plain_##suite_##_##name_(void);                                              \
    static __attribute__((constructor)) void plain_add_##suite_##_##name_(void)              \
    {                                                                                        \
        static struct plain_test test = { #suite_, #name_, plain_##suite_##_##name_, NULL }; \
                                                                                             \
        plain_add(&test);                                                                    \
    }                                                                                        \
    static void plain_##suite_##_##name_(void)

#define cr_assert(condition, ...)                                       \
    do {                                                                \
        if (!(condition))                                               \
            plain_fail(__FILE__, __LINE__, #condition, "" __VA_ARGS__); \
    } while (0)

#define cr_assert_not(condition, ...) cr_assert(!(condition), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), __VA_ARGS__)
#define cr_assert_null(p, ...) cr_assert((p) == NULL, __VA_ARGS__)
#define cr_assert_not_null(p, ...) cr_assert((p) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, bytes, ...) cr_assert(memcmp(a, b, bytes) == 0, __VA_ARGS__)
#define cr_skip_test(...) plain_skip(__VA_ARGS__)

#endif
