/* SPDX-License-Identifier: MIT */
#include "client/expert.h"
#include "client/request.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct expert_message talk[] = { { "system", "Be \"kind\"." }, { "user", "Grüße\n" } };

static void expect(const struct expert_request *request, const char *wanted)
{
    struct expert_error error = { 0 };
    char *body = NULL;

    cr_assert_eq(request_build(request, &body, &error), 0, "%s", error.text);
    cr_assert_str_eq(body, wanted);
    free(body);
}

static void expect_refused(const struct expert_request *request, const char *words)
{
    struct expert_error error = { 0 };
    char *body = (char *)"untouched";

    cr_assert_eq(request_build(request, &body, &error), EXPERT_ERR_USAGE);
    cr_assert_str_eq(body, "untouched");
    cr_assert_not_null(strstr(error.text, words), "%s", error.text);
    cr_assert_eq(request_build(request, &body, NULL), EXPERT_ERR_USAGE);
}

Test(request, unset_options_are_left_out)
{
    struct expert_request request;

    expert_request_init(&request);
    request.prompt = "Once";
    cr_assert_str_eq(request_path(&request), "/v1/completions");
    expect(&request, "{\"prompt\":\"Once\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

Test(request, a_chat)
{
    struct expert_request request;

    expert_request_init(&request);
    request.messages = talk;
    request.n_messages = 2;
    cr_assert_str_eq(request_path(&request), "/v1/chat/completions");
    expect(&request,
           "{\"messages\":[{\"role\":\"system\",\"content\":\"Be \\\"kind\\\".\"},{\"role\":\"user\",\"content\":"
           "\"Grüße\\n\"}],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

Test(request, every_option)
{
    static const char *const stop[] = { "a", "" };
    struct expert_request request;

    expert_request_init(&request);
    request.prompt = "x";
    request.model = "m";
    request.max_tokens = 0;
    request.seed = -1;
    request.top_k = INT64_MAX;
    request.temperature = 0;
    request.top_p = 1;
    request.min_p = 0.5;
    request.repeat_penalty = 1.5;
    request.presence_penalty = -2;
    request.frequency_penalty = 0.25;
    request.stop = stop;
    request.n_stop = 2;
    request.ignore_eos = true;
    expect(&request, "{\"model\":\"m\",\"prompt\":\"x\",\"max_tokens\":0,\"seed\":-1,\"top_k\":9223372036854775807,"
                     "\"temperature\":0.0,\"top_p\":1.0,\"min_p\":0.5,\"repeat_penalty\":1.5,\"presence_penalty\":-2.0,"
                     "\"frequency_penalty\":0.25,\"ignore_eos\":true,\"stop\":[\"a\",\"\"],\"stream\":true,"
                     "\"stream_options\":{\"include_usage\":true}}");
}

Test(request, one_of_messages_and_prompt)
{
    struct expert_request request;

    expert_request_init(&request);
    expect_refused(&request, "needs messages or a prompt");
    request.prompt = "x";
    request.messages = talk;
    request.n_messages = 2;
    expect_refused(&request, "not both");
}

Test(request, what_is_no_text_is_refused_by_name)
{
    static const struct expert_message no_content[] = { { "user", NULL } }, no_role[] = { { NULL, "x" } };
    static const struct expert_message latin[] = { { "user", "caf\xe9" } };
    static const char *const stop[] = { "good", "\xff" };
    struct expert_request request;

    expert_request_init(&request);
    request.n_messages = 1;
    request.messages = no_content;
    expect_refused(&request, "content is missing");
    request.messages = no_role;
    expect_refused(&request, "role is missing");
    request.messages = latin;
    expect_refused(&request, "content is not valid UTF-8");
    request.messages = talk;
    request.model = "\xc0\xaf";
    expect_refused(&request, "model is not valid UTF-8");
    request.model = NULL;
    request.stop = stop;
    request.n_stop = 2;
    expect_refused(&request, "stop is not valid UTF-8");
}

Test(request, infinity_is_no_option)
{
    struct expert_request request;

    expert_request_init(&request);
    request.prompt = "x";
    request.top_p = INFINITY;
    expect_refused(&request, "top_p is not a finite number");
}
