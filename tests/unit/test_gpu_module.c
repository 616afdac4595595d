/* SPDX-License-Identifier: MIT
 *
 * What may be loaded as a GPU module, and how the rest is refused: by the file's name, with the reason.
 */
#include "compute/gpu_module.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[300];

static void file_write(const void *data, size_t n, mode_t mode)
{
    FILE *f;

    snprintf(path, sizeof(path), "/tmp/expertd-module-XXXXXX");
    close(mkstemp(path));
    f = fopen(path, "w");
    cr_assert_eq(fwrite(data, 1, n, f), n);
    fclose(f);
    cr_assert_eq(chmod(path, mode), 0);
}

/* Refused with this code, by its name, and with these words. */
static void refused(const char *file, int code, const char *words)
{
    const struct gpu_module *module = NULL;
    struct err err = { 0 };

    cr_expect_eq(gpu_module_load(file, &module, &err), code, "%s", err_text(&err));
    cr_expect_null(module);
    cr_expect_not_null(strstr(err_text(&err), file), "%s", err_text(&err));
    cr_expect_not_null(strstr(err_text(&err), words), "%s", err_text(&err));
}

Test(gpu_module, a_file_that_is_not_there)
{
    refused("/nonexistent/expertd-cuda.so", -ENOENT, "No such file");
}

Test(gpu_module, what_is_no_shared_object)
{
    char cut[200] = "\177ELF\2\1\1";

    file_write("hello", 5, 0644);
    refused(path, -ENOEXEC, "cannot be loaded: file too short");
    unlink(path);
    file_write(cut, sizeof(cut), 0644);
    refused(path, -ENOEXEC, "cannot be loaded");
    unlink(path);
    refused("/tmp", -EACCES, "not a regular file");
    refused("/dev/null", -EACCES, "not a regular file");
}

Test(gpu_module, what_others_may_write)
{
    file_write("hello", 5, 0666);
    refused(path, -EACCES, "others may write it");
    unlink(path);
}

Test(gpu_module, what_belongs_to_somebody_else)
{
    file_write("hello", 5, 0644);
    if (geteuid() != 0 || chown(path, 12345, (gid_t)-1) != 0) {
        unlink(path);
        cr_skip_test("skipped: only root can give files away");
    }
    refused(path, -EACCES, "belongs to user 12345");
    unlink(path);
}

/* A shared object, but not ours: libm has no such symbol. */
Test(gpu_module, a_library_that_is_no_module)
{
    static const char *const places[] = { "/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6",
                                          "/lib/aarch64-linux-gnu/libm.so.6", "/usr/lib/libm.so.6" };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], R_OK) == 0) {
            refused(places[i], -ENOEXEC, "no module of expertd");
            return;
        }
    cr_skip_test("skipped: no libm.so.6 where it usually is");
}

Test(gpu_module, a_module_of_another_build)
{
    char file[400];

    snprintf(file, sizeof(file), "%s/tests/support/.libs/module_bad.so", getenv("top_builddir"));
    refused(file, -ENOEXEC, "built for another expertd");
}

Test(gpu_module, the_environment_names_one)
{
    const struct gpu_module *module;
    struct err err = { 0 };

    setenv("EXPERTD_GPU_MODULE", "/nonexistent/mine.so", 1);
    cr_expect_eq(gpu_module_load(NULL, &module, &err), -ENOENT);
    cr_expect_not_null(strstr(err_text(&err), "/nonexistent/mine.so"), "%s", err_text(&err));
}
