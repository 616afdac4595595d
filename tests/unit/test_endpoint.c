/* SPDX-License-Identifier: MIT */
#include "client/endpoint.h"
#include "client/error.h"
#include "client/reply.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

Test(endpoint, forms_of_an_address)
{
    static const struct {
        const char *address, *socket, *base_url;
    } good[] = {
        { "/run/x.sock", "/run/x.sock", "http://localhost" },
        { "x.sock", "x.sock", "http://localhost" },
        { "unix:/run/x.sock", "/run/x.sock", "http://localhost" },
        { "unix:///run/x.sock", "/run/x.sock", "http://localhost" },
        { "http://h:80/", "", "http://h:80" },
        { "https://h/api//", "", "https://h/api" },
    };
    struct endpoint endpoint;
    struct expert_error error;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(endpoint_parse(&endpoint, good[i].address, &error), 0, "%s", error.text);
        cr_assert_str_eq(endpoint.socket, good[i].socket);
        cr_assert_str_eq(endpoint.base_url, good[i].base_url);
    }
}

Test(endpoint, addresses_that_are_none)
{
    static const char *const bad[] = { "unix:", "ftp://x", "http://a b", "http://a\r\nX: y" };
    char path[109], url[600] = "http://";
    struct endpoint endpoint;
    struct expert_error error;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(endpoint_parse(&endpoint, bad[i], &error), EXPERT_ERR_USAGE, "%s", bad[i]);
    memset(path, 'x', 108);
    path[108] = '\0';
    cr_assert_eq(endpoint_parse(&endpoint, path, &error), EXPERT_ERR_USAGE);
    path[107] = '\0';
    cr_assert_eq(endpoint_parse(&endpoint, path, &error), 0, "107 bytes fit");
    memset(url + 7, 'x', sizeof(url) - 8);
    cr_assert_eq(endpoint_parse(&endpoint, url, &error), EXPERT_ERR_USAGE);
}

Test(endpoint, the_default_address)
{
    char buffer[300];

    setenv("EXPERTD_SOCKET", "/a/b", 1);
    cr_assert_str_eq(expert_default_address(buffer, sizeof(buffer)), "/a/b");
    cr_assert_null(expert_default_address(buffer, 4));
    cr_assert_not_null(expert_default_address(buffer, 5));
    setenv("EXPERTD_SOCKET", "", 1);
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    cr_assert_str_eq(expert_default_address(buffer, sizeof(buffer)), "/run/expertd/expertd.sock");
}

/* The system's users and groups, of which it knows one each. */
#define ID_NAMED 70u
static size_t entry_bytes; /* what it wants to have room for */
static size_t room_given;  /* the most it was offered */

int __wrap_getgrgid_r(gid_t gid, struct group *group, char *buffer, size_t bytes, struct group **ret_group);
int __wrap_getpwuid_r(uid_t uid, struct passwd *user, char *buffer, size_t bytes, struct passwd **ret_user);

int __wrap_getgrgid_r(gid_t gid, struct group *group, char *buffer, size_t bytes, struct group **ret_group)
{
    *ret_group = NULL;
    room_given = bytes > room_given ? bytes : room_given;
    if (bytes < entry_bytes)
        return ERANGE;
    if (gid == ID_NAMED) {
        group->gr_name = strcpy(buffer + bytes - 12, "model-folk"); /* far behind in it, as after many members */
        *ret_group = group;
    }
    return 0;
}

int __wrap_getpwuid_r(uid_t uid, struct passwd *user, char *buffer, size_t bytes, struct passwd **ret_user)
{
    *ret_user = NULL;
    room_given = bytes > room_given ? bytes : room_given;
    if (bytes < entry_bytes)
        return ERANGE;
    if (uid == ID_NAMED) {
        user->pw_name = strcpy(buffer, "keeper");
        *ret_user = user;
    }
    return 0;
}

static const char *denied(uid_t uid, gid_t gid, mode_t mode)
{
    static struct expert_error error;
    struct stat st = { .st_mode = S_IFSOCK | mode, .st_uid = uid, .st_gid = gid };

    cr_assert_eq(endpoint_explain_denied("/run/s", &st, &error), EXPERT_ERR_PERMISSION);
    return error.text;
}

Test(endpoint, names_are_looked_up_with_as_much_room_as_they_need)
{
    for (entry_bytes = 16; entry_bytes <= 1 << 20; entry_bytes *= 4) {
        const char *text = denied(0, ID_NAMED, 0660);

        cr_assert_not_null(strstr(text, "for the group 'model-folk'"), "%zu: %s", entry_bytes, text);
        cr_assert_not_null(strstr(text, "usermod -aG model-folk"), "%zu: %s", entry_bytes, text);
        text = denied(ID_NAMED, ID_NAMED, 0600);
        cr_assert_not_null(strstr(text, "keeper:model-folk with mode 0600. Run as keeper"), "%zu: %s", entry_bytes,
                           text);
    }
}

Test(endpoint, names_that_never_fit_are_numbers)
{
    entry_bytes = SIZE_MAX;
    cr_assert_not_null(strstr(denied(0, ID_NAMED, 0660), "usermod -aG 70"));
    cr_assert_not_null(strstr(denied(ID_NAMED, ID_NAMED, 0600), "70:70 with mode 0600"));
    cr_assert_eq(room_given, 1 << 20);
}

Test(endpoint, who_a_refusing_socket_is_for)
{
    struct stat for_group = { .st_mode = S_IFSOCK | 0660, .st_uid = 0, .st_gid = 4000000 };
    struct stat for_owner = { .st_mode = S_IFSOCK | 0600, .st_uid = ID_NAMED, .st_gid = 4000000 };
    struct expert_error error;

    cr_assert_eq(endpoint_explain_denied("/run/s", &for_group, &error), EXPERT_ERR_PERMISSION);
    cr_assert_not_null(strstr(error.text, "usermod -aG 4000000"), "%s", error.text);
    cr_assert_eq(endpoint_explain_denied("/run/s", &for_owner, &error), EXPERT_ERR_PERMISSION);
    cr_assert_not_null(strstr(error.text, "keeper:4000000 with mode 0600"), "%s", error.text);
}

Test(endpoint, quotes_are_printable_and_whole)
{
    char buffer[8];

    cr_assert_str_eq(error_quote(buffer, sizeof(buffer),
                                 "a\x1b\n\x7f"
                                 "b",
                                 5),
                     "a???b");
    cr_assert_str_eq(error_quote(buffer, sizeof(buffer), "abcdefgh", 8), "abcdefg");
    cr_assert_str_eq(error_quote(buffer, sizeof(buffer), "abcdef\xc3\xbc", 8), "abcdef", "no half characters");
    cr_assert_str_eq(error_quote(buffer, sizeof(buffer),
                                 "a\xc2\x9b"
                                 "b",
                                 4),
                     "a??b");
    cr_assert_str_eq(error_quote(buffer, sizeof(buffer), "", 0), "");
    cr_assert_str_eq(error_quote(buffer, 1, "abc", 3), "");
}

static int explain(int status, const char *body, struct expert_error *error)
{
    int r = reply_error(status, body, strlen(body), error);

    cr_assert_eq(error->code, r);
    cr_assert_eq(error->http_status, status);
    cr_assert_eq(reply_error(status, body, strlen(body), NULL), r);
    return r;
}

Test(reply, kinds_of_errors)
{
    struct expert_error error;

    cr_assert_eq(explain(400, "{\"error\":{\"message\":\"no\",\"param\":\"top_p\",\"type\":\"t\"}}", &error),
                 EXPERT_ERR_SERVER);
    cr_assert_str_eq(error.text, "no");
    cr_assert_str_eq(error.param, "top_p");
    cr_assert_str_eq(error.type, "t");
    cr_assert_eq(explain(404, "{\"error\":{\"message\":\"no\"}}", &error), EXPERT_ERR_NOT_FOUND);
    cr_assert_eq(explain(429, "{\"error\":{\"message\":\"no\"}}", &error), EXPERT_ERR_BUSY);
    cr_assert_eq(explain(503, "{\"status\":\"loading\",\"progress\":0.5}", &error), EXPERT_ERR_LOADING);
    cr_assert_eq(error.progress, 0.5);
    cr_assert_eq(explain(503, "{\"error\":{\"message\":\"x\",\"code\":\"loading_model\"}}", &error),
                 EXPERT_ERR_LOADING);
    cr_assert_lt(error.progress, 0);
    cr_assert_eq(explain(500, "<html>", &error), EXPERT_ERR_SERVER);
    cr_assert_not_null(strstr(error.text, "<html>"));
    cr_assert_eq(explain(500, "", &error), EXPERT_ERR_SERVER);
    cr_assert_eq(explain(500, "{\"error\":null}", &error), EXPERT_ERR_SERVER);
    cr_assert_eq(explain(500, "{\"error\":\"words\"}", &error), EXPERT_ERR_SERVER);
    cr_assert_str_eq(error.text, "words");
}

Test(reply, long_messages_are_cut)
{
    char body[3000] = "{\"error\":{\"message\":\"";
    struct expert_error error;

    memset(body + strlen(body), 'x', 2500);
    strcat(body, "\"}}");
    cr_assert_eq(explain(400, body, &error), EXPERT_ERR_SERVER);
    cr_assert_gt(strlen(error.text), 500);
}
