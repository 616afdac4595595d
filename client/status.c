/* SPDX-License-Identifier: MIT */
#include "client/client.h"
#include "client/error.h"
#include "client/reply.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* A member of a JSON object and where it goes. Several rows may fill one field: the first member that is there wins. */
struct field {
    const char *name; /* "a.b": a member of a member */
    enum { FIELD_TEXT, FIELD_COUNT, FIELD_REAL } kind;
    size_t offset;
    size_t bytes; /* of a text's buffer */
};

#define TEXT(type, member, name)                                                 \
    {                                                                            \
        name, FIELD_TEXT, offsetof(type, member), sizeof(((type *)NULL)->member) \
    }
#define COUNT(type, member, name)                                  \
    {                                                              \
        name, FIELD_COUNT, offsetof(type, member), sizeof(int64_t) \
    }
#define REAL(type, member, name)                                 \
    {                                                            \
        name, FIELD_REAL, offsetof(type, member), sizeof(double) \
    }

static const json_t *member(const json_t *object, const char *name)
{
    const char *dot = strchr(name, '.');
    char outer[64];

    if (dot == NULL)
        return json_object_get(object, name);
    error_quote(outer, sizeof(outer), name, (size_t)(dot - name));
    return member(json_object_get(object, outer), dot + 1);
}

static void field_unset(const struct field *field, char *base)
{
    const int64_t no_count = EXPERT_UNSET;
    const double no_real = NAN;

    if (field->kind == FIELD_TEXT)
        base[field->offset] = '\0';
    else if (field->kind == FIELD_COUNT)
        memcpy(base + field->offset, &no_count, sizeof(no_count));
    else
        memcpy(base + field->offset, &no_real, sizeof(no_real));
}

static void field_take(const struct field *field, char *base, const json_t *value)
{
    if (field->kind == FIELD_TEXT && json_is_string(value)) {
        error_quote(base + field->offset, field->bytes, json_string_value(value), json_string_length(value));
    } else if (field->kind == FIELD_COUNT && json_is_number(value)) {
        double number = json_number_value(value);
        int64_t count = json_is_integer(value)  ? json_integer_value(value)
                        : fabs(number) < 0x1p63 ? (int64_t)number
                                                : EXPERT_UNSET;

        memcpy(base + field->offset, &count, sizeof(count));
    } else if (field->kind == FIELD_REAL && json_is_number(value)) {
        double number = json_number_value(value);

        memcpy(base + field->offset, &number, sizeof(number));
    }
}

static void fields_take(const struct field *fields, size_t n, const json_t *object, void *base)
{
    for (size_t i = 0; i < n; i++)
        field_unset(&fields[i], base);
    for (size_t i = n; i-- > 0;) /* backwards, so that the first row has the last word */
        field_take(&fields[i], base, member(object, fields[i].name));
}

/* GET a JSON object; an error status is an error. The caller drops the reference. */
static int get_object(struct expert_client *client, const char *path, json_t **ret_object, struct expert_error *error)
{
    int status;
    int r = client_call(client, path, NULL, &status, error);

    if (r < 0)
        return r;
    if (status < 200 || status >= 300)
        return reply_error(status, text_string(&client->body), client->body.n, error);
    return reply_parse(text_string(&client->body), client->body.n, ret_object, error);
}

static void health_take(struct expert_health *health, const json_t *object, int http_status)
{
    const json_t *status = json_object_get(object, "status"), *progress = json_object_get(object, "progress");
    const json_t *reason = json_object_get(object, "error");
    const char *word = json_string_value(status);

    memset(health, 0, sizeof(*health));
    health->progress = json_is_number(progress) ? json_number_value(progress) : -1;
    if (json_is_object(reason))
        reason = json_object_get(reason, "message");
    if (json_is_string(reason))
        status = reason;
    error_quote(health->text, sizeof(health->text), json_string_value(status), json_string_length(status));
    health->status = word != NULL && strcasecmp(word, "loading") == 0 ? EXPERT_STATUS_LOADING
                     : http_status < 300                              ? EXPERT_STATUS_OK
                                                                      : EXPERT_STATUS_FAILED;
}

int expert_health(struct expert_client *client, struct expert_health *ret_health, struct expert_error *error)
{
    json_t *object;
    int status;
    int r = client_call(client, "/health", NULL, &status, error);

    if (r < 0)
        return r;
    if (status != 200 && status != 503)
        return reply_error(status, text_string(&client->body), client->body.n, error);
    r = reply_parse(text_string(&client->body), client->body.n, &object, error);
    if (r < 0)
        return r;
    if (json_object_get(object, "status") != NULL || json_object_get(object, "error") != NULL)
        health_take(ret_health, object, status);
    else
        r = error_set(error, EXPERT_ERR_PROTOCOL, "what answers on %s has no health to tell of: is it expertd?",
                      client->endpoint.address);
    json_decref(object);
    return r;
}

int expert_models(struct expert_client *client, struct expert_model *models, size_t max_models, size_t *ret_n,
                  struct expert_error *error)
{
    static const struct field fields[] = {
        TEXT(struct expert_model, id, "id"),
        COUNT(struct expert_model, created, "created"),
    };
    const json_t *list;
    json_t *object;
    int r = get_object(client, "/v1/models", &object, error);

    if (r < 0)
        return r;
    list = json_object_get(object, "data");
    if (json_is_array(list)) {
        for (size_t i = 0; i < json_array_size(list) && i < max_models; i++) {
            memset(&models[i], 0, sizeof(models[i]));
            fields_take(fields, sizeof(fields) / sizeof(fields[0]), json_array_get(list, i), &models[i]);
        }
        *ret_n = json_array_size(list);
    } else {
        r = error_set(error, EXPERT_ERR_PROTOCOL, "the list of models is no list");
    }
    json_decref(object);
    return r;
}

int expert_props(struct expert_client *client, struct expert_props *ret_props, struct expert_error *error)
{
    static const struct field fields[] = {
        TEXT(struct expert_props, model, "model"),
        TEXT(struct expert_props, model_path, "model_path"),
        TEXT(struct expert_props, architecture, "architecture"),
        TEXT(struct expert_props, io_engine, "io_engine"),
        TEXT(struct expert_props, version, "version"),
        COUNT(struct expert_props, context_tokens, "context_tokens"),
        COUNT(struct expert_props, memory_bytes, "memory_bytes"),
        COUNT(struct expert_props, n_layers, "n_layers"),
        COUNT(struct expert_props, n_experts, "n_experts"),
        COUNT(struct expert_props, n_experts_used, "n_experts_used"),
        COUNT(struct expert_props, expert_slots, "expert_slots"),
    };
    json_t *object;
    int r = get_object(client, "/props", &object, error);

    if (r < 0)
        return r;
    memset(ret_props, 0, sizeof(*ret_props));
    fields_take(fields, sizeof(fields) / sizeof(fields[0]), object, ret_props);
    json_decref(object);
    return 0;
}

int expert_stats(struct expert_client *client, struct expert_stats *ret_stats, struct expert_error *error)
{
    static const struct field fields[] = {
        COUNT(struct expert_stats, requests_active, "requests_active"),
        COUNT(struct expert_stats, requests_waiting, "requests_waiting"),
        COUNT(struct expert_stats, requests_total, "requests_total"),
        COUNT(struct expert_stats, prompt_tokens, "prompt_tokens"),
        COUNT(struct expert_stats, completion_tokens, "completion_tokens"),
        COUNT(struct expert_stats, expert_hits, "expert_hits"),
        COUNT(struct expert_stats, expert_misses, "expert_misses"),
        COUNT(struct expert_stats, bytes_read, "bytes_read"),
        COUNT(struct expert_stats, rss_bytes, "rss_bytes"),
        COUNT(struct expert_stats, peak_rss_bytes, "peak_rss_bytes"),
        COUNT(struct expert_stats, uptime_seconds, "uptime_seconds"),
        REAL(struct expert_stats, tokens_per_second, "tokens_per_second"),
        REAL(struct expert_stats, hit_rate, "hit_rate"),
    };
    json_t *object;
    int r = get_object(client, "/stats", &object, error);

    if (r < 0)
        return r;
    memset(ret_stats, 0, sizeof(*ret_stats));
    fields_take(fields, sizeof(fields) / sizeof(fields[0]), object, ret_stats);
    json_decref(object);
    return 0;
}
