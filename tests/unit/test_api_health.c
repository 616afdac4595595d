/* SPDX-License-Identifier: MIT
 *
 * What GET /health says of an engine that goes silent. The engine's silence and the HTTP server are the test's own
 * (--wrap): nobody waits two minutes for the real thing.
 */
#include "daemon/api.h"
#include "daemon/engine.h"

#include <criterion/criterion.h>
#include <string.h>

static uint64_t silent_ns;
static int status;
static char body[256], extra_field[64];

uint64_t __wrap_engine_silent_ns(struct engine *engine);
const char *__wrap_http_method(const struct http_request *req);
const char *__wrap_http_path(const struct http_request *req);
void __wrap_http_reply(struct http_request *req, int code, const char *type, const char *extra, const void *data,
                       size_t len);

uint64_t __wrap_engine_silent_ns(struct engine *engine)
{
    return silent_ns;
}

const char *__wrap_http_method(const struct http_request *req)
{
    return "GET";
}

const char *__wrap_http_path(const struct http_request *req)
{
    return "/health";
}

void __wrap_http_reply(struct http_request *req, int code, const char *type, const char *extra, const void *data,
                       size_t len)
{
    status = code;
    cr_assert_lt(len, sizeof(body));
    memcpy(body, data, len);
    body[len] = '\0';
    snprintf(extra_field, sizeof(extra_field), "%s", extra ? extra : "");
}

static void ask(struct api *api)
{
    status = 0;
    api_on_request(api, NULL);
}

Test(api_health, an_engine_that_is_silent_in_the_midst_of_work_is_stuck)
{
    static struct api api = { .ready = true };

    silent_ns = API_STUCK_NS;
    ask(&api);
    cr_assert_eq(status, 200, "slow is not stuck");
    cr_assert_str_eq(body, "{\"status\":\"ok\"}\n");
    silent_ns = API_STUCK_NS + 5000000000u;
    ask(&api);
    cr_assert_eq(status, 503);
    cr_assert_str_eq(body, "{\"status\":\"stuck\",\"silent_s\":125}\n");
    cr_assert_str_eq(extra_field, "Retry-After: 5");
    silent_ns = 0; /* it goes on */
    ask(&api);
    cr_assert_eq(status, 200);
}

Test(api_health, who_is_on_the_way_out_says_so_first)
{
    static struct api api = { .ready = true, .draining = true };

    silent_ns = API_STUCK_NS * 2;
    ask(&api);
    cr_assert_eq(status, 503);
    cr_assert_str_eq(body, "{\"status\":\"draining\"}\n");
}
