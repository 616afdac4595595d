/* SPDX-License-Identifier: MIT */
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *tiny_model_path(const char *name)
{
    static char path[600];
    const char *top = getenv("top_srcdir");

    snprintf(path, sizeof(path), "%s/tests/golden/data/%s.gguf", top != NULL ? top : ".", name);
    return path;
}

char *tiny_model_copy(const char *name)
{
    FILE *in = fopen(tiny_model_path(name), "rb"), *out;
    const char *tmp = getenv("TMPDIR");
    char *path = malloc(600), buffer[1 << 14];
    size_t n;
    int fd;

    snprintf(path, 600, "%s/expertd-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    fd = mkstemp(path);
    cr_assert(in != NULL && fd >= 0, "cannot copy %s", name);
    out = fdopen(fd, "wb");
    while ((n = fread(buffer, 1, sizeof(buffer), in)) > 0)
        cr_assert_eq(fwrite(buffer, 1, n, out), n);
    fclose(in);
    cr_assert_eq(fclose(out), 0);
    return path;
}
