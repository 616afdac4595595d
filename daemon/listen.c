/* SPDX-License-Identifier: MIT */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define FIRST_PASSED_FD 3

/* Lock the directory that the socket lies in, making it when its parent exists. */
static int directory_lock(const char *path, struct err *err)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const char *dir;
    int fd;

    snprintf(copy, sizeof(copy), "%s", path);
    dir = dirname(copy);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "socket '%s': cannot make the directory (choose another place with --socket)", path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "socket '%s': cannot open the directory", path);
    if (flock(fd, LOCK_EX) < 0) {
        int r = err_sys(err, errno, "socket '%s': cannot lock the directory", path);

        close(fd);
        return r;
    }
    return fd;
}

/* Remove a socket file that nobody answers on. */
static int clear_stale(const struct sockaddr_un *addr, struct err *err)
{
    struct stat st;
    int fd, r;

    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "socket '%s'", addr->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST, "socket '%s': something that is not a socket lies there; it is left alone",
                       addr->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket '%s'", addr->sun_path);
    r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
    close(fd);
    if (r == 0 || r == -EAGAIN)
        return err_set(err, -EADDRINUSE, "socket '%s': another daemon answers there (stop it, or choose --socket)",
                       addr->sun_path);
    if (r != -ECONNREFUSED && r != -ENOENT)
        return err_sys(err, -r, "socket '%s': cannot tell whether somebody answers there", addr->sun_path);
    if (unlink(addr->sun_path) < 0 && errno != ENOENT)
        return err_sys(err, errno, "socket '%s': stale, and cannot be removed", addr->sun_path);
    return 0;
}

static int bind_unix(const struct sockaddr_un *addr, struct listener *l, struct err *err)
{
    struct stat st;
    mode_t mask;
    int r;

    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return err_sys(err, errno, "socket '%s'", addr->sun_path);
    /* The file takes its mode from the socket, less the umask. */
    fchmod(l->fd, 0660);
    mask = umask(0);
    r = bind(l->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
    umask(mask);
    if (r == 0 && (lstat(addr->sun_path, &st) < 0 || listen(l->fd, BACKLOG) < 0))
        r = -errno;
    if (r < 0) {
        close(l->fd);
        return err_sys(err, -r, "socket '%s': cannot be made (choose another place with --socket)", addr->sun_path);
    }
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return 0;
}

int listen_unix(const char *path, struct listener *ret_listener, struct err *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct listener l = { .fd = -1, .local = true };
    size_t len = strlen(path);
    int dir, r;

    if (len >= sizeof(addr.sun_path))
        return err_set(err, -ENAMETOOLONG, "socket '%s': the path has %zu bytes, a Unix socket takes at most %zu", path,
                       len, sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, len);
    snprintf(l.name, sizeof(l.name), "%s", path);
    dir = directory_lock(path, err);
    if (dir < 0)
        return dir;
    r = clear_stale(&addr, err);
    if (r == 0)
        r = bind_unix(&addr, &l, err);
    close(dir);
    if (r == 0)
        *ret_listener = l;
    return r;
}

static bool is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 == 127;
    return addr->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
}

static int split_address(const char *address, char *host, size_t host_cap, const char **ret_port, struct err *err)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    char *end;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

    if (!colon || !n || n >= host_cap || !colon[1] || *end || port > 65535)
        return err_set(err, -EINVAL, "listen '%s': HOST:PORT is needed, like 127.0.0.1:8080 or [::1]:8080", address);
    if (address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    memcpy(host, address, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return 0;
}

/* The address with the port that the kernel gave, for log lines and for port 0. */
static void name_tcp(struct listener *l)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char host[64], port[8];

    if (getsockname(l->fd, (struct sockaddr *)&addr, &len) == 0 &&
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(l->name, sizeof(l->name), strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s", host, port);
}

static int bind_tcp(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, errnum;

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    errnum = errno;
    close(fd);
    return -errnum;
}

int listen_tcp(const char *address, struct listener *ret_listener, bool *ret_loopback, struct err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list, *at;
    struct listener l = { .fd = -1 };
    char host[256];
    const char *port = NULL;
    int r = split_address(address, host, sizeof(host), &port, err), first = 0;

    if (r < 0)
        return r;
    r = getaddrinfo(host, port, &hints, &list);
    if (r != 0)
        return err_set(err, -EADDRNOTAVAIL, "listen '%s': %s", address, gai_strerror(r));
    for (at = list; at && (l.fd = bind_tcp(at)) < 0; at = at->ai_next)
        first = first < 0 ? first : l.fd;
    if (!at) {
        r = err_sys(err, -first, "listen '%s'", address);
    } else {
        *ret_loopback = is_loopback(at->ai_addr);
        name_tcp(&l);
        *ret_listener = l;
    }
    freeaddrinfo(list);
    return r;
}

static int get_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static int take_passed(int fd, struct listener *l, struct err *err)
{
    int family = get_option(fd, SO_DOMAIN), flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return err_sys(err, errno, "socket activation: descriptor %d", fd);
    if (get_option(fd, SO_TYPE) != SOCK_STREAM || get_option(fd, SO_ACCEPTCONN) != 1 ||
        (family != AF_UNIX && family != AF_INET && family != AF_INET6))
        return err_set(
            err, -EINVAL,
            "socket activation: descriptor %d is not a listening stream socket (ListenStream= with Accept=no "
            "is needed in the .socket unit)",
            fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_sys(err, errno, "socket activation: descriptor %d", fd);
    *l = (struct listener){ .fd = fd, .passed = true, .local = family == AF_UNIX };
    snprintf(l->name, sizeof(l->name), "passed socket %d", fd);
    if (family != AF_UNIX) {
        name_tcp(l);
    } else {
        struct sockaddr_un addr = { 0 };
        socklen_t len = sizeof(addr);

        if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0 && addr.sun_path[0])
            snprintf(l->name, sizeof(l->name), "%.*s", (int)sizeof(addr.sun_path), addr.sun_path);
    }
    return 0;
}

int listen_passed(struct listener *ret_listeners, size_t max, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    long n = pid && fds && strtoll(pid, NULL, 10) == getpid() ? strtol(fds, NULL, 10) : 0;

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (n < 0 || (size_t)n > max)
        return err_set(err, -EINVAL, "socket activation: %ld sockets passed, at most %zu are served", n, max);
    for (long i = 0; i < n; i++) {
        int r = take_passed(FIRST_PASSED_FD + (int)i, &ret_listeners[i], err);

        if (r < 0)
            return r;
    }
    return (int)n;
}

void listener_close(struct listener *listener)
{
    struct stat st;

    if (listener->fd < 0)
        return;
    if (listener->local && !listener->passed && lstat(listener->name, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino)
        unlink(listener->name);
    close(listener->fd);
    listener->fd = -1;
}
