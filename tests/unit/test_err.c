/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(err, set_returns_code_and_text)
{
    struct err err = { 0 };

    cr_assert_eq(err_set(&err, ERR_FORMAT, "tensor '%s': bad", "x"), ERR_FORMAT);
    cr_assert_str_eq(err_text(&err), "tensor 'x': bad");
    cr_assert_eq(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

Test(err, sys_names_the_errno)
{
    struct err err = { 0 };

    cr_assert_eq(err_sys(&err, ENOENT, "open '%s'", "a.gguf"), -ENOENT);
    cr_assert_str_eq(err_text(&err), "open 'a.gguf': No such file or directory");
}

Test(err, wrap_puts_context_in_front)
{
    struct err err = { 0 };

    err_set(&err, ERR_FORMAT, "offset beyond end of file");
    cr_assert_eq(err_wrap(&err, "tensor '%s'", "t"), ERR_FORMAT);
    cr_assert_eq(err_wrap(&err, "model '%s'", "m"), ERR_FORMAT);
    cr_assert_str_eq(err_text(&err), "model 'm': tensor 't': offset beyond end of file");
}

Test(err, long_texts_are_cut_not_overrun)
{
    struct err err = { 0 };
    char huge[2000];

    memset(huge, 'a', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    err_set(&err, -EIO, "%s", huge);
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    err_wrap(&err, "context");
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    cr_assert_eq(strncmp(err.text, "context: aaa", 12), 0);
    err_wrap(&err, "%s", huge);
    cr_assert_eq(strncmp(err.text, "context: aaa", 12), 0, "context that cannot fit is left out");
}

Test(err, names)
{
    cr_assert_str_eq(err_name(ERR_CHECKSUM), "checksum mismatch");
    cr_assert_str_eq(err_name(-EIO), "Input/output error");
    cr_assert_str_eq(err_name(-99999), "unknown error");
}
