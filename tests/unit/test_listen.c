/* SPDX-License-Identifier: MIT
 *
 * A name that stands for several addresses: the first that can be served on is. What names stand for is the test's own
 * (--wrap).
 */
#include "daemon/listen.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

static struct sockaddr_in addresses[2];
static struct addrinfo list[2];

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **ret_list);
void __wrap_freeaddrinfo(struct addrinfo *first);

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **ret_list)
{
    cr_assert_str_eq(host, "two.example");
    cr_assert_str_eq(port, "0");
    *ret_list = list;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *first)
{
    cr_assert_eq(first, list);
}

static void name_stands_for(const char *first, const char *second)
{
    const char *const texts[] = { first, second };

    for (int i = 0; i < 2; i++) {
        addresses[i] = (struct sockaddr_in){ .sin_family = AF_INET };
        cr_assert_eq(inet_pton(AF_INET, texts[i], &addresses[i].sin_addr), 1);
        list[i] = (struct addrinfo){ .ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM,
                                     .ai_addr = (struct sockaddr *)&addresses[i],
                                     .ai_addrlen = sizeof(addresses[i]),
                                     .ai_next = i == 0 ? &list[1] : NULL };
    }
}

/* 240.0.0.0/4 is reserved: no machine has an address of it. */
Test(listen, an_address_that_this_machine_lacks_is_passed_over)
{
    struct listener listener;
    struct err err = { 0 };
    bool loopback = false;

    name_stands_for("240.0.0.1", "127.0.0.1");
    cr_assert_eq(listen_tcp("two.example:0", &listener, &loopback, &err), 0, "%s", err_text(&err));
    cr_assert(loopback);
    cr_assert_eq(strncmp(listener.name, "http://127.0.0.1:", 17), 0, "%s", listener.name);
    listener_close(&listener);
}

Test(listen, with_none_that_can_be_had_the_first_says_why)
{
    struct listener listener;
    struct err err = { 0 };
    bool loopback;

    name_stands_for("240.0.0.1", "240.0.0.2");
    cr_assert_eq(listen_tcp("two.example:0", &listener, &loopback, &err), -EADDRNOTAVAIL);
    cr_assert_not_null(strstr(err_text(&err), "two.example:0"));
}
