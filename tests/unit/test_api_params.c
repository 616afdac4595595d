/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "daemon/api_params.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const struct api_limits limits = { .n_vocab = 1000, .names = { "tiny", "Tiny Model" } };
static struct api_request request;
static struct api_error error;

static int parse(enum api_kind kind, const char *body)
{
    return api_params_parse(kind, body, strlen(body), &limits, &request, &error);
}

static void refused(enum api_kind kind, const char *body, const char *param)
{
    cr_assert_lt(parse(kind, body), 0, "accepted: %s", body);
    cr_assert_str_eq(error.param, param, "%s: '%s' is blamed, '%s'", body, error.param, error.message);
    cr_assert_gt(strlen(error.message), 0);
    cr_assert_geq(error.status, 400);
}

Test(api_params, a_chat)
{
    cr_assert_eq(parse(API_CHAT,
                       "{\"messages\":[{\"role\":\"system\",\"content\":\"be\\u0000brief\"},"
                       "{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"content\":["
                       "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}],"
                       "\"max_completion_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"),
                 0, "%s", error.message);
    cr_assert(request.job->chat && request.job->stream && request.include_usage);
    cr_assert_eq(request.job->n_messages, 3);
    cr_assert_eq(request.job->messages[0].content_len, 8, "a NUL within");
    cr_assert_arr_eq(request.job->messages[0].content, "be\0brief", 9, "and what is behind it");
    cr_assert_eq(request.job->messages[1].content_len, 0);
    cr_assert_str_eq(request.job->messages[2].content, "ab");
    cr_assert_eq(request.job->max_tokens, 9);
    cr_assert_eq(request.job->n_logprobs, -1);
    job_unref(request.job);
}

Test(api_params, a_completion)
{
    cr_assert_eq(parse(API_TEXT,
                       "{\"prompt\":[[1,2,999]],\"max_tokens\":0,\"echo\":true,\"logprobs\":5,\"stop\":\"x\","
                       "\"temperature\":0,\"top_k\":-1,\"seed\":-7,\"logit_bias\":{\"5\":-100},\"ignore_eos\":true,"
                       "\"model\":\"Tiny Model\",\"unheard\":{\"of\":[]},\"repeat_penalty\":1.5}"),
                 0, "%s", error.message);
    cr_assert_eq(request.job->prompt.n, 3);
    cr_assert_eq(request.job->prompt.v[2], 999);
    cr_assert_eq(request.job->max_tokens, 0);
    cr_assert(request.job->echo && request.job->ignore_eos);
    cr_assert_eq(request.job->n_logprobs, 5);
    cr_assert_eq(request.job->n_stops, 1);
    cr_assert_eq(request.job->sampling.temperature, 0);
    cr_assert_eq(request.job->sampling.top_k, 0, "-1 is off");
    cr_assert_eq(request.job->sampling.seed, (uint64_t)-7);
    cr_assert_eq(request.job->sampling.n_bias, 1);
    cr_assert_float_eq(request.job->sampling.repetition_penalty, 1.5f, 1e-9);
    job_unref(request.job);
}

Test(api_params, a_text_is_not_over_at_a_NUL)
{
    cr_assert_eq(parse(API_TEXT, "{\"prompt\":\"a\\u0000bc\",\"stop\":[\"\\u0000\",\"d\\u0000e\"]}"), 0, "%s",
                 error.message);
    cr_assert_eq(request.job->text_len, 4);
    cr_assert_arr_eq(request.job->text, "a\0bc", 5);
    cr_assert_eq(request.job->n_stops, 2);
    cr_assert_eq(request.job->stop_texts[0].len, 1);
    cr_assert_eq(request.job->stop_texts[1].len, 3);
    cr_assert_arr_eq(request.job->stop_texts[1].p, "d\0e", 4);
    job_unref(request.job);
}

Test(api_params, without_a_seed_each_request_has_its_own)
{
    uint64_t first;

    cr_assert_eq(parse(API_TEXT, "{\"prompt\":\"a\"}"), 0);
    first = request.job->sampling.seed;
    cr_assert_eq(request.job->max_tokens, UINT32_MAX);
    job_unref(request.job);
    cr_assert_eq(parse(API_TEXT, "{\"prompt\":\"a\"}"), 0);
    cr_assert_neq(request.job->sampling.seed, first);
    job_unref(request.job);
}

Test(api_params, limits_are_inclusive)
{
    static const char *const good[] = {
        "{\"prompt\":\"a\",\"temperature\":2}",
        "{\"prompt\":\"a\",\"top_p\":0}",
        "{\"prompt\":\"a\",\"top_p\":1.0}",
        "{\"prompt\":\"a\",\"presence_penalty\":-2}",
        "{\"prompt\":\"a\",\"logprobs\":20}",
        "{\"prompt\":\"a\",\"logprobs\":0}",
        "{\"prompt\":\"a\",\"stop\":[]}",
        "{\"prompt\":\"a\",\"logit_bias\":{\"0\":100,\"999\":-100}}",
        "{\"prompt\":\"a\",\"max_tokens\":5.0}",
        "{\"prompt\":\"a\",\"model\":\"default\"}",
        "{\"prompt\":\"a\",\"model\":\"\"}",
        "{\"prompt\":\"a\",\"n\":1,\"best_of\":1,\"suffix\":\"\"}",
        "{\"prompt\":[\"one\"]}",
        "{\"prompt\":\"a\",\"tools\":[]}",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert_eq(parse(API_TEXT, good[i]), 0, "%s: %s", good[i], error.message);
        job_unref(request.job);
    }
}

Test(api_params, wrong_ones_are_refused_by_name)
{
    refused(API_TEXT, "{\"prompt\":\"a\",\"temperature\":2.001}", "temperature");
    refused(API_TEXT, "{\"prompt\":\"a\",\"temperature\":-0.1}", "temperature");
    refused(API_TEXT, "{\"prompt\":\"a\",\"max_tokens\":1e300}", "max_tokens");
    refused(API_TEXT, "{\"prompt\":\"a\",\"max_tokens\":-1e300}", "max_tokens");
    refused(API_TEXT, "{\"prompt\":\"a\",\"max_tokens\":2147483648}", "max_tokens");
    refused(API_TEXT, "{\"prompt\":\"a\",\"logit_bias\":{\"1000\":0}}", "logit_bias");
    refused(API_TEXT, "{\"prompt\":\"a\",\"logit_bias\":{\" 1\":0}}", "logit_bias");
    refused(API_TEXT, "{\"prompt\":\"a\",\"logit_bias\":{\"1x\":0}}", "logit_bias");
    refused(API_TEXT, "{\"prompt\":\"a\",\"logit_bias\":{\"1\":\"x\"}}", "logit_bias");
    refused(API_TEXT, "{\"prompt\":[1000]}", "prompt");
    refused(API_TEXT, "{\"prompt\":[1.5]}", "prompt");
    refused(API_TEXT, "{\"prompt\":[[1],[2]]}", "prompt");
    refused(API_TEXT, "{\"prompt\":[[]]}", "prompt");
    refused(API_TEXT, "{\"prompt\":{}}", "prompt");
    refused(API_TEXT, "{\"prompt\":\"a\",\"n\":0}", "n");
    refused(API_TEXT, "{\"prompt\":\"a\",\"n\":\"1\"}", "n");
    refused(API_TEXT, "{\"prompt\":\"a\",\"model\":\"big\"}", "model");
    cr_assert_eq(error.status, 404);
    refused(API_CHAT, "{\"messages\":[{\"role\":5,\"content\":\"x\"}]}", "messages");
    refused(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[5]}]}", "messages");
    refused(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", "messages");
    refused(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},7]}", "messages");
    refused(API_TEXT, "", "");
    refused(API_TEXT, "{\"prompt\":\"a\"} x", "");
    refused(API_TEXT, "\"prompt\"", "");
}

Test(api_params, a_body_that_would_take_too_much_memory_is_refused)
{
    static const char body[] = "{\"prompt\":[1,2,3],\"unheard\":[{},{},{},{}]}";
    struct api_limits tight = limits;

    tight.json_bytes = 1000;
    cr_assert_lt(api_params_parse(API_TEXT, body, strlen(body), &tight, &request, &error), 0);
    cr_assert_eq(error.status, 413);
    tight.json_bytes = 4000;
    cr_assert_eq(api_params_parse(API_TEXT, body, strlen(body), &tight, &request, &error), 0, "%s", error.message);
    job_unref(request.job);
}

Test(api_params, no_memory_is_an_error_at_every_allocation)
{
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":["
                               "{\"type\":\"text\",\"text\":\"b\"}]}],\"stop\":[\"x\",\"y\"],\"logit_bias\":{\"1\":2}}";
    long n = 0;

    for (;; n++) {
        int r;

        mem_fail_after(n);
        r = parse(API_CHAT, body);
        mem_fail_after(-1);
        if (r == 0)
            break;
        cr_assert_eq(r, -ENOMEM, "%ld: %s", n, error.message);
        cr_assert_lt(n, 100);
    }
    job_unref(request.job);
    cr_assert_gt(n, 5);
}
