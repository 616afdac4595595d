/* SPDX-License-Identifier: MIT
 *
 * A stream that there is no memory for breaks off: its reader must never take a part of an answer for the whole. The
 * HTTP server is the test's own (--wrap).
 */
#include "daemon/answer.h"
#include "daemon/api.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static bool aborted, over;
static char written[4096];

void __wrap_http_abort(struct http_request *req);
bool __wrap_http_stream_write(struct http_request *req, const void *data, size_t len);
void __wrap_http_stream_end(struct http_request *req);

void __wrap_http_abort(struct http_request *req)
{
    aborted = true;
}

bool __wrap_http_stream_write(struct http_request *req, const void *data, size_t len)
{
    size_t n = strlen(written);

    if (!aborted && n + len < sizeof(written)) {
        memcpy(written + n, data, len);
        written[n + len] = '\0';
    }
    return true;
}

void __wrap_http_stream_end(struct http_request *req)
{
    over = true;
}

static struct service service = { .name = "tiny" };
static struct api api = { .service = &service, .n_inflight = 1 };
static struct answer *answer;

/* As it is after its start; the pool has `bytes` left for it. */
static void begin(size_t bytes)
{
    static struct answer a;

    api.loop = uv_default_loop();
    api.answer_bytes = (struct jbuf_pool){ .used = 1000000, .max = 1000000 + bytes };
    a = (struct answer){ .api = &api,
                         .req = (struct http_request *)&a, /* never looked into */
                         .job = job_new(),
                         .kind = API_CHAT,
                         .state = ANSWER_SUBMITTED,
                         .stream = true,
                         .streaming = true };
    a.text.pool = a.out.pool = &api.answer_bytes;
    answer = &a;
}

static void tell(enum event_kind kind, const char *text)
{
    static struct engine_event event;

    event = (struct engine_event){ .kind = kind, .job = job_ref(answer->job), .finish = FINISH_STOP };
    event.text_len = (uint32_t)snprintf(event.text, sizeof(event.text), "%s", text);
    answer_event(answer, &event);
}

Test(answer, a_stream_brings_its_text)
{
    begin(4096);
    tell(EVENT_TOKEN, "once");
    tell(EVENT_TOKEN, " upon");
    tell(EVENT_DONE, "");
    cr_assert(over && !aborted);
    cr_assert_not_null(strstr(written, "once"));
    cr_assert_not_null(strstr(written, " upon"));
    cr_assert_not_null(strstr(written, "[DONE]"));
}

Test(answer, a_stream_whose_text_cannot_be_kept_breaks_off)
{
    begin(0);
    tell(EVENT_TOKEN, "once");
    cr_assert(aborted, "at once, not at its end");
    tell(EVENT_DONE, "");
    cr_assert_str_empty(written);
}

/* Room for a text, and none for what is to be sent. */
Test(answer, a_stream_whose_chunk_cannot_be_kept_breaks_off)
{
    begin(256);
    tell(EVENT_TOKEN, "once");
    cr_assert(aborted);
}
