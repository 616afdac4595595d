/* SPDX-License-Identifier: MIT */
#include "compute/gpu_module.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULE_FILE "expertd-cuda.so"
#define DRIVER_FILE "libcuda.so.1" /* what that one needs */

/* What is loaded runs with our rights, so nobody else may have a hand in it. */
static int trust_check(const char *path, const struct stat *st, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, -EACCES, "GPU module '%s' is refused: not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return err_set(err, -EACCES,
                       "GPU module '%s' is refused: it belongs to user %u, neither to root nor to the user who runs "
                       "expertd",
                       path, (unsigned)st->st_uid);
    if ((st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && st->st_gid != 0 && st->st_gid != getegid()))
        return err_set(err, -EACCES, "GPU module '%s' is refused: others may write it (chmod go-w makes it acceptable)",
                       path);
    return 0;
}

static int module_check(const char *path, const struct gpu_module *module, struct err *err)
{
    if (module == NULL || module->magic != GPU_MODULE_MAGIC)
        return err_set(err, -ENOEXEC, "GPU module '%s' is refused: it is no module of expertd", path);
    if (module->abi != GPU_MODULE_ABI || module->layout != GPU_MODULE_LAYOUT)
        return err_set(err, -ENOEXEC,
                       "GPU module '%s' is refused: it was built for another expertd (interface %u.%x, this one has "
                       "%u.%x); build and install both from the same source",
                       path, module->abi, module->layout, GPU_MODULE_ABI, GPU_MODULE_LAYOUT);
    if (module->name == NULL || module->version == NULL || module->count == NULL || module->card == NULL ||
        module->device_bytes == NULL || module->open == NULL)
        return err_set(err, -ENOEXEC, "GPU module '%s' is refused: its table has holes", path);
    return 0;
}

/* The loader names the file by the descriptor that we gave it; the reader knows it by its path. */
static int refuse_load(const char *path, const char *by_fd, struct err *err)
{
    const char *why = dlerror();
    size_t n = strlen(by_fd);

    why = why != NULL ? why : "unknown error";
    if (strncmp(why, by_fd, n) == 0 && strncmp(why + n, ": ", 2) == 0)
        why += n + 2;
    return err_set(err, -ENOEXEC, "GPU module '%s' cannot be loaded: %s", path, why);
}

/* By descriptor, so that what was looked at is what is loaded. */
static int load_fd(const char *path, int fd, const struct gpu_module **ret_module, struct err *err)
{
    const struct gpu_module *module;
    char by_fd[40];
    struct stat st;
    void *handle;
    int r;

    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "GPU module '%s'", path);
    r = trust_check(path, &st, err);
    if (r < 0)
        return r;
    snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d", fd);
    handle = dlopen(by_fd, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return refuse_load(path, by_fd, err);
    module = dlsym(handle, GPU_MODULE_SYMBOL);
    r = module_check(path, module, err);
    if (r < 0) {
        dlclose(handle);
        return r;
    }
    *ret_module = module;
    return 0;
}

static int load(const char *path, const struct gpu_module **ret_module, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;

    if (fd < 0)
        return err_sys(err, errno, "GPU module '%s'", path);
    r = load_fd(path, fd, ret_module, err);
    close(fd);
    return r;
}

/* gpu/ beside the running program: the build tree. */
static bool beside_program(char *path, size_t size)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char *slash;

    if (n <= 0)
        return false;
    program[n] = '\0';
    slash = strrchr(program, '/');
    return slash != NULL && snprintf(path, size, "%.*s/gpu/" MODULE_FILE, (int)(slash - program), program) < (int)size;
}

/* A driver is never unloaded again; the module opens it once more. */
static int load_with_driver(const char *path, const struct gpu_module **ret_module, struct err *err)
{
    if (dlopen(DRIVER_FILE, RTLD_LAZY | RTLD_LOCAL) == NULL)
        return err_set(err, -ENODEV, "no NVIDIA driver is installed (" DRIVER_FILE " was not found)");
    return load(path, ret_module, err);
}

int gpu_module_load(const char *path, const struct gpu_module **ret_module, struct err *err)
{
    const char *installed = PKGLIBDIR "/" MODULE_FILE, *named = path != NULL ? path : getenv("EXPERTD_GPU_MODULE");
    char beside[PATH_MAX + 40];

    if (named != NULL && named[0] != '\0')
        return load(named, ret_module, err);
    if (access(installed, F_OK) == 0)
        return load_with_driver(installed, ret_module, err);
    if (!beside_program(beside, sizeof(beside)))
        snprintf(beside, sizeof(beside), "gpu/" MODULE_FILE);
    if (access(beside, F_OK) == 0)
        return load_with_driver(beside, ret_module, err);
    return err_set(err, -ENOENT, "no GPU module is installed ('%s' and '%s' were looked for)", installed, beside);
}
