/* SPDX-License-Identifier: MIT */
#include "client/endpoint.h"

#include "client/error.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SYSTEM_SOCKET "/run/expertd/expertd.sock"
#define NAME_ENTRY_MOST ((size_t)1 << 20) /* bytes of what the system knows of a user or group */
#define REMEDY_START "start it with 'systemctl start expertd' or 'expertd --model FILE'"

const char *expert_default_address(char *buffer, size_t buffer_bytes)
{
    const char *named = getenv("EXPERTD_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    char own[256] = "";
    int n;

    if (runtime != NULL && runtime[0] == '/')
        snprintf(own, sizeof(own), "%s/expertd.sock", runtime);
    if (named == NULL || named[0] == '\0')
        named = own[0] != '\0' && (access(own, F_OK) == 0 || access(SYSTEM_SOCKET, F_OK) != 0) ? own : SYSTEM_SOCKET;
    n = snprintf(buffer, buffer_bytes, "%s", named);
    return n >= 0 && (size_t)n < buffer_bytes ? buffer : NULL;
}

static int parse_url(struct endpoint *endpoint, const char *url, struct expert_error *error)
{
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    if (n >= sizeof(endpoint->base_url) || strpbrk(url, " \t\r\n") != NULL)
        return error_set(error, EXPERT_ERR_USAGE, "'%.200s' is no URL that can be used", url);
    memcpy(endpoint->base_url, url, n);
    snprintf(endpoint->address, sizeof(endpoint->address), "%s", endpoint->base_url);
    return 0;
}

int endpoint_parse(struct endpoint *endpoint, const char *address, struct expert_error *error)
{
    char standard[sizeof(endpoint->address)];

    memset(endpoint, 0, sizeof(*endpoint));
    if (address == NULL || address[0] == '\0')
        address = expert_default_address(standard, sizeof(standard));
    if (address == NULL)
        return error_set(error, EXPERT_ERR_USAGE, "the address in $EXPERTD_SOCKET is too long");
    if (strncmp(address, "http://", 7) == 0 || strncmp(address, "https://", 8) == 0)
        return parse_url(endpoint, address, error);
    if (strncmp(address, "unix:", 5) == 0)
        address += strncmp(address, "unix://", 7) == 0 ? 7 : 5;
    if (strstr(address, "://") != NULL)
        return error_set(error, EXPERT_ERR_USAGE,
                         "'%.200s': the address is a socket's path, or an http:// or https:// URL", address);
    if (address[0] == '\0')
        return error_set(error, EXPERT_ERR_USAGE, "the socket's path is empty");
    if (strlen(address) > ENDPOINT_SOCKET_PATH_MAX)
        return error_set(error, EXPERT_ERR_USAGE, "the socket path '%.300s' has %zu bytes: Linux allows %d", address,
                         strlen(address), ENDPOINT_SOCKET_PATH_MAX);
    snprintf(endpoint->socket, sizeof(endpoint->socket), "%s", address);
    snprintf(endpoint->address, sizeof(endpoint->address), "%s", address);
    snprintf(endpoint->base_url, sizeof(endpoint->base_url), "http://localhost");
    return 0;
}

/* Thread-safe, unlike getgrgid and getpwuid. `*ret_name`: NULL where there is no such id; else it lies in the buffer.
 */
typedef int (*name_look_up)(unsigned id, char *buffer, size_t bytes, const char **ret_name);

static int look_up_group(unsigned id, char *buffer, size_t bytes, const char **ret_name)
{
    struct group group, *found = NULL;
    int errnum = getgrgid_r(id, &group, buffer, bytes, &found);

    *ret_name = found != NULL ? found->gr_name : NULL;
    return errnum;
}

static int look_up_user(unsigned id, char *buffer, size_t bytes, const char **ret_name)
{
    struct passwd user, *found = NULL;
    int errnum = getpwuid_r(id, &user, buffer, bytes, &found);

    *ret_name = found != NULL ? found->pw_name : NULL;
    return errnum;
}

/* The name of a user or group, or its number. An entry needs room for all members of a group. */
static void name_of(name_look_up look_up, unsigned id, char *out, size_t out_bytes)
{
    int errnum = ERANGE;

    snprintf(out, out_bytes, "%u", id);
    for (size_t bytes = 1024; errnum == ERANGE && bytes <= NAME_ENTRY_MOST; bytes *= 4) {
        char *buffer = malloc(bytes);
        const char *name = NULL;

        errnum = buffer != NULL ? look_up(id, buffer, bytes, &name) : ENOMEM;
        if (errnum == 0 && name != NULL)
            snprintf(out, out_bytes, "%s", name);
        free(buffer);
    }
}

int endpoint_explain_denied(const char *path, const struct stat *st, struct expert_error *error)
{
    char group_name[64], owner_name[64];

    name_of(look_up_group, st->st_gid, group_name, sizeof(group_name));
    name_of(look_up_user, st->st_uid, owner_name, sizeof(owner_name));
    if ((st->st_mode & S_IWGRP) != 0 && st->st_gid != 0)
        return error_set(
            error, EXPERT_ERR_PERMISSION,
            "permission denied on %s: it is for the group '%s'. Join it with 'sudo usermod -aG %s \"$USER\"', then log "
            "in again",
            path, group_name, group_name);
    return error_set(
        error, EXPERT_ERR_PERMISSION,
        "permission denied on %s: it belongs to %s:%s with mode %04o. Run as %s, or have the daemon's socket "
        "opened to a group of yours",
        path, owner_name, group_name, (unsigned)st->st_mode & 07777, owner_name);
}

/* The socket cannot even be looked at: name the directory that stops us. */
static int explain_hidden(const char *path, struct expert_error *error)
{
    char dir[sizeof(((struct endpoint *)NULL)->socket)];

    snprintf(dir, sizeof(dir), "%s", path);
    for (char *slash = dir; (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        if (access(dir, X_OK) < 0)
            break;
        *slash = '/';
    }
    return error_set(error, EXPERT_ERR_PERMISSION,
                     "permission denied on %s: the directory %s may not be entered by this user (uid %u)", path, dir,
                     (unsigned)geteuid());
}

/* What a connection attempt says, as a positive errno; 0 when somebody answers. Never blocks. */
static int connect_errno(const char *path)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), errnum = 0;

    if (fd < 0)
        return errno;
    memcpy(name.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        errnum = errno;
    close(fd);
    return errnum;
}

int endpoint_explain(const struct endpoint *endpoint, const char *reason, struct expert_error *error)
{
    const char *path = endpoint->socket;
    struct stat st;
    int errnum;

    if (path[0] == '\0')
        return error_set(error, EXPERT_ERR_NO_DAEMON,
                         "no daemon answers on %s (%s): is 'expertd --listen HOST:PORT' running?", endpoint->address,
                         reason);
    if (stat(path, &st) < 0) {
        if (errno == EACCES)
            return explain_hidden(path, error);
        return error_set(error, EXPERT_ERR_NO_DAEMON, "no daemon answers on %s: " REMEDY_START, path);
    }
    if (!S_ISSOCK(st.st_mode))
        return error_set(error, EXPERT_ERR_USAGE, "%s is not a socket: give the socket that expertd serves on", path);
    errnum = connect_errno(path);
    if (errnum == EACCES || errnum == EPERM)
        return endpoint_explain_denied(path, &st, error);
    if (errnum == EAGAIN)
        return error_set(error, EXPERT_ERR_BUSY, "the daemon on %s takes no more connections at the moment: try again",
                         path);
    if (errnum == ECONNREFUSED)
        return error_set(error, EXPERT_ERR_NO_DAEMON,
                         "no daemon answers on %s (its socket is there, but nobody listens): " REMEDY_START, path);
    return error_set(error, EXPERT_ERR_NO_DAEMON, "no daemon answers on %s (%s): " REMEDY_START, path, reason);
}
