/* SPDX-License-Identifier: MIT */
#include "daemon/api_params.h"

#include "base/mem.h"
#include "daemon/json_tree.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAX_MESSAGES 4096

/* What every reader of a field needs. */
struct reader {
    json_t *body;
    const struct api_limits *limits;
    struct job *job;
    struct api_error *err;
};

static int no_memory(struct api_error *err)
{
    api_error_from(err, -ENOMEM, "out of memory");
    return -ENOMEM;
}

/* --- plain fields --- */

/* The field, or NULL when it is absent or null. */
static json_t *field(const struct reader *r, const char *name)
{
    json_t *v = json_object_get(r->body, name);

    return json_is_null(v) ? NULL : v;
}

static int read_bool(const struct reader *r, const char *name, bool *v)
{
    json_t *j = field(r, name);

    if (!j)
        return 0;
    if (!json_is_boolean(j))
        return api_error_param(r->err, name, "'%s' must be true or false", name);
    *v = json_is_true(j);
    return 0;
}

static int read_float(const struct reader *r, const char *name, double min, double max, float *v)
{
    json_t *j = field(r, name);
    double d = json_number_value(j);

    if (!j)
        return 0;
    if (!json_is_number(j) || !(d >= min && d <= max))
        return api_error_param(r->err, name, "'%s' must be a number from %g to %g", name, min, max);
    *v = (float)d;
    return 0;
}

/* Whole numbers, also when written 5.0. Returns 1 when the field is there. */
static int read_whole(const struct reader *r, const char *name, int64_t min, int64_t max, int64_t *v)
{
    json_t *j = field(r, name);
    double d = json_is_real(j) ? json_real_value(j) : 0;
    int64_t n;

    if (!j)
        return 0;
    n = json_is_integer(j) ? json_integer_value(j) : d >= -9e15 && d <= 9e15 ? (int64_t)d : 0;
    if (!json_is_number(j) || (json_is_real(j) && (double)n != d) || n < min || n > max)
        return api_error_param(r->err, name, "'%s' must be a whole number from %lld to %lld", name, (long long)min,
                               (long long)max);
    *v = n;
    return 1;
}

/* --- model, sampling --- */

static int read_model(const struct reader *r)
{
    json_t *j = field(r, "model");
    const char *name = json_string_value(j);
    size_t n_names = sizeof(r->limits->names) / sizeof(r->limits->names[0]);

    if (!j)
        return 0;
    if (!name)
        return api_error_param(r->err, "model", "'model' must be a string");
    if (!*name || strcmp(name, "default") == 0)
        return 0;
    for (size_t i = 0; i < n_names; i++)
        if (r->limits->names[i] && strcmp(name, r->limits->names[i]) == 0)
            return 0;
    api_error_param(r->err, "model", "the model '%.200s' is not served here; this server has '%s'", name,
                    r->limits->names[0]);
    r->err->status = 404;
    r->err->code = "model_not_found";
    return -ENOENT;
}

static int read_seed(const struct reader *r)
{
    int64_t v = 0;
    int got = read_whole(r, "seed", INT64_MIN, INT64_MAX, &v);

    if (got < 0)
        return got;
    if (got && v != -1) {
        r->job->sampling.seed = (uint64_t)v;
        return 0;
    }
    if (getrandom(&r->job->sampling.seed, sizeof(r->job->sampling.seed), 0) < 0)
        r->job->sampling.seed = (uint64_t)(uintptr_t)r->job;
    r->job->sampling.seed >>= 12; /* so that it survives a JSON number of a double's width, when shown */
    return 0;
}

static int read_bias(const struct reader *r)
{
    json_t *j = field(r, "logit_bias"), *value;
    struct job *job = r->job;
    const char *key;
    size_t n = 0;

    if (!j)
        return 0;
    if (!json_is_object(j) || json_object_size(j) > SAMPLER_MAX_BIAS)
        return api_error_param(r->err, "logit_bias", "'logit_bias' must be an object of at most %d token ids",
                               SAMPLER_MAX_BIAS);
    if (!json_object_size(j))
        return 0;
    job->bias = mem_calloc(json_object_size(j), sizeof(*job->bias));
    if (!job->bias)
        return no_memory(r->err);
    json_object_foreach(j, key, value)
    {
        char *end;
        unsigned long id = strtoul(key, &end, 10);
        double bias = json_number_value(value);

        if (key[0] < '0' || key[0] > '9' || *end || id >= r->limits->n_vocab)
            return api_error_param(r->err, "logit_bias", "'logit_bias': '%.40s' is no token id of this model", key);
        if (!json_is_number(value) || !(bias >= -100 && bias <= 100))
            return api_error_param(r->err, "logit_bias", "'logit_bias': a bias must be a number from -100 to 100");
        job->bias[n++] = (struct logit_bias){ (int32_t)id, (float)bias };
    }
    job->sampling.bias = job->bias;
    job->sampling.n_bias = n;
    return 0;
}

static int read_sampling(const struct reader *r)
{
    struct sampler_options *s = &r->job->sampling;
    int64_t top_k = s->top_k;
    int e;

    if ((e = read_float(r, "temperature", 0, 2, &s->temperature)) < 0 ||
        (e = read_float(r, "top_p", 0, 1, &s->top_p)) < 0 || (e = read_float(r, "min_p", 0, 1, &s->min_p)) < 0 ||
        (e = read_float(r, "presence_penalty", -2, 2, &s->presence_penalty)) < 0 ||
        (e = read_float(r, "frequency_penalty", -2, 2, &s->frequency_penalty)) < 0 ||
        (e = read_float(r, "repeat_penalty", 0.01, 10, &s->repetition_penalty)) < 0 ||
        (e = read_float(r, "repetition_penalty", 0.01, 10, &s->repetition_penalty)) < 0 ||
        (e = read_whole(r, "top_k", -1, INT32_MAX, &top_k)) < 0 || (e = read_seed(r)) < 0 || (e = read_bias(r)) < 0)
        return e;
    s->top_k = top_k < 0 ? 0 : (uint32_t)top_k;
    return 0;
}

/* --- stops and lengths --- */

static int add_stop(const struct reader *r, json_t *j)
{
    struct job *job = r->job;
    size_t n = json_string_length(j);
    char *copy;

    if (!json_is_string(j) || !n || n > STOPS_MAX_BYTES)
        return api_error_param(r->err, "stop", "'stop' must be a text of 1 to %d bytes, or an array of such texts",
                               STOPS_MAX_BYTES);
    copy = mem_dup_nul(json_string_value(j), n);
    if (!copy)
        return no_memory(r->err);
    job->stop_texts[job->n_stops++] = (struct stop_text){ copy, n };
    return 0;
}

static int read_stops(const struct reader *r)
{
    json_t *j = field(r, "stop"), *item;
    size_t i, n = json_is_array(j) ? json_array_size(j) : 1;
    int e = 0;

    if (!j || !n)
        return 0;
    if (n > STOPS_MAX)
        return api_error_param(r->err, "stop", "'stop' may hold at most %d texts", STOPS_MAX);
    r->job->stop_texts = mem_calloc(n, sizeof(*r->job->stop_texts));
    if (!r->job->stop_texts)
        return no_memory(r->err);
    if (!json_is_array(j))
        return add_stop(r, j);
    json_array_foreach(j, i, item)
    {
        e = add_stop(r, item);
        if (e < 0)
            return e;
    }
    return 0;
}

static int read_lengths(const struct reader *r, enum api_kind kind)
{
    int64_t v = -1, least = kind == API_CHAT ? 1 : 0;
    int e = read_whole(r, "max_tokens", least, INT32_MAX, &v);

    if (e >= 0)
        e = read_whole(r, "max_completion_tokens", least, INT32_MAX, &v);
    if (e < 0)
        return e;
    r->job->max_tokens = v >= 0 ? (uint32_t)v : UINT32_MAX;
    return read_bool(r, "ignore_eos", &r->job->ignore_eos);
}

/* Things of OpenAI's that change what an answer is, and that are not done here: better refused than ignored. */
static int refuse_the_undone(const struct reader *r)
{
    static const char *const ones[] = { "n", "best_of" };
    static const char *const lists[] = { "tools", "functions", "modalities", "audio" };
    json_t *format = field(r, "response_format"), *suffix = field(r, "suffix");
    const char *type = json_string_value(json_object_get(format, "type"));
    int64_t v;

    for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++) {
        json_t *j = field(r, ones[i]);

        v = json_integer_value(j);
        if (j && (!json_is_integer(j) || v != 1))
            return api_error_param(r->err, ones[i], "'%s' must be 1: one answer per request is written here", ones[i]);
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        json_t *j = field(r, lists[i]);
        bool text = json_array_size(j) == 1 && strcmp(lists[i], "modalities") == 0;

        if (j && !text && (!json_is_array(j) || json_array_size(j)))
            return api_error_param(r->err, lists[i], "'%s' is not supported by this server", lists[i]);
    }
    if (format && (!type || strcmp(type, "text") != 0))
        return api_error_param(r->err, "response_format", "'response_format' other than text is not supported");
    if (suffix && json_string_length(suffix))
        return api_error_param(r->err, "suffix", "'suffix' is not supported by this server");
    return 0;
}

/* --- messages --- */

/* The text of an array of parts, all of type text. */
static int join_parts(const struct reader *r, json_t *parts, char **ret_text, size_t *ret_len)
{
    size_t i, len = 0, at = 0;
    json_t *part;
    char *text;

    json_array_foreach(parts, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));

        if (!type || strcmp(type, "text") != 0 || !json_is_string(json_object_get(part, "text")))
            return api_error_param(r->err, "messages",
                                   "'messages': content parts must be {\"type\": \"text\", \"text\": "
                                   "...}; this server reads text only");
        len += json_string_length(json_object_get(part, "text"));
    }
    text = mem_alloc(len + 1);
    if (!text)
        return no_memory(r->err);
    json_array_foreach(parts, i, part)
    {
        json_t *t = json_object_get(part, "text");

        memcpy(text + at, json_string_value(t), json_string_length(t));
        at += json_string_length(t);
    }
    text[len] = '\0';
    *ret_text = text;
    *ret_len = len;
    return 0;
}

static int read_message(const struct reader *r, json_t *j, struct chat_message *m)
{
    json_t *content = json_object_get(j, "content");
    const char *role = json_string_value(json_object_get(j, "role"));
    char *text = NULL;
    int e = 0;

    if (!role)
        return api_error_param(r->err, "messages", "'messages': each must be an object with a 'role' and a 'content'");
    m->role = mem_strdup(role);
    if (!m->role)
        return no_memory(r->err);
    if (json_is_array(content)) {
        e = join_parts(r, content, &text, &m->content_len);
    } else if (json_is_string(content) || !content || json_is_null(content)) {
        m->content_len = json_string_length(content);
        text = mem_dup_nul(m->content_len ? json_string_value(content) : "", m->content_len);
        e = text ? 0 : no_memory(r->err);
    } else {
        e = api_error_param(r->err, "messages", "'messages': 'content' must be a text or an array of text parts");
    }
    m->content = text;
    return e;
}

static int read_messages(const struct reader *r)
{
    json_t *list = field(r, "messages"), *j;
    struct job *job = r->job;
    size_t i;

    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > MAX_MESSAGES)
        return api_error_param(r->err, "messages", "'messages' must be an array of 1 to %d messages", MAX_MESSAGES);
    job->messages = mem_calloc(json_array_size(list), sizeof(*job->messages));
    if (!job->messages)
        return no_memory(r->err);
    json_array_foreach(list, i, j)
    {
        int e;

        job->n_messages++; /* first, so that what a failed message has taken is freed with the job */
        e = read_message(r, j, &job->messages[i]);
        if (e < 0)
            return e;
    }
    job->chat = true;
    return 0;
}

static int read_chat_logprobs(const struct reader *r)
{
    int64_t top = 0;
    bool wanted = false;
    int e = read_bool(r, "logprobs", &wanted);

    if (e < 0)
        return e;
    e = read_whole(r, "top_logprobs", 0, JOB_MAX_TOP, &top);
    if (e < 0)
        return e;
    if (e > 0 && !wanted)
        return api_error_param(r->err, "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    r->job->n_logprobs = wanted ? (int)top : -1;
    return 0;
}

/* --- prompts --- */

static int read_ids(const struct reader *r, const char *name, json_t *list, struct token_ids *ids)
{
    json_t *j;
    size_t i;

    json_array_foreach(list, i, j)
    {
        if (!json_is_integer(j) || json_integer_value(j) < 0 || json_integer_value(j) >= r->limits->n_vocab)
            return api_error_param(r->err, name, "'%s': element %zu is no token id of this model (0 to %u)", name, i,
                                   r->limits->n_vocab - 1);
        if (token_ids_add(ids, (int32_t)json_integer_value(j)) < 0)
            return no_memory(r->err);
    }
    return 0;
}

static int read_text(const struct reader *r, json_t *j)
{
    r->job->text_len = json_string_length(j);
    r->job->text = mem_dup_nul(json_string_value(j), r->job->text_len);
    return r->job->text ? 0 : no_memory(r->err);
}

/* A text, ids, or an array of one of those. */
static int read_prompt(const struct reader *r, const char *name)
{
    json_t *j = field(r, name);

    if (json_is_array(j) && (json_is_string(json_array_get(j, 0)) || json_is_array(json_array_get(j, 0)))) {
        if (json_array_size(j) > 1)
            return api_error_param(r->err, name, "'%s': one prompt per request is answered here, not %zu", name,
                                   json_array_size(j));
        j = json_array_get(j, 0);
    }
    if (json_is_string(j))
        return read_text(r, j);
    if (json_is_array(j) && json_array_size(j))
        return read_ids(r, name, j, &r->job->prompt);
    return api_error_param(r->err, name, "'%s' must be a text, or an array of token ids, and not empty", name);
}

static int read_text_logprobs(const struct reader *r)
{
    int64_t top = -1;
    int e = read_whole(r, "logprobs", 0, JOB_MAX_TOP, &top);

    if (e < 0)
        return e;
    r->job->n_logprobs = (int)top;
    return read_bool(r, "echo", &r->job->echo);
}

/* --- whole bodies --- */

static int read_stream(const struct reader *r, bool *include_usage)
{
    json_t *options = field(r, "stream_options");
    int e = read_bool(r, "stream", &r->job->stream);

    if (e < 0 || !options)
        return e;
    if (!json_is_object(options))
        return api_error_param(r->err, "stream_options", "'stream_options' must be an object");
    *include_usage = json_is_true(json_object_get(options, "include_usage"));
    return 0;
}

static int read_completion(const struct reader *r, enum api_kind kind, bool *include_usage)
{
    int e;

    if ((e = read_model(r)) < 0 || (e = refuse_the_undone(r)) < 0 || (e = read_sampling(r)) < 0 ||
        (e = read_stops(r)) < 0 || (e = read_lengths(r, kind)) < 0 || (e = read_stream(r, include_usage)) < 0)
        return e;
    if (kind == API_CHAT)
        return (e = read_chat_logprobs(r)) < 0 ? e : read_messages(r);
    if ((e = read_text_logprobs(r)) < 0 || (e = read_bool(r, "parse_special", &r->job->parse_special)) < 0)
        return e;
    return read_prompt(r, "prompt");
}

static int read_tokenize(const struct reader *r)
{
    const char *name = field(r, "content") ? "content" : "prompt";
    bool special = true;
    int e;

    if ((e = read_bool(r, "add_special_tokens", &special)) < 0 ||
        (e = read_bool(r, "parse_special", &r->job->parse_special)) < 0)
        return e;
    r->job->no_bos = !special;
    r->job->tokenize_only = true;
    if (field(r, "messages"))
        return read_messages(r);
    if (!json_is_string(field(r, name)))
        return api_error_param(r->err, name, "'%s' must be a text", name);
    return read_text(r, field(r, name));
}

static int too_many_values(struct api_error *err)
{
    api_error_param(err, "",
                    "the request body holds more JSON values than this server has memory to read; send fewer at once, "
                    "or start expertd with a larger --memory");
    err->status = 413;
    return -EINVAL;
}

static int parse_body(const char *body, size_t len, const struct api_limits *limits, json_t **ret_json,
                      struct api_error *err)
{
    json_error_t where;
    json_t *j;

    if (limits->json_bytes && json_tree_bytes(body, len) > limits->json_bytes)
        return too_many_values(err);
    j = json_loadb(body, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!j)
        return api_error_param(err, "", "the request body is no JSON: %s (line %d, column %d)", where.text, where.line,
                               where.column);
    if (!json_is_object(j)) {
        json_decref(j);
        return api_error_param(err, "", "the request body must be a JSON object");
    }
    *ret_json = j;
    return 0;
}

int api_params_parse(enum api_kind kind, const char *body, size_t len, const struct api_limits *limits,
                     struct api_request *ret_request, struct api_error *err)
{
    struct api_request request = { .job = job_new() };
    struct reader r = { .limits = limits, .job = request.job, .err = err };
    int e;

    *err = (struct api_error){ 0 };
    if (!request.job)
        return no_memory(err);
    e = parse_body(body, len, limits, &r.body, err);
    if (e == 0)
        e = kind == API_TOKENIZE ? read_tokenize(&r) : read_completion(&r, kind, &request.include_usage);
    json_decref(r.body);
    if (e < 0)
        job_unref(request.job);
    else
        *ret_request = request;
    return e < 0 ? e : 0;
}

int api_params_tokens(const char *body, size_t len, const struct api_limits *limits, struct token_ids *ids,
                      struct api_error *err)
{
    struct reader r = { .limits = limits, .err = err };
    json_t *list;
    int e;

    *err = (struct api_error){ 0 };
    e = parse_body(body, len, limits, &r.body, err);
    if (e < 0)
        return e;
    list = field(&r, "tokens");
    e = json_is_array(list) ? read_ids(&r, "tokens", list, ids)
                            : api_error_param(err, "tokens", "'tokens' must be an array of token ids");
    json_decref(r.body);
    return e;
}
