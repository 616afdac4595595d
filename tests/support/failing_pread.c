/* SPDX-License-Identifier: MIT
 *
 * A library to preload: pread fails with EIO for files whose path ends in the words that the file named by
 * $FAILING_PREAD holds, as long as that file is there. A drive that dies, for tests of the whole daemon.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t pread64(int fd, void *buffer, size_t bytes, off_t offset);

static bool is_dead(int fd)
{
    const char *list = getenv("FAILING_PREAD");
    char words[PATH_MAX] = "", link[40], path[PATH_MAX];
    int list_fd = list != NULL ? open(list, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n, n_words;

    if (list_fd < 0)
        return false;
    n_words = read(list_fd, words, sizeof(words) - 1);
    close(list_fd);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path));
    return n_words > 0 && n >= n_words && memcmp(path + n - n_words, words, (size_t)n_words) == 0;
}

ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    static ssize_t (*real)(int, void *, size_t, off_t);

    if (real == NULL)
        real = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    if (is_dead(fd)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, bytes, offset);
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off_t offset)
{
    return pread(fd, buffer, bytes, offset);
}
